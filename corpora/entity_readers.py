"""Reading entities from files: what cannot be an entity is reported with its place and reason, and the rest goes on."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Errors, is_coded
from ..models.knowledge_base import Entity
from .entity_fields import entity_from_fields
from .files import numbered_bytes, stem_suffix
from .strict_parsing import SURROGATE, decode_line, parse_json, table_reader, table_rows
from .wikidata import DEFAULT_LANGUAGES, entity_from_wikidata

__all__ = ["FORMATS", "RejectedLine", "distinct", "format_of", "read_entities"]

COLUMNS = ("id", "name", "aliases", "description", "type", "weight")
# Characters of a reason.
SHOWN = 300
_BY_LANGUAGE = {"name": "names", "aliases": "aliases", "description": "descriptions"}
_FORMAT_OF = {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "csv", "json": "wikidata"}


@dataclass(frozen=True)
class RejectedLine:
    """A line that is no entity.

    path (str): The file.
    line (int): Where it starts, from 1.
    code (str): Code in the error catalogue.
    reason (str): The message, without its code.
    raw (Any): The line as far as it can be shown.
    """

    path: str
    line: int
    code: str
    reason: str
    raw: Any = None


# Line and what it holds.
Read = tuple[int, Entity | RejectedLine]
# Field of an entity, and the language of what a column holds for it, "" where there is none.
Column = tuple[str, str]


def format_of(path: Path) -> str | None:
    """The format that the ending of a file names.

    path (Path): Such as people.jsonl.gz.
    RETURNS (Optional[str]): "jsonl", "csv" (for .tsv too), "wikidata" (.json), or None.
    """
    return _FORMAT_OF.get(stem_suffix(path))


def read_entities(path: Path, *, format: str | None = None, langs: Sequence[str] = ()) -> Iterator[Read]:
    """Stream the entities of a file, plain or compressed; what is in memory is a line.

    path (Path): The file.
    format (Optional[str]): "jsonl" (an entity a line), "csv" (a table with a header; tabs part it when its name ends in
        .tsv), or "wikidata" (a JSON dump); None goes by the ending.
    langs (Sequence[str]): For a Wikidata dump, the languages to keep; for the others, one language for names, aliases
        and descriptions that are given without one.
    YIELDS (Tuple[int, Entity | RejectedLine]): Line number, from 1, and what it holds. Blank lines hold nothing.
    RAISES (ValueError): S916 when the ending says nothing, S917 for a table with a header that cannot be used,
        S923 for more languages than a format takes, S208 for a damaged compressed file.
    """
    format = format or format_of(path)
    if format not in _READERS:
        raise ValueError(Errors.S916.format(path=path, formats=", ".join(FORMATS)))
    if format != "wikidata" and len(langs) > 1:
        what = f"The format {format}"
        raise ValueError(Errors.S923.format(what=what, expected="one language", langs=", ".join(langs)))
    return _READERS[format](path, tuple(langs))


def distinct(sources: Iterable[tuple[str, Iterable[Read]]]) -> Iterator[Entity | RejectedLine]:
    """Chain what was read, and reject every entity whose id was there before.

    Ids are kept on disk, so that memory stays small however many there are.

    sources (Iterable[Tuple[str, Iterable[Read]]]): Name of each source for messages, and what `read_entities` gives.
    YIELDS (Entity | RejectedLine): The entities, each id once, and what is none (S913 for an id that is there already).
    """
    # An empty name makes a temporary file that SQLite removes.
    seen = sqlite3.connect("", isolation_level=None)
    try:
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, path TEXT, line INTEGER) WITHOUT ROWID")
        seen.execute("BEGIN")
        for path, read in sources:
            for line, item in read:
                if isinstance(item, RejectedLine):
                    yield item
                    continue
                row = (item.id, path, line)
                if seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", row).rowcount:
                    yield item
                else:
                    first = seen.execute("SELECT path, line FROM seen WHERE id = ?", row[:1]).fetchone()
                    error = ValueError(Errors.S913.format(id=item.id, path=first[0], line=first[1]))
                    yield _rejected(path, line, error)
    finally:
        seen.close()


def _rejected(path: Path | str, line: int, error: ValueError, raw: Any = None) -> RejectedLine:
    if not is_coded(error):
        raise error
    code, _, reason = str(error).removeprefix("[").partition("] ")
    reason = " ".join(reason.split())
    return RejectedLine(str(path), line, code, reason if len(reason) <= SHOWN else f"{reason[:SHOWN]}…", raw)


def _read_jsonl(path: Path, langs: tuple[str, ...]) -> Iterator[Read]:
    lang = langs[0] if langs else None
    return _read_lines(path, lambda text: entity_from_fields(_json_object(text), lang=lang))


def _read_wikidata(path: Path, langs: tuple[str, ...]) -> Iterator[Read]:
    langs = langs or DEFAULT_LANGUAGES

    def parse(text: str) -> Entity | None:
        # A dump is one JSON list with an entity a line.
        text = text.strip().removesuffix(",")
        return None if text in ("[", "]") else entity_from_wikidata(_json_object(text), langs)

    return _read_lines(path, parse)


def _read_lines(path: Path, parse: Callable[[str], Entity | None]) -> Iterator[Read]:
    for number, raw in numbered_bytes(path):
        if not raw.strip():
            continue
        try:
            entity = parse(_decoded(raw, number))
        except ValueError as error:
            yield number, _rejected(path, number, error, raw.decode("utf-8", "backslashreplace").rstrip("\r\n"))
        else:
            if entity is not None:
                yield number, entity


def _decoded(raw: bytes, number: int) -> str:
    try:
        return decode_line(raw, number)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is 0x{raw[error.start]:02x}"
        raise ValueError(Errors.S915.format(reason=reason)) from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ValueError(Errors.S911.format(reason=error)) from None
    if not isinstance(value, dict):
        raise ValueError(Errors.S911.format(reason=f"found {type(value).__name__}"))
    return value


def _read_table(path: Path, langs: tuple[str, ...]) -> Iterator[Read]:
    reader = table_reader((raw for _, raw in numbered_bytes(path)), tabs=stem_suffix(path) == "tsv")
    # Not in the generator: a header that cannot be used is refused before anything is done.
    return _read_rows(path, reader, _header(path, reader, langs[0] if langs else None))


def _read_rows(path: Path, reader: Any, columns: list[Column]) -> Iterator[Read]:
    for number, row in table_rows(reader):
        if isinstance(row, csv.Error):
            yield number, _rejected(path, number, ValueError(Errors.S914.format(reason=row)))
        elif any(map(str.strip, row)):
            try:
                yield number, entity_from_fields(_row_fields(row, columns))
            except ValueError as error:
                yield number, _rejected(path, number, error, row)


def _header(path: Path, rows: Iterator[list[str]], lang: str | None) -> list[Column]:
    """The columns of a table, when all of them mean something."""
    try:
        names = next(rows, [])
    except csv.Error as error:
        raise ValueError(Errors.S917.format(path=path, problem=f"has no header ({error})")) from None
    columns: list[Column] = []
    problem = "" if "id" in names else "has no column 'id'"
    for name in names:
        base, _, code = name.partition("_")
        column = _BY_LANGUAGE.get(base, base), code.strip() or (lang or "" if base in _BY_LANGUAGE else "")
        if name not in COLUMNS and not (base in _BY_LANGUAGE and code.strip()):
            problem = f"has an unknown column {name!r}"
        elif base in _BY_LANGUAGE and not column[1]:
            problem = f"has a column {name!r}, whose language has to be named with --lang"
        elif column in columns:
            problem = f"has two columns {name!r}"
        if problem:
            break
        columns.append(column)
    if problem:
        raise ValueError(Errors.S917.format(path=path, problem=problem))
    return columns


def _row_fields(row: list[str], columns: list[Column]) -> dict[str, Any]:
    """The fields of `entity_from_fields`; empty cells are left out."""
    if len(row) != len(columns):
        reason = f"{len(row)} fields where the header has {len(columns)}"
        raise ValueError(Errors.S914.format(reason=reason))
    if any(SURROGATE.search(cell) for cell in row):
        raise ValueError(Errors.S915.format(reason="some bytes are no characters"))
    fields: dict[str, Any] = {}
    for (field, code), cell in zip(columns, map(str.strip, row)):
        value: Any = cell
        if field == "aliases":
            value = [alias.strip() for alias in cell.split("|") if alias.strip()]
        elif field == "weight" and cell:
            value = _number(cell)
        if value and code:
            fields.setdefault(field, {})[code] = value
        elif value or value == 0:
            fields[field] = value
    return fields


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(Errors.S912.format(field="weight", problem=f"must be a number, not {cell!r}")) from None


_READERS: dict[str, Callable[[Path, tuple[str, ...]], Iterator[Read]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_table,
    "wikidata": _read_wikidata,
}
FORMATS = tuple(_READERS)
