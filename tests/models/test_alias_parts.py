"""Words of names and what they may be shortened to."""

from __future__ import annotations

import pytest
from samarkand.models import alias_parts
from samarkand.models.alias_parts import acronyms, filed_under, head_key, name_words, rarity
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
    assert filed_under("paristexas", {"Paris, Texas"}) == {"paris", "texas", ".pt", ",paris"}


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("Paris, Texas", "paris"),
        ("Ada (opera)", "ada"),
        ("القاهرة، مصر", "القاهره"),
        ("巴黎（德克萨斯）", "巴黎"),
        ("Paris", ""),
        ("Paris ,", ""),
        (", Texas", ""),
        ("A, B", ""),
    ],
)
def test_heads(text, head):
    assert head_key(text) == head


def test_a_word_of_half_as_many_names_tells_one_more():
    found = [rarity("word", keys) for keys in (0, 1, 2, 4, alias_parts.COMMON, 10**9)]
    assert found == [15, 14, 13, 12, 1, 1]
    assert rarity("w", 0) == 1


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("Sony Corporation", "sony"),
        ("U.S. Coast Guard", "uscg"),
        ("J.B. Priestley", "priestley"),
        ("B.J. Priestley", None),
        ("Conn.", "conn"),
        ("Conn", None),
        ("Curaçao", "curacao"),
        ("Delphi, Indiana", "delphi"),
        ("Springfield", "springfield"),
    ],
)
def test_what_a_name_is_found_by(tmp_path, text, id):
    names = {
        "sony": "Sony",
        "uscg": "United States Coast Guard",
        "priestley": "John Boynton Priestley",
        "conn": "Connecticut",
        "curacao": "Curacao",
        "delphi": "Delphi",
        "springfield": "Springfield, Ohio",
    }
    others = ("Acme Corporation", "Coast Guard One", "Priestley Cliffs", "Indiana River", "Springfield Roads")
    names |= {f"{name} {i}": f"{name} {'x' * i}" for name in others for i in range(1, 30)}
    with build_knowledge_base(tmp_path / "k.kb", (Entity(id, names={"en": name}) for id, name in names.items())) as kb:
        found = [each.id for each in kb.candidates(text, 3)]
        assert (found[0] == id) if id else not set(found) & {"priestley", "conn"}


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
