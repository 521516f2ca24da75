"""Types, languages and texts of entities, candidates to learn from, and scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import samarkand
from linker_samples import ENTITIES, LINKED, make_doc, make_examples, make_kb
from samarkand.components.linker_annotations import (
    BELOW_THRESHOLD,
    DOUBTED_AFTER,
    DOUBTED_BEFORE,
    NO_CANDIDATES,
    nil_reason,
)
from samarkand.components.linker_examples import training_candidates
from samarkand.components.linker_mentions import find_mentions
from samarkand.components.linker_scorer import score_linker
from samarkand.components.linker_table import TYPES, Mention, make_questions, type_agreement
from samarkand.components.linker_texts import EntityTexts, entity_name, mention_language
from samarkand.models.kb_candidates import Candidate
from spacy.scorer import Scorer
from spacy.tokens import Span
from spacy.training import Example

NLP = samarkand.blank("xx")


@pytest.mark.parametrize(
    ("label", "type", "expected"),
    [
        ("GPE", "LOC", 1.0),
        ("person", "PER", 1.0),
        ("ORG", "LOC", 0.0),
        ("", "LOC", 0.5),
        ("ORG", "", 0.5),
        ("", "", 0.5),
        ("MISC", "LOC", 0.5),
        ("DISEASE", "disease", 1.0),
    ],
)
def test_types_agree(label, type, expected):
    assert type_agreement(label, type, TYPES) == expected


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("Paris", "xx", "en"),
        ("Paris", "fr", "fr"),
        ("باريس", "xx", "ar"),
        ("باريس", "fa", "fa"),
        ("巴黎", "en", "zh"),
        ("ひらがな", "xx", "ja"),
        ("1848", "xx", "en"),
        ("", "xx", "en"),
        ("2024 巴黎 Paris", "xx", "zh"),
    ],
)
def test_language_of_a_mention(text, own, expected):
    assert mention_language(text, own) == expected


def test_texts_of_entities_are_in_the_language_of_the_mention(tmp_path):
    kb = make_kb(tmp_path)
    texts = EntityTexts(NLP.tokenizer, lambda: kb)
    keys = [(kb.checksum, lang, id) for lang, id in (("zh", "Q90"), ("ar", "Q90"), ("en", "Q312"), ("en", "gone"))]
    found = texts(keys)
    assert [text.doc.text for text in found] == [
        "巴黎 | LOC | country: 法国",
        "باريس | LOC | country: فرنسا",
        "Apple | ORG | maker of phones",
        "gone",
    ]
    assert found[2].segments.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert texts.names(keys) == dict(zip(keys, ["巴黎", "باريس", "Apple", "gone"]))
    assert entity_name(ENTITIES[1], "ar") == "Paris"


def _candidate(id: str) -> Candidate:
    return Candidate(id, 0.5, 1.0, id, "exact", "")


def test_gold_is_among_the_candidates_to_learn_from():
    found = [_candidate(id) for id in "abcde"]
    assert [c.id for c in training_candidates(found, "b", 3)] == ["a", "b", "c"]
    assert [c.id for c in training_candidates(found, "e", 3)] == ["a", "b", "e"]
    assert [c.id for c in training_candidates(found, "NIL", 3)] == ["a", "b", "c"]
    assert training_candidates([], "a", 3) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((False, 0.0, 0.0, 0.5), NO_CANDIDATES),
        ((True, 0.2, 0.9, 0.5), DOUBTED_BEFORE),
        ((True, 0.9, 0.2, 0.5), DOUBTED_AFTER),
        ((True, None, 0.2, 0.5), DOUBTED_AFTER),
        ((True, None, None, 0.5), BELOW_THRESHOLD),
    ],
)
def test_reasons(arguments, expected):
    assert nil_reason(*arguments) == expected


def _examples(answers: dict[str, str]) -> list[Example]:
    """The samples with other answers for some gold ids."""
    changed = [
        (text, [(words, label, answers.get(kb_id, kb_id)) for words, label, kb_id in mentions])
        for text, mentions in LINKED
    ]
    return [Example(make_doc(NLP, *got), make_doc(NLP, *gold)) for got, gold in zip(changed, LINKED)]


@pytest.mark.parametrize("answers", [{}, {"Q90": "NIL", "NIL": "Q142"}, {"Q85": "Q90", "Q312": "Q89", "NIL": "Q1"}])
def test_scores_of_links_are_those_of_spacy(answers):
    examples = _examples(answers)
    found = score_linker(examples)
    expected = Scorer.score_links(examples, negative_labels=["NIL"])
    for name, value in expected.items():
        assert found[name] == (value if isinstance(value, (str, dict)) else pytest.approx(value)), name


def test_scores_with_nil_as_a_class():
    # 12 mentions: Q90 three times and NIL twice.
    scores = score_linker(_examples({"Q90": "NIL"}))
    assert scores["nel_overall_f"] == pytest.approx(9 / 12)
    assert scores["nel_linkable_acc"] == pytest.approx(7 / 10)
    assert (scores["nel_nil_p"], scores["nel_nil_r"]) == (pytest.approx(2 / 5), pytest.approx(1))
    assert scores["nel_nil_f"] == pytest.approx(2 * 0.4 / 1.4)


def test_mentions_that_nobody_has_linked_or_found_do_not_count():
    examples = make_examples(NLP)
    assert score_linker(examples)["nel_overall_f"] is None
    assert score_linker([])["nel_micro_f"] == 0
    unlinked = [Example(make_doc(NLP, *LINKED[0]), make_doc(NLP, *LINKED[0], linked=False))]
    assert score_linker(unlinked)["nel_nil_f"] is None
    groups = [Example(make_doc(NLP, *LINKED[0], "a"), make_doc(NLP, *LINKED[0], "a"))]
    assert score_linker(groups, spans_key="a")["nel_overall_f"] == 1
    assert np.isclose(score_linker(groups, spans_key="b")["nel_micro_f"], 0)


def test_a_random_order_depends_on_the_text_alone():
    texts = [f"Paris {word} Paris" for word in ("or", "and", "with", "near", "beside", "without", "for", "of")]
    docs = [NLP.make_doc(text) for text in texts]
    mentions = [Mention(at, start, start + 1, "", "en", (), 0) for at in range(len(docs)) for start in (0, 2)]
    options = {"checksum": "", "types": TYPES, "read": list, "beta": 0.5, "theta": 0.5}
    first, again = (make_questions(docs, mentions, order="random", **options).order for _ in range(2))
    assert first.tolist() == again.tolist()
    assert {tuple(turns) for turns in first.reshape(-1, 2).tolist()} == {(0, 1), (1, 0)}
    # The order of the documents does not count.
    later = [replace(mention, document=len(docs) - 1 - mention.document) for mention in mentions]
    turned = make_questions(docs[::-1], later, order="random", **options).order
    assert turned.tolist() == first.tolist()


def test_a_name_is_read_in_its_own_document(tmp_path):
    texts = ["Paris Hilton sang, and Paris left.", "Paris is a town.", "Nobody."]
    docs = list(map(NLP.make_doc, texts))
    asked = [[(5, 6, "PER", None), (0, 2, "PER", None)], [(0, 1, "LOC", None)], []]
    with make_kb(tmp_path) as kb:
        mentions = find_mentions(docs, asked, kb, k=10, lang="xx")
    assert [(each.document, each.start, each.end) for each in mentions] == [(0, 5, 6), (0, 0, 2), (1, 0, 1)]
    found = [{c.id: c.match for c in each.candidates}["Q47899"] for each in mentions]
    assert found == ["written", "exact", "exact"]


def test_spans_in_one_place_are_scored_by_their_label():
    docs = []
    for kb_id in ("NIL", "Q90"):
        doc = NLP.make_doc("Paris")
        doc.spans["a"] = [Span(doc, 0, 1, label="LOC", kb_id="Q90"), Span(doc, 0, 1, label="DATE", kb_id=kb_id)]
        docs.append(doc)
    predicted, other = docs
    reference = NLP.make_doc("Paris")
    reference.spans["a"] = [Span(reference, 0, 1, label="LOC", kb_id="Q90")]
    for doc in (predicted, other):
        assert score_linker([Example(doc, reference)], spans_key="a")["nel_overall_f"] == 1
    # Labels that are found may be others.
    reference.spans["a"] = [Span(reference, 0, 1, label="GPE", kb_id="Q90")]
    assert score_linker([Example(other, reference)], spans_key="a")["nel_overall_f"] == 1
