"""The attention of a transformer over a text: of every layer and head, between words and special pieces.

A text that does not fit is read in windows. What is said of a word is that of the window to which it belongs (see
`attention_frames`); it sees the words of that window only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import Errors, first_line
from .attention_aggregation import diagonal, influence, received, rollout, spread, word_means, word_sums
from .attention_frames import Frame, Unit, frame_windows
from .sentence_model import model_folder
from .transfer_losses import word_attention
from .transformer import TransformerNetwork
from .transformer_tok2vec import Source
from .transformer_watch import attention_maps
from .word_pieces import Alignment, IntArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Pieces of a window, special ones included: the attention of a longer one would take too much memory.
MOST_PIECES = 512
# Pieces of a text, and queries of all its layers and heads: more would be too large to look at.
LONGEST, MOST_QUERIES = 16_384, 400_000
# Keys of a query that are kept, the heaviest first.
KEYS = 8


@dataclass(frozen=True)
class WindowAttention:
    """Attention within one window of S pieces, in float64, between U units.

    frame (Frame): The window.
    maps (Tensor): The attention. (L, H, S, S)
    gradients (Optional[Tensor]): As `read_window` gives them. (L, H, S, S)
    """

    frame: Frame
    maps: Tensor
    gradients: Tensor | None

    def measures(self) -> dict[str, Tensor]:
        """RETURNS (dict[str, Tensor]): "received", "diagonal", "spread", and with gradients "influence". (L, H, U)"""
        belongs = self.maps.new_zeros(len(self.frame.units), len(self.frame.ids))
        belongs[self.frame.unit, self.frame.piece] = 1.0
        found = {
            "received": word_sums(received(self.maps), belongs),
            "diagonal": word_means(diagonal(self.maps), belongs),
            "spread": word_means(spread(self.maps), belongs),
        }
        if self.gradients is not None:
            found["influence"] = word_sums(influence(self.maps, self.gradients), belongs)
        return found

    def between(self, maps: Tensor) -> Tensor:
        """Attention between units: the sum over the pieces of a key, the mean over those of a query.

        maps (Tensor): Attention between the pieces. (..., S, S)
        RETURNS (Tensor): Rows sum to what they did. (..., U, U)
        """
        return word_attention(maps, self.frame.piece, self.frame.unit, len(self.frame.units))


@dataclass(frozen=True)
class AttentionReading:
    """Attention over a text of U units, in float64.

    units (list[Unit]): The units, window after window.
    windows (list[int]): The window of each unit.
    pieces (int): Pieces of all windows, special ones included.
    measures (dict[str, Tensor]): Those of `WindowAttention`. (L, H, U) each
    rollout (Tensor): What each unit contributes to the outputs of its window, on average. (U,)
    keys, shares (Tensor): The units that each one looks at most, the heaviest first, and their shares of its attention;
        the last head is the mean of all. (L, H + 1, U, K) each
    rollout_keys, rollout_shares (Tensor): The same of what contributes to its output. (U, K) each
    """

    units: list[Unit]
    windows: list[int]
    pieces: int
    measures: dict[str, Tensor]
    rollout: Tensor
    keys: Tensor
    shares: Tensor
    rollout_keys: Tensor
    rollout_shares: Tensor


class AttentionReader:
    """Runs an encoder over texts, and tells where it looks.

    name (str): Hub name, folder or bundled name of a transformers encoder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    RAISES (OSError): S320 when the encoder cannot be loaded.
    RAISES (ValueError): S324 to S326 and S330 for encoders that cannot be used.
    """

    def __init__(self, name: str, *, revision: str | None = None) -> None:
        self._name = name
        self._pieces, self._encoder = Source(model_folder(name), revision, {}, None).load()
        room = TransformerNetwork(self._encoder).max_positions or MOST_PIECES
        self._window = min(room, MOST_PIECES) - self._pieces.n_special

    @property
    def heads(self) -> tuple[int, int]:
        """Layers, and heads of each. (L, H)"""
        config = self._encoder.config
        return config.num_hidden_layers, config.num_attention_heads

    @property
    def longest(self) -> int:
        """Pieces of the longest text whose attention can be shown."""
        layers, heads = self.heads
        return max(self._window, min(LONGEST, MOST_QUERIES // (layers * (heads + 1))))

    def align(self, text: str, words: IntArray) -> Alignment:
        """Cut a text into pieces.

        text (str): The text.
        words (IntArray): Character spans of its words, in order and without overlap. (n_words, 2)
        RETURNS (Alignment): The pieces and their words.
        """
        return self._pieces.align([text], [words])[0]

    def windows(self, aligned: Alignment, *, gradients: bool) -> Iterator[WindowAttention]:
        """Read a text window by window, so that only one of them is in memory.

        aligned (Alignment): Its pieces.
        gradients (bool): Whether to go backward too.
        YIELDS (WindowAttention): The attention.
        RAISES (ValueError): S1182 when the encoder gives no attention.
        """
        for frame in frame_windows(aligned, self._pieces, self._window):
            yield WindowAttention(frame, *read_window(self._name, self._encoder, frame, gradients=gradients))


def read_attention(name: str, text: str, words: IntArray, *, revision: str | None = None) -> AttentionReading:
    """Run an encoder over a text, and keep where it looks.

    name (str): Hub name, folder or bundled name of a transformers encoder.
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
    reader = AttentionReader(name, revision=revision)
    aligned = reader.align(text, words)
    if not len(aligned.piece):  # all that there is are characters that the tokenizer drops
        raise ValueError(Errors.S1180)
    if len(aligned.ids) > reader.longest:
        raise ValueError(Errors.S1181.format(pieces=len(aligned.ids), limit=reader.longest, model=name))
    parts = [_part(window, number) for number, window in enumerate(reader.windows(aligned, gradients=True))]
    # Windows have all about as many units, so few keys are lost to the smallest.
    n_keys = min(part.keys.shape[-1] for part in parts)
    return AttentionReading(
        units=[unit for part in parts for unit in part.units],
        windows=[window for part in parts for window in part.windows],
        pieces=sum(part.pieces for part in parts),
        measures={key: torch.cat([part.measures[key] for part in parts], dim=-1) for key in parts[0].measures},
        rollout=torch.cat([part.rollout for part in parts]),
        keys=torch.cat([part.keys[..., :n_keys] for part in parts], dim=-2),
        shares=torch.cat([part.shares[..., :n_keys] for part in parts], dim=-2),
        rollout_keys=torch.cat([part.rollout_keys[..., :n_keys] for part in parts]),
        rollout_shares=torch.cat([part.rollout_shares[..., :n_keys] for part in parts]),
    )


