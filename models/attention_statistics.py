"""What heads do over a whole corpus: a measure of attention by word and head, and which heads do alike.

Both are sums over a stream in float64: texts can come in any order, and nothing of a text is kept. Shapes: L layers, H
heads, G = L H of them in all, N names, W words of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import cdist, squareform

FloatArray = np.ndarray


@dataclass
class _Table:
    """Moments of the values of each name and head: (N,) counts, and (N, G) each of the others."""

    counts: FloatArray
    means: FloatArray
    squares: FloatArray  # sums of squared differences from the mean
    lows: FloatArray
    highs: FloatArray

    @classmethod
    def empty(cls, names: int, heads: int) -> _Table:
        sums = np.zeros((names, heads))
        return cls(np.zeros(names), sums, sums.copy(), np.full_like(sums, np.inf), np.full_like(sums, -np.inf))

    def grown(self, names: int) -> _Table:
        """The table with room for so many names more."""
        more = _Table.empty(names, self.means.shape[1])
        return _Table(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(more).values())))

    def merge(self, rows: FloatArray, other: _Table) -> None:
        """Take in the rows of another table, each of them another row here (Chan et al. 1983)."""
        mine, theirs = self.counts[rows, None], other.counts[:, None]
        both = mine + theirs
        apart = other.means - self.means[rows]
        self.means[rows] += apart * theirs / both
        self.squares[rows] += other.squares + apart**2 * mine * theirs / both
        self.counts[rows] += other.counts
        self.lows[rows] = np.minimum(self.lows[rows], other.lows)
        self.highs[rows] = np.maximum(self.highs[rows], other.highs)


class AttentionStatistics:
    """How often each name occurs, and mean, spread, least and greatest of a measure over that, by head.

    heads (int): G.
    """

    def __init__(self, heads: int) -> None:
        self._rows: dict[str, int] = {}
        self._table = _Table.empty(64, heads)

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they were met. N"""
        return list(self._rows)

    @property
    def counts(self) -> FloatArray:
        """How often each occurs. (N,)"""
        return self._table.counts[: len(self._rows)]

    @property
    def means(self) -> FloatArray:
        """Mean over the occurrences. (N, G)"""
        return self._table.means[: len(self._rows)]

    @property
    def variances(self) -> FloatArray:
        """Variance over the occurrences, without Bessel's correction. (N, G)"""
        return self._table.squares[: len(self._rows)] / self.counts[:, None]

    @property
    def lows(self) -> FloatArray:
        """The least value. (N, G)"""
        return self._table.lows[: len(self._rows)]

    @property
    def highs(self) -> FloatArray:
        """The greatest value. (N, G)"""
        return self._table.highs[: len(self._rows)]

    def add(self, names: Sequence[str], values: FloatArray) -> None:
        """Count the words of a text.

        names (Sequence[str]): The name of each word.
        values (ndarray): The measure. (G, W)
        """
        if not len(names):
            return
        different = {name: row for row, name in enumerate(dict.fromkeys(names))}
        place = np.array([different[name] for name in names])
        part = _Table.empty(len(different), len(values))
        part.counts += np.bincount(place)
        np.add.at(part.means, place, values.T)
        part.means /= part.counts[:, None]
        np.add.at(part.squares, place, (values.T - part.means[place]) ** 2)
        np.minimum.at(part.lows, place, values.T)
        np.maximum.at(part.highs, place, values.T)
        rows = self._places(different)
        self._table.merge(rows, part)

    def _places(self, names: dict[str, int]) -> FloatArray:
        """The rows of names, new ones made for those that were not met before."""
        rows = np.array([self._rows.setdefault(name, len(self._rows)) for name in names])
        missing = len(self._rows) - len(self._table.counts)
        if missing > 0:
            self._table = self._table.grown(max(missing, len(self._table.counts)))
        return rows


class HeadSimilarity:
    """How alike heads are: the sum of the lesser over the sum of the greater of their values, word by word.

    heads (int): G.
    """

    def __init__(self, heads: int) -> None:
        self._sums = np.zeros(heads)
        self._apart = np.zeros((heads, heads))

    def add(self, values: FloatArray) -> None:
        """Compare heads on a text.

        values (ndarray): A measure that is 0 or more. (G, W)
        """
        self._sums += values.sum(axis=1)
        self._apart += cdist(values, values, "cityblock")

    @property
    def matrix(self) -> FloatArray:
        """From 0, where no word has both, to 1, where all values are equal. (G, G)"""
        both = self._sums[:, None] + self._sums
        # The lesser and the greater sum to both, and differ by what lies between them.
        return (both - self._apart) / np.maximum(both + self._apart, np.finfo(float).tiny)

    def order(self) -> list[int]:
        """RETURNS (list[int]): The heads in an order that puts like ones together (average linkage). G"""
        distances = np.clip(1 - self.matrix, 0, None)
        if len(distances) < 2:
            return list(range(len(distances)))
        np.fill_diagonal(distances, 0)
        return leaves_list(linkage(squareform(distances, checks=False), "average")).tolist()
