"""`samarkand.SentenceTransformer.v1`: models of `sentence-transformers` in a pipeline, saved inside it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import srsly
from spacy import registry
from thinc.api import Model, Shim
from thinc.types import Floats2d
from thinc.util import get_torch_default_device

from ..errors import Errors
from .sentence_model import InferencePrecision, SentenceTransformerModel, load_sentence_model
from .sentence_units import UnitEncoder, Units
from .whitening_exports import fitted_model, without_normalize
from .whitening_map import Whitening


@registry.architectures("samarkand.SentenceTransformer.v1")
def build_sentence_transformer(
    name: str,
    pooling: str | None = None,
    max_length: int | None = None,
    batch_size: int = 64,
    half_storage: bool = False,
    precision: InferencePrecision = "fp32",
) -> UnitEncoder:
    """Encode the text of each unit with a model of `sentence-transformers`, or any encoder of `transformers`.

    It is loaded at `initialize` or on first use, and saved with the pipeline, which then needs neither name nor hub.

    name (str): Folder, bundled model or name on the hub, see `load_sentence_model`. Code that comes with a model is
        never run.
    pooling (Optional[str]): "mean", "cls", "weighted" or "first-last" instead of the model's own.
    max_length (Optional[int]): Pieces that are read at once; longer texts are read in parts.
    batch_size (int): Texts encoded at once.
    half_storage (bool): Save the weights as float16.
    precision (str): "bf16" or "int8" for faster products where the processor has them, see `load_sentence_model`.
    RETURNS (Model): From units to an array of shape (units, width). It is not trained by `spacy train`.
    """
    source = {"name": name, "pooling": pooling, "max_length": max_length, "precision": precision}
    return Model(
        "sentence_transformer",
        _forward,
        init=_init,
        attrs={"batch_size": batch_size},
        shims=[SentenceTransformerShim(source, half_storage=half_storage)],
    )


def unit_fingerprint(model: UnitEncoder) -> str:
    """What tells an encoder of units from others.

    model (Model): The encoder.
    RETURNS (str): That of its `SentenceTransformerModel`, or of its bytes when it is of another kind.
    """
    if _has_shim(model):
        return model.shims[0].load().fingerprint
    return hashlib.sha256(model.to_bytes()).hexdigest()[:16]


def without_scaling(model: UnitEncoder) -> UnitEncoder:
    """The encoder whose vectors a whitening map is best fitted on, see `without_normalize`.

    model (Model): The encoder; it stays as it is.
    RETURNS (Model): One on the same weights that does not scale vectors to length one; or the encoder, if it never did.
    """
    if not _has_shim(model):
        return model
    return Model(model.name, _forward, attrs=dict(model.attrs), shims=[model.shims[0].without_scaling()])


def prepare_whitening(model: UnitEncoder, whitening: Whitening) -> None:
    """Let an encoder of units give the vectors that a whitening map was fitted on, see `fitted_model`.

    model (Model): The encoder.
    whitening (Whitening): The map; one that does not know its encoder is taken for any.
    RAISES (ValueError): S816 if it was fitted for another encoder, S810 for a model of another width.
    """
    if _has_shim(model):
        model.shims[0].prepare(whitening)
    elif whitening.fingerprint:
        whitening.check_fingerprint(unit_fingerprint(model))


def _has_shim(model: UnitEncoder) -> bool:
    """RETURNS (bool): Whether the vectors come from a model of `sentence-transformers`."""
    return bool(model.shims) and isinstance(model.shims[0], SentenceTransformerShim)


class SentenceTransformerShim(Shim):
    """Holds the model, and packs its folder into bytes.

    source (dict[str, Any]): Arguments of `load_sentence_model`.
    half_storage (bool): Save the weights as float16.
    """

    def __init__(self, source: dict[str, Any], *, half_storage: bool = False) -> None:
        super().__init__(None, source)
        self._half_storage = half_storage
        # Of a saved pipeline, by path, until the model is asked for: it takes seconds to build, and not all need it.
        self._files: dict[str, bytes] | None = None

    def load(self) -> SentenceTransformerModel:
        """The model, read when it is first asked for.

        RETURNS (SentenceTransformerModel): The model.
        RAISES (ValueError): S800 when nothing can be loaded.
        """
        if self._model is None:
            device = str(get_torch_default_device())
            if self._files is None:
                self._model = load_sentence_model(**self.cfg, device=device)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    for name, content in self._files.items():
                        target = Path(folder, name)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(content)
                    kept = {key: self.cfg[key] for key in ("max_length", "precision")}
                    self._model = load_sentence_model(folder, device=device, **kept)
                self._files = None
        return self._model

    def without_scaling(self) -> SentenceTransformerShim:
        """RETURNS (SentenceTransformerShim): One of the same modules, the last left out if it is a `Normalize`."""
        shim = SentenceTransformerShim(self.cfg, half_storage=self._half_storage)
        shim._model = SentenceTransformerModel(without_normalize(self.load().model))
        return shim

    def prepare(self, whitening: Whitening) -> None:
        """Give the vectors that a map was fitted on from now on.

        whitening (Whitening): The map.
        RAISES (ValueError): As `fitted_model`.
        """
        self._model = SentenceTransformerModel(fitted_model(self.load().model, whitening))

    def finish_update(self, optimizer: Any) -> None:
        """Nothing is learnt.

        optimizer (Any): Not used.
        """

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the model.

        device_type (str): "cpu" or "gpu", as in thinc's ops.
        device_id (int): Number of the GPU.
        """
        if self._model is not None:
            self._model.model.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): msgpack of the files that `SentenceTransformer.save` writes, by path."""
        files = self._files
        if self._model is not None:
            with tempfile.TemporaryDirectory() as folder:
                model = self._model.model
                (deepcopy(model).half() if self._half_storage else model).save(folder, create_model_card=False)
                paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
                files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return srsly.msgpack_dumps({"source": self.cfg, "files": files})

    def from_bytes(self, bytes_data: bytes) -> SentenceTransformerShim:
        """Take the model from its files, without its name.

        bytes_data (bytes): What `to_bytes` returned.
        RETURNS (SentenceTransformerShim): Itself.
        RAISES (ValueError): S806 for a path that leaves the folder.
        """
        message = srsly.msgpack_loads(bytes_data)
        for name in message["files"] or ():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(Errors.S806.format(path=name))
        self.cfg, self._files, self._model = message["source"], message["files"], None
        return self


def _init(model: UnitEncoder, X: Units | None = None, Y: Floats2d | None = None) -> None:
    model.shims[0].load()


def _forward(model: UnitEncoder, units: Units, is_train: bool) -> tuple[Floats2d, Callable]:
    docs, spans = units
    texts = [doc[a:b].text for doc, places in zip(docs, spans) for a, b in places.tolist()]
    vectors = model.shims[0].load().encode(texts, batch_size=model.attrs["batch_size"])
    return model.ops.asarray_f(np.ascontiguousarray(vectors)), lambda dY: [None for _ in docs]
