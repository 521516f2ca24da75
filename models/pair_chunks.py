"""Which pairs of mention and option are read at once: windows of like length, with a bound on their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .joint_reader import Pairs
from .link_questions import LinkQuestions, OptionTokens, query_windows
from .windows import padded_length


@dataclass(frozen=True)
class Chunk:
    """Pairs that are read at once.

    rows (int64, [N]): Their mentions.
    arrays (tuple[np.ndarray, ...]): The fields of `Pairs`, in order.
    """

    rows: np.ndarray
    arrays: tuple[np.ndarray, ...]

    def pairs(self, device: torch.device) -> Pairs:
        """RETURNS (Pairs): The pairs, on a device."""
        return Pairs(*(torch.from_numpy(array).to(device) for array in self.arrays))


def cut_chunks(
    questions: LinkQuestions,
    rows: np.ndarray,
    which: np.ndarray,
    found: OptionTokens,
    firsts: np.ndarray,
    *,
    window: int,
    mention_tokens: int,
    max_tokens: int,
) -> list[Chunk]:
    """Put mentions into chunks.

    questions (LinkQuestions): What is asked.
    rows (int64, [M]): Mentions to read, each with an option at least.
    which (int64, [U]): Their options, in order; found (OptionTokens): the tokens of these.
    firsts (int64, [D]): Place of the first token of each document among all tokens.
    window, mention_tokens (int): See `query_windows`.
    max_tokens (int): Most tokens of the pairs of a chunk, padding included; a mention with more is one by itself.
    RETURNS (list[Chunk]): The chunks, shortest windows first.
    """
    queries, marks = query_windows(questions, rows, firsts, window=window, longest=mention_tokens)
    asked = questions.options[rows]
    choices = np.where(asked >= 0, np.searchsorted(which, asked), -1)
    lengths = (queries >= 0).sum(1)
    longest = padded_length(int(found.lengths.max(initial=1)))
    chunks = []
    for part in _parts(lengths, (choices >= 0).sum(1), longest, max_tokens):
        own = np.unique(choices[part])
        own = own[own >= 0]
        L, S = padded_length(int(lengths[part].max())), padded_length(int(found.lengths[own].max()))
        arrays = (
            _fit(queries[part], L, -1),
            _fit(marks[part], L, 0),
            _fit(found.places[own], S, -1),
            _fit(found.segments[own], S, 0),
            np.where(choices[part] >= 0, np.searchsorted(own, choices[part]), -1),
            # The prior has a weight of its own in M3, and is not told here.
            questions.features[rows[part], :, 1:],
        )
        chunks.append(Chunk(rows[part], arrays))
    return chunks


def _parts(lengths: np.ndarray, counts: np.ndarray, option_length: int, most: int) -> Iterator[np.ndarray]:
    """Mentions by length of their windows, so many that their padded pairs have at most so many tokens."""
    order = np.argsort(lengths, kind="stable")
    first, pairs = 0, 0
    for place, (length, count) in enumerate(zip(lengths[order].tolist(), counts[order].tolist())):
        if place > first and (pairs + count) * (padded_length(length) + option_length) > most:
            yield order[first:place]
            first, pairs = place, 0
        pairs += count
    if first < len(order):
        yield order[first:]


def _fit(rows: np.ndarray, size: int, blank: int) -> np.ndarray:
    """Rows cut or padded to a size."""
    return np.pad(rows[:, :size], ((0, 0), (0, max(0, size - rows.shape[1]))), constant_values=blank)
