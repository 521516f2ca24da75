"""Text normalisation: documented levels, idempotent, with a map back to the source.

none    the string as it is.
light   NFKC (full-width and presentation forms become plain), then Arabic diacritics, Koranic marks, tatweel
        and invisible direction marks are dropped.
full    light, and one letter for its variants: alef with hamza, madda or wasla; waw and ya with hamza; alef
        maksura and ta marbuta; Persian and Urdu kaf, ya and ha. Every decimal digit becomes an ASCII digit,
        and the Arabic decimal and thousands separators become "." and ",".

Nothing here changes case, and nothing here is ever applied to `doc.text`. `token.norm_` and the keys of aliases are
made of it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

from .errors import Errors

LEVELS = ("none", "light", "full")
# Canonical reordering is quadratic in the length of a run of marks, so longer runs are not reordered.
MAX_CLUSTER = 1024

_DIACRITICS = regex.compile(
    r"[\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    r"\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff]"
)
# Tatweel, soft hyphen, zero-width space, byte order mark. ZWNJ and ZWJ change what a word means: they stay.
_INVISIBLE = regex.compile(r"[\u0640\u00ad\u200b\ufeff\p{Bidi_Control}]")
# The only ligature of the Arabic blocks without a compatibility decomposition.
_LIGATURES = {"\ufdfd": "بسم الله الرحمن الرحيم"}
_HAMZA_MARKS = "\u0653\u0654\u0655"
_LETTERS = {
    "ا": "آأإٱٲٳٵ",
    "و": "ؤٶ",
    "ي": "ئىیېےۓۍؠٸ",
    "ه": "ةہھۀەۂۃۿ",
    "ك": "کڪ",
    ".": "٫",
    ",": "٬",
}
_FOLDED = {variant: letter for letter, variants in _LETTERS.items() for variant in variants}


def normalize(text: str, level: str = "light") -> str:
    """Normalise a string; `normalize(normalize(x)) == normalize(x)`.

    text (str): The string.
    level (str): One of "none", "light", "full"; see the module.
    RETURNS (str): The normalised string, which can be empty.
    RAISES (ValueError): S101 for an unknown level.
    """
    check_level(level)
    if level == "none" or text.isascii():
        return text
    if len(text) <= MAX_CLUSTER:
        return _settle(text, level)
    return "".join([_settle(cluster, level) for _, cluster in _clusters(text)])


def normalize_with_map(text: str, level: str = "light") -> tuple[str, list[int]]:
    """Normalise a string and say where each character came from.

    text (str): The string.
    level (str): One of "none", "light", "full"; see the module.
    RETURNS (Tuple[str, List[int]]): The normalised string, and for each of its characters the index in `text`
        of the character that it came from. The indices never decrease.
    RAISES (ValueError): S101 for an unknown level.
    """
    check_level(level)
    if level == "none" or text.isascii():
        return text, list(range(len(text)))
    parts: list[str] = []
    offsets: list[int] = []
    for start, cluster in _clusters(text):
        part = _settle(cluster, level)
        parts.append(part)
        last = len(cluster) - 1
        offsets.extend(start + min(i, last) for i in range(len(part)))
    return "".join(parts), offsets


def check_level(level: str) -> None:
    """Check the name of a level.

    level (str): The name.
    RAISES (ValueError): S101 for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(Errors.S101.format(level=level, levels=", ".join(LEVELS)))


class _Edits(dict):
    """Table for `str.translate`, filled as characters are met."""

    def __init__(self, level: str) -> None:
        super().__init__()
        self.full = level == "full"

    def __missing__(self, code: int) -> str:
        char = chr(code)
        edited = char
        if _DIACRITICS.match(char) or _INVISIBLE.match(char) or (self.full and char in _HAMZA_MARKS):
            edited = ""
        elif char in _LIGATURES:
            edited = _LIGATURES[char]
        elif self.full:
            digit = unicodedata.decimal(char, None)
            edited = _FOLDED.get(char, char) if digit is None else str(digit)
        self[code] = edited
        return edited


_EDITS = {level: _Edits(level) for level in LEVELS[1:]}


@lru_cache(maxsize=65536)
def _opens_cluster(char: str) -> bool:
    """Whether no normalisation can join or reorder this character with what stands before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    if unicodedata.category(first)[0] == "M" or "\u1160" <= first <= "\u11ff":
        return False
    # What a presentation form decomposes into may be dropped too, such as the tatweel below a medial vowel sign.
    return not any(_INVISIBLE.match(c) or _DIACRITICS.match(c) for c in (char, first))


def _clusters(text: str) -> list[tuple[int, str]]:
    """Cut a string where the parts can be normalised on their own."""
    starts = [i for i, char in enumerate(text) if i == 0 or _opens_cluster(char)]
    return [(start, text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)])]


def _settle(cluster: str, level: str) -> str:
    """Normalise until nothing changes: dropping a mark can let two others compose."""
    edits = _EDITS[level]
    while True:
        composed = unicodedata.normalize("NFKC", cluster) if len(cluster) <= MAX_CLUSTER else cluster
        edited = composed.translate(edits)
        if edited == cluster:
            return cluster
        cluster = edited
