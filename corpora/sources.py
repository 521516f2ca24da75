"""Converters from the formats in which public corpora are kept to records."""

from __future__ import annotations

import ast
import json
import zipfile
from collections.abc import Iterator
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import Errors
from .conll import read_conll
from .files import numbered_lines

__all__ = ["read_source"]

Record = dict[str, Any]


def read_source(path: Path, *, format: str, **settings: Any) -> Iterator[Record]:
    """Stream the records of a file in its publisher's format.

    path (Path): The file.
    format (str): "conll", "spans-by-label" (CLUENER's JSON lines) or "character-tsv" (a zip of tables with a
        text of separated characters and a list of spans).
    settings (Any): Settings of the reader: for "conll" those of `read_conll`, for "character-tsv" the
        `member` of the zip file and, where labels have other names, `renamed`.
    YIELDS (Dict[str, Any]): Records with `text`, `spans` and, for "conll", `tokens`.
    RAISES (ValueError): S209 or S226 with file and line for a broken line.
    """
    return _READERS[format](path, **settings)


def _read_spans_by_label(path: Path) -> Iterator[Record]:
    """Each line {"text", "label": {label: {words: [[first, last], ...]}}}, last character inclusive."""
    for number, line in numbered_lines(path):
        try:
            source = json.loads(line)
            text = source["text"]
            spans = [
                {"start": first, "end": last + 1, "label": label}
                for label, by_words in source["label"].items()
                for bounds in by_words.values()
                for first, last in bounds
            ]
        except (ValueError, KeyError, AttributeError, TypeError) as err:
            message = Errors.S226.format(path=path, line=number, format="spans-by-label", reason=err)
            raise ValueError(message) from None
        yield {"text": text, "spans": sorted(spans, key=_by_offset)}


def _read_character_tsv(path: Path, *, member: str, renamed: dict[str, str] | None = None) -> Iterator[Record]:
    """Each line characters separated by blanks, a tab, and [(label, first, last), ...], last inclusive."""
    renamed = renamed or {}
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        lines = TextIOWrapper(file, encoding="utf-8", newline="\n")
        next(lines, None)
        for number, line in enumerate(lines, start=2):
            try:
                characters, listed = line.rstrip("\r\n").split("\t")
                spans = [
                    {"start": first, "end": last + 1, "label": renamed.get(label, label)}
                    for label, first, last in ast.literal_eval(listed)
                ]
            except (ValueError, SyntaxError, TypeError) as err:
                message = Errors.S226.format(path=f"{path}/{member}", line=number, format="character-tsv", reason=err)
                raise ValueError(message) from None
            yield {"text": "".join(characters.split(" ")), "spans": sorted(spans, key=_by_offset)}


def _by_offset(span: Record) -> tuple[int, int, str]:
    return span["start"], -span["end"], span["label"]


_READERS = {
    "conll": partial(read_conll, strip_marks=True),
    "spans-by-label": _read_spans_by_label,
    "character-tsv": _read_character_tsv,
}
