"""Knowledge bases: candidates against slow ones, changes that take place whole, and files that are none."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kb_oracle import LANGS, NAMES, candidates, distance, entities
from samarkand.models import alias_search, kb_store
from samarkand.models.kb_candidates import Bearer, priors
from samarkand.models.kb_store import FORMAT
from samarkand.models.knowledge_base import Candidate, Entity, KnowledgeBase, build_knowledge_base

ROOT = Path(__file__).parents[2]
CAIRO = Entity(
    "Q85",
    "LOC",
    names={"en": "Cairo", "ar": "القاهرة", "zh": "開羅"},
    aliases={"en": ["Al-Qahira", "Cairo"], "mul": ["CAI"]},
    descriptions={"en": "capital of Egypt"},
    facts=[("P17", "Q79"), ("population", "10,000,000")],
    weight=9,
)
CAIRO_ILLINOIS = Entity("Q575000", "LOC", names={"en": "Cairo, Illinois"}, aliases={"en": ["Cairo"]}, weight=1)
JORDAN = Entity("Q41421", "PER", names={"en": "Michael Jordan", "zh": "迈克尔·乔丹"})
XI = Entity("Q15031", "PER", names={"zh": "习近平"})
KNOWN = (CAIRO, CAIRO_ILLINOIS, JORDAN, XI)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The file of a knowledge base, closed."""
    path = tmp_path_factory.mktemp("whole") / "k.kb"
    build_knowledge_base(path, KNOWN, meta={"licence": "CC0"}).close()
    return path


@pytest.fixture
def path(whole, tmp_path) -> Path:
    """One that a test may change."""
    return Path(shutil.copy(whole, tmp_path / "k.kb"))


@pytest.fixture
def kb(path):
    with KnowledgeBase(path) as opened:
        yield opened


def made(folder: Path, known) -> KnowledgeBase:
    return build_knowledge_base(folder / "made.kb", known, force=True)


