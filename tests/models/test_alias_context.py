"""What texts say of the names in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models import knowledge_base
from samarkand.models.alias_context import IN_TEXT, MOST_PLACES, WRITTEN, NameContext, written_likeness
from samarkand.models.alias_keys import alias_key
from samarkand.models.alias_parts import MAX_RUN, MOST_SIMILAR
from samarkand.models.kb_candidates import MATCHES
from samarkand.models.knowledge_base import Entity, KnowledgeBase, build_knowledge_base


def written(text: str, name: str) -> set[str]:
    return NameContext(text).written_keys(name)


@pytest.mark.parametrize(
    ("text", "name", "keys"),
    [
        ("Ada Byron came. Byron left", "Byron", {"adabyron"}),
        ("Mr. George W. Bush said", "Bush", {"wbush", "georgewbush", "mrgeorgewbush"}),
        ("the Bank of France", "Bank", {"bankoffrance"}),
        ("met Ada\nByron", "Byron", set()),
        ("Ada -- Byron", "Byron", set()),
        ("Was it Ada? Byron knows", "Byron", set()),
        ("They met Alan. Byron knows", "Byron", set()),
        ("Ada Byron's notes", "Ada Byron", set()),
        ("قالت هيلاري كلينتون", "كلينتون", {"هيلاريكلينتون", "قالتهيلاريكلينتون"}),
        ("the European Bank for Growth (EBG)", "EBG", {"europeanbankforgrowth"}),
        ("at the Royal Bank of Growth in Samarkand", "RBG", {"royalbankofgrowth"}),
        ("at the Royal Bank of Growth", "rbg", set()),
        ("Royal Bank", "RBG", set()),
        ("the Swimming Race; they like swimming", "swimming", set()),
        ("the Swimming Race; they like swimming", "Swimming", {"swimmingrace"}),
        ("The Byrons are the poets", "Byrons", set()),
        ("The Byrons are poets", "Byrons", {"thebyrons"}),
        ("Byron", "Byron", set()),
        ("nothing of it", "Byron", set()),
        ("?!", "?!", set()),
        ("", "Byron", set()),
    ],
)
def test_what_is_written_around_a_name(text, name, keys):
    assert written(text, name) == keys


def test_no_more_runs_than_a_search_has():
    # Each place has other words around it.
    text = " ".join(f"A{n} Ada" for n in range(10 * MOST_PLACES))
    assert 0 < len(written(text, "Ada")) <= MOST_PLACES * MAX_RUN**2
    assert max(map(len, written("Ada " * 30 + "Byron", "Byron"))) == len("ada") * (MAX_RUN - 1) + len("byron")


@pytest.mark.parametrize(
    ("text", "name", "form"),
    [
        ("help for type 1 diabetes (T1D) and more", "T1D", "type 1 diabetes"),
        ("the Central Bank of Samarkand ( CBS )", "CBS", "Central Bank of Samarkand"),
        ("a Bank of Arts and a Bank of Books (BoB)", "BoB", "Bank of Books"),
        ("the Bank (BB) and the Big Bank (BB)", "BB", ""),
        ("New Orleans (AP) said", "AP", ""),
        ("the European Bank", "EB", ""),
        ("world trade (W)", "W", ""),
        ("(AB) first", "AB", ""),
        ("x " * 9 + "a lot of words between b (AB)", "AB", ""),
    ],
)
def test_short_forms_that_are_explained(text, name, form):
    assert NameContext(text).long_form(name) == form


def test_words_that_the_text_has_make_an_alias_liker():
    context = NameContext("England won the rugby match for its team")
    words = {"england"}
    assert context.likeness(0.3, words, "England rugby") == pytest.approx(0.3 + (MOST_SIMILAR - 0.3) * IN_TEXT)
    shared = len("rugbyteam") / len("nationalrugbyteam")
    found = context.likeness(0.3, words, "England national rugby team")
    assert found == pytest.approx(0.3 + (MOST_SIMILAR - 0.3) * IN_TEXT * shared)
    assert context.likeness(0.3, words, "England chess") == 0.3
    assert context.likeness(0.3, words, "England") == 0.3


def test_a_small_part_of_what_is_written_out_is_less_like_it():
    half, tenth = 2 / 3, 2 / 11
    assert written_likeness("ab", "abcd") == pytest.approx(half + (MOST_SIMILAR - half) * WRITTEN)
    assert written_likeness("a", "abcdefghij") == pytest.approx(tenth + (MOST_SIMILAR - tenth) * WRITTEN)
    assert written_likeness("abc", "ab") == MOST_SIMILAR


KNOWN = [
    Entity("town", names={"en": "Clinton"}, weight=4.0),
    Entity("other town", names={"en": "Clinton"}, weight=1.0),
    Entity("hillary", names={"en": "Hillary Clinton"}),
    Entity("bill", names={"en": "Bill Clinton"}, weight=50.0),
    Entity("diabetes", names={"en": "type-1 diabetes"}),
    Entity("rugby", names={"en": "Clinton national rugby union team"}),
    *(Entity(f"road {n}", names={"en": f"Clinton {'x' * n}"}) for n in range(1, 40)),
]


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    with build_knowledge_base(tmp_path_factory.mktemp("context") / "k.kb", KNOWN) as opened:
        yield opened


def ids(kb: KnowledgeBase, name: str, text: str, k: int = 30, **options: object) -> list[str]:
    (found,) = kb.candidates_batch([name], k, text=text, **options)
    return [each.id for each in found]


def test_a_name_that_is_written_out_is_among_the_bearers_of_the_name(kb):
    text = "Hillary Clinton spoke, and Clinton won."
    # Of a written name alone the prior is 1; the likelier town has 0.8.
    assert ids(kb, "Clinton", text, 3) == ["hillary", "town", "other town"]
    assert ids(kb, "Clinton", "Clinton won.", 3) == ["town", "other town", "road 1"]
    (found,) = kb.candidates_batch(["Clinton"], 1, text=text)
    assert (found[0].match, found[0].prior) == ("written", 1.0)
    assert found[0].similarity == written_likeness("clinton", "hillaryclinton")
    assert "bill" not in ids(kb, "Clinton", "Bill came, and so did Clinton.", 2)


def test_parts_whose_words_the_text_has_come_first(kb):
    assert ids(kb, "Clinton", "Clinton won.", 100).index("rugby") > 20
    assert ids(kb, "Clinton", "The rugby team of Clinton won, a national union.", 100).index("rugby") < 10


def test_what_a_short_form_stands_for(kb):
    assert ids(kb, "T1D", "those with type 1 diabetes (T1D)", 1) == ["diabetes"]
    assert ids(kb, "T1D", "those with T1D") == []


def test_the_text_counts_with_names_that_are_like_it_alone(kb):
    text = "Hillary Clinton spoke, and Clinton won."
    assert ids(kb, "Clinton", text, fuzzy=False) == ["town", "other town"]


def test_names_are_remembered_apart_from_their_text(kb):
    for _ in range(2):
        assert ids(kb, "Clinton", "Hillary Clinton", 1) == ["hillary"]
        assert ids(kb, "Clinton", "Bill Clinton", 1) == ["bill"]
        assert ids(kb, "Clinton", "", 1) == ["town"]


def test_a_name_that_is_remembered_is_not_looked_up_again(kb, monkeypatch):
    expected = ids(kb, "Clinton", "Hillary Clinton")
    monkeypatch.setattr(knowledge_base, "find_candidates", None)
    assert ids(kb, "Clinton", "Hillary Clinton") == expected


TEXTS = st.text(st.sampled_from("aAbB .()-"), max_size=30)


@given(names=st.lists(TEXTS.filter(alias_key), min_size=1, max_size=4), text=TEXTS, name=TEXTS)
@settings(max_examples=80, deadline=None)
def test_a_text_takes_nothing_away(tmp_path_factory, names, text, name):
    known = [Entity(f"Q{n}", names={"en": each}) for n, each in enumerate(names)]
    with build_knowledge_base(tmp_path_factory.getbasetemp() / "drawn.kb", known, force=True) as kb:
        (alone,) = kb.candidates_batch([name])
        (found,) = kb.candidates_batch([name], text=text)
        assert {each.id for each in alone} <= {each.id for each in found}
        assert all(0 < each.prior <= 1 and 0 < each.similarity <= 1 for each in found)
        places = [MATCHES[each.match] for each in found]
        assert places == sorted(places)
        # A text that is the name has no other words.
        (same,) = kb.candidates_batch([name], text=f" {name} ")
        assert [each.id for each in same] == [each.id for each in alone]


def test_a_name_is_looked_for_by_its_rarest_word(monkeypatch):
    looked = []
    is_at = NameContext._is_at
    monkeypatch.setattr(
        NameContext, "_is_at", lambda self, place, *about: looked.append(place) or is_at(self, place, *about)
    )
    text = "Byron\n" + "The Sea\n" * 100 + "The Byron of Ada\nThe Sea"
    assert written(text, "The Byron") == {"thebyronofada"}
    # Before the first word of the text there is no other.
    assert looked == [201]


def test_names_that_come_again_are_looked_at_once(tmp_path, monkeypatch):
    asked = []
    look = NameContext.written_keys
    monkeypatch.setattr(NameContext, "written_keys", lambda self, name: asked.append(name) or look(self, name))
    text = "Ada Byron met Byron and Byron"
    with build_knowledge_base(tmp_path / "k.kb", [Entity("Q1", names={"en": "Ada Byron"})]) as kb:
        found = kb.candidates_batch(["Byron", "Ada", "Byron"], text=text)
    assert found[0] == found[2]
    assert found[0] is not found[2]
    assert sorted(asked) == ["Ada", "Byron"]
