"""Raw documents out of files: text of one a line, Parquet, and folders of `datasets`."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ..compression import COMPRESSIONS
from ..errors import Errors, first_line
from ..models.transliteration import Transliterator
from .arrow_tables import dataset_tables, open_datasets, open_parquet, parquet_tables, table_rows
from .files import numbered_lines, stem_suffix


@dataclass(frozen=True)
class TextSource:
    """Files of raw text.

    path (str): File, folder of `datasets`, or glob; environment variables are filled in.
    exclude (str): Names to leave out, as a glob; empty for none.
    language (str): Code of their language; empty to take a file's name up to its first dot or underscore.
    column (str): Column of the text in Parquet and `datasets`.
    tables (dict[str, str]): Tables to transliterate its text by, by script, as in `Transliterator`; empty for none.
    licence (str): Its terms, for the card of what is trained on it; empty when they are not stated.
    RAISES (ValueError): S640 to S642 for tables that cannot be used.
    RAISES (ImportError): S644 when ICU is asked for and not installed.
    """

    path: str
    exclude: str = ""
    language: str = ""
    column: str = "text"
    tables: dict[str, str] = field(default_factory=dict)
    licence: str = ""

    def __post_init__(self) -> None:
        # A table that cannot be used is told of before any text is read.
        Transliterator(self.tables)


@dataclass(frozen=True)
class TextGroup:
    """One file or folder, whose share of the batches can be set.

    name (str): The file's name up to its first dot.
    language (str): Code of the language.
    path (Path): The file or folder.
    column (str): Column of the text.
    tables (dict[str, str]): Tables of transliteration by script.
    licence (str): Its terms; empty when they are not stated.
    """

    name: str
    language: str
    path: Path
    column: str
    tables: dict[str, str]
    licence: str


def find_groups(sources: list[TextSource]) -> list[TextGroup]:
    """The files of sources, sorted in each source.

    sources (list[TextSource]): The sources.
    RETURNS (list[TextGroup]): The files, each once.
    RAISES (ValueError): S733 for a source without files, or for two files of one name.
    """
    groups: dict[str, TextGroup] = {}
    for source in sources:
        paths = find_paths(source.path)
        paths = [path for path in paths if not source.exclude or not fnmatch.fnmatch(path.name, source.exclude)]
        if not paths:
            raise ValueError(Errors.S733.format(path=source.path, reason="nothing is there"))
        for path in paths:
            name = path.name.split(".")[0]
            if name in groups:
                raise ValueError(Errors.S733.format(path=path, reason=f"{groups[name].path} has its name"))
            language = source.language or name.split("_")[0]
            groups[name] = TextGroup(name, language, path, source.column, source.tables, source.licence)
    return list(groups.values())


def find_paths(pattern: str) -> list[Path]:
    """Files and folders that a pattern stands for.

    pattern (str): File, folder or glob; environment variables are filled in.
    RETURNS (list[Path]): What is there, sorted.
    """
    return [Path(found) for found in sorted(glob.glob(os.path.expandvars(pattern)))]


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """The documents of a file, as a stream.

    path (Path): Lines of text, plain or compressed; Parquet; or a folder of `datasets`.
    column (str): Column of the text in Parquet and `datasets`.
    YIELDS (str): A document.
    RAISES (ValueError): S734 for what cannot be read or has no such column, S207 and S208 for damaged text.
    """
    if path.is_dir() or stem_suffix(path) == "parquet":
        yield from _table_texts(path, column)
    elif stem_suffix(path) == "txt":
        for _, line in numbered_lines(path):
            yield line
    else:
        known = f"a known ending: .txt (or with {', '.join(COMPRESSIONS)}), .parquet, or a folder of `datasets`"
        raise ValueError(Errors.S734.format(path=path, reason=f"it lacks {known}"))


def _table_texts(path: Path, column: str) -> Iterator[str]:
    try:
        for columns, tables in _tables(path, column):
            if column not in columns:
                raise ValueError(f"no column {column!r} among {', '.join(columns)}")
            for row in chain.from_iterable(map(table_rows, tables)):
                if isinstance(row, UnicodeDecodeError):
                    raise row
                text = row[column]
                if not isinstance(text, str | None):
                    raise ValueError(f"column {column!r} is not text, but {type(text).__name__}")
                if text:
                    yield text
    except (OSError, ValueError) as err:  # Arrow's errors are among these.
        raise ValueError(Errors.S734.format(path=path, reason=first_line(err))) from None


def _tables(path: Path, column: str) -> Iterator[tuple[list[str], Iterator[Any]]]:
    """Names of columns, and a stream of tables, of each split."""
    if path.is_dir():
        for dataset in open_datasets(str(path)).values():
            found = dataset.column_names
            yield found, dataset_tables(dataset.select_columns(column) if column in found else dataset)
    else:
        with open_parquet(str(path), COMPRESSIONS.get(path.suffix.lower(), "")) as file:
            yield file.schema_arrow.names, parquet_tables(file, [column])