def sql(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def some(n: int, start: int = 0) -> list[Entity]:
    rng = random.Random(start)
    names = ("".join(rng.choices("abcdefgh", k=12)) for _ in range(n))
    return [Entity(f"E{start + i}", names={"en": name}, aliases={"": [f"{i} {name}"]}) for i, name in enumerate(names)]


def test_a_name_longer_than_any_that_is_kept_has_no_candidates(tmp_path):
    name = "Berlin " * 142 + "Berlin"
    with build_knowledge_base(tmp_path / "long.kb", [Entity("Q1", names={"en": name})]) as kb:
        assert len(name) == 1000
        assert [found.id for found in kb.candidates(name)] == ["Q1"]
        assert kb.candidates(name + "s") == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("drawn")


KNOWLEDGE = st.integers(0, 6).flatmap(lambda n: st.tuples(*(entities(f"Q{i}") for i in range(n))))


@given(known=KNOWLEDGE, texts=st.lists(NAMES, min_size=1, max_size=4), data=st.data())
@settings(max_examples=80, deadline=None)
def test_candidates_are_those_of_the_oracle(folder, known, texts, data):
    lang = data.draw(st.sampled_from([None, *LANGS, "fr"]))
    fuzzy = data.draw(st.booleans())
    texts += [name for entity in known for name in entity.names.values()]
    with made(folder, known) as kb:
        batch = kb.candidates_batch(texts, 100, lang=lang, fuzzy=fuzzy)
        assert batch == kb.candidates_batch(texts, 100, lang=lang, fuzzy=fuzzy)
        for text, of_batch in zip(texts, batch):
            found = kb.candidates(text, 100, lang=lang, fuzzy=fuzzy)
            expected = [candidate for candidate, _ in candidates(known, text, lang, fuzzy)]
            assert found == of_batch
            assert found[:2] == kb.candidates(text, 2, lang=lang, fuzzy=fuzzy)
            assert sorted(map(plain, found)) == sorted(map(plain, expected))
            assert [each.prior for each in found] == pytest.approx([each.prior for each in expected])
            assert [each.similarity for each in found] == pytest.approx([each.similarity for each in expected])
            exact = [each.prior for each in found if each.match == "exact"]
            assert not exact or sum(exact) == pytest.approx(1)


def plain(candidate: Candidate) -> tuple[str, ...]:
    """What is no number: equal products may be in either order by a rounding."""
    return candidate.id, candidate.alias, candidate.match, candidate.type


@given(known=KNOWLEDGE, text=NAMES, seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_order_of_building_does_not_count(folder, known, text, seed):
    with made(folder, known) as kb:
        found, checksum = kb.candidates(text), kb.checksum
        assert list(kb) == sorted(known, key=lambda entity: entity.id)
    with made(folder, random.Random(seed).sample(known, len(known))) as kb:
        assert (kb.candidates(text), kb.checksum) == (found, checksum)


@given(known=KNOWLEDGE, data=st.data())
@settings(max_examples=40, deadline=None)
def test_changes_end_where_building_does(folder, known, data):
    expected: dict[str, Entity] = {entity.id: entity for entity in known}
    with made(folder, known) as kb:
        for _ in range(data.draw(st.integers(1, 4))):
            removed = data.draw(st.sets(st.integers(0, 8).map("Q{}".format), max_size=3))
            assert kb.remove(removed) == len(removed & set(expected))
            added = [data.draw(entities(f"Q{i}")) for i in data.draw(st.lists(st.integers(0, 8), max_size=3))]
            kb.put(added)
            expected = {id: entity for id, entity in expected.items() if id not in removed}
            expected |= {entity.id: entity for entity in added}
        kb.check()
        assert len(kb) == len(expected)
        assert kb.entities(f"Q{i}" for i in range(9)) == expected
        states = (
            kb.checksum,
            kb.languages,
            [kb.candidates(entity.names[lang]) for entity in known for lang in entity.names],
        )
    with made(folder, expected.values()) as anew:
        names = [anew.candidates(entity.names[lang]) for entity in known for lang in entity.names]
        assert (anew.checksum, anew.languages, names) == states


@given(one=NAMES, other=NAMES)
@settings(max_examples=200, deadline=None)
def test_similarity_counts_edits(one, other):
    longer = max(len(one), len(other))
    assert alias_search.similarity(one, other) == pytest.approx(1 - distance(one, other) / longer if longer else 1)


BEARERS = st.builds(
    Bearer,
    id=st.sampled_from("abcdef"),
    type=st.just(""),
    weight=st.floats(1e-300, 1e308),
    alias=st.sampled_from("xyz"),
    lang=st.just(""),
    count=st.floats(0, 1e308),
)


@given(bearers=st.lists(BEARERS, min_size=1), seed=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_priors_are_above_0_and_sum_to_1(bearers, seed):
    unique = list({(bearer.id, bearer.alias): bearer for bearer in bearers}.values())
    weights = {bearer.id: bearer.weight for bearer in unique}
    unique = [bearer._replace(weight=weights[bearer.id]) for bearer in unique]
    found = priors(unique)
    assert set(found) == set(weights)
    assert min(found.values()) > 0
    assert sum(found.values()) == pytest.approx(1)
    assert priors(random.Random(seed).sample(unique, len(unique))) == found


def test_priors_are_shares_of_weights_and_of_counts_where_there_are_any(tmp_path):
    one = Entity("A", names={"en": "Paris"}, weight=3)
    with made(tmp_path, [one, Entity("B", names={"fr": "paris"})]) as kb:
        assert {each.id: each.prior for each in kb.candidates("PARIS")} == {"A": 0.75, "B": 0.25}
        kb.put([replace(one, counts={"Paris": 2}), Entity("C", names={"en": "Paris, Texas"}, counts={"Paris": 5})])
        found = {each.id: each.prior for each in kb.candidates("Paris")}
    assert found == pytest.approx({"A": (2 + 0.6) / 8, "B": 0.2 / 8, "C": (5 + 0.2) / 8})


@pytest.mark.parametrize(
    ("text", "id", "match", "alias"),
    [
        ("CAIRO", "Q85", "exact", "Cairo"),
        ("Ｃａｉｒｏ", "Q85", "exact", "Cairo"),
        ("al qahira", "Q85", "exact", "Al-Qahira"),
        ("القاهره", "Q85", "exact", "القاهرة"),
        ("وبالقاهرة", "Q85", "clitic", "القاهرة"),
        ("للقاهرة", "Q85", "clitic", "القاهرة"),
        ("开罗", "Q85", "exact", "開羅"),
        ("習近平", "Q15031", "exact", "习近平"),
        ("习进平", "Q15031", "fuzzy", "习近平"),
        ("習近", "Q15031", "fuzzy", "习近平"),
        ("邁克爾喬丹", "Q41421", "exact", "迈克尔·乔丹"),
        ("Micheal Jordan", "Q41421", "fuzzy", "Michael Jordan"),
        ("Michael Jordan's", "Q41421", "part", "Michael Jordan"),
        ("Jordan", "Q41421", "part", "Michael Jordan"),
        ("@MichaelJordan", "Q41421", "exact", "Michael Jordan"),
        ("#cairo", "Q85", "part", "Cairo"),
        ("Jórdan, M.", "Q41421", "part", "Michael Jordan"),
        ("喬丹", "Q41421", "part", "迈克尔·乔丹"),
        ("MJ", "Q41421", "part", "Michael Jordan"),
        ("Cairo, Egypt", "Q85", "part", "Cairo"),
        ("Cairene", "Q85", "part", "Cairo"),
        ("Ciaro", "Q85", "fuzzy", "Cairo"),
    ],
)
def test_names_as_texts_write_them(kb, text, id, match, alias):
    first = kb.candidates(text)[0]
    assert (first.id, first.match, first.alias) == (id, match, alias)
    assert (first.similarity == 1) == (match == "exact")


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b", "\ud800", "x", "Zzyzx", "!", "a" * 100_000, "'; DROP TABLE keys; --"]
)
def test_names_of_nothing(kb, text):
    assert kb.candidates(text) == []


def test_exact_names_come_before_those_of_another_kind(tmp_path):
    known = [
        Entity("A", names={"ar": "والي"}, weight=1),
        Entity("B", names={"ar": "الي"}, weight=50),
        Entity("C", names={"ar": "واليه"}, weight=99),
    ]
    with made(tmp_path, known) as kb:
        assert [(each.id, each.match) for each in kb.candidates("والي")] == [
            ("A", "exact"),
            ("B", "clitic"),
            ("C", "part"),
        ]
        assert [each.id for each in kb.candidates("والي", fuzzy=False)] == ["A", "B"]


def test_names_that_are_alike_count_only_when_few_bear_the_name(tmp_path):
    known = [Entity(f"Q{i}", names={"en": "Springfield"}) for i in range(3)]
    with made(tmp_path, [*known, Entity("Q9", names={"en": "Springfeld"})]) as kb:
        assert [each.id for each in kb.candidates("Springfield")] == ["Q0", "Q1", "Q2"]
        kb.remove(["Q1"])
        assert [each.id for each in kb.candidates("Springfield")] == ["Q0", "Q2", "Q9"]


def test_a_language_has_its_own_names_and_those_of_none(tmp_path):
    known = [
        Entity("de", names={"de": "Rat"}),
        Entity("en", names={"en": "rat"}),
        Entity("mul", names={"mul": "RAT"}),
    ]
    with made(tmp_path, known) as kb:
        found = {
            lang: {each.id: each.prior for each in kb.candidates("Rat", lang=lang)} for lang in (None, "de", "en", "fr")
        }
        kb.remove(["mul"])
        without = [each.id for each in kb.candidates("Rat", lang="fr")]
    third = pytest.approx(1 / 3)
    assert found == {
        None: dict.fromkeys(("de", "en", "mul"), third),
        "de": {"de": 0.5, "mul": 0.5},
        "en": {"en": 0.5, "mul": 0.5},
        "fr": {"mul": 1.0},
    }
    assert without == ["de", "en"]


def test_fuzzy_search_finds_all_that_is_alike_among_many(tmp_path):
    rng = random.Random(1)
    names = {"".join(rng.choices("abcd", k=rng.randint(4, 9))) for _ in range(3000)}
    with made(tmp_path, (Entity(name, names={"": name}) for name in names)) as kb:
        kb.put(Entity(name, names={"": name}) for name in ("abcdabca", "dcbadcba"))
        kb.remove(sorted(names)[::7])
        left = {entity.id for entity in kb}
        with kb._file.reading() as db:
            for key in rng.sample(sorted(names), 20):
                found = [other for other, _ in alias_search.similar_keys(db, key)]
                assert sorted(found) == sorted(
                    other for other in left if 0 < distance(key, other) <= max(len(key), len(other)) // 4
                )


def test_what_it_says_of_itself(kb, path):
    assert len(kb) == 4
    assert kb.languages == ("ar", "en", "zh")
    assert kb.meta == {"licence": "CC0"}
    assert kb.path == path
    assert re.fullmatch("[0-9a-f]{64}", kb.checksum)
    assert "Q85" in kb
    assert "Q1" not in kb
    assert "\ud800" not in kb
    assert kb.entity("Q85") == CAIRO
    assert kb.entity("Q1") is None
    assert list(kb.entities(["Q41421", "Q1", "Q85", "Q85"])) == ["Q41421", "Q85"]
    kb.check()


def test_iteration_gives_all_by_id_and_building_anew_the_same(tmp_path):
    known = some(1200)
    with made(tmp_path, known) as kb, build_knowledge_base(tmp_path / "other.kb", kb) as other:
        assert [entity.id for entity in kb] == sorted(entity.id for entity in known)
        assert (other.checksum, len(other)) == (kb.checksum, 1200)


def test_put_and_remove_go_back_to_the_same_checksum(kb):
    before = kb.checksum
    kb.put([Entity("new", names={"fr": "Le Caire"})])
    assert kb.checksum != before
    assert kb.languages == ("ar", "en", "fr", "zh")
    changed = replace(CAIRO, weight=1.0)
    kb.put([changed, Entity("new", names={"en": "other"}), Entity("new", names={"en": "another"})])
    assert kb.entities(["Q85", "new"]) == {"Q85": changed, "new": Entity("new", names={"en": "another"})}
    assert kb.candidates("Le Caire", fuzzy=False) == []
    kb.put([CAIRO])
    assert kb.remove(["new", "new", "\ud800", "Q1"]) == 1
    assert (kb.checksum, kb.languages) == (before, ("ar", "en", "zh"))
    kb.check()


def test_a_put_that_fails_changes_nothing(kb):
    before = kb.checksum

    def failing():
        yield Entity("new", names={"en": "new"})
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        kb.put(failing())
    assert (kb.checksum, "new" in kb) == (before, False)


def test_a_batch_learns_of_changes_by_others(kb, path):
    assert kb.candidates_batch(["Kairo"], fuzzy=False) == [[]]
    with KnowledgeBase(path) as other:
        other.put([Entity("K", names={"de": "Kairo"})])
    assert [each.id for each in kb.candidates_batch(["Kairo"], fuzzy=False)[0]] == ["K"]
    kb.remove(["K"])
    found = kb.candidates_batch(["Kairo", "Cairo"], fuzzy=False)
    assert [len(each) for each in found] == [0, 2]
    found[1].clear()
    assert len(kb.candidates_batch(["Cairo"], fuzzy=False)[0]) == 2


def test_pickles_and_closed_ones_open_the_file_again(kb, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with KnowledgeBase("k.kb") as relative:
        pickled = pickle.dumps(relative)
    monkeypatch.chdir("/")
    found = kb.candidates("Cairo")
    copy = pickle.loads(pickled)
    assert copy.candidates("Cairo") == found
    copy.close()
    copy.close()
    assert copy.candidates_batch(["Cairo"]) == [found]
    copy.close()


def _ids_in_child(kb: KnowledgeBase, pipe) -> None:
    pipe.send([each.id for each in kb.candidates_batch(["Cairo"])[0]])
    pipe.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_open_the_file_for_themselves(kb):
    expected = [each.id for each in kb.candidates_batch(["Cairo"])[0]]
    with kb._file.reading():
        mine, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_ids_in_child, args=(kb, theirs))
        child.start()
        assert mine.poll(60)
        assert mine.recv() == expected
    child.join()
    assert [each.id for each in kb.candidates("Cairo")] == expected


def test_threads_share_one(tmp_path):
    with made(tmp_path, [*KNOWN, *some(300)]) as kb:
        texts = ["Cairo", "习进平", "للقاهرة", *(entity.names["en"][1:] for entity in some(40))] * 3
        expected = [kb.candidates(text) for text in texts]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(kb.candidates, texts)) == expected
            assert [batch for (batch,) in pool.map(lambda text: kb.candidates_batch([text]), texts)] == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": ""}, "'' cannot be kept: its id is blank"),
        ({"id": "Q\x07"}, r"control characters"),
        ({"id": 7}, "7 cannot be kept: its id must be a string, not int"),
        ({"id": "Q\ud800"}, "its id has half of a surrogate pair"),
        ({"id": "x" * 999 + "\n"}, r"'x{79}… cannot be kept"),
        ({"id": "x" * 1001}, "its id has 1,001 characters, more than 1,000"),
        ({"names": {"en": "x" * 1001}}, r"names\['en'\] has 1,001 characters, more than 1,000"),
        ({"aliases": {"en": ["x" * 1001]}}, r"one of aliases\['en'\] has 1,001 characters"),
        ({"counts": {"x" * 1001: 1}}, "a name in its counts has 1,001 characters"),
        ({"type": None}, "'Q1' cannot be kept: its type must be a string, not NoneType"),
        ({"names": {}}, "neither a name nor an alias"),
        ({"names": {"en": " \u200b"}, "aliases": {"en": [" "]}}, "neither a name nor an alias"),
        ({"names": {"en": 1}}, r"names\['en'\] must be a string, not int"),
        ({"names": {"en": "\ud800"}}, r"names\['en'\] has half of a surrogate pair"),
        ({"names": {1: "a"}}, "a language of its names must be a string"),
        ({"names": ["a"]}, "its names must be a mapping, not list"),
        ({"aliases": {"en": "abc"}}, r"aliases\['en'\] must be a list, not str"),
        ({"aliases": {"en": [None]}}, r"one of aliases\['en'\] must be a string, not NoneType"),
        ({"descriptions": {"en": None}}, r"descriptions\['en'\] must be a string"),
        ({"facts": [("a",)]}, "one of its facts must be a key and a value, not 1 strings"),
        ({"facts": ["ab"]}, "one of its facts must be a list, not str"),
        ({"facts": None}, "its facts must be a list, not NoneType"),
        ({"id": "NIL"}, "its id is NIL"),
        ({"weight": 0}, "its weight must be a finite number above 0, not 0"),
        ({"weight": -1.0}, "its weight must be .*, not -1.0"),
        ({"weight": math.nan}, "its weight must be .*, not nan"),
        ({"weight": math.inf}, "its weight must be .*, not inf"),
        ({"weight": 10**400}, "its weight must be .*, not 1000"),
        ({"weight": 10**5000}, "not a number too large"),
        ({"weight": "1"}, "its weight must be .*, not '1'"),
        ({"counts": {"a": -1}}, "its count of 'a' must be a finite number, 0 or more, not -1"),
        ({"counts": {"a": math.nan}}, "its count of 'a' must be .*, not nan"),
        ({"counts": {2: 1}}, "a name in its counts must be a string"),
        ({"counts": None}, "its counts must be a mapping, not NoneType"),
    ],
)
def test_entities_that_cannot_be_kept(fields, reason):
    with pytest.raises(ValueError, match=rf"^\[S903\] The entity .*{reason}.*\.$") as error:
        Entity(**{"id": "Q1", "names": {"en": "one"}, **fields})
    assert "\n" not in str(error.value)


