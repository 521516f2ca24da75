"""An encoder that `samarkand train-encoder` wrote, as the beginning of another training on new text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import Errors, first_line
from .hub_code import refuse_hub_code
from .masked_lm import EncoderShape
from .settings import require
from .vocabulary import SPECIALS

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import ModernBertForMaskedLM

MODEL_TYPE = "modernbert"


def base_shape(folder: str, given: dict[str, Any]) -> EncoderShape:
    """Sizes of an encoder.

    folder (str): Its folder.
    given (dict[str, Any]): The section `model` of the settings; its sizes have to be those of the encoder.
    RETURNS (EncoderShape): The sizes.
    RAISES (ValueError): S744 when there is no such encoder, S732 for sizes that are not its own, S336 when its config
        asks for code from the hub.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as err:
        raise ValueError(Errors.S744.format(path=folder, reason=first_line(err))) from None
    refuse_hub_code(config)
    if config.model_type != MODEL_TYPE:
        raise ValueError(Errors.S744.format(path=folder, reason=f"it is of the type {config.model_type!r}"))
    shape = EncoderShape(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
    )
    for name, size in asdict(shape).items():
        found = given.get(name, size)
        require(found == size, f"model.{name}", found, f"left out, or {size} as in the base {folder}")
    return shape


def base_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of an encoder.

    folder (str): Its folder.
    RETURNS (Tokenizer): The tokenizer.
    RAISES (ValueError): S744 when there is none, or none that `samarkand prepare-text` trained.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    except Exception as err:
        raise ValueError(Errors.S744.format(path=folder, reason=first_line(err))) from None
    if any(tokenizer.token_to_id(piece) != number for number, piece in enumerate(SPECIALS)):
        raise ValueError(Errors.S744.format(path=folder, reason="its vocabulary is of another kind"))
    return tokenizer


def load_base(folder: str, tokenizer: Tokenizer, length: int) -> ModernBertForMaskedLM:
    """Load an encoder under a vocabulary that its own was grown to.

    A new piece begins as the mean of the pieces that the encoder read in its place (as in TransMI, Liu et al. 2024,
    arXiv 2405.09913, without the training that follows here).

    folder (str): Folder of the encoder.
    tokenizer (Tokenizer): Its vocabulary, with new pieces after its own.
    length (int): Most pieces of a sequence.
    RETURNS (ModernBertForMaskedLM): The model, in float32.
    RAISES (ValueError): S744 when it cannot be loaded, S745 for another vocabulary, S732 for longer sequences.
    """
    from transformers import ModernBertForMaskedLM

    old = base_tokenizer(folder)
    pieces, known = tokenizer.get_vocab(), old.get_vocab()
    if any(pieces.get(piece) != number for piece, number in known.items()):
        raise ValueError(Errors.S745.format(path=folder))
    try:
        model, report = ModernBertForMaskedLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as err:
        raise ValueError(Errors.S744.format(path=folder, reason=first_line(err))) from None
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"]))
        raise ValueError(Errors.S744.format(path=folder, reason=f"it lacks the weights {missing}"))
    most = model.config.max_position_embeddings
    require(length <= most, "reading.length", length, f"at most {most}, as in the base {folder}")
    parts = {number: _parts(old, piece) for piece, number in pieces.items() if piece not in known}
    if parts:
        _add_rows(model, parts)
    return model


def _parts(tokenizer: Tokenizer, piece: str) -> list[int]:
    """The pieces that a new piece was read as."""
    return [token.id for token in tokenizer.model.tokenize(piece)]


@torch.no_grad()
def _add_rows(model: ModernBertForMaskedLM, parts: dict[int, list[int]]) -> None:
    model.resize_token_embeddings(model.config.vocab_size + len(parts), mean_resizing=False)
    # The output layer shares the table.
    for values in (model.get_input_embeddings().weight, model.decoder.bias):
        for number, sources in parts.items():
            values[number] = values[sources].mean(dim=0)
