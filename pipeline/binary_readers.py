"""Reading Parquet files, saved `datasets` folders and DocBins as streams of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..compression import open_compressed
from ..corpora.arrow_tables import (
    dataset_tables,
    open_datasets,
    open_parquet,
    parquet_tables,
    row_bytes,
    table_rows,
)
from ..errors import first_line
from .records import ReadOptions, Record, Rejected, Unread, field_record, make_record, reject
from .sources import Source

if TYPE_CHECKING:
    import pyarrow
    from spacy.tokens import Doc


def read_parquet(source: Source, options: ReadOptions) -> Iterator[Unread]:
    """Stream the rows of a Parquet file, some at a time.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Unread): The rows.
    """
    with open_parquet(source.path, source.compression) as file:
        yield from _arrow_records(parquet_tables(file), options.text_field)


def read_dataset(source: Source, options: ReadOptions) -> Iterator[Unread]:
    """Stream the rows of a folder written by `save_to_disk`, which stays mapped from disk.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Unread): The rows.
    """
    yield from _arrow_records(dataset_tables(open_datasets(source.path)[source.split]), options.text_field)


def read_docbin(source: Source, options: ReadOptions) -> Iterator[Unread]:
    """Stream the documents of a DocBin with their tokens and annotations.

    source (Source): Where to read.
    options (ReadOptions): Not used: a document has its text.
    YIELDS (Unread): The documents; string keys of `doc.user_data` are their fields.
    RAISES (EOFError): When the file is not a DocBin or is damaged.
    """
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    with open_compressed(source.path, source.compression) as stream:
        packed = stream.read()
    try:
        documents = DocBin().from_bytes(packed).get_docs(Vocab())
        del packed
        for position, doc in enumerate(documents, 1):
            text = doc.text
            yield Unread(position, len(text), partial(_doc_record, position, text, doc))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EOFError(f"not a DocBin ({error})") from error


def read_schema(source: Source) -> pyarrow.Schema:
    """Columns that a Parquet file or a saved dataset declares.

    source (Source): Where to read.
    RETURNS (pyarrow.Schema): Names and types.
    """
    if source.kind == "dataset":
        return open_datasets(source.path)[source.split].features.arrow_schema
    with open_parquet(source.path, source.compression) as file:
        return file.schema_arrow


def _doc_record(position: int, text: str, doc: Doc) -> Record | Rejected:
    fields = {key: value for key, value in doc.user_data.items() if isinstance(key, str)}
    try:
        return make_record(position, text, fields, doc.to_bytes())
    except KeyError as error:  # the file has a hash in it, and not its string
        return reject(position, "S535", {**fields, "text": text}, reason=first_line(error))


def _arrow_records(tables: Iterable[pyarrow.Table | pyarrow.RecordBatch], text_field: str) -> Iterator[Unread]:
    position = 0
    for table in tables:
        rows = _Rows(table)
        for index, size in enumerate(row_bytes(table)):
            position += 1
            yield Unread(position, size, partial(_row_record, position, rows, index, text_field))


class _Rows:
    """Rows of a table, made into plain values when the first of them is asked for."""

    def __init__(self, table: pyarrow.Table | pyarrow.RecordBatch) -> None:
        self._table = table
        self._rows: list[dict[str, Any] | UnicodeDecodeError] | None = None

    def __getitem__(self, index: int) -> dict[str, Any] | UnicodeDecodeError:
        if self._rows is None:
            self._rows = list(table_rows(self._table))
        return self._rows[index]


def _row_record(position: int, rows: _Rows, index: int, text_field: str) -> Record | Rejected:
    row = rows[index]
    if isinstance(row, UnicodeDecodeError):
        return reject(position, "S520", reason=row)
    return field_record(position, row, text_field)
