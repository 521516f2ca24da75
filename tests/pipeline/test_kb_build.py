"""Building, changing and exporting knowledge bases: every line is in it or accounted for, and none is there in part."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from samarkand.corpora import kb_recipes
from samarkand.models.knowledge_base import Entity, KnowledgeBase
from samarkand.pipeline import kb_build
from samarkand.pipeline.kb_build import build_kb, export_kb, kb_info, put_entities
from samarkand.pipeline.sources import UsageError

LINES = [
    {"id": "L1", "type": "LOC", "names": {"en": "Cairo", "ar": "القاهرة", "zh": "开罗"}, "aliases": {"en": ["Kairo"]}},
    {"id": "L2", "type": "LOC", "names": {"en": "Egypt", "ar": "مصر"}, "facts": [["capital", "L1"]], "weight": 2.5},
    {"id": "P1", "names": {"en": "Ada"}, "counts": {"Ada": 3, "Lady Ada": 1}, "descriptions": {"en": "mathematician"}},
]
BAD = ["nothing", '{"id": "L1", "names": {"en": "again"}}', '{"id": "L7"}']


def write(path: Path, *lines: object) -> Path:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def good(tmp_path) -> Path:
    return write(tmp_path / "good.jsonl", *LINES)


@pytest.fixture
def mixed(tmp_path) -> Path:
    return write(tmp_path / "mixed.jsonl", LINES[0], BAD[0], LINES[1], *BAD[1:], LINES[2])


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_becomes_a_knowledge_base(good, tmp_path):
    summary = build_kb([good], tmp_path / "a.kb")
    assert {key: summary[key] for key in ("entities", "aliases", "languages", "rejected", "reasons")} == {
        "entities": 3,
        "aliases": 8,
        "languages": ["ar", "en", "zh"],
        "rejected": 0,
        "reasons": {},
    }
    assert names_in(tmp_path) == {"good.jsonl", "a.kb"}
    info = kb_info(tmp_path / "a.kb")
    assert info == {key: summary[key] for key in info}
    assert info["bytes"] == (tmp_path / "a.kb").stat().st_size
    with KnowledgeBase(tmp_path / "a.kb") as kb:
        assert [entity.id for entity in kb] == ["L1", "L2", "P1"]
        assert kb.entity("L2").facts == (("capital", "L1"),)


def test_bad_lines_are_beside_it_with_place_and_reason(mixed, good, tmp_path):
    summary = build_kb([mixed], tmp_path / "a.kb")
    assert (summary["entities"], summary["rejected"]) == (3, 3)
    assert summary["reasons"] == {"S903": 1, "S911": 1, "S913": 1}
    assert summary["checksum"] == build_kb([good], tmp_path / "b.kb")["checksum"]
    noted = [json.loads(line) for line in (tmp_path / "a.kb.rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(entry["file"], entry["line"], entry["code"]) for entry in noted] == [
        (str(mixed), 2, "S911"),
        (str(mixed), 4, "S913"),
        (str(mixed), 5, "S903"),
    ]
    assert noted[0]["raw"] == "nothing"
    assert f"{mixed}, line 1" in noted[1]["reason"]
    # When they are mended, they are gone.
    build_kb([good], tmp_path / "a.kb", force=True)
    assert not (tmp_path / "a.kb.rejected.jsonl").exists()


def test_strict_stops_at_the_first_bad_line_and_writes_nothing(mixed, good, tmp_path):
    before = build_kb([good], tmp_path / "a.kb")["checksum"]
    there = names_in(tmp_path)
    for output in ("a.kb", "b.kb"):
        with pytest.raises(ValueError, match=r"S910.*mixed\.jsonl, line 2: Not a JSON object"):
            build_kb([mixed], tmp_path / output, strict=True, force=True)
    assert names_in(tmp_path) == there
    assert kb_info(tmp_path / "a.kb")["checksum"] == before


def test_nothing_is_left_when_a_file_is_damaged_or_says_nothing(good, tmp_path):
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(gzip.compress(good.read_bytes())[:-4])
    bad = write(tmp_path / "bad.jsonl", *BAD[:1])
    blank = write(tmp_path / "blank.jsonl", "")
    there = names_in(tmp_path)
    with pytest.raises(ValueError, match="S208"):
        build_kb([good, damaged], tmp_path / "a.kb")
    with pytest.raises(ValueError, match=r"S918.*bad\.jsonl, and nothing was written.* 1, first .*line 1: Not a JSON"):
        build_kb([bad], tmp_path / "a.kb")
    with pytest.raises(ValueError, match=r"S918.*rejected: none\."):
        build_kb([blank], tmp_path / "a.kb")
    assert names_in(tmp_path) == there


def test_nothing_is_left_of_what_was_interrupted(good, tmp_path, monkeypatch):
    def stops(name, lang):
        yield Entity("R1", names={"en": "Luxor"})
        raise KeyboardInterrupt

    before = build_kb([good], tmp_path / "a.kb")["checksum"]
    there = names_in(tmp_path)
    monkeypatch.setattr(kb_build, "recipe_entities", stops)
    for output in ("a.kb", "b.kb"):
        with pytest.raises(KeyboardInterrupt):
            build_kb(["recipe:bundled"], tmp_path / output, force=True)
    assert names_in(tmp_path) == there
    assert kb_info(tmp_path / "a.kb")["checksum"] == before


@pytest.mark.parametrize(
    ("inputs", "options", "code"),
    [
        (["absent.jsonl"], {}, "S512"),
        (["."], {}, "S512"),
        (["good.jsonl"], {"format": "xml"}, "S507"),
        (["good.txt"], {}, "S916"),
        (["good.jsonl"], {"langs": ["en", "ar"]}, "S923"),
        (["bad.csv"], {}, "S917"),
        (["recipe:nothing"], {}, "S920"),
        (["recipe:bundled"], {}, "S919"),
        (["good.jsonl"], {"output": "there.kb"}, "S905"),
        (["good.jsonl"], {"output": "folder", "force": True}, "S905"),
        (["good.jsonl"], {"output": "good.jsonl", "force": True}, "S505"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_written(good, tmp_path, monkeypatch, inputs, options, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAMARKAND_DATA", raising=False)
    write(tmp_path / "good.txt", *LINES)
    write(tmp_path / "bad.csv", "name,colour", "Ada,red")
    write(tmp_path / "there.kb", "mine")
    (tmp_path / "folder").mkdir()
    there = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=code):
        build_kb(inputs, options.pop("output", "a.kb"), **options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == there


def test_inputs_of_several_formats_and_recipes_make_one(good, tmp_path, monkeypatch):
    table = write(tmp_path / "more.csv", "id,name", "C1,Nile", "L1,Cairo")
    recipe = [Entity("R1", names={"en": "Luxor"}), Entity("P1", names={"en": "Ada"})]
    monkeypatch.setattr(kb_build, "recipe_entities", lambda name, lang: iter(recipe))
    summary = build_kb([good, table, "recipe:bundled"], tmp_path / "a.kb", langs=["en"])
    assert (summary["entities"], summary["reasons"]) == (5, {"S913": 2})
    assert summary["terms"] == {name: terms.licence for name, terms in kb_recipes.SOURCES.items()}
    noted = (tmp_path / "a.kb.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(entry["file"], entry["line"]) for entry in map(json.loads, noted)] == [
        (str(table), 3),
        ("recipe:bundled", 2),
    ]


def test_putting_adds_and_changes_or_leaves_all_as_it_was(good, mixed, tmp_path):
    kb = tmp_path / "a.kb"
    build_kb([good], kb)
    more = write(tmp_path / "more.jsonl", {"id": "L9", "names": {"en": "Nile"}}, {**LINES[0], "weight": 7})
    assert put_entities(kb, more) == {"added": 1, "changed": 1, "entities": 4}
    with KnowledgeBase(kb) as opened:
        assert opened.entity("L1").weight == 7
    before = kb_info(kb)["checksum"]
    with pytest.raises(ValueError, match="S910"):
        put_entities(kb, mixed)
    with pytest.raises(UsageError, match="S512"):
        put_entities(kb, tmp_path / "absent.jsonl")
    assert kb_info(kb)["checksum"] == before


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst"])
def test_what_is_exported_is_built_again(good, tmp_path, ending):
    checksum = build_kb([good], tmp_path / "a.kb")["checksum"]
    output = tmp_path / f"all{ending}"
    assert export_kb(tmp_path / "a.kb", output) == 3
    assert build_kb([output], tmp_path / "b.kb", strict=True)["checksum"] == checksum
    with pytest.raises(UsageError, match="S504"):
        export_kb(tmp_path / "a.kb", output)
    export_kb(tmp_path / "a.kb", output, force=True)


def test_exports_have_names_that_build_knows(good, tmp_path):
    build_kb([good], tmp_path / "a.kb")
    with pytest.raises(UsageError, match="S507"):
        export_kb(tmp_path / "a.kb", tmp_path / "all.json")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="S511"):
        export_kb(tmp_path / "a.kb", tmp_path / "file" / "all.jsonl")
