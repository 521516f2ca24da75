"""Sentence encoders as one thing to call: texts in, an array of vectors out."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from ..engine.int8_products import multiply_in_int8
from ..errors import Errors, first_line
from .hub_code import refuse_hub_code_in
from .pretrained import PACKAGES
from .transformer import register_encoders

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

POOLINGS = ("mean", "cls", "weighted", "first-last")
InferencePrecision = Literal["fp32", "bf16", "int8"]


class SentenceModel(Protocol):
    """What evaluation, whitening and retrieval need of an encoder."""

    @property
    def width(self) -> int:
        """Width of a vector."""

    @property
    def fingerprint(self) -> str:
        """Tells encoders apart: vectors of one fingerprint can be compared."""

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Vectors of texts.

        texts (Sequence[str]): The texts; a blank one has a vector of zeros.
        batch_size (int): Texts encoded at once.
        progress (bool): Show a bar.
        RETURNS (np.ndarray): Shape (len(texts), width), float32.
        """


class SentenceTransformerModel:
    """A model of `sentence-transformers` as a `SentenceModel`.

    model (SentenceTransformer): The model.
    precision (str): As in `load_sentence_model`.
    """

    def __init__(self, model: SentenceTransformer, precision: InferencePrecision = "fp32") -> None:
        self.model = model.eval()
        if precision == "bf16":
            model[0].forward = _in_bf16(model[0].forward, model)
        elif precision == "int8":
            multiply_in_int8(model[0])
        self._fingerprint: str | None = None

    @property
    def width(self) -> int:
        """Width of a vector."""
        return int(self.model.get_embedding_dimension())

    @property
    def fingerprint(self) -> str:
        """Of the weights, and of the modules in their order."""
        if self._fingerprint is None:
            names = [_describe(module) for module in self.model]
            self._fingerprint = weights_fingerprint(self.model.state_dict(), *names)
        return self._fingerprint

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Vectors of texts. What is longer than the encoder reads is cut into parts, and their mean taken.

        texts (Sequence[str]): The texts; a blank one has a vector of zeros.
        batch_size (int): Texts encoded at once.
        progress (bool): Show a bar.
        RETURNS (np.ndarray): Shape (len(texts), width), float32.
        """
        parts, owners, pieces = [], [], []
        for i, text in enumerate(texts):
            for part, size in self._parts(text):
                parts.append(part)
                owners.append(i)
                pieces.append(size)
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        if not parts:
            return vectors
        found = self.model.encode(parts, batch_size=batch_size, show_progress_bar=progress, convert_to_numpy=True)
        if len(parts) == len(set(owners)):
            vectors[owners] = found
            return vectors
        return self._joined(vectors, found, np.array(owners), np.array(pieces))

    def _parts(self, text: str) -> list[tuple[str, int]]:
        """A text in parts that the encoder reads whole, each with its number of pieces where there are several."""
        if not text.strip():
            return []
        longest = self.model.max_seq_length
        if longest is None or math.isinf(longest):
            return [(text, 1)]
        # No text has more pieces than bytes, with a space before it: most need not be cut to know that they are short.
        # Tokenizers may write compatibility characters out, such as a half as three.
        room = longest - _special_pieces(self.model)
        forms = (text, unicodedata.normalize("NFKC", text)) if len(text) < room else ()
        if forms and max(len(form.encode("utf-8", "replace")) for form in forms) < room:
            return [(text, 1)]
        found = self.model.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )["offset_mapping"]
        if len(found) <= room:
            return [(text, 1)]
        count = -(-len(found) // room)
        cuts = [len(found) * k // count for k in range(count + 1)]
        edges = [0, *(found[cut][0] for cut in cuts[1:-1]), len(text)]
        parts = [(text[a:b], end - start) for a, b, start, end in zip(edges, edges[1:], cuts, cuts[1:])]
        return [part for part in parts if part[0].strip()]

    def _joined(self, vectors: np.ndarray, found: np.ndarray, owners: np.ndarray, pieces: np.ndarray) -> np.ndarray:
        """Means of the parts' vectors by their pieces, of length one where the model's own are."""
        np.add.at(vectors, owners, found * pieces[:, None])
        total = np.bincount(owners, weights=pieces, minlength=len(vectors))
        several = np.bincount(owners, minlength=len(vectors)) > 1
        vectors[total > 0] /= total[total > 0, None].astype(np.float32)
        if type(self.model[-1]).__name__ == "Normalize":
            norms = np.linalg.norm(vectors[several], axis=1, keepdims=True)
            vectors[several] /= np.maximum(norms, 1e-12)
        return vectors


def load_sentence_model(
    name: str | Path,
    *,
    pooling: str | None = None,
    device: str | None = None,
    max_length: int | None = None,
    precision: InferencePrecision = "fp32",
) -> SentenceTransformerModel:
    """Load a model of `sentence-transformers`, or any encoder of `transformers`, by name or folder.

    name (str | Path): Folder, bundled model, installed package that holds one, or name on the hub. Code that comes with
        a model is never run.
    pooling (Optional[str]): One of `POOLINGS`, instead of the modules that follow the encoder; None keeps them, or
        takes the mean where there are none.
    device (Optional[str]): Such as "cuda"; None for a GPU where there is one.
    max_length (Optional[int]): Pieces that are read at once; None for what the model says. A static table reads any
        number.
    precision (str): "bf16" for products of 16 bits in the encoder, faster where the processor has them (AVX512-BF16,
        AMX, GPUs); "int8" for products of 8 bits on a CPU (AVX512-VNNI); sums and vectors stay in 32.
    RETURNS (SentenceTransformerModel): The model.
    RAISES (ValueError): S800 when nothing can be loaded, S801 for an unknown pooling, S809 for a `max_length` without
        room for text, S336 when a config asks for code from the hub.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import get_device_name

    register_encoders()

    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(Errors.S801.format(pooling=pooling, known=", ".join(POOLINGS)))
    folder = model_folder(str(name))
    refuse_hub_code_in(folder)
    try:
        with _no_bars():
            # Weights stored in 16 bits are slow on a CPU.
            types = {"dtype": torch.float32} if (device or get_device_name()) == "cpu" else None
            model = SentenceTransformer(folder, device=device, trust_remote_code=False, model_kwargs=types)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(Errors.S800.format(name=name, why=first_line(error))) from error
    if pooling is not None:
        model = SentenceTransformer(modules=_pooled(model, pooling), device=device)
    if max_length is not None and model.max_seq_length != math.inf:
        special = _special_pieces(model)
        if max_length <= special:
            raise ValueError(Errors.S809.format(length=max_length, name=name, special=special, least=special + 1))
        model.max_seq_length = max_length
    if model.device.type == "cpu":
        model.float()
    return SentenceTransformerModel(model, precision)


