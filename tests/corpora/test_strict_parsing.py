"""JSON without guesses: what is nested too deep is refused, wherever it is read from."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.strict_parsing import DEEPEST, parse_json

VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3),
)


def depth_of(value):
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(VALUES, st.integers(0, 5))
@settings(deadline=None)
def test_depth_is_that_of_the_value(value, deepest):
    text = json.dumps(value)
    if depth_of(value) <= deepest:
        assert parse_json(text, deepest=deepest) == value
    else:
        with pytest.raises(ValueError, match=f"more than {deepest} deep"):
            parse_json(text, deepest=deepest)


def called_deep(calls, text):
    return called_deep(calls - 1, text) if calls else parse_json(text)


@pytest.mark.parametrize("text", ["[" * 900, "[" * 900 + "]" * 900, '{"a":' * 300 + "0" + "}" * 300, '"' + "[" * 900])
def test_outcome_does_not_depend_on_the_caller(text):
    told = []
    for calls in (0, 300, 600):
        with pytest.raises(ValueError, match=r"deep|Unterminated") as stop:
            called_deep(calls, text)
        told.append(str(stop.value))
    assert len(set(told)) == 1


def test_deepest_is_read_and_brackets_in_strings_are_none():
    for text in ("[" * DEEPEST + "]" * DEEPEST, json.dumps(["[" * 999, '"' + "{" * 999])):
        assert parse_json(text) == json.loads(text)
