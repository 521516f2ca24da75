"""Raw documents out of files: text of one a line, Parquet, and folders of `datasets`."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..compression import COMPRESSIONS
from ..errors import Errors, first_line
from .files import numbered_lines, stem_suffix


@dataclass(frozen=True)
class TextSource:
    """Files of raw text.

    path (str): File, folder of `datasets`, or glob; environment variables are filled in.
    exclude (str): Names to leave out, as a glob; empty for none.
    language (str): Code of their language; empty to take a file's name up to its first dot or underscore.
    column (str): Column of the text in Parquet and `datasets`.
    """

    path: str
    exclude: str = ""
    language: str = ""
    column: str = "text"


@dataclass(frozen=True)
class TextGroup:
    """One file or folder, whose share of the batches can be set.

    name (str): The file's name up to its first dot.
    language (str): Code of the language.
    path (Path): The file or folder.
    column (str): Column of the text.
    """

    name: str
    language: str
    path: Path
    column: str


def find_groups(sources: list[TextSource]) -> list[TextGroup]:
    """The files of sources, sorted in each source.

    sources (list[TextSource]): The sources.
    RETURNS (list[TextGroup]): The files, each once.
    RAISES (ValueError): S733 for a source without files, or for two files of one name.
    """
    groups: dict[str, TextGroup] = {}
    for source in sources:
        paths = [Path(found) for found in sorted(glob.glob(os.path.expandvars(source.path)))]
        paths = [path for path in paths if not source.exclude or not fnmatch.fnmatch(path.name, source.exclude)]
        if not paths:
            raise ValueError(Errors.S733.format(path=source.path, reason="nothing is there"))
        for path in paths:
            name = path.name.split(".")[0]
            if name in groups:
                raise ValueError(Errors.S733.format(path=path, reason=f"{groups[name].path} has its name"))
            groups[name] = TextGroup(name, source.language or name.split("_")[0], path, source.column)
    return list(groups.values())


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """The documents of a file, as a stream.

    path (Path): Lines of text, plain or compressed; Parquet; or a folder of `datasets`.
    column (str): Column of the text in Parquet and `datasets`.
    YIELDS (str): A document.
    RAISES (ValueError): S734 for what cannot be read or has no such column, S207 and S208 for damaged text.
    """
    if path.is_dir():
        yield from _dataset_texts(path, column)
    elif stem_suffix(path) == "parquet":
        yield from _parquet_texts(path, column)
    elif stem_suffix(path) == "txt":
        for _, line in numbered_lines(path):
            yield line
    else:
        known = f"a known ending: .txt (or with {', '.join(COMPRESSIONS)}), .parquet, or a folder of `datasets`"
        raise ValueError(Errors.S734.format(path=path, reason=f"it lacks {known}"))


def _parquet_texts(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as err:
        raise ValueError(Errors.S734.format(path=path, reason=first_line(err))) from None
    _check_column(path, column, file.schema_arrow.names)
    for batch in file.iter_batches(columns=[column], batch_size=1024):
        yield from filter(None, batch.column(0).to_pylist())


def _dataset_texts(path: Path, column: str) -> Iterator[str]:
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError) as err:
        raise ValueError(Errors.S734.format(path=path, reason=first_line(err))) from None
    for dataset in [loaded] if isinstance(loaded, Dataset) else loaded.values():
        _check_column(path, column, dataset.column_names)
        for row in dataset.select_columns(column):
            if row[column]:
                yield row[column]


def _check_column(path: Path, column: str, columns: list[str]) -> None:
    if column not in columns:
        raise ValueError(Errors.S734.format(path=path, reason=f"no column {column!r} among {', '.join(columns)}"))
