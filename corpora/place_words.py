"""What English calls the people and things of a place, and how it shortens names of states.

Adjectives of countries follow the `countryinfo` package (MIT), with ten of them mended ("Tajik" for "Tadzhik"); nouns,
other names of countries, adjectives of nations and continents, and the postal codes of states are added by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .sentence_files import tsv_rows

__all__ = ["PlaceWords", "place_words"]

_FILE = Path(__file__).parent / "place_words.tsv"


class PlaceWords(NamedTuple):
    """The words of one place.

    country (str): Code of its country, in capitals; "" where a name says enough.
    name (str): Its English name; "" for the country itself.
    words (tuple[str, ...]): What it is called too.
    """

    country: str
    name: str
    words: tuple[str, ...]


@cache
def place_words() -> tuple[PlaceWords, ...]:
    """RETURNS (tuple[PlaceWords, ...]): All places, each once."""
    return tuple(_read())


def _read() -> Iterator[PlaceWords]:
    for _, (place, words, *_) in tsv_rows(_FILE, 2):
        country, _, name = place.partition("/")
        if not name and len(place) > 2:
            country, name = "", place
        yield PlaceWords(country, name, tuple(words.split("|")))
