"""JSON and tables, line by line and without guesses: what is wrong costs its own line or row, and no other."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["DEEPEST", "SURROGATE", "decode_line", "parse_json", "table_reader", "table_rows"]

# Longest field of a table, in characters: what an unclosed quote may swallow before its row is given up.
MAX_FIELD = 2**24
# Levels of objects and arrays in one another. Python gives up at a depth that depends on who calls, so that the same
# record would be kept here and lost there.
DEEPEST = 200
# Brackets of JSON, and strings, of which those inside are none.
BRACKET = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
OPENS = {"[": 1, "{": 1, "]": -1, "}": -1}
# What stands for a byte that is no character, in the rows of a table.
SURROGATE = re.compile("[\ud800-\udfff]")


def decode_line(raw: bytes, number: int) -> str:
    """A line as text.

    raw (bytes): The line.
    number (int): Where it stands, from 1; the first may begin with a byte order mark.
    RETURNS (str): The text.
    RAISES (UnicodeDecodeError): When it is not UTF-8.
    """
    return raw.decode("utf-8-sig" if number == 1 else "utf-8")


def parse_json(text: str, *, deepest: int = DEEPEST) -> Any:
    """A JSON value; NaN and infinities, which Python takes for JSON, are none.

    text (str): The JSON.
    deepest (int): Most levels of objects and arrays in one another.
    RETURNS (Any): The value.
    RAISES (ValueError): When it is no JSON, or nested too deep.
    """
    if text.count("[") + text.count("{") > deepest and _is_deeper(text, deepest):
        raise ValueError(f"objects and arrays lie in one another more than {deepest} deep")
    return json.loads(text, parse_constant=_refuse_constant)


def table_reader(lines: Iterable[bytes], *, tabs: bool) -> Any:
    """A csv reader over bytes; what is not UTF-8 is escaped (see `SURROGATE`), so that only its own row is lost.

    lines (Iterable[bytes]): The lines.
    tabs (bool): Whether tabs part the cells, and not commas.
    RETURNS (csv.reader): The reader.
    """
    csv.field_size_limit(MAX_FIELD)
    decoded = (line.decode("utf-8", "surrogateescape") for line in lines)
    return csv.reader(_without_mark(decoded), delimiter="\t" if tabs else ",", strict=True)


def table_rows(reader: Any) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The rows that are left in a table.

    reader (csv.reader): What `table_reader` gave.
    YIELDS (tuple[int, list[str] | csv.Error]): The line a row begins on, from 1; its cells or what is wrong.
    """
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error


def _is_deeper(text: str, deepest: int) -> bool:
    depth = 0
    for match in BRACKET.finditer(text):
        depth += OPENS.get(match[0], 0)
        if depth > deepest:
            return True
    return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line.removeprefix("\ufeff")
        break
    yield from lines
