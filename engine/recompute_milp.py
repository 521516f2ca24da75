"""The integer programs of recomputation, solved by HiGHS.

A layer of operators j (seconds t, bytes m) with windows w of length T has the variables
    s[j]    kept                          x[j, w]  rebuilt in window w         o[w] >= 0  work beyond the window
and is rebuilt on demand otherwise, so that its cost is sum_j t_j (1 - s[j] - sum_w x[j, w]) + sum_w o[w], subject to
    s[j] + sum_w x[j, w] <= 1,   x[j, w] = 0 for collectives,   slowdown * sum_j t_j x[j, w] <= T_w + o[w]
and for every input p of j: sum_{v <= w} x[j, v] <= s[p] + sum_{v <= w} x[p, v], without s[p] where p has no size; there
s[p] <= s[j] as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .recompute_policy import DEMAND, KEEP, LayerPolicy
from .stage_costs import LAYER_INPUT, LayerCosts, StageCosts

# HiGHS stops at an absolute gap of 1e-6: costs are given in units such that this is a ten-billionth of them.
SCALE = 1e4
# What HiGHS may violate a row by, as a share of the bytes in it.
TOLERANCE = 2e-6

Terms = Iterable[tuple[int, float]]


def solve_layer(layer: LayerCosts, slowdown: float, most: float) -> LayerPolicy | None:
    """The fastest policy of a layer that keeps at most some bytes, and of the fastest ones the smallest.

    layer (LayerCosts): The layer.
    slowdown (float): How much longer an operator takes in a window.
    most (float): Bytes, the layer's input apart.
    RETURNS (Optional[LayerPolicy]): The policy; None when there is none.
    """
    total = _bytes(layer)
    program = _Program()
    block = _Block(program, layer, slowdown, SCALE / (layer.forward_seconds or 1.0))
    kept = block.kept_bytes(1 / total)
    if most < sum(operator.size for operator in layer.operators):
        program.row(kept, _at_most(most, total))
    for column, share in kept:
        program.costs[column] += 1e-6 * SCALE * share
    values = program.solve()
    return None if values is None else block.policy(values)


def solve_stage(stage: StageCosts, room: int, seconds: float) -> list[LayerPolicy] | None:
    """The fastest policies of all layers of a stage together.

    stage (StageCosts): The stage.
    room (int): Bytes for what is kept, for all micro-batches, and what is rebuilt.
    seconds (float): Time for the search.
    RETURNS (Optional[list[LayerPolicy]]): The best that was found; None when nothing was.
    """
    total = stage.in_flight * sum(map(_bytes, stage.layers))
    program = _Program()
    scale = SCALE / (sum(layer.forward_seconds for layer in stage.layers) or 1.0)
    blocks = [_Block(program, layer, stage.slowdown, scale) for layer in stage.layers]
    transient = program.column(0.0, np.inf, integer=False)
    for layer, block in zip(stage.layers, blocks):
        # What is not kept is rebuilt: rebuilt + working <= transient.
        rebuilt = (sum(operator.size for operator in layer.operators) + layer.working_size) / total
        program.row([(transient, -1.0), *((j, -share) for j, share in block.kept_bytes(1 / total))], -rebuilt)
    held = [term for block in blocks for term in block.kept_bytes(stage.in_flight / total)]
    program.row([(transient, 1.0), *held], _at_most(room, total))
    # Equal neighbours may change places: only one order is searched.
    for (layer, block), (other, after) in zip(zip(stage.layers, blocks), zip(stage.layers[1:], blocks[1:])):
        if layer == other:
            order = [(j, -share) for j, share in block.kept_bytes(1 / total)]
            program.row([*order, *after.kept_bytes(1 / total)], 0.0)
    values = program.solve(seconds)
    return None if values is None else [block.policy(values) for block in blocks]


@dataclass(frozen=True)
class Entry:
    """A policy with what it takes.

    policy (LayerPolicy): The policy.
    kept (int): Bytes kept for each micro-batch.
    transient (int): Bytes that are held while the backward pass runs: rebuilt and working ones.
    seconds (float): Its cost.
    """

    policy: LayerPolicy
    kept: int
    transient: int
    seconds: float


def solve_counts(
    groups: Sequence[tuple[int, Sequence[Entry]]], in_flight: int, room: int
) -> list[list[LayerPolicy]] | None:
    """How many layers of each group follow which policy.

    groups (Sequence[tuple[int, Sequence[Entry]]]): Number of equal layers, and the policies to choose from.
    in_flight (int): Micro-batches whose activations are held.
    room (int): Bytes for what is kept, for all micro-batches, and what is rebuilt.
    RETURNS (Optional[list[list[LayerPolicy]]]): For each group, a policy for each layer; None when nothing fits.
    """
    total = max(1, in_flight * sum(count * max(e.kept + e.transient for e in entries) for count, entries in groups))
    slowest = sum(count * max(entry.seconds for entry in entries) for count, entries in groups)
    program, held, columns = _Program(), [], []
    transient = program.column(0.0, np.inf, integer=False)
    for count, entries in groups:
        columns.append([program.column(SCALE * entry.seconds / (slowest or 1.0), count) for entry in entries])
        for column, entry in zip(columns[-1], entries):
            used = program.column(0.0, 1.0)
            program.row([(column, 1.0), (used, -count)], 0.0)
            program.row([(used, entry.transient / total), (transient, -1.0)], 0.0)
            held.append((column, in_flight * entry.kept / total))
        program.row([(column, 1.0) for column in columns[-1]], count, count)
    program.row([(transient, 1.0), *held], _at_most(room, total))
    values = program.solve()
    if values is None:
        return None
    return [
        [entry.policy for column, entry in zip(chosen, entries) for _ in range(round(values[column]))]
        for chosen, (_, entries) in zip(columns, groups)
    ]


class _Block:
    """The part of a program that is one layer.

    program (_Program): The program, which is added to.
    layer (LayerCosts): The layer.
    slowdown (float): How much longer an operator takes in a window.
    scale (float): What a second costs.
    """

    def __init__(self, program: _Program, layer: LayerCosts, slowdown: float, scale: float) -> None:
        self.layer, self.windows = layer, range(len(layer.windows))
        unit = layer.forward_seconds or 1.0
        self.kept = [program.column(-scale * operator.seconds, 1.0) for operator in layer.operators]
        self.built = [
            [program.column(-scale * operator.seconds, float(not operator.collective)) for _ in self.windows]
            for operator in layer.operators
        ]
        for kept, built in zip(self.kept, self.built):
            program.row([(column, 1.0) for column in (kept, *built)], 1.0)
        for w, length in enumerate(layer.windows):
            work = [(built[w], slowdown * op.seconds / unit) for built, op in zip(self.built, layer.operators)]
            program.row([*work, (program.column(scale * unit, np.inf, integer=False), -1.0)], length / unit)
        for j, operator in enumerate(layer.operators):
            for i in dict.fromkeys(operator.inputs):
                if i != LAYER_INPUT:
                    self._order(program, i, j)

    def _order(self, program: _Program, source: int, reader: int) -> None:
        held = self.layer.operators[source].size > 0
        if not held:
            program.row([(self.kept[source], 1.0), (self.kept[reader], -1.0)], 0.0)
        for w in self.windows:
            ready = [*self.built[source][: w + 1], *([self.kept[source]] if held else [])]
            program.row([*((j, 1.0) for j in self.built[reader][: w + 1]), *((j, -1.0) for j in ready)], 0.0)

    def kept_bytes(self, scale: float) -> list[tuple[int, float]]:
        """RETURNS (list[tuple[int, float]]): Terms of a row that add up to the bytes kept, times `scale`."""
        return [(j, scale * operator.size) for j, operator in zip(self.kept, self.layer.operators)]

    def policy(self, values: np.ndarray) -> LayerPolicy:
        """RETURNS (LayerPolicy): What a solution says of this layer."""
        choices = []
        for kept, built in zip(self.kept, self.built):
            window = next((w for w in self.windows if values[built[w]] > 0.5), DEMAND)
            choices.append(KEEP if values[kept] > 0.5 else window)
        return LayerPolicy(tuple(choices))


class _Program:
    """A mixed-integer program, made column by column and row by row."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self._most: list[float] = []
        self._integer: list[bool] = []
        self._bounds: list[tuple[float, float]] = []
        self._entries: list[tuple[int, int, float]] = []

    def column(self, cost: float, most: float, *, integer: bool = True) -> int:
        """Add a variable between 0 and `most`, and return its number."""
        self.costs.append(cost)
        self._most.append(most)
        self._integer.append(integer)
        return len(self.costs) - 1

    def row(self, terms: Terms, most: float, least: float = -np.inf) -> None:
        """Bound a sum of columns times factors."""
        self._entries += [(len(self._bounds), column, factor) for column, factor in terms]
        self._bounds.append((least, most))

    def solve(self, seconds: float | None = None) -> np.ndarray | None:
        """The values of the columns at the least cost that was found in time; None when there are none."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        rows, columns, factors = zip(*self._entries)
        matrix = csr_array((factors, (rows, columns)), shape=(len(self._bounds), len(self.costs)))
        least, most = zip(*self._bounds)
        # With presolve, HiGHS 1.12 writes to the standard output (github.com/ERGO-Code/HiGHS/issues/2783).
        options = {"mip_rel_gap": 1e-7, "presolve": False} | ({"time_limit": seconds} if seconds else {})
        return milp(
            np.array(self.costs),
            integrality=np.array(self._integer, dtype=int),
            bounds=Bounds(0, np.array(self._most)),
            constraints=LinearConstraint(matrix, least, most),
            options=options,
        ).x


def _bytes(layer: LayerCosts) -> int:
    return sum(operator.size for operator in layer.operators) + layer.working_size or 1


def _at_most(room: float, total: int) -> float:
    """A bound in shares of `total` that whole bytes respect in spite of the solver's tolerance."""
    return (math.floor(room) + 0.5) / total - TOLERANCE
