"""Reading Parquet files, saved `datasets` folders and DocBins as streams of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..compression import open_compressed
from ..corpora.arrow_tables import dataset_tables, open_datasets, open_parquet, parquet_tables, table_rows
from .records import ReadOptions, Record, Rejected, field_record, kept_name, reject
from .sources import Source

if TYPE_CHECKING:
    import pyarrow


def read_parquet(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the rows of a Parquet file, some at a time.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Record | Rejected): The rows.
    """
    with open_parquet(source.path, source.compression) as file:
        yield from _arrow_records(parquet_tables(file), options.text_field)


def read_dataset(source: Source, options: ReadOptions) -> Iterator[Record | Rejected]:
    """Stream the rows of a folder written by `save_to_disk`, which stays mapped from disk.

    source (Source): Where to read.
    options (ReadOptions): Which column holds the text.
    YIELDS (Record | Rejected): The rows.
    """
    yield from _arrow_records(dataset_tables(open_datasets(source.path)[source.split]), options.text_field)


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
        return open_datasets(source.path)[source.split].features.arrow_schema
    with open_parquet(source.path, source.compression) as file:
        return file.schema_arrow


def _arrow_records(
    tables: Iterable[pyarrow.Table | pyarrow.RecordBatch], text_field: str
) -> Iterator[Record | Rejected]:
    position = 0
    for table in tables:
        for row in table_rows(table):
            position += 1
            if isinstance(row, UnicodeDecodeError):
                yield reject(position, "S520", reason=row)
            else:
                yield field_record(position, row, text_field)
