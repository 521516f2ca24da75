"""What a transformer leaves behind of its windows when somebody looks on, and to which document it belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .inner_states import InnerStates
from .piece_windows import WindowPlan
from .transfer_losses import word_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Numbers of layers, as the hidden states of `transformers` count them.
EMBEDDINGS, FIRST = 0, 1


@dataclass
class TransformerWatch:
    """What the encoder leaves behind of the windows of a plan, when it is watched.

    layers (Dict[int, List[Tensor]]): Vectors of all pieces by number of a layer, batch by batch; its keys are what is
        asked for. (n_pieces, width) each
    block (Optional[int]): Block whose attention is asked for.
    attention (List[Tensor]): Attention between the pieces of each window; empty when the encoder gives none.
        (heads, window, window) each
    """

    layers: dict[int, list[Tensor]]
    block: int | None = None
    attention: list[Tensor] = field(default_factory=list)

    def take(self, output: Any, is_piece: Tensor) -> None:
        """Keep what is asked for of a batch.

        output (ModelOutput): Output of the encoder, with hidden states and attentions.
        is_piece (Tensor): Where the batch is no padding. (n_windows, longest)
        """
        states = layer_states(output)
        for number, batches in self.layers.items():
            batches.append(states[number][is_piece].float())
        maps = None if self.block is None or not output.attentions else output.attentions[self.block]
        if maps is not None:
            sizes = is_piece.sum(dim=1).tolist()
            self.attention += [window[:, :size, :size].float() for window, size in zip(maps, sizes)]


def layer_states(output: Any) -> list[Tensor]:
    """The embeddings and the output of each layer.

    output (ModelOutput): Output of the encoder, with hidden states.
    RETURNS (List[Tensor]): The states. (n_windows, longest, width) each
    """
    # Some encoders list the last layer before its final norm: take the one they return.
    return [*output.hidden_states[:-1], output.last_hidden_state]


@contextmanager
def attention_maps(encoder: PreTrainedModel) -> Iterator[None]:
    """Compute attention in the one way that leaves its maps behind.

    encoder (PreTrainedModel): The encoder.
    YIELDS (None): While it does.
    """
    usual = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        encoder.set_attn_implementation(usual)


def fill_states(
    states: InnerStates, watch: TransformerWatch, plan: WindowPlan, lengths: Sequence[int], embedded: Tensor
) -> None:
    """Put what windows left behind in order of documents. A document's attention is that of its first window.

    states (InnerStates): The record to fill in.
    watch (TransformerWatch): What the windows left behind.
    plan (WindowPlan): Windows, and where each token is read.
    lengths (Sequence[int]): Tokens of each document.
    embedded (Tensor): Vectors of all tokens before the first block. (n_tokens, width)
    """
    counts = np.diff(plan.starts, append=len(plan.rows))
    ends = np.cumsum([len(window) for window in plan.windows])
    last = 0
    for document, length in enumerate(lengths):
        first, last = last, last + length
        read = np.flatnonzero(counts[first:last])
        if not len(read):
            continue
        places = torch.from_numpy(read + first).to(embedded.device)
        states.embeddings[document] = embedded[places].mean(dim=0)
        if watch.attention:
            begin, size = plan.starts[first], int(counts[first:last].sum())
            rows = plan.rows[begin : begin + size]
            word = np.repeat(np.arange(length), counts[first:last])
            window = np.searchsorted(ends, rows, side="right")
            # Words are read from window after window: those up to the first that lies elsewhere are a prefix.
            elsewhere = word[window != window[0]]
            n_words = int(elsewhere.min()) if len(elsewhere) else length
            is_near = word < n_words
            offset = ends[window[0]] - len(plan.windows[window[0]])
            pairs = (torch.from_numpy(array[is_near]).to(embedded.device) for array in (rows - offset, word))
            states.attention[document] = word_attention(watch.attention[window[0]], *pairs, n_words)
