"""Words of names and what they may be shortened to."""

from __future__ import annotations

import pytest
from samarkand.models import alias_parts
from samarkand.models.alias_parts import acronyms, filed_under, name_words
from samarkand.models.knowledge_base import Entity, build_knowledge_base


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Pablo Neruda", ["pablo", "neruda"]),
        ("Obama's", ["obama", "s"]),
        ("@BarackObama #eu", ["barack", "obama", "eu"]),
        ("Jean-Paul Zürich", ["jean", "paul", "zurich"]),
        ("迈克尔·乔丹", ["迈克尔", "乔丹"]),
        ("جامعة القاهرة", ["جامعه", "قاهره"]),
        ("U.S .", ["u", "s"]),
        ("ال", ["ال"]),
        ("\u200b \ud800", []),
        ("!!!", []),
    ],
)
def test_words(text, words):
    assert name_words(text) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("American Machine and Foundry", {"amaf", "amf"}),
        ("New York", {"ny"}),
        ("all in small letters", set()),
        ("One", set()),
        (" ".join("ABCDEFGHI"), set()),
    ],
)
def test_acronyms(text, found):
    assert acronyms(text) == found


def test_one_plain_word_is_not_in_the_index():
    assert filed_under("paris", {"Paris", "PARIS"}) == set()
    assert filed_under("zürich", {"Zürich"}) == {"zurich"}
    assert filed_under("newyork", {"New York", "newyork"}) == {"new", "york", ".ny"}


def test_words_of_very_many_names_are_looked_at_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(alias_parts, "COMMON", 2)
    known = [Entity(f"Q{i}", names={"en": f"River {name}"}) for i, name in enumerate(("Elbe", "Oder", "Saale"))]
    with build_knowledge_base(tmp_path / "k.kb", known) as kb:
        assert {each.id for each in kb.candidates("River")} == {"Q0", "Q1", "Q2"}
        assert [each.id for each in kb.candidates("River of Oder")] == ["Q1"]


def test_no_more_parts_than_a_search_has(tmp_path):
    known = [Entity(f"Q{i}", names={"en": f"Ada {'x' * i}"}) for i in range(1, alias_parts.PARTS + 9)]
    with build_knowledge_base(tmp_path / "k.kb", known) as kb:
        found = kb.candidates("Ada", k=len(known))
        assert [each.id for each in found[:3]] == ["Q1", "Q2", "Q3"]
        assert len(found) <= alias_parts.PARTS
        assert sum(each.prior for each in found if each.match == "part") == pytest.approx(1)
