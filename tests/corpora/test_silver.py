"""Linked text without annotators, from a folder of corpora written by hand."""

import gzip
import json
import lzma
from collections import Counter

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora import silver_recipe
from samarkand.corpora.records import read_records, write_records
from samarkand.corpora.seeded import share_of
from samarkand.corpora.silver_links import SilverLinker, is_named
from samarkand.corpora.silver_recipe import arrange, write_silver
from samarkand.corpora.silver_texts import SOURCES, SilverText, cut, silver_texts
from samarkand.models.knowledge_base import Entity, KnowledgeBase

NORWAY = Entity("Q20", type="LOC", names={"en": "Norway", "ar": "النرويج", "zh": "挪威"}, weight=50.0)
OSLO = Entity(
    "Q585",
    type="LOC",
    names={"en": "Oslo", "ar": "أوسلو", "zh": "奥斯陆"},
    facts=(("capital of", "Q20"),),
    weight=20.0,
)
SHIP = Entity("Q9", type="MISC", names={"en": "Oslo"}, facts=(("country", "Q20"),))
ENTITIES = {entity.id: entity for entity in (NORWAY, OSLO, SHIP)}
TEXTS = {
    "en": "Rosa went from Oslo to the north of Norway.",
    "ar": "ذهبت روزا من أوسلو إلى شمال النرويج.",
    "zh": "罗莎从奥斯陆去了挪威北部。",
}


def recognizer(*names):
    """A pipeline that finds names as places."""
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "LOC", "pattern": name} for name in names])
    return nlp


@pytest.mark.parametrize("lang", TEXTS)
def test_names_that_facts_join_are_linked(lang):
    (record,) = SilverLinker(ENTITIES, None).link([SilverText(TEXTS[lang], lang, "group")])
    assert [span["kb_id"] for span in record["spans"]] == ["Q585", "Q20"]
    assert record["lang"] == lang
    assert record["spans"][0]["label"] == "LOC"


def test_a_recognizer_has_the_last_word():
    text = SilverText(TEXTS["en"], "en", "group")
    (record,) = SilverLinker(ENTITIES, recognizer("Oslo", "Norway")).link([text])
    assert [span["kb_id"] for span in record["spans"]] == ["Q585", "Q20"]
    assert [span["bearers"] for span in record["spans"]] == [2, 1]
    assert list(SilverLinker(ENTITIES, recognizer("Norway")).link([text])) == []


def test_names_that_people_have_marked_need_no_recognizer():
    marked = ((15, 19, "LOC"), (36, 42, "LOC"))
    text = SilverText(TEXTS["en"], "en", "group", marked=marked)
    (record,) = SilverLinker(ENTITIES, recognizer("Bergen")).link([text])
    assert [(span["start"], span["end"], span["label"]) for span in record["spans"]] == list(marked)
    assert list(SilverLinker(ENTITIES, None).link([SilverText(TEXTS["en"], "en", "group", marked=marked[:1])])) == []


def test_peoples_and_little_places_with_short_chinese_names_are_left_out(monkeypatch):
    linker = SilverLinker(ENTITIES, None)
    (record,) = linker.link([SilverText("奥斯陆的挪威人和挪威", "zh", "g")])
    assert [(span["start"], span["kb_id"]) for span in record["spans"]] == [(0, "Q585"), (8, "Q20")]
    monkeypatch.setattr("samarkand.corpora.fact_links.HUB", 1)
    wall = Entity("Q7", type="LOC", names={"en": "Wall", "zh": "长城"}, facts=(("country", "Q20"),))
    little = SilverLinker({**ENTITIES, "Q7": wall}, None)
    (record,) = little.link([SilverText("挪威的长城", "zh", "g")])
    assert [span["kb_id"] for span in record["spans"]] == ["Q20"]


def test_sentences_of_templates_need_no_evidence():
    text = SilverText("Oslo, capital of Norway", "en", "Q585", known=((0, 4, "Q585"), (17, 23, "Q20")))
    (record,) = SilverLinker(ENTITIES, None).link([text])
    assert [span["kb_id"] for span in record["spans"]] == ["Q585", "Q20"]


