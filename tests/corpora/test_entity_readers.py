"""Entities from files: each line is an entity, or a reason with its place."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.entity_fields import FIELDS
from samarkand.corpora.entity_readers import RejectedLine, distinct, format_of, read_entities
from samarkand.models.kb_entities import entity_to_bytes
from samarkand.models.knowledge_base import Entity

CAIRO = {
    "id": "L1",
    "type": "LOC",
    "names": {"en": "Cairo", "ar": "القاهرة", "zh": "开罗"},
    "aliases": {"en": ["Al-Qahirah", "Kairo"], "zh": "開羅"},
    "descriptions": {"en": "capital of Egypt"},
    "facts": [["country", "L2"], ["inhabitants", 9606916]],
    "weight": 12,
    "counts": {"Cairo": 40},
}
CAIRO_ENTITY = Entity(
    "L1",
    "LOC",
    names={"en": "Cairo", "ar": "القاهرة", "zh": "开罗"},
    aliases={"en": ("Al-Qahirah", "Kairo"), "zh": ("開羅",)},
    descriptions={"en": "capital of Egypt"},
    facts=(("country", "L2"), ("inhabitants", "9606916")),
    weight=12.0,
    counts={"Cairo": 40.0},
)


def write(path: Path, *lines: object) -> Path:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, **settings) -> list[tuple[int, Entity | str]]:
    """Lines with entities, or with the codes of what is none."""
    return [(n, item if isinstance(item, Entity) else item.code) for n, item in read_entities(path, **settings)]


def only_reason(path: Path, **settings) -> tuple[str, str]:
    ((line, item),) = read_entities(path, **settings)
    assert isinstance(item, RejectedLine)
    assert (item.path, item.line) == (str(path), line)
    return item.code, item.reason


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON.gz", "jsonl"),
        ("a.csv.xz", "csv"),
        ("a.tsv", "csv"),
        ("latest-all.json.zst", "wikidata"),
        ("a.json.bz2", None),
        ("a", None),
    ],
)
def test_endings_name_formats(name, format):
    assert format_of(Path(name)) == format


def test_a_line_is_an_entity(tmp_path):
    path = write(tmp_path / "a.jsonl", CAIRO, "", {"id": "L2", "names": {"en": "Egypt"}, "type": None})
    assert read(path) == [(1, CAIRO_ENTITY), (3, Entity("L2", names={"en": "Egypt"}))]


def test_facts_may_be_a_map(tmp_path):
    path = write(tmp_path / "a.jsonl", {**CAIRO, "facts": {"country": "L2", "inhabitants": 9606916}})
    assert read(path) == [(1, CAIRO_ENTITY)]


def test_one_language_may_be_named_for_all(tmp_path):
    line = {"id": "L1", "names": "Cairo", "aliases": ["Kairo"], "descriptions": "a city"}
    path = write(tmp_path / "a.jsonl", line, {**line, "aliases": "Kairo"}, {"id": "L2", "names": {"ar": "مصر"}})
    cairo = Entity("L1", names={"en": "Cairo"}, aliases={"en": ("Kairo",)}, descriptions={"en": "a city"})
    assert read(path, langs=["en"]) == [(1, cairo), (2, cairo), (3, Entity("L2", names={"ar": "مصر"}))]
    assert [item for _, item in read(path)] == ["S912", "S912", Entity("L2", names={"ar": "مصر"})]


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("{", "S911", "Not a JSON object"),
        ("[1]", "S911", "found list"),
        ("9" * 5000, "S911", "Not a JSON object"),
        ("[" * 100_000, "S911", "Not a JSON object"),
        ('{"id": NaN}', "S911", "NaN is no JSON value"),
        ({"names": {"en": "A"}}, "S912", "'id' is missing"),
        ({**CAIRO, "alias": "x"}, "S912", "'alias' is not known; known are id, type"),
        ({**CAIRO, "names": "Cairo"}, "S912", "'names' must be a map by language, not str; or name its language"),
        ({**CAIRO, "facts": "x"}, "S912", "'facts' must be a map or a list of pairs"),
        ({**CAIRO, "id": " "}, "S903", " id"),
        ({**CAIRO, "id": "a\ud800"}, "S903", " id"),
        ({**CAIRO, "id": 7}, "S903", " id"),
        ({**CAIRO, "names": {"en": None}}, "S903", "name"),
        ({**CAIRO, "aliases": {"en": [1]}}, "S903", "alias"),
        ({**CAIRO, "facts": [["a", "b", "c"]]}, "S903", "fact"),
        ({**CAIRO, "facts": [7]}, "S903", "fact"),
        ({**CAIRO, "facts": [[7, 7]]}, "S903", "fact"),
        ({**CAIRO, "weight": 0}, "S903", "weight"),
        ({**CAIRO, "weight": "3"}, "S903", "weight"),
        ({**CAIRO, "weight": 10**400}, "S903", "weight"),
        ({**CAIRO, "counts": {"Cairo": -1}}, "S903", "count"),
        ({"id": "L1"}, "S903", "alias"),
    ],
)
def test_bad_lines_are_told_and_the_rest_goes_on(tmp_path, line, code, reason):
    if not isinstance(line, str):
        line = json.dumps(line)
    path = write(tmp_path / "a.jsonl", CAIRO, line, {**CAIRO, "id": "L9"})
    items = list(read_entities(path))
    assert [number for number, _ in items] == [1, 2, 3]
    rejected = items[1][1]
    assert (rejected.code, rejected.line, rejected.raw) == (code, 2, line)
    assert reason in rejected.reason
    assert isinstance(items[2][1], Entity)


def test_reasons_stay_short(tmp_path):
    path = write(tmp_path / "a.jsonl", {"id": "L1", "x\n" * 5000: 1})
    code, reason = only_reason(path)
    assert code == "S912"
    assert len(reason) < 400
    assert "\n" not in reason


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(CAIRO).encode() + b'\r\n{"id": "\xff"}\n' + json.dumps(CAIRO).encode()
    )
    assert read(path) == [(1, CAIRO_ENTITY), (2, "S915"), (3, CAIRO_ENTITY)]
    assert "byte 9 is 0xff" in next(item.reason for _, item in read_entities(path) if isinstance(item, RejectedLine))


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("gz", gzip.compress), ("xz", lzma.compress), ("zst", lambda data: zstandard.ZstdCompressor().compress(data))],
)
def test_compressed_files(tmp_path, ending, compress):
    # Random ids, so that half of the file is not the whole of it.
    lines = [{**CAIRO, "id": str(random.Random(n).random())} for n in range(3000)]
    data = compress(write(tmp_path / "a.jsonl", *lines).read_bytes())
    path = tmp_path / f"a.jsonl.{ending}"
    path.write_bytes(data)
    assert [item.id for _, item in read_entities(path)] == [line["id"] for line in lines]
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="S208"):
        list(read_entities(path))


TABLE = [
    "id,name,aliases,description,type,weight,name_ar,aliases_ar,description_zh-hant",
    'L1,Cairo,Al-Qahirah| Kairo ||,"capital, of Egypt",LOC,12,القاهرة,,',
    'L2,"Egypt",,"two\nlines",,,,مصر|أم الدنيا,埃及',
]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_tables(tmp_path, separator):
    lines = [line.replace(",", separator) for line in TABLE]
    path = write(tmp_path / f"a.{'csv' if separator == ',' else 'tsv'}", *lines, "")
    cairo = Entity(
        "L1",
        "LOC",
        names={"en": "Cairo", "ar": "القاهرة"},
        aliases={"en": ("Al-Qahirah", "Kairo")},
        descriptions={"en": f"capital{separator} of Egypt"},
        weight=12.0,
    )
    egypt = Entity(
        "L2",
        names={"en": "Egypt"},
        aliases={"ar": ("مصر", "أم الدنيا")},
        descriptions={"en": "two\nlines", "zh-hant": "埃及"},
    )
    assert read(path, langs=["en"]) == [(2, cairo), (3, egypt)]


def test_bad_rows_are_told_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "a.csv"
    rows = [b"id,name_en,weight", b"1,A,2", b"2,B", b"3,C,much", b'4,"D"x,1', b"5,\xff,1", b",F,1", b"7,G,-1", b"8,H,"]
    path.write_bytes(b"\r\n".join(rows))
    a, h = Entity("1", names={"en": "A"}, weight=2.0), Entity("8", names={"en": "H"})
    codes = {3: "S914", 4: "S912", 5: "S914", 6: "S915", 7: "S912", 8: "S903"}
    assert read(path) == [(2, a), *codes.items(), (9, h)]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "has no column 'id'"),
        ("name_en,type", "has no column 'id'"),
        ("id,label_en", "has an unknown column 'label_en'"),
        ("id,name_", "has an unknown column 'name_'"),
        ("id,name_en,name_en", "has two columns 'name_en'"),
        ("id,type,type,name_en", "has two columns 'type'"),
        ("id,name", "has a column 'name', whose language has to be named with --lang"),
        ('id,"name_en"x', "has no header"),
    ],
)
def test_headers_that_mean_nothing_are_refused_at_once(tmp_path, header, problem):
    path = write(tmp_path / "a.csv", header, "1,A")
    with pytest.raises(ValueError, match="S917") as error:
        read_entities(path)
    assert problem in str(error.value)


def test_two_columns_of_one_language_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", "id,name,name_en", "1,A,B")
    with pytest.raises(ValueError, match=r"S917.*two columns 'name_en'"):
        read_entities(path, langs=["en"])
    assert read(path, langs=["fr"]) == [(2, Entity("1", names={"fr": "A", "en": "B"}))]


def item(id: str = "Q85", **fields) -> dict:
    """An item as a dump has it: with a class, names in three languages and a page in two wikis."""
    return {
        "type": "item",
        "id": id,
        "labels": {code: {"language": code, "value": f"name {code}"} for code in ("en", "ar", "fr")},
        "aliases": {"en": [{"language": "en", "value": "other"}]},
        "descriptions": {"ar": {"language": "ar", "value": "مدينة"}},
        "claims": {"P31": [statement("Q515")]},
        "sitelinks": {"enwiki": {}, "arwiki": {}},
        **fields,
    }


def statement(id: str | None, rank: str = "normal") -> dict:
    if id is None:
        return {"rank": rank, "mainsnak": {"snaktype": "somevalue"}}
    return {"rank": rank, "mainsnak": {"snaktype": "value", "datavalue": {"value": {"id": id}}}}


def test_a_wikidata_dump(tmp_path):
    lines = ["[", json.dumps(item()) + ",", json.dumps(item("Q2", labels=[], aliases=[])) + ","]
    lines += [
        json.dumps({"type": "property", "id": "P31", "labels": []}) + ",",
        "nothing,",
        json.dumps(item("Q3")),
        "]",
    ]
    path = write(tmp_path / "dump.json", *lines)
    fields = {"aliases": {"en": ("other",)}, "descriptions": {"ar": "مدينة"}, "weight": 2.0}
    fields["facts"] = (("is a", "Q515"),)
    named = {"names": {"en": "name en", "ar": "name ar"}, **fields}
    assert read(path) == [(2, Entity("Q85", "LOC", **named)), (5, "S911"), (6, Entity("Q3", "LOC", **named))]
    assert [e.names for _, e in read(path, langs=["fr"]) if isinstance(e, Entity)] == [{"fr": "name fr"}] * 2
    assert read(path, langs=["de"]) == [(5, "S911")]


@pytest.mark.parametrize(
    ("classes", "type"),
    [
        ([statement("Q5")], "PER"),
        ([statement("Q1"), statement(None), statement("Q3918")], "ORG"),
        ([statement("Q515", "deprecated")], ""),
        ([statement("Q515"), statement("Q5", "preferred")], "PER"),
        ([], ""),
    ],
)
def test_types_come_from_classes(tmp_path, classes, type):
    path = write(tmp_path / "dump.json", item(claims={"P31": classes} if classes else []))
    assert [entity.type for _, entity in read(path)] == [type]


def test_names_of_all_languages_and_pages_of_none(tmp_path):
    path = write(tmp_path / "dump.json", item(labels={"mul": {"value": "Ada"}}, sitelinks=[]))
    ((_, entity),) = read(path, langs=["de"])
    assert (entity.names, entity.weight) == ({"mul": "Ada"}, 1.0)


@pytest.mark.parametrize(
    "line",
    [{"labels": {}}, item(claims=7), item(labels={"en": "x"}), item(claims={"P31": [1]}), item(aliases={"en": 1})],
)
def test_what_is_no_item(tmp_path, line):
    code, reason = only_reason(write(tmp_path / "dump.json", line))
    assert code == "S922"
    assert reason.startswith("Not an entity of Wikidata")


def test_an_unknown_format_and_too_many_languages_are_refused(tmp_path):
    with pytest.raises(ValueError, match="S916"):
        read_entities(tmp_path / "a.xlsx")
    path = write(tmp_path / "a.xlsx", CAIRO)
    assert read(path, format="jsonl") == [(1, CAIRO_ENTITY)]
    with pytest.raises(ValueError, match="S923"):
        read_entities(path, format="jsonl", langs=["en", "ar"])


def test_an_id_that_comes_again_is_refused_with_both_places(tmp_path):
    first = write(tmp_path / "a.jsonl", CAIRO, {**CAIRO, "id": "L2"}, CAIRO, "x")
    second = write(tmp_path / "b.jsonl", {**CAIRO, "id": "L2"}, {**CAIRO, "id": "L3"})
    found = list(distinct([(str(path), read_entities(path)) for path in (first, second)]))
    assert [x.id if isinstance(x, Entity) else (x.path, x.line, x.code) for x in found] == [
        "L1",
        "L2",
        (str(first), 3, "S913"),
        (str(first), 4, "S911"),
        (str(second), 1, "S913"),
        "L3",
    ]
    assert found[2].reason == f"The id 'L1' is there already, from {first}, line 1. Each entity must have its own."
    assert f"from {first}, line 2" in found[4].reason


text = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(FIELDS) | text, values, max_size=4)
near = st.builds(lambda fields, more: {**fields, **more}, st.sampled_from([CAIRO, item()]), objects)
lines = st.one_of(
    st.binary(max_size=40), st.builds(lambda value: json.dumps(value).encode(), values | objects | near)
).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@settings(max_examples=60, deadline=None)
@given(found=st.lists(lines, min_size=20, max_size=40), cuts=st.randoms(use_true_random=False))
def test_no_line_breaks_a_reader(tmp_path_factory, name, found, cuts):
    """Some thousands of lines a format: whatever they hold, they are entities or have a reason in one line."""
    # Half of them are cut somewhere, as files are.
    found = [line[: cuts.randrange(len(line) + 1)] if cuts.random() < 0.5 else line for line in found]
    path = tmp_path_factory.mktemp("fuzz") / name
    header = b"id,name_en,aliases_ar,weight\n" if name.endswith("csv") else b""
    path.write_bytes(header + b"\n".join(found))
    items = list(distinct([(str(path), read_entities(path))]))
    assert len(items) <= sum(bool(line.strip()) for line in found)
    if name == "a.jsonl":
        assert len(items) == sum(bool(line.strip()) for line in found)
    for entry in items:
        if isinstance(entry, RejectedLine):
            assert entry.reason
            assert "\n" not in entry.reason
            assert 1 <= entry.line <= len(found) + 1


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
entities = st.builds(
    Entity,
    id=st.text("abc", min_size=1, max_size=3),
    type=words,
    names=st.dictionaries(words, words, max_size=2).map(lambda names: {**names, "en": "x"}),
    aliases=st.dictionaries(words, st.lists(words, max_size=2), max_size=2),
    descriptions=st.dictionaries(words, words, max_size=2),
    facts=st.lists(st.tuples(words, words), max_size=2),
    weight=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    counts=st.dictionaries(words, st.floats(min_value=0, allow_infinity=False), max_size=2),
)


@settings(deadline=None)
@given(entity=entities)
def test_what_is_written_is_read_as_it_was(tmp_path_factory, entity):
    path = tmp_path_factory.mktemp("same") / "a.jsonl"
    path.write_bytes(entity_to_bytes(entity))
    assert read(path) == [(1, entity)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    line = item(descriptions={"en": {"value": "long " * 300}}) if name.endswith("json") else CAIRO
    path = write(tmp_path / name, *({**line, "id": f"Q{n}"} for n in range(4000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in distinct([(name, read_entities(path))])) == 4000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
