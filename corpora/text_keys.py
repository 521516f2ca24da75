"""Texts that count as equal when they differ in case, blanks and punctuation alone, and those to hold out by it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import regex

from ..errors import Errors
from .text_sources import find_paths, read_texts

__all__ = ["TextKeys", "read_held_out", "text_key"]

_KEPT = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# What draws letters out belongs to no word.
_TATWEEL = "\u0640"
_SENTENCE_END = regex.compile(r"(?<=[.!?؟۔।…])\s+|(?<=[。！？])|\n")
# A shorter sentence is in texts that have nothing to do with one another. In bytes of UTF-8, so that Chinese needs
# fewer letters.
SHORTEST = 24


def text_key(text: str) -> str:
    """What is the same for texts that differ in case, blanks, punctuation or forms of letters (NFKC) alone.

    A corpus whose tokens are parted by blanks has the keys of the text that it was made from.

    text (str): The text.
    RETURNS (str): Its letters and digits; empty when it has none.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(_KEPT.findall(folded.replace(_TATWEEL, "")))


class TextKeys:
    """A set of texts, of which hashes of their keys are kept.

    texts (Iterable[str]): Texts to begin with.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._digests: set[bytes] = set()
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, text: str) -> bool:
        return _digest(text_key(text).encode()) in self._digests

    def add(self, text: str) -> bool:
        """Remember a text.

        text (str): The text.
        RETURNS (bool): Whether it is new; one without letters and digits never is.
        """
        key, before = text_key(text), len(self)
        if key:
            self._digests.add(_digest(key.encode()))
        return len(self) > before

    def has_part_of(self, text: str) -> bool:
        """Whether a document is in the set, or a sentence of it that has 24 bytes or more.

        text (str): The document.
        RETURNS (bool): Whether one is.
        """
        if not self._digests:
            return False
        keys = [key.encode() for key in map(text_key, _SENTENCE_END.split(text))]
        return text in self or any(len(key) >= SHORTEST and _digest(key) in self._digests for key in keys)


def read_held_out(patterns: Iterable[str]) -> TextKeys:
    """Read texts to hold out.

    patterns (Iterable[str]): Files or globs, in the formats of `read_texts`; environment variables are filled in.
    RETURNS (TextKeys): The texts.
    RAISES (ValueError): S747 when nothing is there, S734 for what cannot be read, S207 and S208 for damaged text.
    """
    held_out = TextKeys()
    for pattern in patterns:
        paths = find_paths(pattern)
        if not paths:
            raise ValueError(Errors.S747.format(path=pattern))
        for path in paths:
            for text in read_texts(path):
                held_out.add(text)
    return held_out


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=8).digest()
