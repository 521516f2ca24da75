"""Documents of any length cut into windows of pieces, and the window that each token is read from.

A document that does not fit is cut into windows of equal length that overlap. Each token is read from the
window in which it is most central: the one whose middle is nearest to the middle of the token's pieces, the
earlier one on a tie. A token longer than the overlap may lie in no window whole; its pieces are then placed
one by one by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .word_pieces import Alignment, IntArray, WordPieces


@dataclass(frozen=True)
class WindowPlan:
    """What the encoder reads for a batch of documents, and where each token's vector comes from.

    windows (List[IntArray]): Piece ids of each window with its special pieces, longest first.
    rows (IntArray): Positions to read, counted through all windows; a token's rows lie together. (n_rows,)
    starts (IntArray): Where the rows of each token start in `rows`. (n_tokens,)
    """

    windows: list[IntArray]
    rows: IntArray
    starts: IntArray

    def batches(self, max_pieces: int) -> Iterator[list[IntArray]]:
        """Group windows so that no padded batch holds more than so many pieces, unless one window does.

        max_pieces (int): Most pieces in a batch, special pieces and padding included.
        YIELDS (List[IntArray]): Windows, in order.
        """
        begin = 0
        while begin < len(self.windows):
            size = max(1, max_pieces // len(self.windows[begin]))
            yield self.windows[begin : begin + size]
            begin += size


def plan_windows(docs: Sequence[Alignment], pieces: WordPieces, window: int, stride: int) -> WindowPlan:
    """Cut documents into windows and find the home of every token.

    docs (Sequence[Alignment]): Pieces and pairs of each document.
    pieces (WordPieces): Gives the special pieces around a window.
    window (int): Most pieces in a window, special pieces not counted.
    stride (int): Most pieces from the start of a window to the start of the next.
    RETURNS (WindowPlan): The plan.
    """
    starts = [window_starts(len(doc.ids), window, stride) for doc in docs]
    windows = [doc.ids[s : s + window] for doc, begins in zip(docs, starts) for s in begins]
    order = np.argsort([-len(ids) for ids in windows], kind="stable")
    lengths = np.array([len(windows[i]) + pieces.n_special for i in order], dtype=np.int64)
    # Where the text of each window starts among the positions of all windows in order of length.
    text_at = np.empty(len(windows), dtype=np.int64)
    text_at[order] = np.cumsum(lengths) - lengths + len(pieces.prefix)
    rows, counts, done = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], 0
    for doc, begins in zip(docs, starts):
        home = home_windows(doc, begins, window)
        rows.append(text_at[done + home] + doc.piece - begins[home])
        counts.append(np.bincount(doc.token, minlength=doc.n_tokens))
        done += len(begins)
    per_token = np.concatenate(counts)
    framed = [np.concatenate([pieces.prefix, windows[i], pieces.suffix]).astype(np.int64) for i in order]
    return WindowPlan(framed, np.concatenate(rows), np.cumsum(per_token) - per_token)


def window_starts(n_pieces: int, window: int, stride: int) -> IntArray:
    """Where the windows of a document start: spread evenly, all of full length.

    n_pieces (int): Pieces in the document.
    window (int): Most pieces in a window.
    stride (int): Most pieces from one start to the next.
    RETURNS (IntArray): The starts, first 0, last `n_pieces - window`; none for a document without pieces.
    """
    if n_pieces <= window:
        return np.zeros(min(n_pieces, 1), dtype=np.int64)
    last = n_pieces - window
    n_steps = -(-last // stride)
    return np.arange(n_steps + 1, dtype=np.int64) * last // n_steps


def home_windows(doc: Alignment, starts: IntArray, window: int) -> IntArray:
    """The window from which each (piece, token) pair is read (see the head of this file).

    doc (Alignment): Pieces and pairs of the document.
    starts (IntArray): Where its windows start. (n_windows,)
    window (int): Most pieces in a window.
    RETURNS (IntArray): Number of a window for each pair. (n_pairs,)
    """
    if len(starts) <= 1 or not len(doc.piece):
        return np.zeros(len(doc.piece), dtype=np.int64)
    low, high = np.full(doc.n_tokens, len(doc.ids)), np.full(doc.n_tokens, -1)
    np.minimum.at(low, doc.token, doc.piece)
    np.maximum.at(high, doc.token, doc.piece)
    low, high = low[doc.token], high[doc.token]
    home = _nearest(starts, window, low + high)
    whole = (starts[home] <= low) & (high < starts[home] + window)
    return np.where(whole, home, _nearest(starts, window, 2 * doc.piece))


def _nearest(starts: IntArray, window: int, doubled: IntArray) -> IntArray:
    """The window whose middle is nearest to a position, given as twice its value to stay in whole numbers."""
    middles = 2 * starts + window - 1
    right = np.clip(np.searchsorted(middles, doubled), 1, len(starts) - 1)
    return np.where(doubled - middles[right - 1] <= middles[right] - doubled, right - 1, right)
