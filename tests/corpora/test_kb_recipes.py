"""Recipes of knowledge bases: what becomes of the entries, on files written here and on the real ones."""

from __future__ import annotations

import json
import lzma
import math
import os
import time
from pathlib import Path

import pytest
from samarkand.corpora.kb_recipes import (
    FILES,
    RECIPES,
    SOURCES,
    bundled_entities,
    multilingual_entities,
    read_multikb,
    recipe_entities,
    recipe_terms,
)
from samarkand.models.knowledge_base import Entity, build_knowledge_base

MULTIKB = [
    {
        "id": "Q79",
        "type": "loc",
        "place": "country",
        "cc": "EG",
        "labels": {"en": " Egypt", "ar": "مصر", "zh": "埃及", "zh-hant": "埃及"},
        "aliases": {"native": ["Masr", " "], "en": ["Egypt", "Misr"]},
        "nlang": 99,
        "deg": 3,
        "pop": 100_000_000,
        "src": ["mpararel", "csc"],
        "desc": {"en": "a country"},
        "extract": {"en": "Egypt is a country in Africa."},
    },
    {"id": "Q85", "type": "loc", "place": "city", "cc": "EG", "labels": {"en": "Cairo", "ar": "القاهرة", "zh": "开罗"}},
    {"id": "Q9", "type": "loc", "place": "city", "cc": "EG", "labels": {"en": "Benha", "ar": "بنها", "zh": "本哈"}},
    {"id": "Q1", "labels": {"en": "Ada"}, "nlang": 7, "src": ["elevant"], "wdtypes": ["human"]},
    {"id": "Q2", "labels": {"en": "Acme", "ar": "أكمي"}, "type": "work", "wdtypes": ["product", "org"]},
    {"id": "Q3", "labels": {"en": "Luxor"}, "type": "loc", "wdtypes": ["loc", "org"], "src": ["elevant"]},
    {"id": "Q4", "labels": {"en": "thing"}, "src": ["elevant"]},
    {"id": "Q5", "labels": {"en": "painting"}, "type": "genre", "src": ["codex-types"]},
    {
        "id": "Q6",
        "labels": {"en": "Arabic", "ar": "العربية", "zh": "阿拉伯语"},
        "type": "language",
        "src": ["mpararel"],
    },
    {"id": "Q7", "labels": {"en": "arabic"}, "type": "work", "src": ["mpararel"]},
]
MULTIKB[1] |= {"src": ["csc"], "nlang": 12, "pop": 9_600_000}
MULTIKB[2] |= {"src": ["csc"], "nlang": 12, "pop": 160_000}
MULTIKB[4] |= {"src": ["mpararel", "elevant"], "nlang": 30, "deg": 1}
CLDR = [
    {"id": "cldr:territory:EG", "type": "loc", "labels": {"en": "Egypt", "ar": "جمهورية مصر", "tr": "Mısır"}},
    {"id": "cldr:territory:015", "type": "loc", "labels": {"en": "Northern Africa", "zh-Hant": "北非"}},
    {"id": "cldr:territory:ZZ", "type": "loc", "labels": {"en": "Unknown Region"}},
    {"id": "cldr:language:ar", "type": "language", "labels": {"en": "Arabic", "ar": "اللغة العربية"}},
    {"id": "cldr:language:ach", "type": "language", "labels": {"en": "Acoli", "ar": "الأكولية", "zh": "阿乔利语"}},
    {"id": "cldr:script:Arab", "type": "script", "labels": {"en": "Arabic"}, "aliases": {"en": ["Perso-Arabic"]}},
]
FACTS = [
    ("Q85", "P1376", "Q79"),
    ("Q79", "P36", "Q85"),
    ("Q2", "P17", "Q79"),
    ("Q2", "P740", "Q404"),
    ("Q2", "P999", "Q85"),
    ("Q404", "P17", "Q79"),
]
RELATIONS = {
    "P17": {"en": "country", "ar": "البلد", "zh": "国家"},
    "P36": {"en": "capital", "ar": "العاصمة", "zh": "首都"},
    "P1376": {"en": "capital of", "ar": "عاصمة", "zh": "为其首都"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "kb").mkdir()
    files = dict(zip(FILES, (MULTIKB, FACTS, RELATIONS, CLDR)))
    for name, content in files.items():
        if name.endswith("json"):
            (tmp_path / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        else:
            lines = ("\t".join(row) if isinstance(row, tuple) else json.dumps(row) for row in content)
            (tmp_path / name).write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode()))
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path))
    return tmp_path


