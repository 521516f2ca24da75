"""Numbers as they are written: few digits, the same in every file."""

from __future__ import annotations

from typing import Any

DIGITS = 6


def rounded(value: Any) -> Any:
    """RETURNS (Any): The value, with the floats in its dicts and lists rounded."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value
