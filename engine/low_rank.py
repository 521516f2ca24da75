"""Low-rank factors of matrices that are seen a block of rows at a time, by randomised subspace iteration.

Shapes: N matrices, m rows, n columns, rank k, r columns of a sketch (rank and oversampling).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Gives the blocks of a batch of matrices: which rows, and their values [N, rows, n].
Blocks = Callable[[], Iterable[tuple[slice, Tensor]]]


@dataclass
class Factors:
    """A batch of matrices as Q U^T.

    rows (float32, [N, m, k]): Q, with orthonormal columns.
    columns (float32, [N, n, k]): U = A^T Q.
    """

    rows: Tensor
    columns: Tensor

    def relative_errors(self, total: Tensor) -> Tensor:
        """Error of the factors cut to their first 1, 2, ... k columns, relative to the matrix (Frobenius norms).

        ||A - Q U^T||^2 = ||A||^2 - ||U||^2 holds because Q is orthonormal and U = A^T Q, so no product is formed.

        total (float, [N]): ||A||^2.
        RETURNS (float, [N, k]): Errors, 0 to 1; 0 for a matrix of zeros.
        """
        kept = self.columns.square().sum(1).cumsum(-1)
        return ((total.unsqueeze(-1) - kept) / total.unsqueeze(-1).clamp_min(1e-38)).clamp_(0, 1).sqrt_()


@dataclass
class Balance:
    """Scales that make all entries of non-negative matrices about 1: A_ij / (r_i c_j).

    With sums of rows as r, and shares of columns in the whole as c, a matrix of rank one becomes ones. The best factors
    of the scaled matrix are those of the least relative error of entries; plain ones have the least absolute error,
    and miss rows and columns of small numbers. Scales are folded into the factors, so that they take no memory.

    rows (float32, [N, m, 1]): r.
    columns (float32, [N, n, 1]): c.
    """

    rows: Tensor
    columns: Tensor

    def __post_init__(self) -> None:
        self.row_scale, self.column_scale = (torch.where(x > 0, 1 / x, 0) for x in (self.rows, self.columns))

    @classmethod
    def of(cls, row_sums: Tensor, column_sums: Tensor) -> Balance:
        """RETURNS (Balance): For matrices with these sums, shapes [N, m, 1] and [N, n, 1]."""
        return cls(row_sums, column_sums / column_sums.sum(1, keepdim=True).clamp_min(1e-38))

    @classmethod
    def of_blocks(cls, blocks: Blocks) -> Balance:
        """RETURNS (Balance): For matrices that are seen a block at a time; gone through once."""
        sums = [(block.sum(2, keepdim=True), block.sum(1).unsqueeze(2)) for _, block in blocks()]
        return cls.of(torch.cat([rows for rows, _ in sums], dim=1), sum(columns for _, columns in sums))

    @classmethod
    def none(cls, count: int, m: int, n: int, device: torch.device) -> Balance:
        """RETURNS (Balance): One that leaves matrices as they are."""
        return cls(torch.ones(count, m, 1, device=device), torch.ones(count, n, 1, device=device))

    def scaled(self, place: slice, block: Tensor) -> Tensor:
        """RETURNS (float32, [N, rows, n]): A block of rows of the scaled matrices."""
        return block * self.row_scale[:, place] * self.column_scale.mT

    def restore(self, factors: Factors) -> Factors:
        """RETURNS (Factors): Of the matrices, from those of the scaled ones; Q is not orthonormal any more."""
        return Factors(factors.rows * self.rows, factors.columns * self.columns)

    def part(self, places: list[int]) -> Balance:
        """RETURNS (Balance): That of some of the matrices."""
        return Balance(self.rows[places], self.columns[places])


def subspace_iteration(blocks: Blocks, start: Tensor, steps: int, balance: Balance) -> Factors:
    """S-RSI (Adapprox, arXiv 2403.14958): randomised subspace iteration without the small SVD at its end.

    blocks (Blocks): The matrices; gone through twice a step.
    start (float32, [N, n, r]): Where the subspace starts: earlier factors, Gaussian columns, or both. What comes first
        stays first, so that the leading columns are the ones to keep.
    steps (int): Power steps, 1 or more.
    balance (Balance): Scales of the matrices that are factored.
    RETURNS (Factors): Of the scaled matrices, of rank r, or of m when that is less.
    """
    columns = start
    for _ in range(steps):
        scaled = column_major(balance.column_scale * columns)
        rows = orthonormal(balance.row_scale * torch.cat([block @ scaled for _, block in blocks()], dim=1))
        scaled = balance.row_scale * rows
        columns = balance.column_scale * sum(scaled[:, place].mT @ block for place, block in blocks()).mT
    return Factors(rows, columns)


def column_major(columns: Tensor) -> Tensor:
    """Columns [N, n, r], each in one piece: CPUs multiply a matrix by few columns several times faster so."""
    return columns.mT.contiguous().mT


def orthonormal(sketch: Tensor) -> Tensor:
    """Orthonormal columns that span those of a sketch, each what it adds to the ones before it: [N, m, r]."""
    return torch.linalg.qr(unit_scale(sketch)).Q


def unit_scale(columns: Tensor) -> Tensor:
    """Columns [N, n, r] with a greatest entry of 1, so that no square of theirs leaves the range of float32."""
    return columns / columns.abs().amax(1, keepdim=True).clamp_min_(1e-38)


def random_columns(n: int, width: int, seed: int, step: int, device: torch.device) -> Tensor:
    """Gaussian columns [n, width] that depend on a seed and a step alone."""
    generator = torch.Generator(device)
    generator.manual_seed((seed << 32) + step)
    return torch.randn(n, width, device=device, generator=generator)


def rank_limit(m: int, n: int, share: float) -> int:
    """The largest rank that a matrix may have.

    m, n (int): Its sides.
    share (float): That rank as a share of the lesser side.
    RETURNS (int): 1 or more; 0 when factors of that rank would be no smaller than the matrix.
    """
    most = max(1, int(min(m, n) * share))
    return most if most * (m + n) < m * n else 0


def rank_ladder(most: int) -> list[int]:
    """Ranks that a matrix may have, at most 1.5 times apart, few enough that matrices of one shape share them.

    most (int): The largest.
    RETURNS (list[int]): 1, 2, 4, 8, 12, 16, 24, 32, 48 and so on up to `most`.
    """
    steps = [1, 2, 4]
    while steps[-1] < most:
        steps += [2 * steps[-1], 3 * steps[-1]]
    return [*(step for step in steps if step < most), most]


def rung(ladder: list[int], rank: float) -> int:
    """The least rank of a ladder that is at least `rank`, or its largest."""
    return ladder[min(bisect_left(ladder, rank), len(ladder) - 1)]
