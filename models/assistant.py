"""What the assistant of a distillation begins with: a pretrained encoder, with the vocabulary of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from transformers import ModernBertModel

from ..errors import Errors, first_line
from .hub_code import refuse_hub_code_in
from .recurrent_encoder import STUDENTS, Assistant
from .sentence_model import model_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

# Of the mean square of the encoder's outputs.
RIDGE = 0.01


def load_encoder(name: str, layers: Sequence[int] = ()) -> tuple[Assistant, PreTrainedTokenizerBase]:
    """A BERT or ModernBERT and its tokenizer.

    name (str): Its name or folder, such as `samarkand train-encoder` writes.
    layers (Sequence[int]): Which of its layers to keep, in this order; empty for all.
    RETURNS (tuple): Both.
    RAISES (ValueError): S864 for another kind of encoder, or none, or one without such layers, S336 when its config
        asks for code from the hub.
    """
    from transformers import AutoModel, AutoTokenizer

    folder, safely = model_folder(name), {"trust_remote_code": False}
    refuse_hub_code_in(folder)
    try:
        encoder = AutoModel.from_pretrained(folder, use_safetensors=True, **safely)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
    except (OSError, ValueError) as error:
        raise ValueError(Errors.S864.format(path=name, reason=first_line(error))) from None
    if type(encoder) not in STUDENTS:
        raise ValueError(Errors.S864.format(path=name, reason=f"it is a {type(encoder).__name__}"))
    count = encoder.config.num_hidden_layers
    if not all(0 <= layer < count for layer in layers):
        raise ValueError(Errors.S864.format(path=name, reason=f"it has layers 0 to {count - 1}, not {list(layers)}"))
    if layers and layers[0] and type(encoder) is ModernBertModel:
        raise ValueError(Errors.S864.format(path=name, reason="layer 0 of a ModernBERT alone can be the first"))
    if layers:
        _keep_layers(encoder, layers)
    return encoder.float(), tokenizer


@torch.no_grad()
def fit_head(model: SentenceTransformer, texts: Sequence[str], wanted: np.ndarray) -> None:
    """Give a sentence encoder the linear map to a teacher's vectors that is the best for some texts (ridge regression).

    model (SentenceTransformer): The encoder; its last module, a map without bias, is changed.
    texts (Sequence[str]): The texts; more than the encoder is wide.
    wanted (np.ndarray): The teacher's vectors of the texts, shape (texts, width).
    """
    model[-1].linear.weight.copy_(ridge(without_head(model, texts), wanted).T)


def without_head(model: SentenceTransformer, texts: Sequence[str]) -> Tensor:
    """What a sentence encoder gives its last module.

    model (SentenceTransformer): The encoder; its last module is a map.
    texts (Sequence[str]): The texts.
    RETURNS (Tensor): Shape (texts, width of the encoder), float64.
    """
    head, linear = model[-1], model[-1].linear
    head.linear = nn.Identity()
    try:
        return torch.from_numpy(model.encode(list(texts), show_progress_bar=False)).double()
    finally:
        head.linear = linear


def ridge(found: Tensor, wanted: np.ndarray) -> Tensor:
    """The map from some vectors to others of the least squared error.

    found (Tensor): Shape (n, width), float64.
    wanted (np.ndarray): Shape (n, other width).
    RETURNS (Tensor): Shape (width, other width).
    """
    square = found.T @ found
    # Outputs of a layer norm do not fill their space: without a ridge, the map would be endless along the rest.
    square.diagonal().add_(RIDGE * square.trace() / len(square))
    return torch.linalg.solve(square, found.T @ torch.from_numpy(np.asarray(wanted, np.float64)))


def _keep_layers(encoder: Assistant, layers: Sequence[int]) -> None:
    holder, name = (encoder.encoder, "layer") if hasattr(encoder, "encoder") else (encoder, "layers")
    stored = getattr(holder, name)
    setattr(holder, name, nn.ModuleList(stored[layer] for layer in layers))
    config = encoder.config
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in layers]
