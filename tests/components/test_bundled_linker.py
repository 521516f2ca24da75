"""The knowledge base that the bundled pipeline links to."""

from __future__ import annotations

import pytest
import samarkand
from samarkand.models.pretrained import PACKAGES

FOLDER = PACKAGES / samarkand.DEFAULT_PIPELINE


@pytest.fixture(scope="module")
def nlp():
    nlp = samarkand.load()
    assert "m3_linker" in nlp.disabled
    nlp.enable_pipe("m3_linker")
    return nlp


def test_the_pipeline_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 40 * 2**20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("They flew from Cairo to Beijing.", {"Cairo": "Q85", "Beijing": "Q956"}),
        ("سافر من القاهرة إلى باريس.", {"القاهرة": "Q85", "باريس": "Q90"}),
        ("他从北京飞到开罗。", {"北京": "Q956", "开罗": "Q85"}),
    ],
)
def test_places_are_linked_in_three_languages(nlp, text, expected):
    doc = nlp.make_doc(text)
    places = [(text.index(name), text.index(name) + len(name)) for name in expected]
    doc.ents = [doc.char_span(start, end, label="LOC") for start, end in places]
    assert {ent.text: ent.kb_id_ for ent in nlp.get_pipe("m3_linker")(doc).ents} == expected


def test_people_are_not_in_it(nlp):
    doc = nlp("وصل أحمد زويل من القاهرة إلى 上海 للعمل مع شركة Google.")
    people = [ent for ent in doc.ents if ent.label_ == "PER"]
    assert [ent.kb_id_ for ent in people] == ["NIL"]
    assert all(ent._.nil_reason for ent in people)


def test_it_holds_facts_alone_and_tells_their_terms(nlp):
    kb = nlp.get_pipe("m3_linker").kb
    kb.check()
    assert kb.entity("Q85").facts
    assert not any(entity.descriptions for entity in kb)
    assert kb.meta["terms"]["csc"] == "ODbL 1.0"