def weights_fingerprint(weights: Mapping[str, torch.Tensor], *about: str) -> str:
    """Sixteen characters that tell weights apart.

    weights (Mapping[str, torch.Tensor]): Tensors by name.
    about (str): What else makes a difference.
    RETURNS (str): The fingerprint.
    """
    digest = hashlib.sha256("\n".join(about).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _in_bf16(forward: Callable[..., dict[str, Any]], model: SentenceTransformer) -> Callable[..., dict[str, Any]]:
    """The encoder's forward pass under autocast; what is pooled has 32 bits again."""

    def run(*args: Any, **kwargs: Any) -> dict[str, Any]:
        with torch.autocast(model.device.type, torch.bfloat16):
            features = forward(*args, **kwargs)
        return {key: value.float() if key == "token_embeddings" else value for key, value in features.items()}

    return run


@contextmanager
def _no_bars() -> Iterator[None]:
    """Loading takes a moment; a bar of it would stand among what a command prints."""
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


def model_folder(name: str) -> str:
    """The folder of a bundled model, or of one inside an installed package of that name; else the name itself.

    name (str): Name or folder of a model.
    RETURNS (str): A folder, or a name for the hub.
    """
    if not Path(name).exists() and (PACKAGES / name / "modules.json").is_file():
        return str(PACKAGES / name)
    if name.isidentifier() and not Path(name).exists() and (spec := importlib.util.find_spec(name)):
        for root in spec.submodule_search_locations or ():
            if found := sorted(Path(root).glob("**/modules.json")):
                return str(found[0].parent)
    return name


def _special_pieces(model: SentenceTransformer) -> int:
    """Pieces that frame a text, such as [CLS] and [SEP]."""
    return int(model.tokenizer.num_special_tokens_to_add(False))


def _pooled(model: SentenceTransformer, pooling: str) -> list[torch.nn.Module]:
    """The encoder of a model under another pooling."""
    from sentence_transformers.sentence_transformer.modules import Pooling, WeightedLayerPooling

    encoder = model[0]
    width = encoder.get_embedding_dimension()
    if pooling != "first-last":
        return [encoder, Pooling(width, pooling_mode={"weighted": "weightedmean"}.get(pooling, pooling))]
    # The outputs of the first block and the last, not of the embeddings (BERT-whitening, arXiv 2103.15316).
    encoder.model.config.output_hidden_states = True
    blocks = encoder.model.config.num_hidden_layers
    weights = torch.nn.Parameter(torch.tensor([1.0] + [0.0] * (blocks - 2) + [1.0] * (blocks > 1)))
    layers = WeightedLayerPooling(width, num_hidden_layers=blocks, layer_start=1, layer_weights=weights)
    return [encoder, layers, Pooling(width, pooling_mode="mean")]


def _describe(module: torch.nn.Module) -> str:
    config = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    return f"{type(module).__name__} {config}"
