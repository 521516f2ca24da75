"""Cutting long token sequences into overlapping windows, and putting windows into padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Tokens [start, end) of one sequence are read; [own_start, own_end) are answered for.

    The owned parts of a sequence's windows cover it exactly once; what lies outside them is context only.
    """

    sequence: int
    start: int
    end: int
    own_start: int
    own_end: int

    def __len__(self) -> int:
        return self.end - self.start


def cut_windows(lengths: Sequence[int], size: int, overlap: int) -> list[Window]:
    """Cut sequences into windows of at most `size` tokens.

    lengths (Sequence[int]): Tokens of each sequence; empty ones give no window.
    size (int): Most tokens read at once. A sequence that fits is one window.
    overlap (int): Context tokens on each inner side of the owned part; less than half of `size`.
    RETURNS (list[Window]): Windows in reading order.
    """
    windows = []
    step = size - 2 * overlap
    for sequence, length in enumerate(lengths):
        if length <= size:
            if length:
                windows.append(Window(sequence, 0, length, 0, length))
            continue
        for own_start in range(0, length, step):
            own_end = min(own_start + step, length)
            start, end = max(0, own_start - overlap), min(length, own_end + overlap)
            windows.append(Window(sequence, start, end, own_start, own_end))
    return windows


def batch_windows(windows: Sequence[Window], max_tokens: int) -> Iterator[list[Window]]:
    """Group windows of like length, so that little of a padded batch is padding.

    windows (Sequence[Window]): The windows, in any order.
    max_tokens (int): Most tokens of a padded batch; a longer window is a batch by itself.
    YIELDS (list[Window]): Batches, longest windows first.
    """
    batch: list[Window] = []
    for window in sorted(windows, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > max_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
