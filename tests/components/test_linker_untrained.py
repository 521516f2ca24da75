"""The pipe without training, and what becomes of its knowledge base."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import samarkand
import spacy
from linker_samples import LINKED, SMALL_ENCODER, link, make_examples, make_kb, make_nlp, told
from samarkand.components.linker_annotations import NO_CANDIDATES
from samarkand.models.kb_entities import Entity
from samarkand.models.knowledge_base import KnowledgeBase, build_knowledge_base
from samarkand.models.torch_optimizer import create_adamw
from spacy.language import Language


@pytest.fixture(scope="module")
def kb(tmp_path_factory) -> KnowledgeBase:
    return make_kb(tmp_path_factory.mktemp("kb"))


def _ids(nlp: Language) -> list[list[str]]:
    return [[ent.kb_id_ for ent in link(nlp, text, mentions).ents] for text, mentions in LINKED]


def test_links_at_once(kb):
    nlp = make_nlp(kb)
    found = _ids(nlp)
    assert found[0] == found[3][:1] + found[0][1:] == ["Q90", "Q142"]
    # A person is not the city.
    (singer,) = link(nlp, *LINKED[2]).ents
    by_id = {candidate["id"]: candidate["probability"] for candidate in singer._.candidates}
    (city,) = link(nlp, *LINKED[1]).ents
    assert by_id["Q47899"] > {c["id"]: c["probability"] for c in city._.candidates}["Q47899"]
    (nowhere,) = link(nlp, *LINKED[8]).ents
    assert (nowhere.kb_id_, nowhere._.nil_reason) == ("NIL", NO_CANDIDATES)
    assert set(singer._.link_scores) == {"v1", "v2", "s_link", "theta"}


def test_the_guide_shows_what_happens(tmp_path, monkeypatch, capsys):
    guide = (Path(samarkand.__file__).parent / "docs" / "linking.md").read_text(encoding="utf-8")
    shown, code = (
        re.search(rf"## In a pipeline.*?```{kind}\n(.*?)```", guide, re.DOTALL).group(1) for kind in ("text", "python")
    )
    lines = re.search(r"<<'END'\n(.*?)END\n", guide, re.DOTALL).group(1).splitlines()
    entities = [Entity(**json.loads(line) | {"facts": ()}) for line in lines]
    build_knowledge_base(tmp_path / "cities.kb", entities)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "linking.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_texts_count_when_asked(kb):
    model = {"@architectures": "samarkand.PriorLinker.v1", "tok2vec": SMALL_ENCODER, "context": 4.0}
    nlp = make_nlp(kb, model)
    # Encoders have their weights after this; no data are needed.
    nlp.initialize()
    plain = make_nlp(kb)
    weighed, without = (told(link(each, *LINKED[5]))[0][4] for each in (nlp, plain))
    assert {row[0] for row in weighed} == {row[0] for row in without} == {"Q312", "Q89"}
    assert weighed != without
    again = pickle.loads(pickle.dumps(nlp))
    assert told(link(again, *LINKED[5]))[0][4] == weighed


def test_learns_nothing_and_can_be_tuned(kb):
    nlp = make_nlp(kb)
    before = _ids(nlp)
    nlp.initialize(lambda: make_examples(nlp))
    assert nlp.update(make_examples(nlp), sgd=create_adamw(1e-2)) == {"m3_linker": 0.0}
    assert _ids(nlp) == before
    first = nlp.evaluate(make_examples(nlp))["nel_overall_f"]
    beta, theta = nlp.get_pipe("m3_linker").tune(make_examples(nlp))
    assert (nlp.get_pipe("m3_linker").beta, nlp.get_pipe("m3_linker").theta) == (beta, theta)
    assert nlp.evaluate(make_examples(nlp))["nel_overall_f"] >= first


def test_what_the_config_decides_is_not_tuned(kb):
    nlp = make_nlp(kb, theta=0.25)
    nlp.get_pipe("m3_linker").tune(make_examples(nlp))
    assert nlp.get_pipe("m3_linker").theta == 0.25


def test_a_saved_pipeline_needs_no_other_file(kb, tmp_path):
    moved = shutil.copy(kb.path, tmp_path / "moved.kb")
    nlp = make_nlp(KnowledgeBase(moved))
    expected, as_bytes = _ids(nlp), nlp.to_bytes()
    nlp.to_disk(tmp_path / "one")
    nlp.to_disk(tmp_path / "one")
    Path(moved).unlink()
    again = spacy.load(tmp_path / "one")
    assert _ids(again) == expected
    # It can be saved where it was loaded from, and elsewhere.
    again.to_disk(tmp_path / "one")
    again.to_disk(tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    assert _ids(spacy.load(tmp_path / "two")) == expected
    assert _ids(type(nlp).from_config(nlp.config).from_bytes(as_bytes)) == expected


def test_the_knowledge_base_can_stay_where_it_is(kb, tmp_path):
    nlp = make_nlp(kb, store_kb=False)
    nlp.to_disk(tmp_path)
    assert not list(tmp_path.rglob("*.kb"))
    again = spacy.load(tmp_path)
    assert again.get_pipe("m3_linker").kb.path == kb.path
    assert _ids(again) == _ids(nlp)


def test_the_config_can_name_another_when_a_pipeline_is_loaded(kb, tmp_path):
    make_nlp(kb).to_disk(tmp_path / "nlp")
    other = build_knowledge_base(tmp_path / "other.kb", [kb.entity("Q830149")])
    nlp = spacy.load(tmp_path / "nlp", config={"components.m3_linker.knowledge_base": str(other.path)})
    assert _ids(nlp)[0] == ["Q830149", "NIL"]
    pipe = spacy.load(tmp_path / "nlp").get_pipe("m3_linker")
    pipe.set_knowledge_base(other.path)
    assert pipe.kb.checksum == other.checksum


def test_a_missing_file_is_told_when_it_is_needed(tmp_path):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("m3_linker", config={"knowledge_base": str(tmp_path / "none.kb")})
    with pytest.raises(ValueError, match=r"S900.*none\.kb"):
        link(nlp, *LINKED[0])


def test_parts_can_be_left_out(kb, tmp_path):
    pipe = make_nlp(kb).get_pipe("m3_linker")
    pipe.to_disk(tmp_path, exclude=["vocab", "knowledge_base"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfg", "model"]
    assert len(pipe.to_bytes(exclude=["vocab", "knowledge_base"])) < len(pipe.to_bytes(exclude=["vocab"]))


def test_spans_on_the_same_words_have_one_answer(kb):
    nlp = make_nlp(kb, spans_key="sc", labels_discard=["DATE"])
    text = "Paris is the capital of France ."
    mentions = [("Paris", "DATE", ""), ("Paris", "PERSON", ""), ("Paris", "GPE", "")]
    doc = link(nlp, text, mentions, "sc")
    alone = [link(nlp, text, [mention], "sc") for mention in mentions[1:]]
    person_alone, city_alone = (doc.spans["sc"][0] for doc in alone)
    assert person_alone._.candidates != city_alone._.candidates
    assert {span.label_: span.kb_id_ for span in doc.spans["sc"]} == {
        "DATE": "NIL",
        "PERSON": person_alone.kb_id_,
        "GPE": person_alone.kb_id_,
    }
    for span in doc.spans["sc"]:
        assert (span._.candidates, span._.nil_reason) == (person_alone._.candidates, None)


def test_what_is_linked_stands_first_among_nearly_equal_candidates(tmp_path):
    twins = [Entity("A", "LOC", {"en": "Twin"}, weight=1.0), Entity("Z", "LOC", {"en": "Twin"}, weight=1.000005)]
    nlp = make_nlp(build_knowledge_base(tmp_path / "twins.kb", twins), theta=0.0)
    (ent,) = link(nlp, "Twin .", [("Twin", "LOC", "")]).ents
    assert (ent.kb_id_, ent._.candidates[0]["id"]) == ("A", "A")
    assert ent._.candidates[1]["probability"] > ent._.candidates[0]["probability"]