def test_entities_are_the_same_in_lists_and_in_tuples():
    assert Entity("a", names={"": "a"}, aliases={"": ["b"]}, facts=[["p", "q"]], weight=2) == Entity(
        "a", names={"": "a"}, aliases={"": ("b",)}, facts=(("p", "q"),), weight=2.0
    )


def test_one_id_twice_builds_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"\[S904\] The entity 'Q85' comes twice"):
        made(tmp_path, [*KNOWN, CAIRO])
    assert list(tmp_path.iterdir()) == []


def test_building_replaces_only_when_forced_and_only_when_whole(path, tmp_path):
    with pytest.raises(FileExistsError, match=r"\[S905\] .*k\.kb exists"):
        build_knowledge_base(path, [])
    with pytest.raises(FileExistsError, match=r"\[S905\] .* is a folder"):
        build_knowledge_base(tmp_path, [], force=True)
    with pytest.raises(ValueError, match="S903"):
        build_knowledge_base(path, (Entity(id, names={"en": "a"}) for id in ("a", "")), force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["k.kb"]
    with build_knowledge_base(path, [XI], force=True) as kb:
        assert [entity.id for entity in kb] == [XI.id]


def test_building_where_nothing_can_be_written(path):
    with pytest.raises(OSError, match=r"\[S906\] The knowledge base .* cannot be written: "):
        build_knowledge_base(path / "k.kb", [XI])


def test_settings_that_make_no_sense(kb, tmp_path):
    for call in (kb.candidates, kb.candidates_batch):
        with pytest.raises(ValueError, match=r"\[S908\] k must be 1 or more, not 0\."):
            call("Cairo", 0)
    for meta in ({"a": {1}}, {"a": math.nan}, 5):
        with pytest.raises(ValueError, match=r"\[S909\] The meta"):
            build_knowledge_base(tmp_path / "n.kb", [], meta=meta)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Path.unlink, r"\[S900\] No knowledge base at .*k\.kb: No such file"),
        (lambda path: path.write_bytes(b""), r"\[S900\] .*something else"),
        (lambda path: path.write_bytes(b"not a database" * 1000), r"\[S900\] .*something else"),
        (lambda path: (path.unlink(), sql(path, "CREATE TABLE a (b)")), r"\[S900\] .*something else"),
        (lambda path: (path.unlink(), path.mkdir()), r"\[S900\] "),
        (
            lambda path: sql(path, f"PRAGMA user_version = {FORMAT + 1}"),
            rf"\[S901\] .* is of format {FORMAT + 1}, and this samarkand knows {FORMAT}",
        ),
        (
            lambda path: sql(path, f"PRAGMA user_version = {FORMAT - 1}"),
            rf"\[S901\] .* is of format {FORMAT - 1}, and this samarkand knows {FORMAT}",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-5000]), r"\[S902\] .*k\.kb is damaged: .*malformed"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), r"\[S902\] |\[S900\] "),
        (lambda path: sql(path, "DELETE FROM state"), r"\[S902\] .*it holds no state"),
        (lambda path: sql(path, "UPDATE state SET value = '[]'"), r"\[S902\] .*it holds no state"),
        (lambda path: sql(path, "DROP TABLE state"), r"\[S902\] .*no such table"),
    ],
)
def test_files_that_cannot_be_opened(path, change, reason):
    change(path)
    with pytest.raises(ValueError, match=reason) as error:
        KnowledgeBase(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contents SET data = x'00' WHERE entity = 1",
        "UPDATE contents SET data = (SELECT data FROM contents WHERE entity = 2) WHERE entity = 1",
        "UPDATE contents SET keys = x'00' WHERE entity = 1",
        "DELETE FROM contents WHERE entity = 1",
        "UPDATE entities SET weight = 7 WHERE row = 1",
        "DELETE FROM entities WHERE row = 1",
        "DELETE FROM aliases WHERE alias = 'CAI'",
        "INSERT INTO aliases SELECT key, entity, 'more', lang, count FROM aliases LIMIT 1",
        "DELETE FROM keys WHERE key = 'cai'",
        "INSERT INTO keys VALUES (1, 'more')",
        "DELETE FROM grams WHERE gram = 'ca'",
        "DELETE FROM words WHERE word = 'jordan'",
        "UPDATE words SET numbers = x'00000000'",
        "INSERT INTO words VALUES ('more', x'01000000')",
        "UPDATE grams SET numbers = x'00'",
        """UPDATE state SET value = replace(value, '"entities": 4', '"entities": 5')""",
        """UPDATE state SET value = replace(value, '"en": 3', '"en": 4')""",
        """UPDATE state SET value = replace(value, '"checksum": "', '"checksum": "f')""",
    ],
)
def test_a_check_meets_all_that_is_damaged(path, statement):
    sql(path, statement)
    with KnowledgeBase(path) as kb, pytest.raises(ValueError, match=r"^\[S902\] .*k\.kb is damaged: .*") as error:
        kb.check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("UPDATE contents SET data = x'00'", lambda kb: kb.entity("Q85")),
        ("UPDATE contents SET data = x'00'", list),
        ("UPDATE contents SET data = x'00'", lambda kb: kb.put([CAIRO])),
        ("UPDATE contents SET keys = x'00'", lambda kb: kb.remove(["Q85"])),
        ("DELETE FROM contents", lambda kb: kb.remove(["Q85"])),
        ("UPDATE grams SET numbers = x'00'", lambda kb: kb.candidates("Ciaro")),
        ("UPDATE words SET numbers = x'00'", lambda kb: kb.candidates("Jordan")),
        ("UPDATE words SET numbers = x'00'", lambda kb: kb.put([replace(JORDAN, names={"en": "Michael J. Jordan"})])),
        ("DROP TABLE keys", lambda kb: kb.candidates("Cairo")),
    ],
)
def test_whoever_meets_damage_says_so(path, statement, use):
    sql(path, statement)
    with KnowledgeBase(path) as kb, pytest.raises(ValueError, match=r"^\[S902\] .*k\.kb is damaged: "):
        use(kb)


