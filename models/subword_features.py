"""Token strings to hashed feature rows: the word, its character pieces, its shape, a Han character's radical.

Everything here is plain Python and numpy, so that a trainer can use it without spaCy.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np

MAX_PIECES = 32
MAX_CHARS = 24
SHAPE_ROWS = 512


@dataclass
class TokenFeatures:
    """Features of U distinct tokens, ready for embedding bags. Tables of any size take the hashes by `hashed_rows`.

    words (int64, [U, 2]): Two hashes of the word, so that words that collide in one rarely do in the other. The first
        makes the bigrams.
    shapes (int64, [U]): Rows in the shape table.
    pieces (int64, [P]): Hashes of the pieces, of all tokens after one another.
    offsets (int64, [U]): Where each token's pieces begin.
    """

    words: np.ndarray
    shapes: np.ndarray
    pieces: np.ndarray
    offsets: np.ndarray


def token_shape(text: str) -> str:
    """Casing and character classes of a token, runs cut to two ("Xx", "dd", "Xd-dd")."""
    kinds: list[str] = []
    for char in text[:MAX_CHARS]:
        kind = _char_kind(char)
        if kinds[-2:] != [kind, kind]:
            kinds.append(kind)
    return "".join(kinds)


def han_radical(char: str) -> int:
    """Kangxi radical number (1-214) of a character in the unified block, else 0.

    The block U+4E00..U+9FA5 is ordered by radical, and each radical heads its own group, so the number is the
    place of the character among the 214 heads.
    """
    if "\u4e00" <= char <= "\u9fa5":
        return bisect_right(_radical_heads(), char)
    return 0


def token_pieces(text: str) -> list[str]:
    """Character n-grams (2 to 4, with boundary marks) of a word; a Han character gives its radical.

    text (str): The normalised token.
    RETURNS (list[str]): At most `MAX_PIECES` pieces, prefixes and suffixes first.
    """
    if len(text) == 1:
        radical = han_radical(text)
        return [f"radical {radical}"] if radical else [text]
    marked = f"<{text[:MAX_CHARS].lower()}>"
    pieces: dict[str, None] = {}
    for size in (2, 3, 4):
        pieces[marked[:size]] = pieces[marked[-size:]] = None
    for size in (3, 4, 2):
        for start in range(1, len(marked) - size):
            pieces[marked[start : start + size]] = None
    return list(pieces)[:MAX_PIECES]


class FeatureTable:
    """A growing, bounded table of token features, filled as tokens are met.

    capacity (int): Tokens kept; when more are met the table starts again, so memory stays flat.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget all tokens."""
        self._fixed = array("q")
        self._pieces = array("q")
        self._starts = array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, text: str, norm: str) -> int:
        """Features of one more token.

        text (str): The token as written, for its shape.
        norm (str): Its normalised form, for word and pieces.
        RETURNS (int): Its place in the table.
        """
        word = norm.lower()
        key = word.encode("utf-8", "surrogatepass")
        shape = crc32(token_shape(text).encode()) % (SHAPE_ROWS - 1) + 1
        self._fixed.extend((crc32(key), crc32(key, 0x5EED), shape))
        self._pieces.extend(crc32(piece.encode("utf-8", "surrogatepass"), 0xC0DE) for piece in token_pieces(word))
        self._starts.append(len(self._pieces))
        return len(self) - 1

    def take(self, places: Sequence[int] | np.ndarray) -> TokenFeatures:
        """Features of the tokens at these places.

        places (int, [U]): Places that `add` returned since the last `clear`.
        RETURNS (TokenFeatures): Their features, in that order.
        """
        rows = np.asarray(places, dtype=np.int64)
        fixed = np.frombuffer(self._fixed, dtype=np.int64).reshape(-1, 3)[rows]
        starts_all = np.frombuffer(self._starts, dtype=np.int64)
        starts, ends = starts_all[rows], starts_all[rows + 1]
        lengths = ends - starts
        offsets = np.zeros(len(rows), dtype=np.int64)
        np.cumsum(lengths[:-1], out=offsets[1:])
        flat = np.arange(lengths.sum(), dtype=np.int64) + np.repeat(starts - offsets, lengths)
        pieces = np.frombuffer(self._pieces, dtype=np.int64)[flat]
        return TokenFeatures(fixed[:, :2].copy(), fixed[:, 2].copy(), pieces, offsets)


def features_of(tokens: Iterable[str]) -> TokenFeatures:
    """Features of a list of tokens, each its own normal form: the plain way in for trainers and tests."""
    table = FeatureTable()
    return table.take([table.add(token, token) for token in tokens])


def _char_kind(char: str) -> str:
    if char.isdigit():
        return "d"
    if char.isalpha():
        if char.isupper():
            return "X"
        return "x" if char.islower() else _caseless_kind(char)
    return char if char.isascii() else unicodedata.category(char)


@lru_cache(maxsize=65536)
def _caseless_kind(char: str) -> str:
    # Letters without case are told apart by their script, the first word of the character's Unicode name.
    return unicodedata.name(char, "?").partition(" ")[0][:4]


@lru_cache(maxsize=1)
def _radical_heads() -> list[str]:
    return sorted(unicodedata.normalize("NFKC", chr(0x2F00 + i)) for i in range(214))
