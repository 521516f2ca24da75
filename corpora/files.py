"""Opening corpus files, plain or compressed."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from ..compression import COMPRESSIONS, damage_errors, open_compressed
from ..errors import Errors

__all__ = ["create_text", "numbered_bytes", "numbered_lines", "stem_suffix"]


def stem_suffix(path: Path) -> str:
    """The suffix that names a file's format, compression aside.

    path (Path): For instance train.jsonl.xz.
    RETURNS (str): For instance "jsonl", in lower case.
    """
    path = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return path.suffix.lower().removeprefix(".")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file through the compression that its suffix names, without their ends.

    Lines end at "\\n" or "\\r\\n" alone, as in JSONL: U+2028 and the like stay in the text.

    path (Path): The file.
    YIELDS (Tuple[int, str]): Line number, from 1, and line.
    RAISES (ValueError): S207 for bytes that are not UTF-8, S208 for a damaged compressed file.
    """
    for number, raw in numbered_bytes(path):
        # Decoding line by line, not by buffer, is what makes the line number of an error right.
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as err:
            raise ValueError(Errors.S207.format(path=path, line=number, reason=err.reason)) from None


def numbered_bytes(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file through the compression that its suffix names, with their ends.

    path (Path): The file.
    YIELDS (Tuple[int, bytes]): Line number, from 1, and line.
    RAISES (ValueError): S208 for a damaged compressed file.
    """
    number = 0
    try:
        with open_compressed(str(path), path.suffix.lower().removeprefix(".")) as file:
            for raw in file:
                number += 1
                yield number, raw
    except damage_errors() as err:
        raise ValueError(Errors.S208.format(path=path, line=number + 1, reason=err)) from None


def create_text(path: Path) -> TextIO:
    """Open a UTF-8 text file for writing, through the compression that its suffix names.

    path (Path): The file.
    RETURNS (TextIO): The stream; the caller closes it.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return TextIOWrapper(gzip.open(path, "wb"), encoding="utf-8", newline="\n")
    if suffix == ".xz":
        return TextIOWrapper(lzma.open(path, "wb"), encoding="utf-8", newline="\n")
    if suffix == ".zst":
        import zstandard

        return zstandard.open(path, "wt", encoding="utf-8", newline="\n")
    return path.open("w", encoding="utf-8", newline="\n")