def test_a_page_of_something_else_is_met(path):
    data = bytearray(path.read_bytes())
    data[8192 : 8192 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"\[S902\] ") as error, KnowledgeBase(path) as kb:
        kb.check()
    assert "\n" not in str(error.value)


def test_a_writer_keeps_others_waiting_only_so_long(path, monkeypatch):
    monkeypatch.setattr(kb_store, "LOCK_SECONDS", 0.05)
    with KnowledgeBase(path) as kb:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        for use in (lambda: kb.candidates("Cairo"), lambda: kb.put([XI]), lambda: kb.remove(["Q85"])):
            with pytest.raises(RuntimeError, match=r"\[S907\] .* is being written: .* 0\.05 seconds"):
                use()
        writer.execute("ROLLBACK")
        writer.close()
        assert kb.remove(["Q85"]) == 1


READ_ONLY = """
import os, sys
from samarkand.models.knowledge_base import Entity, KnowledgeBase
if os.geteuid() == 0:
    os.setuid(65534)
with KnowledgeBase(sys.argv[1]) as kb:
    print(len(kb), kb.candidates("Cairo")[0].id, kb.candidates("Ciaro")[0].id)
    kb.check()
    try:
        kb.put([Entity("new", names={"en": "new"})])
    except OSError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs permissions of POSIX")
@pytest.mark.parametrize("mode", [0o444, 0o666])
def test_a_folder_that_cannot_be_written_to_is_read(whole, mode):
    folder = Path(tempfile.mkdtemp())
    try:
        path = Path(shutil.copy(whole, folder / "k.kb"))
        path.chmod(mode)
        folder.chmod(0o555)
        done = run(READ_ONLY, path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("4 Q85 Q85\n[S906] The knowledge base ")
        assert [file.name for file in folder.iterdir()] == ["k.kb"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


KILLED = """
import os, signal, sys
from samarkand.models import knowledge_base
from samarkand.models.kb_writer import KnowledgeWriter
from samarkand.models.knowledge_base import Entity, KnowledgeBase, build_knowledge_base

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def changed(i):
    return Entity(f"E{i}", names={"en": f"changed {i}"}, descriptions={"en": os.urandom(500).hex()})