def by_id(entities) -> dict[str, Entity]:
    found = list(entities)
    assert len({entity.id for entity in found}) == len(found)
    return {entity.id: entity for entity in found}


def test_an_entry_is_an_entity(folder):
    egypt = next(iter(read_multikb(folder / FILES[0])))
    assert egypt.names == {"en": "Egypt", "ar": "مصر", "zh": "埃及", "zh-hant": "埃及"}
    assert egypt.aliases == {"mul": ("Masr",), "en": ("Misr",)}
    assert egypt.descriptions == {"en": "Egypt is a country in Africa."}
    assert egypt.weight == pytest.approx(math.sqrt(100 * 4 * 1001))
    assert len(list(read_multikb(folder / FILES[0]))) == len(MULTIKB)


def test_types_are_coarse(folder):
    types = {id: entity.type for id, entity in by_id(recipe_entities("multilingual")).items()}
    assert {id: types[id] for id in ("Q79", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6")} == {
        "Q79": "LOC",
        "Q1": "PER",
        "Q2": "ORG",
        "Q3": "LOC",
        "Q4": "",
        "Q5": "MISC",
        "Q6": "MISC",
    }
    assert types["cldr:territory:015"] == "LOC"
    assert types["cldr:script:Arab"] == types["cldr:language:ach"] == "MISC"


def test_languages_count_where_they_were_counted(folder):
    weights = {id: entity.weight for id, entity in by_id(recipe_entities("multilingual")).items()}
    assert weights["Q85"] == pytest.approx(math.sqrt(97))
    assert weights["Q1"] == weights["cldr:script:Arab"] == 1.0
    assert weights["Q2"] == pytest.approx(math.sqrt(31 * 2))


def test_names_of_cldr_join_what_they_name(folder):
    found = by_id(recipe_entities("multilingual"))
    assert {id for id in found if id.startswith("cldr:")} == {
        "cldr:territory:015",
        "cldr:language:ach",
        "cldr:script:Arab",
    }
    assert found["Q79"].names["tr"] == "Mısır"
    assert found["Q79"].aliases == {"mul": ("Masr",), "en": ("Misr", "Egyptian"), "ar": ("جمهورية مصر",)}
    assert found["Q6"].names["ar"] == "العربية"
    assert found["Q6"].aliases == {"ar": ("اللغة العربية",)}
    assert found["cldr:territory:015"].names == {"en": "Northern Africa", "zh-hant": "北非"}
    assert found["cldr:script:Arab"].aliases == {"en": ("Perso-Arabic",)}


def test_places_bear_what_english_calls_their_people(folder):
    rows = [
        {"id": "Q230", "type": "loc", "place": "country", "cc": "GE", "labels": {"en": "Georgia"}},
        {"id": "Q1428", "type": "loc", "place": "state", "cc": "US", "labels": {"en": "Georgia"}},
        {"id": "Q15", "type": "loc", "labels": {"en": "Africa"}, "nlang": 9, "src": ["mpararel"]},
        {"id": "Q99", "type": "work", "labels": {"en": "Africa"}},
        {"id": "Q458", "type": "org", "labels": {"en": "European Union"}},
    ]
    lines = (json.dumps({"src": ["csc"], **row}) for row in (*MULTIKB, *rows))
    (folder / FILES[0]).write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode()))
    found = by_id(multilingual_entities(folder))
    told = {id: found[id].aliases.get("en", ()) for id in ("Q230", "Q1428", "Q15", "Q99", "Q458")}
    assert told == {"Q230": ("Georgian",), "Q1428": ("GA",), "Q15": ("African",), "Q99": (), "Q458": ("EU",)}
    assert not any(
        entity.aliases.get("en")
        for id, entity in by_id(multilingual_entities(folder, words=False)).items()
        if id in told
    )


