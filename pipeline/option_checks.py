"""Refusing values of options that no run can use, before anything is read or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..replacing import file_in_the_way
from .sources import UsageError

TXT_UNITS = ("line", "file")


@dataclass(frozen=True)
class Check:
    """The value of an option, judged.

    value (Any): The value.
    valid (bool): Whether it can be used.
    expected (str): What it must be.
    """

    value: Any
    valid: bool
    expected: str


def one_of(value: str, known: Iterable[str]) -> Check:
    """RETURNS (Check): Whether a value is among those that are known."""
    known = list(known)
    return Check(value, value in known, f"one of {', '.join(known)}")


def at_least_one(value: int | None) -> Check:
    """RETURNS (Check): Whether a number is 1 or more, or left out."""
    return Check(value, value is None or value >= 1, "1 or more")


def check_options(**options: Check) -> None:
    """Refuse the first value that cannot be used.

    options (Check): By the names of the options.
    RAISES (UsageError): S507.
    """
    for name, check in options.items():
        if not check.valid:
            raise UsageError(Errors.S507.format(name=name, value=check.value, expected=check.expected))


def check_folder(output: str | Path) -> None:
    """Refuse a file where a folder is to be written.

    output (str | Path): The folder.
    RAISES (UsageError): S516.
    """
    if found := file_in_the_way(Path(output)):
        raise UsageError(Errors.S516.format(path=found))
