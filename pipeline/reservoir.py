"""A fair sample of a stream of unknown length, in memory of the sample's size."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """Keeps so many items of a stream, each with the same chance (Vitter 1985, algorithm R).

    Which positions are kept depends on the number of items, the size and the seed alone.

    size (int): Items that are kept at most.
    seed (int): Seed of the draws.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._kept: list[tuple[int, Item]] = []
        self.seen = 0

    def offer(self, make: Callable[[], Item]) -> None:
        """Pass an item by, which is kept or not.

        make (Callable[[], Item]): Makes the item; called only when it is kept.
        """
        place = self.seen if self.seen < self._size else self._random.randrange(self.seen + 1)
        if place < self._size:
            self._kept[place : place + 1] = [(self.seen, make())]
        self.seen += 1

    def items(self) -> list[Item]:
        """RETURNS (list[Item]): What is kept, in the order of the stream."""
        return [item for _, item in sorted(self._kept, key=lambda kept: kept[0])]
