"""Output in parts: compressed alike whoever does it, and joined to one file that does not depend on who did what."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .writers import GROUP_ROWS, DocBinWriter, ParquetWriter

if TYPE_CHECKING:
    import pyarrow

    from .writers import Columns

# Endings of compressed text; the other formats are compressed in themselves.
COMPRESSED = {"none": "", "gz": ".gz", "zst": ".zst"}
TEXT_FORMATS = ("jsonl", "conll")
# Bytes of all columns that end a row group before it has its number of rows.
GROUP_BYTES = 2**27


@contextmanager
def open_part(file: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    """Compress what is written, such that the same content always gives the same bytes and files can be joined.

    file (IO[bytes]): Where it goes; it stays open.
    compression (str): "gz", "zst" or "none".
    YIELDS (IO[bytes]): Where to write.
    """
    if compression == "gz":
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as part:
            yield part
    elif compression == "zst":
        import zstandard

        with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False) as part:
            yield part
    else:
        yield file


def join_bytes(parts: Iterable[Path], file: IO[bytes], columns: Columns) -> None:
    """Write one file after another.

    parts (Iterable[Path]): The files.
    file (IO[bytes]): Where they go.
    columns (None): Not used.
    """
    for part in parts:
        with open(part, "rb") as stream:
            shutil.copyfileobj(stream, file, 2**20)


def join_docbins(parts: Iterable[Path], file: IO[bytes], columns: Columns) -> None:
    """Make one DocBin of some.

    parts (Iterable[Path]): The files.
    file (IO[bytes]): Where it goes.
    columns (None): Not used.
    """
    writer = DocBinWriter(file)
    for part in parts:
        writer.write(part.read_bytes())
    writer.close()


def join_tables(parts: Iterable[Path], file: IO[bytes], columns: Columns) -> None:
    """Make one Parquet file of some, with row groups of full size.

    parts (Iterable[Path]): The files.
    file (IO[bytes]): Where it goes.
    columns (pyarrow.Schema | Mapping[str, str] | None): What they would be written with, where there are none.
    """
    import pyarrow
    import pyarrow.parquet

    writer: pyarrow.parquet.ParquetWriter | None = None
    held: list[pyarrow.Table] = []
    with ExitStack() as stack:
        for part in parts:
            with pyarrow.parquet.ParquetFile(part) as table_file:
                if writer is None:
                    schema = table_file.schema_arrow
                    writer = stack.enter_context(pyarrow.parquet.ParquetWriter(file, schema, compression="zstd"))
                held += (table_file.read_row_group(group) for group in range(table_file.num_row_groups))
            if sum(len(table) for table in held) >= GROUP_ROWS or sum(t.nbytes for t in held) >= GROUP_BYTES:
                writer.write_table(pyarrow.concat_tables(held))
                held = []
        if writer is None:
            ParquetWriter(file, columns).close()
        elif held:
            writer.write_table(pyarrow.concat_tables(held))


# What joins the parts of a format.
JOINS: dict[str, Callable[[Iterable[Path], IO[bytes], Columns], None]] = {
    "jsonl": join_bytes,
    "parquet": join_tables,
    "docbin": join_docbins,
    "conll": join_bytes,
}
