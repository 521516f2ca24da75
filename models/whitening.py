"""Fitting a whitening map in one pass over any number of vectors, in parts that can be joined."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np

from ..errors import Errors, SamarkandWarning, Warnings
from .settings import require
from .whitening_map import Whitening, check_width, load_whitening

__all__ = ["VectorStatistics", "Whitening", "load_whitening"]

# Rows that are multiplied at once, measured on 384 columns.
ROWS = 4096
# Rows whose mean is near enough to that of all; of one that is smaller than their spread, products lose no digits.
NEAR = 256
# Squares of deviations between these keep their digits in float32.
SQUARES = (1e-20, 1e30)
# Vectors whose variance is this share of their squared length differ by rounding alone.
SAME = 1e-24


class VectorStatistics:
    """Count, mean and covariance of vectors, in memory that does not grow with their number.

    Products are summed in float64; float64 and whole numbers are multiplied in float64, and smaller kinds in float32, a
    block at a time. A large mean is taken off before, so that it costs no digits. Updates are joined by the pairwise
    rule of Chan, Golub and LeVeque (1979). Statistics of shards can be merged, and pickled.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(0)
        # Sums of centred products.
        self._outer = np.zeros((0, 0))

    @property
    def width(self) -> int:
        """Width of the vectors, set by the first block; 0 before."""
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance with the divisor n, shape (d, d), float64."""
        return self._outer / max(self.count, 1)

    def update(self, vectors: np.ndarray) -> None:
        """Add a block of vectors, all of it or, when it is refused, none.

        vectors (np.ndarray): Shape (n, d), of any size and kind of number.
        RAISES (ValueError): S810 for another width, S811 for values that are not finite.
        """
        vectors = np.asarray(vectors)
        width = self.width or (vectors.shape[1] if vectors.ndim == 2 else 0)
        check_width(vectors.shape, width or "d")
        if len(vectors):
            self.merge(_statistics(vectors))

    def merge(self, other: VectorStatistics) -> None:
        """Add statistics of other vectors, in place.

        other (VectorStatistics): The statistics; they stay as they are.
        RAISES (ValueError): S810 for another width.
        """
        if not other.count:
            return
        if not self.width:
            self._set_width(other.width)
        check_width((other.count, other.width), self.width)
        total = self.count + other.count
        delta = other.mean - self.mean
        self._outer += other._outer
        self._outer += self.count * other.count / total * np.outer(delta, delta)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    def whitening(
        self,
        dim: int | str | None = None,
        *,
        retained: float = 0.95,
        shrinkage: float | str = 0.0,
        exponent: float = 1.0,
        floor: float = 1e-6,
        normalize: bool = True,
        fingerprint: str = "",
        pooling: str = "",
    ) -> Whitening:
        """Make the map of these vectors (BERT-whitening, arXiv 2103.15316, algorithm 1).

        With the covariance U diag(v) U', the matrix is the first columns of U diag(v) ** (-exponent / 2). The sign of
        a column is such that its greatest entry is positive.

        dim (Optional[int | str]): Dimensions to keep, None for all, "auto" for as many as retain the variance.
        retained (float): Share of the variance that "auto" keeps, above 0, to 1.
        shrinkage (float | str): Weight of the round covariance of equal trace, 0 to 1; "oas" computes it from the
            count (Chen et al. 2010, arXiv 0907.4698, eq. 23), for few vectors.
        exponent (float): 1 whitens, 0 only rotates; between them for encoders that were tuned for similarity.
        floor (float): Least variance that is divided by, as a share of the greatest; 0 refuses what does not vary.
        normalize (bool): Whether the map scales each result to length one.
        fingerprint (str): Of the encoder.
        pooling (str): Of the encoder.
        RETURNS (Whitening): The map.
        RAISES (ValueError): S732 for a bad value, S812 for more dimensions than vary when the floor is 0, S814 for
            fewer than two different vectors.
        """
        check_whitening(dim, retained, shrinkage, exponent, floor)
        covariance = self.covariance
        trace = np.trace(covariance)
        if trace <= SAME * (self.mean @ self.mean):
            raise ValueError(Errors.S814.format(count=self.count))
        check_dim(dim, self.width)
        rho = oas_shrinkage(covariance, self.count) if shrinkage == "oas" else float(shrinkage)
        covariance *= 1 - rho
        covariance[np.diag_indices(self.width)] += rho * trace / self.width
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        k = _dimensions(dim, values, retained)
        if exponent:
            _check_rank(k, values, floor)
        scales = np.maximum(values[:k], floor * values[0]) ** (-exponent / 2)
        return Whitening(
            mean=self.mean.astype(np.float32),
            matrix=np.ascontiguousarray(_signed(vectors[:, :k]) * scales, dtype=np.float32),
            variance=values[:k].copy(),
            total=float(values.sum()),
            count=self.count,
            shrinkage=rho,
            exponent=exponent,
            floor=floor,
            normalize=normalize,
            fingerprint=fingerprint,
            pooling=pooling,
        )

    def _set_width(self, width: int) -> None:
        self.mean, self._outer = np.zeros(width), np.zeros((width, width))


def _statistics(vectors: np.ndarray) -> VectorStatistics:
    """Statistics of a block of vectors, shape (n, d), n at least 1."""
    count, width = vectors.shape
    near = vectors[:NEAR].astype(np.float64)
    shift = near.mean(axis=0)
    if np.square(shift).max() <= near.var(axis=0).max():
        shift = np.zeros(width)
    dtype = np.float32 if vectors.dtype.kind == "f" and vectors.dtype.itemsize <= 4 else np.float64
    shift = shift.astype(dtype)
    sums, outer = _shifted_sums(vectors, shift)
    if dtype == np.float32 and not SQUARES[0] < outer.diagonal().max() / count < SQUARES[1]:
        sums, outer = _shifted_sums(vectors, shift.astype(np.float64))
    if not np.isfinite(sums + outer.diagonal()).all():
        rows = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        raise ValueError(Errors.S811.format(row=int(rows[0]) if len(rows) else 0))
    block = VectorStatistics()
    block._set_width(width)
    block.count, delta = count, sums / count
    block.mean = shift + delta
    block._outer = outer - count * np.outer(delta, delta)
    return block


def _shifted_sums(vectors: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of deviations from a vector and of their products, (d) and (d, d), multiplied in the kind of `shift`."""
    width = len(shift)
    buffer, ones = np.empty((min(len(vectors), ROWS), width), shift.dtype), np.ones(ROWS, shift.dtype)
    sums, outer = np.zeros(width), np.zeros((width, width))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(vectors), ROWS):
            rows = vectors[start : start + ROWS]
            # A cast within the difference would be slower than both one by one.
            if rows.dtype != shift.dtype:
                np.copyto(buffer[: len(rows)], rows)
                rows = buffer[: len(rows)]
            if shift.any():
                rows = np.subtract(rows, shift, out=buffer[: len(rows)])
            sums += ones[: len(rows)] @ rows
            outer += rows.T @ rows
    return sums, outer


