"""Linked texts: what is asked of a linker, and what is not."""

import gzip
import json
import os
from pathlib import Path

import pytest
from samarkand.corpora.linking_sets import (
    LINKING_FILES,
    SHORT_TEXT,
    UNTYPED,
    linking_names,
    linking_sets,
    resolve_titles,
)

TEXT = "Rosa, whom Oslo knows since May 2001, met three Bergen people. She is at HQ."


def mention(surface, qid=None, **more):
    start = TEXT.index(surface)
    return {"start": start, "end": start + len(surface), "surface": surface, "qid": qid, **more}


def write(folder, path, *rows):
    (folder / "el").mkdir(exist_ok=True)
    with gzip.open(folder / path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def row(*mentions, **more):
    return {"id": "a", "lang": "en", "text": TEXT, "mentions": list(mentions), **more}


def spans_of(folder, name):
    (found,) = linking_sets(folder, [name])
    return {TEXT[span["start"] : span["end"]]: span for record in found.records for span in record["spans"]}


def test_ids_and_nil_with_one_label(tmp_path):
    write(tmp_path, "el/spotlight.en.jsonl.gz", row(mention("Oslo", "Q585", types=["loc"]), mention("Rosa")))
    spans = spans_of(tmp_path, "spotlight")
    assert spans["Oslo"] == {"start": 11, "end": 15, "label": UNTYPED, "kb_id": "Q585"}
    assert spans["Rosa"]["kb_id"] is None
    assert list(spans) == ["Rosa", "Oslo"]


def test_coreference_and_what_is_optional_are_no_questions(tmp_path):
    mentions = [mention("She", "Q1", coref=True), mention("HQ", "Q2", optional=True), mention("Oslo", "Q585")]
    write(tmp_path, "el/spotlight.en.jsonl.gz", row(*mentions))
    assert list(spans_of(tmp_path, "spotlight")) == ["Oslo"]


def test_pronouns_are_no_questions_marked_or_not(tmp_path):
    text = "She left the US, he stayed."
    places = [(0, 3), (13, 15), (17, 19)]
    mentions = [{"start": start, "end": end, "qid": "Q30"} for start, end in places]
    write(tmp_path, "el/spotlight.en.jsonl.gz", {"id": "a", "text": text, "mentions": mentions})
    (found,) = linking_sets(tmp_path, ["spotlight"])
    assert [text[span["start"] : span["end"]] for span in found.records[0]["spans"]] == ["US"]


def test_dates_and_numbers_are_no_questions_where_they_are_annotated(tmp_path):
    mentions = [mention("May 2001"), mention("three"), mention("Bergen"), mention("people", "Q2472587")]
    for path in ("el/wiki-fair-v2.dev.en.jsonl.gz", "el/spotlight.en.jsonl.gz"):
        write(tmp_path, path, row(*mentions))
    assert list(spans_of(tmp_path, "wiki-fair/dev")) == ["Bergen", "people"]
    assert len(spans_of(tmp_path, "spotlight")) == 4


def test_two_ids_on_the_same_words_are_alternatives(tmp_path):
    write(tmp_path, "el/spotlight.en.jsonl.gz", row(mention("Oslo"), mention("Oslo", "Q585"), mention("Oslo", "Q586")))
    assert spans_of(tmp_path, "spotlight")["Oslo"]["kb_id"] == "Q585"
    assert spans_of(tmp_path, "spotlight")["Oslo"]["alternatives"] == ["Q586"]


def test_pages_of_german_dbpedia_become_ids_where_they_are_known(tmp_path):
    uris = ("http://de.dbpedia.org/resource/Oslo", "http://de.dbpedia.org/resource/Rosa_(K%C3%BCnstlerin)", None)
    mentions = [mention(surface, uri=uri) for surface, uri in zip(("Oslo", "Rosa", "Bergen"), uris)]
    write(tmp_path, "el/n3-news100.de.jsonl.gz", row(*mentions, lang="de"))
    (found,) = linking_sets(tmp_path, ["news-100"])
    assert found.lang == "de"
    asked = []
    (record,) = resolve_titles(found.records, lambda title: asked.append(title) or {"Oslo": "Q585"}.get(title))
    assert asked == ["Rosa (Künstlerin)", "Oslo"]
    assert [span.get("kb_id", "") for span in record["spans"]] == ["", "Q585", None]


def test_families_and_those_that_are_there(tmp_path):
    write(tmp_path, "el/wiki-fair-v2.dev.en.jsonl.gz", row())
    assert [found.name for found in linking_sets(tmp_path)] == ["wiki-fair/dev"]
    with pytest.raises(FileNotFoundError, match=r"\[S841\]"):
        linking_sets(tmp_path, ["wiki-fair"])
    with pytest.raises(ValueError, match=r"\[S843\].*wiki-fair/test"):
        linking_sets(tmp_path, ["wiki"])
    with pytest.raises(FileNotFoundError, match=r"\[S840\]"):
        linking_sets(tmp_path / "none")
    assert set(SHORT_TEXT) < set(linking_names())


def test_a_mention_outside_its_text_is_named(tmp_path):
    write(tmp_path, "el/spotlight.en.jsonl.gz", row(), row({"start": 5, "end": 900, "qid": None}))
    with pytest.raises(ValueError, match=r"\[S842\].*line 2: a mention at 5-900"):
        linking_sets(tmp_path, ["spotlight"])


@pytest.mark.data
def test_every_set_is_read():
    found = {each.name: each for each in linking_sets(Path(os.environ["SAMARKAND_DATA"]))}
    assert len(found) == len(LINKING_FILES)
    spans = {name: [span for record in each.records for span in record["spans"]] for name, each in found.items()}
    assert len(spans["tweeki-gold"]) == 864
    assert sum(span["kb_id"] is None for span in spans["derczynski"]) == 82
    assert all(len(own) > 200 for own in spans.values())
