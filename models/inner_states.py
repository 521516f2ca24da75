"""What a training step may see inside an encoder: its input embeddings, and the attention of one block.

An addition to the encoder protocol `List[Doc] -> List[Floats2d]`: an encoder asks `inner_states()` when it is called,
and fills the record in if there is one. `watched` opens a record for the calls inside it. Encoders that never ask work
as before, and leave the record empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor

from ..errors import Errors


@dataclass
class InnerStates:
    """A record of one call of an encoder; all tensors are part of its graph.

    needs_attention (bool): Whether attention is asked for.
    block (Optional[int]): Which block's, from 0; None for the last of the lower half.
    is_filled (bool): Whether an encoder has filled the record in.
    embeddings (dict[int, Tensor]): By document, the mean of its tokens' vectors before the first block. (width,)
        Documents without tokens have none.
    attention (dict[int, Tensor]): By document, how much each word attends to each other, as far as one window of the
        encoder reads: a prefix of the document. (heads, words, words)
    """

    needs_attention: bool = False
    block: int | None = None
    is_filled: bool = False
    embeddings: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)

    def block_of(self, depth: int) -> int | None:
        """Which block gives its attention.

        depth (int): Blocks of the encoder.
        RETURNS (Optional[int]): Number of a block, from 0; None when no attention is asked for.
        RAISES (ValueError): S603 when there is no such block.
        """
        if not self.needs_attention:
            return None
        block = max(0, depth // 2 - 1) if self.block is None else self.block
        if not 0 <= block < depth:
            raise ValueError(Errors.S603.format(block=block, depth=depth))
        return block


_RECORD: ContextVar[InnerStates | None] = ContextVar("inner_states", default=None)


@contextmanager
def watched(*, needs_attention: bool = False, block: int | None = None) -> Iterator[InnerStates]:
    """Open a record for the encoder that is called inside.

    needs_attention (bool): Whether to record attention too, which costs time and memory.
    block (Optional[int]): Which block's attention, from 0; None for the last of the lower half.
    YIELDS (InnerStates): The record; the first encoder that knows of it fills it in.
    """
    states = InnerStates(needs_attention, block)
    token = _RECORD.set(states)
    try:
        yield states
    finally:
        _RECORD.reset(token)


def inner_states() -> InnerStates | None:
    """RETURNS (Optional[InnerStates]): The record to fill in; None when nobody watches, or another encoder has."""
    states = _RECORD.get()
    return None if states is None or states.is_filled else states
