"""Parquet files and saved `datasets` folders as streams of Arrow tables, and the rows of these."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compression import open_compressed

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset
    from pyarrow.parquet import ParquetFile

ROWS_A_READ = 1000
# Bytes of rows that are fewer than those, going by their mean.
BYTES_A_READ = 16 * 2**20


def open_parquet(path: str, compression: str = "") -> ParquetFile:
    """Open a Parquet file.

    path (str): The file.
    compression (str): As `open_compressed` has it.
    RETURNS (ParquetFile): It; the caller closes it.
    """
    from pyarrow.parquet import ParquetFile

    if not compression:
        return ParquetFile(path)
    # Parquet is read from its end: unpack a compressed one to disk rather than to memory.
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115
    with open_compressed(path, compression) as stream:
        shutil.copyfileobj(stream, unpacked)
    unpacked.seek(0)
    return ParquetFile(unpacked)


def open_datasets(path: str) -> dict[str, Dataset]:
    """Open a folder written by `save_to_disk`, which stays mapped from disk.

    path (str): The folder.
    RETURNS (dict[str, Dataset]): Its splits by name; one without a split has the name "".
    """
    from datasets import Dataset, load_from_disk

    loaded = load_from_disk(path)
    return {"": loaded} if isinstance(loaded, Dataset) else dict(loaded)


def parquet_tables(file: ParquetFile, columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """Rows of a Parquet file, some at a time.

    file (ParquetFile): The file.
    columns (Optional[Sequence[str]]): Which columns; all by default.
    YIELDS (RecordBatch): Rows.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    longest = max((group.total_byte_size / group.num_rows for group in groups if group.num_rows), default=0)
    yield from file.iter_batches(batch_size=_rows_a_read(longest), columns=columns)


def dataset_tables(dataset: Dataset) -> Iterator[pyarrow.Table]:
    """Rows of a dataset, some at a time, as the plain values they are: images and audio are not decoded.

    dataset (Dataset): The dataset.
    YIELDS (Table): Rows.
    """
    mean = dataset.data.nbytes / max(1, dataset.data.num_rows)
    yield from dataset.with_format("arrow").iter(batch_size=_rows_a_read(mean))


def _rows_a_read(row_bytes: float) -> int:
    return max(1, min(ROWS_A_READ, int(BYTES_A_READ / max(1, row_bytes))))


def row_bytes(table: pyarrow.Table | pyarrow.RecordBatch) -> list[int]:
    """About the bytes of each row: those of its strings, and the mean of what else there is.

    table (Table or RecordBatch): The rows.
    RETURNS (list[int]): The bytes.
    """
    import pyarrow
    import pyarrow.compute

    sizes = np.zeros(table.num_rows, dtype=np.int64)
    rest = table.nbytes
    for column in table.columns:
        if column.type in (pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.large_binary()):
            sizes += pyarrow.compute.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
            rest -= column.nbytes
    return (sizes + rest // max(1, table.num_rows)).tolist()


def table_rows(table: pyarrow.Table | pyarrow.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """Rows of a table as dicts.

    table (Table or RecordBatch): The table.
    YIELDS (dict or UnicodeDecodeError): A row, or what is wrong with it.
    """
    try:
        yield from table.to_pylist()
    except UnicodeDecodeError:
        for index in range(table.num_rows):
            try:
                yield table.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error
