"""Reading a source as a stream of records, and of what cannot be a record.

A reader never ends the run for one bad record: it yields a `Rejected` with its position and reason, and goes
on. Memory is bounded by one record (text, JSONL, CSV) or one row group (Parquet); a DocBin is held whole, in
its packed form, because its format allows nothing else.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import IO, TYPE_CHECKING

from ..compression import damage_errors, open_compressed
from ..corpora.strict_parsing import SURROGATE, decode_line, parse_json, table_reader, table_rows
from ..errors import Errors
from .binary_readers import read_dataset, read_docbin, read_parquet, read_schema
from .records import Place, ReadOptions, Record, Rejected, Unread, field_record, reject, renamed_fields
from .sources import STDIN, Source, UsageError

if TYPE_CHECKING:
    import pyarrow


def read_source(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the records of a source, in their order.

    source (Source): Where to read.
    options (ReadOptions): How to find the texts.
    YIELDS (Record | Rejected): The records. Blank lines are no records.
    RAISES (OSError): S512 when the source cannot be opened or its device fails.
    """
    for unread in read_lazily(source, options):
        yield unread.make()


def read_lazily(source: Source, options: ReadOptions, place: Place | None = None) -> Iterator[Unread]:
    """Stream a source without a look into its records, so that some can be counted or passed over at little cost.

    source (Source): Where to read.
    options (ReadOptions): How to find the texts.
    place (Optional[Place]): Where to begin, as an item of the same source had it; None for the beginning.
    YIELDS (Unread): What makes each item of `read_source`.
    RAISES (OSError): S512 when the source cannot be opened or its device fails.
    """
    position = place.lines if place else 0
    try:
        for unread in LINES[source.kind](source, options, place) if place else READERS[source.kind](source, options):
            position = unread.position
            yield unread
    except _unreadable() as error:
        if not _is_damage(error):
            raise OSError(Errors.S512.format(path=source, reason=_reason(error))) from error
        yield Unread(position + 1, 0, partial(reject, position + 1, "S525", reason=_reason(error)))


def check_source(source: Source, options: ReadOptions) -> None:
    """Refuse a table without the text column before anything expensive starts.

    source (Source): Where to read.
    options (ReadOptions): How to find the texts.
    RAISES (UsageError): S506 for a missing column, S512 for a source that cannot be opened.
    """
    try:
        columns = _columns(source)
    except _unreadable() as error:
        if _is_damage(error):
            return  # read_source meets the same damage and accounts for it
        raise UsageError(Errors.S512.format(path=source, reason=_reason(error))) from error
    if columns is not None and options.text_field not in columns:
        names = ", ".join(columns)
        raise UsageError(Errors.S506.format(column=options.text_field, path=source, columns=names))


def arrow_schema(source: Source, options: ReadOptions) -> pyarrow.Schema | None:
    """Types of the other fields, where the source declares them (Parquet, datasets).

    source (Source): Where to read.
    options (ReadOptions): How to find the texts.
    RETURNS (pyarrow.Schema | None): The columns under the names they are written with, or None.
    RAISES (OSError): S512 when the source cannot be opened or its device fails.
    """
    import pyarrow

    if source.kind not in ("parquet", "dataset"):
        return None
    try:
        schema = read_schema(source)
    except _unreadable() as error:
        if _is_damage(error):
            return None  # read_source says why
        raise OSError(Errors.S512.format(path=source, reason=_reason(error))) from error
    others = {column.name: column.type for column in schema if column.name != options.text_field}
    renamed = renamed_fields(others)
    # Values are read as plain ones, which an extension type cannot take back.
    return pyarrow.schema(
        [(renamed.get(name, name), getattr(kind, "storage_type", kind)) for name, kind in others.items()]
    )


def _open(source: Source) -> AbstractContextManager[IO[bytes]]:
    """Decompressed bytes of a source; standard input stays open, it is not ours."""
    if source.path == STDIN:
        return nullcontext(sys.stdin.buffer)
    return open_compressed(source.path, source.compression)


def _lines(source: Source, begin: Place | None) -> Iterator[tuple[int, bytes, Place | None]]:
    """Number, bytes and place of each line that is not blank."""
    is_plain = not source.compression and source.path != STDIN
    number, offset = begin or (0, 0)
    with _open(source) as stream:
        if offset:
            stream.seek(offset)
        for line in stream:
            place = Place(number, offset) if is_plain else None
            number += 1
            offset += len(line)
            if line.strip():
                yield number, line, place


