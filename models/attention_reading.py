"""The attention of a transformer over one text: of every layer and head, between words and special pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors, first_line
from .attention_aggregation import diagonal, received, rollout, spread, word_means, word_sums
from .transfer_losses import word_attention
from .transformer import TransformerNetwork
from .transformer_tok2vec import Source
from .transformer_watch import attention_maps
from .word_pieces import Alignment, IntArray, WordPieces

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Pieces of a window, special ones included: the page of a longer one would be too large to look at.
MOST_PIECES = 512


@dataclass(frozen=True)
class Unit:
    """What attention is shown between.

    word (Optional[int]): Number of the word; None for a piece that is of no word.
    piece (str): Name of such a piece, as [CLS]; empty for a word.
    """

    word: int | None
    piece: str = ""


@dataclass(frozen=True)
class AttentionReading:
    """Attention over a text, in float64, between U units.

    units (list[Unit]): The units, in the order of the window.
    pieces (int): Pieces of the window.
    attention (Tensor): The sum over the pieces of a key, the mean over those of a query. (L, H, U, U)
    measures (dict[str, Tensor]): "received", "diagonal" and "spread" of each unit. (L, H, U) each
    rollout (Tensor): What each unit contributes to the output of each. (U, U)
    """

    units: list[Unit]
    pieces: int
    attention: Tensor
    measures: dict[str, Tensor]
    rollout: Tensor


def read_attention(name: str, text: str, words: IntArray, *, revision: str | None = None) -> AttentionReading:
    """Run an encoder over a text, and keep where it looks.

    name (str): Hub name or folder of a transformers encoder.
    text (str): The text.
    words (IntArray): Character spans of its words, in order and without overlap. (n_words, 2)
    revision (Optional[str]): Branch, tag or commit on the hub.
    RETURNS (AttentionReading): The attention.
    RAISES (OSError): S320 when the encoder cannot be loaded.
    RAISES (ValueError): S324 to S326 and S330 for encoders that cannot be used, S1180 for a blank text, S1181 for one
        that is too long, S1182 when the encoder gives no attention.
    """
    if not text.strip():
        raise ValueError(Errors.S1180)
    pieces, encoder = Source(name, revision, {}, None).load()
    (aligned,) = pieces.align([text], [words])
    if not len(aligned.piece):  # all that there is are characters that the tokenizer drops
        raise ValueError(Errors.S1180)
    room = (TransformerNetwork(encoder, freeze=True).max_positions or MOST_PIECES, MOST_PIECES)
    limit = min(room) - pieces.n_special
    if len(aligned.ids) > limit:
        raise ValueError(Errors.S1181.format(pieces=len(aligned.ids), limit=limit, model=name))
    window = np.concatenate([pieces.prefix, aligned.ids, pieces.suffix]).astype(np.int64)
    attention = window_attention(name, encoder, window)
    units, piece, unit = _units(aligned, pieces, window)
    belongs = torch.zeros(len(units), len(window), dtype=attention.dtype)
    belongs[unit, piece] = 1.0
    return AttentionReading(
        units=units,
        pieces=len(window),
        attention=word_attention(attention, piece, unit, len(units)),
        measures={
            "received": word_sums(received(attention), belongs),
            "diagonal": word_means(diagonal(attention), belongs),
            "spread": word_means(spread(attention), belongs),
        },
        rollout=word_attention(rollout(attention), piece, unit, len(units)),
    )


def window_attention(name: str, encoder: PreTrainedModel, window: IntArray) -> Tensor:
    """Attention of an encoder over one window.

    name (str): Name of the encoder, for errors.
    encoder (PreTrainedModel): The encoder.
    window (IntArray): Ids of the pieces. (S,)
    RETURNS (Tensor): The attention, in float64. (L, H, S, S)
    RAISES (ValueError): S1182 when the encoder gives none.
    """
    ids = torch.from_numpy(window).unsqueeze(0).to(encoder.device)
    encoder.eval()
    try:
        with torch.no_grad(), attention_maps(encoder):
            maps = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions
    except (
        AttributeError,
        ValueError,
        TypeError,
    ) as error:  # an encoder of another kind may refuse in any of these ways
        raise ValueError(Errors.S1182.format(model=name, reason=first_line(error))) from error
    if not maps or any(layer is None for layer in maps):
        reason = "it returns no maps" if not maps else "some of its layers return no maps"
        raise ValueError(Errors.S1182.format(model=name, reason=reason))
    return torch.stack([layer[0] for layer in maps]).double().cpu()


def _units(aligned: Alignment, pieces: WordPieces, window: IntArray) -> tuple[list[Unit], Tensor, Tensor]:
    """Words that have pieces and pieces that are of no word, in order, and the pairs of a piece and its unit."""
    members: dict[int, list[int]] = {}
    for place, word in zip((aligned.piece + len(pieces.prefix)).tolist(), aligned.token.tolist()):
        members.setdefault(word, []).append(place)
    found = [(own, Unit(word)) for word, own in members.items()]
    loose = sorted(set(range(len(window))) - {place for own, _ in found for place in own})
    found += [([place], Unit(None, pieces.tokenizer.id_to_token(int(window[place])))) for place in loose]
    found.sort(key=lambda unit: unit[0][0])
    pairs = [(place, number) for number, (own, _) in enumerate(found) for place in own]
    piece, unit = torch.tensor(pairs).T
    return [each for _, each in found], piece, unit
