"""Cutting long token sequences into overlapping windows, and putting windows into padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What a batch, and each step along its sequences, cost beside the tokens: measured with LSTMs on one core. While
# training, each batch fills a gradient of whole tables of vectors.
BATCH_WORK, TRAINING_BATCH_WORK, STEP_WORK = 110, 400, 1.5


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

    def places(self, *, owned: bool) -> tuple[slice, slice]:
        """Where tokens lie in the window and in the sequence: those that it owns, or all that it reads."""
        start, end = (self.own_start, self.own_end) if owned else (self.start, self.end)
        return slice(start - self.start, end - self.start), slice(start, end)


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


def padded_length(tokens: int) -> int:
    """Length that sequences of so many tokens are padded to.

    oneDNN compiles a kernel for every shape that it meets, which costs more than a small batch does, and keeps it: a
    short list of shapes makes batches fast and memory flat.

    tokens (int): Tokens of the longest sequence.
    RETURNS (int): A multiple of 4, of 8 above 32, of 16 above 64, of 32 above 128.
    """
    step = 4 if tokens <= 32 else 8 if tokens <= 64 else 16 if tokens <= 128 else 32
    return -(-tokens // step) * step


def padded_count(sequences: int) -> int:
    """Number of sequences that a batch is padded to, see `padded_length`.

    sequences (int): Sequences of the batch.
    RETURNS (int): A power of two, or three quarters of one.
    """
    power = 1 << max(0, sequences - 1).bit_length()
    return power * 3 // 4 if power >= 4 and sequences <= power * 3 // 4 else power


def batch_windows(windows: Sequence[Window], max_tokens: int, *, training: bool = False) -> list[list[Window]]:
    """Group windows of like length into padded batches, at the least work in all.

    The work of a batch is counted in tokens: those of its padded shape, `STEP_WORK` for each step of a recurrent layer
    and `BATCH_WORK` for the batch itself (`TRAINING_BATCH_WORK` in training). The cheapest grouping of the windows in
    order of length is found by dynamic programming.

    windows (Sequence[Window]): The windows, in any order.
    max_tokens (int): Most tokens of a batch padded to `padded_length`; a longer window is a batch by itself.
    training (bool): The batches will be passed backwards too.
    RETURNS (list[list[Window]]): Batches, longest windows first.
    """
    batch_work = TRAINING_BATCH_WORK if training else BATCH_WORK
    windows = sorted(windows, key=len, reverse=True)
    total = len(windows)
    counts = np.array([padded_count(k) for k in range(1, total + 1)])
    work = np.full(total + 1, np.inf)  # of the first so many windows
    work[0] = 0.0
    first = np.zeros(total + 1, dtype=np.int64)  # of the batch that ends there
    for start, window in enumerate(windows):
        length = padded_length(len(window))
        most = min(max(1, max_tokens // length), total - start)
        after = work[start] + batch_work + length * (STEP_WORK + counts[:most])
        ends = slice(start + 1, start + 1 + most)
        better = after < work[ends]
        work[ends][better] = after[better]
        first[ends][better] = start
    batches = []
    while total:
        batches.append(windows[first[total] : total])
        total = first[total]
    return batches[::-1]


def pad_windows(
    arrays: Sequence[np.ndarray], batch: Sequence[Window], count: int, size: int, *, owned: bool = False
) -> np.ndarray:
    """Copy tokens of sequences into a padded batch of windows.

    arrays (Sequence[float32 array]): Rows of each sequence's tokens, [tokens, N].
    batch (Sequence[Window]): The windows.
    count, size (int): Rows and tokens of the padded batch.
    owned (bool): Copy what the windows own, not all that they read.
    RETURNS (float32, [count, size, N]): The batch, zeros elsewhere.
    """
    padded = np.zeros((count, size, arrays[0].shape[1]), dtype=np.float32)
    for row, window in zip(padded, batch):
        inside, outside = window.places(owned=owned)
        row[inside] = arrays[window.sequence][outside]
    return padded


def add_windows(
    padded: np.ndarray, batch: Sequence[Window], arrays: Sequence[np.ndarray], *, owned: bool = False
) -> None:
    """Add tokens of a padded batch of windows to those of their sequences, in place.

    padded (float32, [B, L, N]): The batch; rows after the last window are not read.
    batch (Sequence[Window]): The windows.
    arrays (Sequence[float32 array]): Rows of each sequence's tokens, [tokens, N].
    owned (bool): Add what the windows own, not all that they read.
    """
    for row, window in zip(padded, batch):
        inside, outside = window.places(owned=owned)
        arrays[window.sequence][outside] += row[inside]