def test_the_title_is_meant_by_its_name():
    linker = SilverLinker(ENTITIES, None)
    for title in ("Q585", "oslo"):
        (record,) = linker.link([SilverText("Oslo is old. Oslo. Oslo.", "en", "g", title)])
        assert [span["kb_id"] for span in record["spans"]] == ["Q585", "Q585"]
    assert list(linker.link([SilverText("Oslo is old.", "en", "g", "Bergen")])) == []


def test_a_weightier_bearer_without_facts_makes_a_name_uncertain():
    city = Entity("Q1", type="LOC", names={"en": "Oslo"}, weight=30.0)
    assert not any(
        span["kb_id"] == "Q585"
        for record in SilverLinker({**ENTITIES, "Q1": city}, None).link([SilverText(TEXTS["en"], "en", "g")])
        for span in record["spans"]
    )


def test_words_for_kinds_are_no_names():
    assert is_named(OSLO)
    assert not is_named(Entity("Q1", names={"en": "capital"}))
    assert not is_named(Entity("Q1", names={"ar": "أوسلو"}))


def test_pieces_are_whole_sentences():
    sentences = [f"Sentence {number} is of some length." for number in range(30)]
    pieces = list(cut(" ".join(sentences), "en"))
    assert " ".join(pieces) == " ".join(sentences)
    assert all(len(piece) <= 240 for piece in pieces)
    assert next(cut("第一句。第二句！" * 20, "zh")).endswith("！")
    assert list(cut("word " * 100, "en")) == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the recipe reads."""
    data = tmp_path / "data"
    rows = [
        {"id": "Q20", "type": "loc", "place": "country", "cc": "NO", "labels": NORWAY.names, "src": ["csc"]},
        {
            "id": "Q585",
            "type": "loc",
            "labels": OSLO.names,
            "src": ["csc"],
            "desc": {"en": "city"},
            "extract": {"en": "Oslo is the capital of Norway."},
        },
    ]
    facts = "Q585\tP1376\tQ20\nQ20\tP36\tQ585\n"
    relations = {"P1376": {"en": "capital of"}, "P36": {"en": "capital"}, "P17": {"en": "country"}}
    patterns = "en\tP36\t[Y] governs [X]\nar\tP1376\t[X] عاصمة [Y]\nzh-hans\tP1376\t[X]是[Y]的首都\nen\tP99\t[X] [Y]\n"
    passage = {"lang": "en", "title": "Norway", "context": "Norway begins behind Oslo."}
    for name in ("kb", "qa", "raw"):
        (data / name).mkdir(parents=True)
    with lzma.open(data / "kb/multikb.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with lzma.open(data / "kb/facts.tsv.xz", "wt", encoding="utf-8") as file:
        file.write(facts)
    with lzma.open(data / "kb/cldr-names.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"id": "cldr:territory:XX", "labels": {"en": "Elsewhere"}}) + "\n")
    (data / "kb/relations.json").write_text(json.dumps(relations), encoding="utf-8")
    with gzip.open(data / "kb/relation-patterns.tsv.gz", "wt", encoding="utf-8") as file:
        file.write(patterns)
    with lzma.open(data / "qa/xquad.en.eval.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(passage) + "\n" + json.dumps(passage) + "\n")
    for lang, text in TEXTS.items():
        with lzma.open(data / f"raw/{lang}.txt.xz", "wt", encoding="utf-8") as file:
            file.write(text + "\n")
    sentence = {"text": TEXTS["zh"], "spans": [{"start": 3, "end": 6, "label": "LOC"}]}
    (data / "ner/zh-msra").mkdir(parents=True)
    write_records(data / "ner/zh-msra/test.jsonl.xz", [sentence, {"text": "无", "spans": []}])
    monkeypatch.setenv("SAMARKAND_DATA", str(data))
    names = [name for entity in (OSLO, NORWAY) for name in entity.names.values()]
    monkeypatch.setattr(silver_recipe, "load", lambda model: recognizer(*names))
    return data


def test_every_source_gives_texts(folder):
    found = {name: list(silver_texts(folder, name, ENTITIES)) for name in SOURCES}
    assert {name: len(texts) for name, texts in found.items()} == {
        "extracts": 1,
        "qa": 1,
        "ner": 2,
        "raw": 3,
        "news": 0,
        "patterns": 3,
        "places": 0,
    }
    assert found["extracts"][0].title == "Q585"
    sentences = {text.lang: text.text for text in found["patterns"]}
    assert sentences == {"ar": "أوسلو عاصمة النرويج", "en": "Oslo governs Norway", "zh": "奥斯陆是挪威的首都"}


def test_places_whose_name_others_bear_are_told_apart_by_their_country(folder):
    namesake = Entity("Q6", type="LOC", names={"en": "Oslo"}, facts=(("country", "Q20"),))
    with gzip.open(folder / "kb/relation-patterns.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("en\tP17\t[X] is in [Y]\n")
    found = list(silver_texts(folder, "places", {**ENTITIES, "Q6": namesake}))
    assert [(text.text, text.known[0][2]) for text in found] == [("Oslo is in Norway", "Q6")]


def test_the_corpus_is_written_with_its_knowledge_base(folder, tmp_path):
    output = tmp_path / "silver"
    report = write_silver(output)
    files = {str(path.relative_to(output)) for path in output.rglob("*.jsonl")}
    assert sum(row["texts"] for row in report["texts"]) == sum(1 for name in files for _ in read_records(output / name))
    assert any("patterns." in name for name in files)
    assert json.loads((output / "report.json").read_text(encoding="utf-8")) == report
    held = (output / "held_out.txt").read_text().split()
    with KnowledgeBase(output / "linking.kb") as kb:
        assert not any(id in kb for id in held)
        # The extract is a text of the corpus: no option may show it.
        assert all("capital of Norway" not in text for entity in kb for text in entity.descriptions.values())
    with pytest.raises(FileExistsError, match=r"\[S217\]"):
        write_silver(output)
    assert write_silver(output, sources=["raw"], kb=False, force=True)["sources"] == ["raw"]
    with pytest.raises(ValueError, match=r"\[S843\].*patterns"):
        write_silver(output, sources=["tweets"], force=True)


def record(lang, group, *ids, text=""):
    spans = [{"start": 0, "end": 1, "label": "LOC", "kb_id": id, "bearers": 1} for id in ids]
    return {"lang": lang, "group": group, "text": text or f"{group} {' '.join(ids)}", "spans": spans}


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda lang, group, ids: record(lang, str(group), *(f"Q{id}" for id in ids)),
            st.sampled_from(["ar", "en"]),
            st.integers(0, 30),
            st.lists(st.integers(0, 40), min_size=1, max_size=4),
        ),
        max_size=60,
    ),
    st.integers(0, 5),
)
def test_splits_share_no_group_and_no_entity_that_is_held_out(records, seed):
    splits, held = arrange({"raw": records}, seed)
    assert splits == arrange({"raw": records[::-1]}, seed)[0]
    groups, sides = {}, {}
    for (lang, part, split), own in splits.items():
        assert part == ""
        links = Counter(span["kb_id"] for each in own for span in each["spans"])
        assert max(links.values()) <= silver_recipe.MOST[split]
        for each in own:
            assert each["spans"]
            assert each["lang"] == lang
            assert groups.setdefault(each["group"], split) == split
        for id in held & set(links):
            assert sides.setdefault(id, split == "train") == (split == "train")


def test_texts_that_repeat_are_dropped_and_what_is_frequent_is_thinned_out():
    same = [record("en", "a", "Q1", text="one text")] * 3
    splits, _ = arrange({"raw": same, "qa": same}, 1)
    assert sum(map(len, splits.values())) == 1
    splits, held = arrange({"raw": [record("en", str(number), "Q1") for number in range(900)]}, 1)
    assert not held
    assert {split: len(own) for (_, _, split), own in splits.items()} == silver_recipe.MOST


def test_shares_are_spread_and_the_same_everywhere():
    assert share_of(13, "split", "a") == share_of("13", "split", "a") != share_of(13, "split", "b")
    shares = [share_of(number) for number in range(2000)]
    assert 0.47 < sum(shares) / len(shares) < 0.53
    assert 0 <= min(shares) < max(shares) < 1
