"""Recomputation in the updates of a transformer encoder, so that each stays within a budget of memory.

The windows of an update are encoded in several padded batches, and all that they leave behind lives until the
gradients of the vectors arrive. So a plan is made for an update as a whole, and every layer has its own part for every
batch. To measure an update takes longer than to run it: sizes are rounded up, and a plan serves all updates of a size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor, nn

from ..engine.byte_sizes import parse_size
from ..engine.repeated_layers import repeated_layers
from ..errors import Errors
from .word_pieces import IntArray

if TYPE_CHECKING:
    from ..engine import RecomputePlan

# Leading binary digits that rounding leaves. Lengths grow by at most half, the pieces of a batch by a quarter and what
# completes its last window.
LENGTH_DIGITS, PIECES_DIGITS = 2, 3


@dataclass(frozen=True)
class RecomputeSettings:
    """What the config says about recomputation.

    budget (int): Bytes for an update of the encoder: its weights, their gradients, and its activations.
    planner (str): Who decides what is recomputed, as `plan_recompute` takes it.
    """

    budget: int
    planner: str

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> RecomputeSettings:
        """Check a block of a config.

        settings (Mapping): "budget", a number of bytes or such as "2GiB", and "planner", if it is not to be "mix".
        RETURNS (RecomputeSettings): The settings.
        RAISES (ValueError): S333 for other keys or no budget, S751 for a budget that cannot be read, S752 for an
            unknown planner.
        """
        if not isinstance(settings, Mapping) or not {"budget"} <= settings.keys() <= {"budget", "planner"}:
            raise ValueError(Errors.S333.format(found=settings))
        # Planners stand on scipy, which pipelines that plan nothing need not load.
        from ..engine.recompute_solver import PLANNERS

        planner = settings.get("planner", "mix")
        if planner not in PLANNERS:
            raise ValueError(Errors.S752.format(planner=planner, known=", ".join(PLANNERS)))
        return cls(parse_size(settings["budget"]), planner)


@dataclass(frozen=True)
class UpdateSize:
    """What the memory of an update depends on.

    batches (tuple[tuple[int, int, bool], ...]): Of each batch, its windows, the pieces of the longest, and whether a
        shorter one is padded.
    rows (int): Pieces that tokens are read from.
    tokens (int): Tokens.
    """

    batches: tuple[tuple[int, int, bool], ...]
    rows: int
    tokens: int

    @classmethod
    def of(cls, batches: Sequence[Sequence[IntArray]], rows: IntArray, starts: IntArray) -> UpdateSize:
        """RETURNS (UpdateSize): The size of what `TransformerNetwork.vectors` takes."""
        shapes = tuple((len(batch), len(batch[0]), len(batch[-1]) < len(batch[0])) for batch in batches)
        return cls(shapes, len(rows), len(starts))

    @property
    def longest(self) -> int:
        """RETURNS (int): Pieces of the longest window."""
        return max(length for _, length, _ in self.batches)

    def rounded(self, longest: int) -> UpdateSize:
        """Round up to a size that is shared by many updates, each of which takes no more memory.

        longest (int): Most pieces of a window in any update so far.
        RETURNS (UpdateSize): The size: no batch has fewer pieces, or shorter windows.
        """
        batches, pieces = [], 0
        for windows, length, padded in self.batches:
            wide = min(_rounded(length, LENGTH_DIGITS), longest)
            high = max(1 + padded, -(-_rounded(windows * length, PIECES_DIGITS) // wide))
            batches.append((high, wide, padded))
            pieces += high * wide
        tokens = max(pieces, _rounded(max(self.rows, self.tokens), PIECES_DIGITS))
        return UpdateSize(tuple(batches), tokens, tokens)

    def sample(self, piece: int) -> tuple[list[list[IntArray]], IntArray, IntArray]:
        """Make an update of this size.

        piece (int): Id of the piece that all windows are made of.
        RETURNS (Tuple): What `TransformerNetwork.vectors` takes.
        """
        batches = [
            [*[np.full(length, piece)] * (windows - 1), np.full(length - padded, piece)]
            for windows, length, padded in self.batches
        ]
        pieces = sum(len(window) for batch in batches for window in batch)
        starts = np.arange(self.tokens, dtype=np.int64) * self.rows // max(self.tokens, 1)
        return batches, np.arange(self.rows, dtype=np.int64) % pieces, starts


class Network(Protocol):
    """What an update runs: a `TransformerNetwork`."""

    width: int

    def vectors(self, batches: Sequence[Sequence[IntArray]], rows: IntArray, starts: IntArray) -> Tensor:
        """Encode batches of windows, and pool pieces to tokens."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""
        ...