entities = [changed(i) for i in range(3000)]
if sys.argv[2] == "build":
    build_knowledge_base(sys.argv[1], (entity if i < 2000 else die() for i, entity in enumerate(entities)), force=True)
setattr(*{"sweep": (KnowledgeWriter, "sweep", die), "state": (knowledge_base, "write_state", die)}[sys.argv[2]])
KnowledgeBase(sys.argv[1]).put(entities)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT.parent)


@pytest.fixture
def killed(tmp_path, request):
    """A knowledge base of 2,000 entities whose writer was killed, and what it was before."""
    path = tmp_path / "k.kb"
    with build_knowledge_base(path, some(2000)) as kb:
        before = kb.checksum
    done = run(KILLED, path, request.param)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return path, before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals of POSIX")
@pytest.mark.parametrize("killed", ["sweep", "state", "build"], indirect=True)
def test_a_kill_loses_nothing_and_doubles_nothing(killed):
    path, before = killed
    with KnowledgeBase(path) as kb:
        assert (len(kb), kb.checksum) == (2000, before)
        assert kb.entities(["E5"]) == {"E5": some(2000)[5]}
        kb.check()
        kb.put(some(100, start=1950))
        assert len(kb) == 2050
        kb.check()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals of POSIX")
@pytest.mark.parametrize("killed", ["state"], indirect=True)
def test_what_a_killed_writer_left_is_not_taken_into_a_new_file(killed):
    path, _ = killed
    assert path.with_name("k.kb-journal").stat().st_size
    with build_knowledge_base(path, KNOWN, force=True) as kb:
        kb.check()
        assert len(kb) == 4
    assert [file.name for file in path.parent.iterdir()] == ["k.kb"]


ANOTHER_WRITER = """
import sys
from samarkand.models import kb_store
from samarkand.models.knowledge_base import KnowledgeBase
kb_store.LOCK_SECONDS = 0.05
try:
    KnowledgeBase(sys.argv[1]).remove(["Q85"])
except RuntimeError as error:
    print(error)
"""


def test_opening_a_file_leaves_the_locks_of_others_in_this_process(path, kb):
    """Closing a file by other means than SQLite lets go of all locks that the process has on it."""
    with kb._file.writing():
        KnowledgeBase(path).close()
        command = [sys.executable, "-c", ANOTHER_WRITER, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=path.parent)
    assert "[S907]" in told.stdout
    assert "Q85" in kb
