"""Second moments of Adapprox in checkpoints: shard by shard as they are, and factored anew for shards of other bounds.

Factors hold for one shard and have a rank of its own, so they are parts of no tensor that could be cut otherwise, as
other state is. Each shard is written under its bounds in the parameter:
    whole[64:96,0:48]       its second moment, where that is kept whole
    rows[64:96,0:48]        Q [rows of the shard, rank]
    columns[64:96,0:48]     U^T [rank, other sizes of the shard]
A shard of the same bounds gets its factors back bit by bit. Another one gets factors of max(Q U^T, 0) of those that
overlap it, of which it forms a block of rows at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adapprox_step import block_size
from .low_rank import Balance, random_columns, rank_ladder, rank_limit, rung, subspace_iteration
from .matrix_views import as_matrix, from_matrix, local_part

# First element and the one after the last, for each dimension.
Bounds = tuple[tuple[int, int], ...]
STEPS, WHOLE, ROWS, COLUMNS = "steps", "whole", "rows", "columns"


class MomentShards:
    """The second moment of a parameter, of which this process has a shard, and how many steps it has seen.

    shape (torch.Size): Shape of the whole parameter.

    parameter (Tensor): The parameter.
    state (dict[str, Tensor]): What the optimizer keeps of it.
    group (dict): Its settings.
    """

    def __init__(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        self.shape = parameter.shape
        self._weight, self._state, self._group = local_part(parameter), state, group
        self._bounds = _bounds_of(parameter)

    def parts(self) -> dict[str, Tensor]:
        """RETURNS (dict[str, Tensor]): What a checkpoint gets from this process, by name."""
        if "second" in self._state:
            tensors = {WHOLE: from_matrix(self._state["second"], self._weight)}
        else:
            columns = from_matrix(self._state["columns"].mT, self._weight)
            tensors = {ROWS: self._state["rows"], COLUMNS: columns}
        named = {_name(kind, self._bounds): tensor for kind, tensor in tensors.items()}
        return named | {STEPS: torch.tensor(self._group["step"])}

    def load(self, names: Iterable[str], read: Callable[[list[str]], dict[str, Tensor]]) -> None:
        """Take this shard of the second moment from a checkpoint.

        names (Iterable[str]): Parts of the parameter that the checkpoint has.
        read (Callable): Reads some of them, by name.
        """
        near = [name for name in names if name == STEPS or _overlap(_bounds_in(name), self._bounds) is not None]
        parts = {name: tensor.to(self._weight.device) for name, tensor in read(near).items()}
        self._group["step"] = int(parts.pop(STEPS))
        m, n = as_matrix(self._weight, self._weight).shape
        most = rank_limit(m, n, self._group["max_rank"])
        if not most:
            self._state["second"] = as_matrix(self._values(list(_pieces(parts)), self._bounds), self._weight)
            return
        if _name(ROWS, self._bounds) in parts:
            rows = parts[_name(ROWS, self._bounds)]
            columns = as_matrix(parts[_name(COLUMNS, self._bounds)], self._weight).mT
        else:
            rows, columns = self._factored(list(_pieces(parts)), m, n, most)
        # Plain strides, as the optimizer's own factors have: with others, a product may differ in its last bit.
        self._state["rows"], self._state["columns"] = (x.clone(memory_format=_PLAIN) for x in (rows, columns))

    def _factored(self, pieces: list[_Piece], m: int, n: int, most: int) -> tuple[Tensor, Tensor]:
        """Factors of this shard, of the rank that its pieces have together where it may have that."""
        height = max(1, block_size(self._weight) // n)
        start, after = self._bounds[0]

        def blocks() -> Iterator[tuple[slice, Tensor]]:
            for first in range(start, after, height):
                bounds = ((first, min(first + height, after)), *self._bounds[1:])
                values = as_matrix(self._values(pieces, bounds), self._weight)
                yield slice(first - start, first - start + height), values.unsqueeze(0)

        rank = rung(rank_ladder(most), sum(piece.rank_within(self._bounds) for piece in pieces))
        width = min(rank + self._group["oversampling"], m, n)
        random = random_columns(n, width, self._group["seed"], self._group["step"], self._weight.device)
        is_balanced, device = self._group["balanced"], self._weight.device
        balance = Balance.of_blocks(blocks) if is_balanced else Balance.none(1, m, n, device)
        factors = subspace_iteration(blocks, random.unsqueeze(0), self._group["power_steps"], balance)
        # What is lost here is lost for many steps: the best of the oversampled directions are kept, not the first.
        best = torch.linalg.svd(factors.columns[0], full_matrices=False).Vh[:rank].mT
        kept = balance.restore(factors)
        return kept.rows[0] @ best, kept.columns[0] @ best

    def _values(self, pieces: list[_Piece], bounds: Bounds) -> Tensor:
        """The second moment within bounds: [sizes of the bounds]."""
        values = torch.zeros([after - first for first, after in bounds], device=self._weight.device)
        for piece in pieces:
            common = _overlap(piece.bounds, bounds)
            if common is not None:
                values[_slices(common, bounds)] = piece.values(common)
        return values


def whole_shape(names: Iterable[str]) -> tuple[int, ...] | None:
    """Shape of the parameter whose parts these are.

    names (Iterable[str]): Names of all its parts.
    RETURNS (Optional[tuple[int, ...]]): The shape; None when shards are missing.
    """
    every = {_bounds_in(name) for name in names if name != STEPS and not name.startswith(COLUMNS)}
    shape = tuple(max(after for _, after in dimension) for dimension in zip(*every))
    sizes = (math.prod(after - first for first, after in bounds) for bounds in every)
    return shape if every and sum(sizes) == math.prod(shape) else None


@dataclass(frozen=True)
class _Piece:
    """The second moment of a shard of a checkpoint; `columns` is None where `rows` is that moment itself."""

    bounds: Bounds
    rows: Tensor
    columns: Tensor | None

    def values(self, common: Bounds) -> Tensor:
        """Some of it, as the optimizer uses it: factors may give negative numbers."""
        slices = _slices(common, self.bounds)
        if self.columns is None:
            return self.rows[slices]
        columns = self.columns[(slice(None), *slices[1:])]
        return torch.tensordot(self.rows[slices[0]], columns, dims=1).clamp_(min=0)

    def rank_within(self, bounds: Bounds) -> int:
        """The rank that it may have within bounds."""
        sizes = [after - first for first, after in _overlap(self.bounds, bounds) or ((0, 0),)]
        rank = sizes[0] if self.columns is None else len(self.columns)
        return min(rank, sizes[0], math.prod(sizes[1:]))


_PLAIN = torch.contiguous_format


def _pieces(parts: dict[str, Tensor]) -> Iterator[_Piece]:
    for name, tensor in parts.items():
        kind, bounds = name.partition("[")[0], _bounds_in(name)
        if kind != COLUMNS:
            yield _Piece(bounds, tensor, parts[_name(COLUMNS, bounds)] if kind == ROWS else None)


def _bounds_of(parameter: Tensor) -> Bounds:
    """Of the shard at hand in the whole parameter."""
    if not hasattr(parameter, "__create_chunk_list__"):
        return tuple((0, size) for size in parameter.shape)
    (chunk,) = parameter.__create_chunk_list__()
    return tuple((first, first + size) for first, size in zip(chunk.offsets, chunk.sizes))


def _name(kind: str, bounds: Bounds) -> str:
    return f"{kind}[{','.join(f'{first}:{after}' for first, after in bounds)}]"


def _bounds_in(name: str) -> Bounds:
    return tuple((int(first), int(after)) for first, after in re.findall(r"(\d+):(\d+)", name))


def _overlap(one: Bounds, other: Bounds) -> Bounds | None:
    common = tuple((max(a, b), min(c, d)) for (a, c), (b, d) in zip(one, other))
    return common if all(first < after for first, after in common) else None


def _slices(inner: Bounds, outer: Bounds) -> tuple[slice, ...]:
    """Where bounds lie in a tensor of wider ones."""
    return tuple(slice(first - start, after - start) for (first, after), (start, _) in zip(inner, outer))
