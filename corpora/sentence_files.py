"""Rows of the files that sentence sets come in, and the names that sets are asked for by."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import Errors, first_line
from .files import numbered_lines
from .strict_parsing import SURROGATE, parse_json

__all__ = ["check_folder", "check_known", "family_of", "is_asked", "json_rows", "tsv_columns", "tsv_rows"]


def tsv_rows(path: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table without quotes, plain or compressed.

    path (Path): The file, UTF-8; fields are parted by tabs.
    width (int): Least number of fields of a row; none of them is blank.
    YIELDS (tuple[int, list[str]]): Line number, from 1, and all fields.
    RAISES (OSError): S841 when there is no such file.
    RAISES (ValueError): S842 for a row that is too short or has a blank field, S207 and S208 as `numbered_lines`.
    """
    for number, line in _lines(path):
        fields = line.split("\t")
        if len(fields) < width or not all(field.strip() for field in fields[:width]):
            reason = f"{width} fields with text were expected, parted by tabs"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))
        yield number, fields


def tsv_columns(path: Path, *required: str) -> dict[str, list[str]]:
    """The columns of a table whose first row names them.

    path (Path): The file, UTF-8.
    required (str): Names that have to be there.
    RETURNS (dict[str, list[str]]): Values by name.
    RAISES (OSError): S841 when there is no such file.
    RAISES (ValueError): S842 for a row with more or fewer fields than names, or when a required name is missing.
    """
    columns: dict[str, list[str]] = {}
    for number, fields in tsv_rows(path, len(required)):
        if number == 1:
            columns = {name: [] for name in fields}
            check_keys(columns, dict.fromkeys(required, list), path, number)
        elif len(fields) != len(columns):
            reason = f"{len(fields)} fields under {len(columns)} headings"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))
        else:
            for name, value in zip(columns, fields):
                columns[name].append(value)
    return columns


def json_rows(path: Path, **required: type) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, plain or compressed.

    path (Path): The file, UTF-8.
    required (type): Keys that every object has to have, and what they hold.
    YIELDS (tuple[int, dict[str, Any]]): Line number, from 1, and object.
    RAISES (OSError): S841 when there is no such file.
    RAISES (ValueError): S842 for a line that is no such object, S207 and S208 as `numbered_lines`.
    """
    for number, line in _lines(path):
        try:
            row = parse_json(line)
        except ValueError as err:
            reason = f"not JSON: {getattr(err, 'msg', None) or first_line(err)}"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason)) from None
        if "\\u" in line and SURROGATE.search(json.dumps(row, ensure_ascii=False)):
            reason = "half of a surrogate pair, which no UTF-8 file can hold"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))
        if not isinstance(row, dict):
            raise ValueError(Errors.S842.format(path=path, line=number, reason="not a JSON object"))
        check_keys(row, required, path, number)
        yield number, row


def check_keys(row: Mapping[str, Any], required: Mapping[str, type], path: Path, number: int) -> None:
    """Refuse a row that lacks something.

    row (Mapping[str, Any]): The row.
    required (Mapping[str, type]): Keys that have to be there, and what they hold.
    path (Path): Where the row is from.
    number (int): Its line.
    RAISES (ValueError): S842 for the first key that is missing or holds something else.
    """
    for key, kind in required.items():
        if not isinstance(row.get(key), kind):
            reason = f"no {kind.__name__} under {key!r}"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))


def family_of(name: str) -> str:
    """The family of a set: what comes before the slash of its name.

    name (str): Such as "stsb-multi/zh", or "sick", which is a family of its own.
    RETURNS (str): The family.
    """
    return name.partition("/")[0]


def is_asked(name: str, names: Collection[str] | None) -> bool:
    """Whether a set was asked for.

    name (str): Name of the set.
    names (Optional[Collection[str]]): Names of sets and of families; None asks for all.
    RETURNS (bool): Whether its name or its family is among them.
    """
    return names is None or name in names or family_of(name) in names


def check_known(names: Collection[str], known: Collection[str]) -> None:
    """Refuse names that nothing has.

    names (Collection[str]): Names of sets or of families.
    known (Collection[str]): All that there are.
    RAISES (ValueError): S843 for the first name that is not known.
    """
    for name in names:
        if name not in known:
            raise ValueError(Errors.S843.format(name=name, known=", ".join(known)))


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there.

    folder (Path): The folder of corpora.
    RAISES (OSError): S840 when there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(Errors.S840.format(folder=folder))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise FileNotFoundError(Errors.S841.format(path=path))
    number = 0
    for number, line in numbered_lines(path):
        yield number, line
    if not number:
        raise ValueError(Errors.S842.format(path=path, line=1, reason="the file is empty"))
