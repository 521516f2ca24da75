"""Filters as SQL agree with the same conditions in Python."""

from __future__ import annotations

import json
import operator
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.record_filter import filter_sql

SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "!=": operator.ne}
NAMES = st.sampled_from(["lang", "year", "a.b", "كلمة", "x y", "'; DROP TABLE records; --"])
VALUES = st.sampled_from(["ar", "zh", "", "2020", "'", 0, 1, 2020, -1.5, 2.0, True, False])
WANTED = st.one_of(
    VALUES, st.none(), st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from(sorted(SIGNS)), VALUES, max_size=2)
)


def holds(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return value is None
    if isinstance(wanted, list):
        return value is not None and any(holds(value, one) for one in wanted)
    if isinstance(wanted, dict):
        return all(compares(value, sign, one) for sign, one in wanted.items())
    return value == wanted


def compares(value: Any, sign: str, wanted: Any) -> bool:
    if value is None:
        return False
    if isinstance(value, str) != isinstance(wanted, str):
        return sign == "!="
    return SIGNS[sign](value, wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(NAMES, st.one_of(VALUES, st.none())), max_size=5),
    st.dictionaries(NAMES, WANTED, max_size=3),
)
def test_sql_agrees_with_python(records, conditions):
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE records (row INTEGER PRIMARY KEY, metadata TEXT)")
    for row, metadata in enumerate(records):
        db.execute(
            "INSERT INTO records VALUES (?, ?)", (row, json.dumps(metadata, ensure_ascii=False) if metadata else None)
        )
    clause, parameters = filter_sql(conditions)
    found = [row for (row,) in db.execute(f"SELECT row FROM records WHERE {clause} ORDER BY row", parameters)]
    db.close()
    wanted = [
        row
        for row, metadata in enumerate(records)
        if all(holds(metadata.get(name), one) for name, one in conditions.items())
    ]
    assert found == wanted


def test_values_of_the_user_are_never_part_of_the_sql():
    clause, parameters = filter_sql({"x' OR 1 --": {">=": "' OR 1"}, "y": ["a'"]})
    assert "OR" not in clause
    assert parameters[:2] == ['$."x\' OR 1 --"', "' OR 1"]


@pytest.mark.parametrize(
    "conditions",
    [
        "lang=ar",
        {"year": {"=>": 2020}},
        {"year": float("nan")},
        {"year": 2**70},
        {"year": 10**400},
        {"lang": {">=": ["a"]}},
        {"lang": [None]},
        {"lang": "\ud800"},
        {'a"b': 1},
        {"a\nb": 1},
        {3: 1},
    ],
)
def test_what_is_no_filter_is_refused(conditions):
    with pytest.raises(ValueError, match="S832"):
        filter_sql(conditions)


def test_numbers_may_be_as_large_as_floats_are():
    db = sqlite3.connect(":memory:")
    for value, wanted in ((1e30, {">": 1e20}), (-1e19, -1e19), (1e300, [1e300])):
        clause, parameters = filter_sql({"n": wanted})
        sql = f"SELECT count(*) FROM (SELECT ? AS metadata) WHERE {clause}"
        assert db.execute(sql, (json.dumps({"n": value}), *parameters)).fetchone() == (1,)
    db.close()