def _read_txt(source: Source, options: ReadOptions, begin: Place | None = None) -> Iterator[Unread]:
    if options.txt_unit == "file":
        with _open(source) as stream:
            content = stream.read()
        yield Unread(1, len(content), partial(_text_record, 1, content))
        return
    for position, line, place in _lines(source, begin):
        yield Unread(position, len(line), partial(_text_record, position, line.rstrip(b"\r\n")), place)


def _text_record(position: int, raw: bytes) -> Record | Rejected:
    try:
        return Record(position, decode_line(raw, position))
    except UnicodeDecodeError as error:
        return _reject_bytes(position, raw, error)


def _read_jsonl(source: Source, options: ReadOptions, begin: Place | None = None) -> Iterator[Unread]:
    for position, line, place in _lines(source, begin):
        make = partial(_json_record, position, line.rstrip(b"\r\n"), options.text_field)
        yield Unread(position, len(line), make, place)


def _json_record(position: int, raw: bytes, text_field: str) -> Record | Rejected:
    try:
        line = decode_line(raw, position)
        value = parse_json(line)
    except UnicodeDecodeError as error:
        return _reject_bytes(position, raw, error)
    except ValueError as error:
        return reject(position, "S521", line, reason=error)
    if not isinstance(value, dict):
        return reject(position, "S521", line, reason=f"found {type(value).__name__}")
    return field_record(position, value, text_field)


def _read_table(source: Source, options: ReadOptions) -> Iterator[Unread]:
    with _open(source) as stream:
        reader = table_reader(stream, tabs=source.kind == "tsv")
        header = next(reader, None)
        columns = _unique(header) if isinstance(header, list) else []
        for position, row in table_rows(reader):
            if isinstance(row, csv.Error):
                yield Unread(position, 0, partial(reject, position, "S524", reason=row))
            elif row:
                make = partial(_row_record, position, row, columns, options.text_field)
                yield Unread(position, sum(map(len, row)), make)


def _unique(names: list[str]) -> list[str]:
    """Column names, repeated ones numbered, so that no column hides another."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return result


def _row_record(position: int, row: list[str], columns: list[str], text_field: str) -> Record | Rejected:
    if any(SURROGATE.search(cell) for cell in row):
        shown = [cell.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for cell in row]
        return reject(position, "S520", shown, reason="bytes that are no characters")
    if len(row) != len(columns):
        return reject(position, "S524", row, reason=f"{len(row)} fields where the header has {len(columns)}")
    return field_record(position, dict(zip(columns, row)), text_field)


def _columns(source: Source) -> list[str] | None:
    """Column names that the source declares, or None where it declares none."""
    if source.kind in ("parquet", "dataset"):
        return list(read_schema(source).names)
    if source.path == STDIN:
        return None
    with _open(source) as stream:
        if source.kind not in ("csv", "tsv"):
            return None
        header = next(table_reader(stream, tabs=source.kind == "tsv"), None)
    return None if header is None else _unique(header)


def _reject_bytes(position: int, raw: bytes, error: UnicodeDecodeError) -> Rejected:
    reason = f"byte {error.start + 1} of the record is 0x{raw[error.start]:02x}"
    return reject(position, "S520", raw.decode("utf-8", "backslashreplace"), reason=reason)


def _unreadable() -> tuple[type[Exception], ...]:
    """What the readers raise when they cannot go on."""
    errors = (OSError, csv.Error, *damage_errors())
    return (*errors, sys.modules["pyarrow"].ArrowInvalid) if "pyarrow" in sys.modules else errors


def _is_damage(error: Exception) -> bool:
    """Whether an error lies in the data: what the operating system reports carries a number."""
    return not (isinstance(error, OSError) and error.errno is not None)


def _reason(error: Exception) -> str:
    """First line of an error's message, or its type where it has none."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().split("\n")[0] or type(error).__name__


# Those that can begin at a place.
LINES = {"txt": _read_txt, "jsonl": _read_jsonl}
READERS = {
    **LINES,
    "csv": _read_table,
    "tsv": _read_table,
    "parquet": read_parquet,
    "dataset": read_dataset,
    "docbin": read_docbin,
}
