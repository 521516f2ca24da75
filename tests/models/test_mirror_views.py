"""Second views: what is hidden, and what never is."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.models.mirror_views import ViewSettings, hide_span

MASK = "<mask>"
SETTINGS = ViewSettings()


@given(st.text(alphabet="abé\u0301قَط😀👍🏽 ", max_size=80), st.integers())
def test_one_span_is_hidden_and_the_rest_is_kept(text, seed):
    view = hide_span(text, MASK, SETTINGS, random.Random(seed))
    if view == text:
        return
    assert view.count(MASK) == 1
    before, after = view.split(f" {MASK} ")
    assert text.startswith(before)
    assert text.endswith(after)
    hidden = text[len(before) : len(text) - len(after)]
    letters = [char for char in hidden if unicodedata.category(char) not in ("Mn", "Sk")]
    assert len(letters) == SETTINGS.span
    assert not after or unicodedata.category(after[0]) not in ("Mn", "Sk")


@pytest.mark.parametrize(
    ("text", "changes"), [("a" * 29, False), ("a" * 30, True), ("猫" * 9, False), ("猫" * 10, True)]
)
def test_short_texts_are_left_as_they_are(text, changes):
    assert (hide_span(text, MASK, SETTINGS, random.Random(0)) != text) is changes


def test_less_is_hidden_of_ideographs():
    view = hide_span("猫坐在垫子上看着窗外的鸟 ok", MASK, SETTINGS, random.Random(0))
    assert len(view) - len(f" {MASK} ") == len("猫坐在垫子上看着窗外的鸟 ok") - SETTINGS.ideograph_span


def test_the_index_is_right_when_the_hidden_text_repeats():
    text = "abcde" * 8
    found = {hide_span(text, MASK, SETTINGS, random.Random(seed)).index("<") for seed in range(200)}
    assert max(found) - min(found) > 25


def test_every_place_can_be_hidden():
    text = "abcdefghij" * 3
    places = {hide_span(text, MASK, SETTINGS, random.Random(seed)).index(" ") for seed in range(2000)}
    assert places == set(range(26))
