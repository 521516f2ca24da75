"""Conditions on the metadata of records, as SQL with bound parameters."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ..errors import Errors

# A condition such as {"lang": "ar", "year": {">=": 2020, "<": 2024}, "topic": ["law", "press"], "draft": None}.
Filter = Mapping[str, Any]
COMPARISONS = ("<", "<=", ">", ">=", "!=")
_SURROGATE = re.compile("[\ud800-\udfff]")
_VALUE = "json_extract(metadata, ?)"


def filter_sql(conditions: Filter) -> tuple[str, list[Any]]:
    """Say conditions in SQL. All of them have to hold.

    A value asks for that value, a list for any of its values, None for a field that is absent or null, and a mapping
    compares: {">=": 2020}. Text is compared with text and numbers with numbers: "2020" is not 2020. `!=` and the
    others ask for a field that is there.

    conditions (Filter): Conditions by name of a field.
    RETURNS (tuple[str, list[Any]]): The condition on a row of `records`, and its parameters.
    RAISES (ValueError): S832 for anything else.
    """
    clauses, parameters = ["1"], []
    if not isinstance(conditions, Mapping):
        raise _bad(conditions, "it has to be a mapping of fields")
    for name, wanted in conditions.items():
        path = _path(name)
        for clause, values in _clauses(name, wanted):
            clauses.append(clause)
            parameters += [path, *values]
    return " AND ".join(clauses), parameters


def _clauses(name: str, wanted: Any) -> list[tuple[str, list[Any]]]:
    if wanted is None:
        return [(f"{_VALUE} IS NULL", [])]
    if isinstance(wanted, (list, tuple, set, frozenset)):
        values = json.dumps([_scalar(name, value) for value in wanted])
        return [(f"{_VALUE} IN (SELECT value FROM json_each(?))", [values])]
    if not isinstance(wanted, Mapping):
        return [(f"{_VALUE} = ?", [_scalar(name, wanted)])]
    clauses = []
    for comparison, value in wanted.items():
        if comparison not in COMPARISONS:
            raise _bad({name: wanted}, f"{comparison!r} is none of {', '.join(COMPARISONS)}")
        value = _scalar(name, value)
        # SQLite puts every text after every number; here neither is before the other.
        same = "('text')" if isinstance(value, str) else "('integer', 'real', 'true', 'false')"
        kind = "" if comparison == "!=" else f" AND json_type(metadata, ?) IN {same}"
        clauses.append((f"{_VALUE} {comparison} ?" + kind, [value, *([_path(name)] if kind else [])]))
    return clauses


def _path(name: Any) -> str:
    if not isinstance(name, str) or not is_unicode(name) or '"' in name or "\\" in name or min(name, default="a") < " ":
        raise _bad(name, "a field is named by a text without quotes, backslashes or control characters")
    return f'$."{name}"'


def _scalar(name: str, value: Any) -> str | int | float:
    if not is_scalar(value):
        raise _bad({name: value}, "values are texts, finite numbers, whole ones of 64 bits at most, true or false")
    return value


def is_scalar(value: Any) -> bool:
    """Whether a field can be compared with a value.

    value (Any): The value.
    RETURNS (bool): True for texts, finite numbers, of the whole ones those of 64 bits, and truth values.
    """
    if isinstance(value, str):
        return is_unicode(value)
    # SQLite knows no longer whole numbers.
    return abs(value) < 2**63 if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)


def is_unicode(text: str) -> bool:
    """Whether a text can be stored.

    text (str): The text.
    RETURNS (bool): False when it has half of a surrogate pair.
    """
    return text.isascii() or _SURROGATE.search(text) is None


def _bad(found: Any, reason: str) -> ValueError:
    return ValueError(Errors.S832.format(found=found, reason=reason))