def check_whitening(
    dim: int | str | None, retained: float, shrinkage: float | str, exponent: float, floor: float
) -> None:
    """Refuse what no map can be made with, before vectors are there.

    dim, retained, shrinkage, exponent, floor: As `VectorStatistics.whitening` takes them.
    RAISES (ValueError): S732.
    """
    is_dim = dim in (None, "auto") or (isinstance(dim, Integral) and not isinstance(dim, bool) and dim >= 1)
    is_weight = isinstance(shrinkage, Real) and 0 <= shrinkage <= 1
    require(is_dim, "dim", dim, '1 or more, or "auto"')
    require(0 < retained <= 1, "retained", retained, "above 0, to 1")
    require(is_weight or shrinkage == "oas", "shrinkage", shrinkage, 'from 0 to 1, or "oas"')
    require(0 <= exponent <= 1, "exponent", exponent, "from 0 to 1")
    require(0 <= floor < 1, "floor", floor, "from 0 to below 1")


def check_dim(dim: int | str | None, width: int) -> None:
    """Refuse more dimensions than vectors have.

    dim (Optional[int | str]): As `VectorStatistics.whitening` takes it.
    width (int): Width of the vectors.
    RAISES (ValueError): S732.
    """
    require(not isinstance(dim, Integral) or dim <= width, "dim", dim, f"from 1 to {width}")


def oas_shrinkage(covariance: np.ndarray, count: int) -> float:
    """Weight of the round covariance that is best for normal vectors (OAS, arXiv 0907.4698, eq. 23).

    covariance (np.ndarray): Of the vectors, shape (d, d).
    count (int): Vectors.
    RETURNS (float): The weight, 0 to 1.
    """
    width = len(covariance)
    squares, square = float(np.square(covariance).sum()), float(np.trace(covariance)) ** 2
    above = (1 - 2 / width) * squares + square
    below = (count + 1 - 2 / width) * (squares - square / width)
    return min(1.0, max(0.0, above / below)) if below > 0 else 1.0


def _dimensions(dim: int | str | None, values: np.ndarray, retained: float) -> int:
    if dim == "auto":
        kept = np.cumsum(values) / values.sum()
        # The sum of all may be a rounding below 1.
        return min(int(np.searchsorted(kept, retained - 1e-12)) + 1, len(values))
    return len(values) if dim is None else int(dim)


def _check_rank(dim: int, values: np.ndarray, floor: float) -> None:
    """Refuse, or with a floor warn of, directions in which the vectors do not vary."""
    least = max(floor, len(values) * np.finfo(np.float64).eps)
    rank = int((values > least * values[0]).sum())
    if dim <= rank:
        return
    if not floor:
        raise ValueError(Errors.S812.format(dim=dim, rank=rank))
    warnings.warn(Warnings.SW810.format(dim=dim, rank=rank), SamarkandWarning, stacklevel=3)


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Columns of which the entry of greatest magnitude is positive: those of an eigenvector may have either sign."""
    greatest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return vectors * np.where(greatest < 0, -1.0, 1.0)