class UpdatePlans:
    """Plans for the updates of one network.

    Besides its weights, a plan counts the gradients that are there when an update begins, as between the parts of an
    accumulated batch, and the gradients of the vectors. What optimizers and heads hold is not known here.

    settings (RecomputeSettings): Budget and planner.
    encoder (Module): The encoder.
    RAISES (ValueError): S334 when the encoder has no layers to recompute.
    """

    def __init__(self, settings: RecomputeSettings, encoder: nn.Module) -> None:
        if not repeated_layers(encoder):
            raise ValueError(Errors.S334.format(found=type(encoder).__name__))
        self.settings = settings
        self._longest = 0
        self._plans: dict[tuple[UpdateSize, int], RecomputePlan | None] = {}

    @property
    def plans(self) -> list[RecomputePlan]:
        """RETURNS (list[RecomputePlan]): The plans that were made so far."""
        return [plan for plan in self._plans.values() if plan is not None]

    @contextmanager
    def applied(
        self, network: Network, batches: Sequence[Sequence[IntArray]], rows: IntArray, starts: IntArray
    ) -> Iterator[None]:
        """Let the layers of a network follow the plan for an update while it runs forwards.

        The backward pass needs nothing more: it remembers what it has to recompute.

        network (Network): The network.
        batches, rows, starts: What its `vectors` takes.
        RAISES (ValueError): S754 when no plan fits the budget, S755 when that of the planner does not.
        """
        plan = self._plan_for(network, UpdateSize.of(batches, rows, starts), int(batches[0][0][0]))
        regions = plan.apply(_Update(network))
        try:
            yield
        finally:
            regions.remove()

    def _plan_for(self, network: Network, size: UpdateSize, piece: int) -> RecomputePlan:
        self._longest = max(self._longest, size.longest)
        gradients = sum(p.grad.nbytes for p in network.parameters() if p.grad is not None)
        wide = size.rounded(self._longest)
        if (wide, gradients) not in self._plans:
            try:
                self._plans[wide, gradients] = self._make(network, wide, piece, gradients)
            except ValueError:
                if wide == size:
                    raise
                # What was added by rounding may be what does not fit.
                self._plans[wide, gradients] = None
        plan = self._plans[wide, gradients] or self._plans.get((size, gradients))
        if plan is None:
            plan = self._plans[size, gradients] = self._make(network, size, piece, gradients)
        return plan

    def _make(self, network: Network, size: UpdateSize, piece: int, gradients: int) -> RecomputePlan:
        from ..engine import plan_recompute

        vectors = 4 * size.tokens * network.width
        return plan_recompute(
            _Update(network),
            size.sample(piece),
            self.settings.budget,
            planner=self.settings.planner,
            static=vectors + gradients,
        )


class _Update(nn.Module):
    """A network that takes its batches as they are, and recomputes nothing by itself.

    network (Network): The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batches: Sequence[Sequence[IntArray]], rows: IntArray, starts: IntArray) -> Tensor:
        return self.network.vectors(batches, rows, starts)


def _rounded(number: int, digits: int) -> int:
    """Round up to a number whose binary digits after the first few are zero."""
    step = 1 << max(0, (number - 1).bit_length() - digits)
    return -(-number // step) * step
