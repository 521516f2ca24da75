"""Sizes of memory, as people write them."""

from __future__ import annotations

import re

from ..errors import Errors

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_size(size: float | str) -> int:
    """Bytes of a size such as 8589934592, 8e9, "8GiB", "512 MB" or "1.5 GiB".

    size (Union[float, str]): The size.
    RETURNS (int): Bytes.
    RAISES (ValueError): S751 for anything else.
    """
    if isinstance(size, int | float) and size >= 0 and float(size).is_integer():
        return int(size)
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if not match or match[2].lower() not in _UNITS:
        raise ValueError(Errors.S751.format(size=size))
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_size(size: float) -> str:
    """A size in the unit that leaves it at least 1, such as "1.50 GiB".

    size (float): Bytes.
    RETURNS (str): The size.
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    raise AssertionError
