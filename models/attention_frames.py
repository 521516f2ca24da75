"""Windows of a text for reading its attention, and the units that attention is shown between.

A text that does not fit is read in windows that overlap, cut as in `piece_windows`. A unit belongs to the window in
which it is most central, and special pieces belong to their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .piece_windows import home_windows, window_starts
from .word_pieces import Alignment, IntArray, WordPieces

# Of the pieces of a window, those from the start of one to the start of the next.
STRIDE = 0.75


@dataclass(frozen=True)
class Unit:
    """What attention is shown between.

    word (Optional[int]): Number of the word; None for a piece that is of no word.
    piece (str): Name of such a piece, as [CLS]; empty for a word.
    """

    word: int | None
    piece: str = ""


@dataclass(frozen=True)
class Frame:
    """A window of S pieces with U units.

    ids (IntArray): The pieces, special ones included. (S,)
    inner (slice): Those of the text.
    units (list[Unit]): The units, in the order of the window.
    numbers (IntArray): The number of each among the units of the text. (U,)
    own (ndarray[bool]): Whether it belongs to this window. (U,)
    piece, unit (Tensor): The pairs of a piece and its unit. (n_pairs,)
    """

    ids: IntArray
    inner: slice
    units: list[Unit]
    numbers: IntArray
    own: np.ndarray
    piece: Tensor
    unit: Tensor


def frame_windows(aligned: Alignment, pieces: WordPieces, window: int) -> list[Frame]:
    """Cut a text into windows, and number its units.

    aligned (Alignment): Its pieces.
    pieces (WordPieces): Gives the special pieces around a window.
    window (int): Most pieces in a window, special ones not counted.
    RETURNS (list[Frame]): The windows. The units of the text are those that belong to the first, then to the second
        and so on: words that have pieces, and pieces that are of no word.
    """
    whole = _every_piece(aligned)
    starts = window_starts(len(whole.ids), window, max(1, int(window * STRIDE)))
    home: dict[int, int] = {}
    for key, number in zip(whole.token.tolist(), home_windows(whole, starts, window).tolist()):
        home.setdefault(key, number)
    cut = [dict(_members(whole, pieces, number, start, window)) for number, start in enumerate(starts.tolist())]
    own = [[home.get(key, number) == number for key in members] for number, members in enumerate(cut)]
    belonging = (key for members, mine in zip(cut, own) for key, is_own in zip(members, mine) if is_own)
    number_of = {key: number for number, key in enumerate(belonging)}
    frames = []
    for start, members, mine in zip(starts.tolist(), cut, own):
        ids = np.concatenate([pieces.prefix, whole.ids[start : start + window], pieces.suffix]).astype(np.int64)
        pairs = [(place, unit) for unit, places in enumerate(members.values()) for place in places]
        piece, unit = torch.tensor(pairs).T
        frames.append(
            Frame(
                ids=ids,
                inner=slice(len(pieces.prefix), len(ids) - len(pieces.suffix)),
                units=[_unit(key, int(ids[places[0]]), aligned, pieces) for key, places in members.items()],
                numbers=np.array([number_of[key] for key in members]),
                own=np.array(mine),
                piece=piece,
                unit=unit,
            )
        )
    return frames


def _every_piece(aligned: Alignment) -> Alignment:
    """The alignment with a token more for each piece that is of none."""
    spare = np.setdiff1d(np.arange(len(aligned.ids)), aligned.piece)
    token = np.concatenate([aligned.token, aligned.n_tokens + np.arange(len(spare))])
    return Alignment(aligned.ids, np.concatenate([aligned.piece, spare]), token, aligned.n_tokens + len(spare))


def _members(
    whole: Alignment, pieces: WordPieces, number: int, start: int, window: int
) -> Iterator[tuple[int, list[int]]]:
    """What a window holds, in order: a token with the places of its pieces, or a key below 0 for a special piece."""
    length, first = len(whole.ids[start : start + window]), len(pieces.prefix)
    inside = (whole.piece >= start) & (whole.piece < start + length)
    found: dict[int, list[int]] = {}
    for place, token in zip((whole.piece[inside] - start + first).tolist(), whole.token[inside].tolist()):
        found.setdefault(token, []).append(place)
    size = length + pieces.n_special
    for place in (*range(first), *range(first + length, size)):
        found[-1 - place - number * (window + pieces.n_special)] = [place]
    return iter(sorted(found.items(), key=lambda member: member[1][0]))


def _unit(key: int, id: int, aligned: Alignment, pieces: WordPieces) -> Unit:
    return Unit(key) if 0 <= key < aligned.n_tokens else Unit(None, pieces.tokenizer.id_to_token(id))