def test_facts_are_named_in_a_language_and_stay_inside(folder):
    found = by_id(recipe_entities("multilingual"))
    assert found["Q85"].facts == (("capital of", "Q79"), ("country", "Q79"))
    assert found["Q79"].facts == (("capital", "Q85"),)
    assert found["Q2"].facts == (("country", "Q79"), ("P999", "Q85"))
    assert by_id(recipe_entities("multilingual", lang="ar"))["Q79"].facts == (("العاصمة", "Q85"),)


def test_open_only_leaves_out_what_states_no_terms(folder):
    found = by_id(recipe_entities("multilingual-open"))
    assert {"Q85", "Q9", "Q1", "Q3", "Q4", "Q5"} == {id for id in found if not id.startswith("cldr:")}
    # Nothing of theirs is left to join, nor to be a country of.
    assert {"cldr:territory:EG", "cldr:language:ar"} <= set(found)
    assert not any(entity.facts for entity in found.values())
    assert "mpararel" in recipe_terms("multilingual")
    assert set(recipe_terms("multilingual-open")) == {name for name, terms in SOURCES.items() if terms.open}
    assert not SOURCES["mpararel"].open


def test_the_bundle_is_of_facts_alone(folder):
    found = by_id(recipe_entities("bundled"))
    assert set(found) == {"Q79", "Q85", "Q2", "Q6", "cldr:language:ach"}
    assert not any(entity.descriptions for entity in found.values())
    assert set(found["Q79"].names) == {"en", "ar", "zh", "zh-hant"}
    assert found["Q79"].aliases == {"en": ("Misr", "Egyptian"), "ar": ("جمهورية مصر",)}
    assert found["Q2"].facts == (("country", "Q79"), ("P999", "Q85"))


def test_what_a_recipe_needs_is_told(folder, monkeypatch):
    with pytest.raises(ValueError, match=r"S920.*multilingual, multilingual-open, bundled"):
        recipe_entities("monolingual")
    with pytest.raises(ValueError, match=r"S923.*one of ar, en, zh"):
        recipe_entities("multilingual", lang="fr")
    (folder / FILES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"S919.*facts\.tsv\.xz"):
        recipe_entities("bundled")
    monkeypatch.delenv("SAMARKAND_DATA")
    with pytest.raises(FileNotFoundError, match=r"S919.*Set SAMARKAND_DATA"):
        recipe_entities("multilingual")


@pytest.mark.data
@pytest.mark.slow
def test_the_real_knowledge_base(tmp_path):
    """All of it, within three minutes of a core: those of a machine that does nothing else."""
    started = time.process_time()
    folder = Path(os.environ["SAMARKAND_DATA"])
    ids, in_three = set(), 0
    for entity in read_multikb(folder / FILES[0]):
        ids.add(entity.id)
        in_three += all(lang in entity.names for lang in ("en", "ar", "zh"))
    assert (len(ids), in_three) == (140_915, 71_631)

    def counted():
        for entity in multilingual_entities(folder):
            ids.discard(entity.id)
            yield entity

    with build_knowledge_base(tmp_path / "all.kb", counted()) as kb:
        assert not ids
        assert 140_915 < len(kb) < 143_000
        assert {"en", "ar", "zh", "fa", "zh-hant"} <= set(kb.languages)
        assert [kb.candidates(name, 1)[0].id for name in ("埃及", "القاهرة", "France")] == ["Q79", "Q85", "Q142"]
        assert [kb.candidates(name, 1)[0].id for name in ("American", "Scottish", "TX")] == ["Q30", "Q22", "Q1439"]
    assert time.process_time() - started < 180


@pytest.mark.data
@pytest.mark.slow
def test_the_real_bundle_is_small(tmp_path):
    folder = Path(os.environ["SAMARKAND_DATA"])
    with build_knowledge_base(tmp_path / "small.kb", bundled_entities(folder)) as kb:
        assert 4_000 < len(kb) < 8_000
        for name, id in {"Google": "Q95", "巴黎": "Q90", "طوكيو": "Q1490", "联合国": "Q1065"}.items():
            assert kb.candidates(name, 1)[0].id == id
        assert kb.path.stat().st_size < 4_000_000


def test_every_recipe_has_terms():
    assert all(recipe_terms(name) for name in RECIPES)
