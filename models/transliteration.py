"""Text in one script as text in another, with every character mapped back to where it came from.

What is transliterated is decided run by run: letters of a script that a table is set for, and the marks on them. All
else (text in other scripts, digits of no table, punctuation, blanks, URLs) is copied as it is.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

import regex

from ..errors import Errors
from .transliteration_tables import Table, load_table

# Longest run that is read at once; a word has fewer letters.
MAX_RUN = 64
# Transforms of ICU by script, where no table says more of the language.
ICU_TABLES = {
    "Arab": "icu:Arabic-Latin",
    "Armn": "icu:Armenian-Latin",
    "Beng": "icu:Bengali-Latin",
    "Cyrl": "icu:Cyrillic-Latin",
    "Deva": "icu:Devanagari-Latin",
    "Ethi": "icu:Ethiopic-Latin",
    "Geor": "icu:Georgian-Latin",
    "Grek": "icu:Greek-Latin",
    "Gujr": "icu:Gujarati-Latin",
    "Guru": "icu:Gurmukhi-Latin",
    "Hebr": "icu:Hebrew-Latin",
    "Knda": "icu:Kannada-Latin",
    "Mlym": "icu:Malayalam-Latin",
    "Taml": "icu:Tamil-Latin",
    "Telu": "icu:Telugu-Latin",
}
_URL = r"(?i:(?:[a-z][a-z0-9+.\-]{1,15}://|www\.))\S+"
# Marks, tatweel and joiners belong to the letter before them, whatever their script is called.
_EXTEND = r"\p{M}\u0640\u200c\u200d"


class Segment(NamedTuple):
    """A stretch of the source and what became of it; `is_copy` where they are the same, character by character."""

    source_start: int
    source_end: int
    start: int
    end: int
    is_copy: bool


# How many characters of a run were taken, and what became of them.
Parts = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Transliteration:
    """A transliterated text.

    source (str): The text as it was.
    text (str): What it became.
    runs (Sequence[tuple[int, int, Parts]]): Of each run of letters, where it starts in both, and its parts.
    """

    source: str
    text: str
    runs: Sequence[tuple[int, int, Parts]]

    @property
    def is_whole(self) -> bool:
        """RETURNS (bool): Whether both texts are as long as the runs have it; those of a longer source are not."""
        taken = given = 0
        if self.runs:
            begin, start, parts = self.runs[-1]
            taken, given = begin + sum(n for n, _ in parts), start + sum(len(written) for _, written in parts)
        return len(self.source) - taken == len(self.text) - given

    @cached_property
    def segments(self) -> list[Segment]:
        """RETURNS (list[Segment]): Both texts stretch by stretch, in order and without gaps."""
        segments: list[Segment] = []
        taken = given = 0
        for begin, start, parts in self.runs:
            if taken < begin:
                segments.append(Segment(taken, begin, given, start, True))
            taken, given = begin, start
            for n_taken, written in parts:
                segments.append(Segment(taken, taken + n_taken, given, given + len(written), False))
                taken, given = taken + n_taken, given + len(written)
        if taken < len(self.source):
            segments.append(Segment(taken, len(self.source), given, len(self.text), True))
        return segments

    def to_source(self, start: int, end: int) -> tuple[int, int]:
        """The least span of the source that a span of the transliteration comes from.

        start (int): First character.
        end (int): Last character, exclusive.
        RETURNS (tuple[int, int]): The same in the source; marks that were dropped are with their letter.
        """
        if start >= end:
            place = len(self.source) if start >= len(self.text) else self.to_source(start, start + 1)[0]
            return place, place
        first = self.segments[bisect_right(self._ends, start)]
        last = self.segments[bisect_left(self._ends, end)]
        opens = first.source_start + (start - first.start if first.is_copy else 0)
        return opens, last.source_start + end - last.start if last.is_copy else last.source_end

    def to_target(self, start: int, end: int) -> tuple[int, int]:
        """The least span of the transliteration that a span of the source became.

        start (int): First character.
        end (int): Last character, exclusive.
        RETURNS (tuple[int, int]): The same in the transliteration; empty where nothing is left of it.
        """
        if start >= end:
            place = len(self.text) if start >= len(self.source) else self.to_target(start, start + 1)[0]
            return place, place
        first = self.segments[bisect_right(self._source_ends, start)]
        last = self.segments[bisect_left(self._source_ends, end)]
        opens = first.start + (start - first.source_start if first.is_copy else 0)
        return opens, last.start + end - last.source_start if last.is_copy else last.end

    @cached_property
    def _ends(self) -> list[int]:
        return [segment.end for segment in self.segments]

    @cached_property
    def _source_ends(self) -> list[int]:
        return [segment.source_end for segment in self.segments]


class Transliterator:
    """Transliterates text by a table for each script.

    tables (Optional[Mapping[str, str]]): Name of a table by ISO 15924 code of a script: one that comes along, such as
        "ug-tr", or "icu:" and an ICU transform, such as "icu:Cyrillic-Latin". None for `ICU_TABLES`.
    RAISES (ValueError): S641 for an unknown table, S642 for a table of another script, S640 for an unknown script.
    RAISES (ImportError): S644 when ICU is asked for and not installed.
    """

    def __init__(self, tables: Mapping[str, str] | None = None) -> None:
        self.names = dict(ICU_TABLES if tables is None else tables)
        self.tables = {script: load_table(name) for script, name in self.names.items()}
        for script, table in self.tables.items():
            if table.script not in (None, script):
                raise ValueError(Errors.S642.format(name=table.name, found=table.script, script=script))
        self._runs = _runs_pattern(tuple(self.tables))
        # The words of a text are few beside its length.
        self._convert: dict[str, Callable[[str], tuple[str, Parts]]] = {
            script: lru_cache(maxsize=1 << 16)(partial(_written, table)) for script, table in self.tables.items()
        }

    @property
    def fingerprint(self) -> str:
        """RETURNS (str): Tells apart what transliterates otherwise: the scripts, and name and rules of their tables."""
        parts = sorted(f"{script}={table.fingerprint}" for script, table in self.tables.items())
        return hashlib.sha256(";".join(parts).encode()).hexdigest()[:16]

    @property
    def is_reversible(self) -> bool:
        """RETURNS (bool): Whether `inverse` gives back all text in the scripts of the tables."""
        return all(table.is_reversible for table in self.tables.values())

    def __reduce__(self) -> tuple[type[Transliterator], tuple[dict[str, str]]]:
        return Transliterator, (self.names,)

    def __call__(self, text: str) -> Transliteration:
        """Transliterate a text.

        text (str): The text.
        RETURNS (Transliteration): What it became, and where each part of it came from.
        """
        runs: list[tuple[int, int, Parts]] = []
        pieces: list[str] = []
        done = length = 0
        for match in self._runs.finditer(text):
            script = match.lastgroup
            if script is None:
                continue
            begin, end = match.span()
            written, parts = self._convert[script](text[begin:end])
            pieces += (text[done:begin], written)
            length += begin - done
            runs.append((begin, length, parts))
            length += len(written)
            done = end
        pieces.append(text[done:])
        return Transliteration(text, "".join(pieces), runs)

    def inverse(self, text: str, script: str) -> str:
        """Write a transliterated word or text in its own script again.

        text (str): Text that is all of one script's; the map of a `Transliteration` serves mixed text.
        script (str): The script.
        RETURNS (str): The text.
        RAISES (ValueError): S643 for a table that loses something.
        """
        table = self.tables[script]
        if not table.is_reversible:
            raise ValueError(Errors.S643.format(name=table.name))
        return table.restore(text)


def _written(table: Table, run: str) -> tuple[str, Parts]:
    parts = table.convert(run)
    return "".join([written for _, written in parts]), parts


@lru_cache(maxsize=64)
def _runs_pattern(scripts: tuple[str, ...]) -> regex.Pattern:
    """Runs of letters of each script, as groups of its name; URLs come first, in no group."""
    runs = []
    for script in scripts:
        letters = rf"[\p{{scx={script}}}&&[\p{{L}}\p{{N}}\p{{Po}}]]"
        runs.append(rf"(?P<{script}>{letters}[{letters}{_EXTEND}]{{0,{MAX_RUN - 1}}}+)")
        try:
            regex.compile(runs[-1], regex.VERSION1)
        except regex.error:
            raise ValueError(Errors.S640.format(script=script)) from None
    return regex.compile("|".join([rf"(?:{_URL})", *runs]), regex.VERSION1)
