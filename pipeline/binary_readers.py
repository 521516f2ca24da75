"""Reading Parquet files, saved `datasets` folders and DocBins as streams of records."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..compression import open_compressed
from .records import ReadOptions, Record, Rejected, field_record, kept_name, reject
from .sources import Source

if TYPE_CHECKING:
    import pyarrow

ROWS_A_READ = 1000


def read_parquet(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the rows of a Parquet file, a row group at a time.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Record | Rejected): The rows.
    """
    with _open_parquet(source) as file:
        yield from _arrow_records(file.iter_batches(batch_size=ROWS_A_READ), options.text_field)


def read_dataset(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the rows of a folder written by `save_to_disk`, which stays mapped from disk.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Record | Rejected): The rows.
    """
    # Arrow rows are plain values: images and audio stay the bytes they are, nothing is decoded.
    tables = _load_dataset(source).with_format("arrow").iter(batch_size=ROWS_A_READ)
    yield from _arrow_records(tables, options.text_field)


def read_docbin(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the documents of a DocBin with their tokens and annotations.

    source (Source): Where to read.
    options (ReadOptions): Not used: a document has its text.
    YIELDS (Record): The documents; string keys of `doc.user_data` are their fields.
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
            fields = {kept_name(key): value for key, value in doc.user_data.items() if isinstance(key, str)}
            yield Record(position, doc.text, fields, doc.to_bytes())
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EOFError(f"not a DocBin ({error})") from error


def read_schema(source: Source) -> pyarrow.Schema:
    """Columns that a Parquet file or a saved dataset declares.

    source (Source): Where to read.
    RETURNS (pyarrow.Schema): Names and types.
    """
    if source.kind == "dataset":
        return _load_dataset(source).features.arrow_schema
    with _open_parquet(source) as file:
        return file.schema_arrow


def _open_parquet(source: Source) -> Any:
    import pyarrow.parquet

    if not source.compression:
        return pyarrow.parquet.ParquetFile(source.path)
    # Parquet is read from its end: unpack a compressed one to disk rather than to memory.
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115
    with open_compressed(source.path, source.compression) as stream:
        shutil.copyfileobj(stream, unpacked)
    unpacked.seek(0)
    return pyarrow.parquet.ParquetFile(unpacked)


def _load_dataset(source: Source) -> Any:
    import datasets

    loaded = datasets.load_from_disk(source.path)
    return loaded[source.split] if source.split else loaded


def _arrow_records(tables: Iterable[Any], text_field: str) -> Iterator[Record | Rejected]:
    position = 0
    for table in tables:
        for row in _arrow_rows(table):
            position += 1
            if isinstance(row, UnicodeDecodeError):
                yield reject(position, "S520", reason=row)
            else:
                yield field_record(position, row, text_field)


def _arrow_rows(table: Any) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    try:
        yield from table.to_pylist()
    except UnicodeDecodeError:
        for index in range(table.num_rows):
            try:
                yield table.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error