def read_window(
    name: str, encoder: PreTrainedModel, frame: Frame, *, gradients: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention of an encoder over one window.

    name (str): Name of the encoder, for errors.
    encoder (PreTrainedModel): The encoder.
    frame (Frame): The window.
    gradients (bool): Whether to go backward too.
    RETURNS (tuple[Tensor, Optional[Tensor]]): The attention, and the gradient by it of how far the window's vector (the
        mean of the last layer over its text) goes in its own direction: of half its squared length. In float64.
        (L, H, S, S) each
    RAISES (ValueError): S1182 when the encoder gives none.
    """
    ids = torch.from_numpy(frame.ids).unsqueeze(0).to(encoder.device)
    encoder.eval()
    try:
        with torch.set_grad_enabled(gradients), attention_maps(encoder):
            output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True)
    except (
        AttributeError,
        ValueError,
        TypeError,
    ) as error:  # an encoder of another kind may refuse in any of these ways
        raise ValueError(Errors.S1182.format(model=name, reason=first_line(error))) from error
    maps = output.attentions
    if not maps or any(layer is None for layer in maps):
        reason = "it returns no maps" if not maps else "some of its layers return no maps"
        raise ValueError(Errors.S1182.format(model=name, reason=reason))
    if not gradients:
        return _stacked(maps), None
    reach = output.last_hidden_state[0, frame.inner].mean(dim=0).square().sum() / 2
    return _stacked(maps), _stacked(torch.autograd.grad(reach, maps))


def _part(window: WindowAttention, number: int) -> AttentionReading:
    """What a window says of the units that belong to it."""
    frame = window.frame
    own, numbers = torch.from_numpy(frame.own), torch.from_numpy(frame.numbers)
    attention, flow = window.between(window.maps), window.between(rollout(window.maps))
    with_mean = torch.cat([attention, attention.mean(dim=1, keepdim=True)], dim=1)
    n_keys = min(KEYS, len(frame.units))
    shares, keys = with_mean[..., own, :].topk(n_keys, dim=-1)
    flow_shares, flow_keys = flow[own].topk(n_keys, dim=-1)
    return AttentionReading(
        units=[unit for unit, is_own in zip(frame.units, frame.own) if is_own],
        windows=[number] * int(own.sum()),
        pieces=len(frame.ids),
        measures={name: values[..., own] for name, values in window.measures().items()},
        rollout=flow.mean(dim=0)[own],
        keys=numbers[keys],
        shares=shares,
        rollout_keys=numbers[flow_keys],
        rollout_shares=flow_shares,
    )


def _stacked(layers: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([layer[0].detach() for layer in layers]).double().cpu()
