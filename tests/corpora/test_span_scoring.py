"""Scores of character spans, against counting by hand and against scikit-style set arithmetic."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.scoring import doc_spans, evaluate_spans, record_spans, surface_forms
from spacy.tokens import Span

GOLD = [[(0, 4, "PER"), (14, 18, "LOC")], [(0, 3, "ORG")], []]
PREDICTED = [[(0, 4, "PER"), (14, 18, "ORG")], [], [(1, 2, "PER")]]


def test_exact_match_of_document_offsets_and_label():
    scores = evaluate_spans(GOLD, PREDICTED)
    assert (scores.micro.tp, scores.micro.fp, scores.micro.fn) == (1, 2, 2)
    assert scores.micro.precision == scores.micro.recall == scores.micro.f1 == pytest.approx(1 / 3)
    assert list(scores.per_label) == ["LOC", "ORG", "PER"]
    assert (scores.per_label["PER"].precision, scores.per_label["PER"].recall) == (0.5, 1.0)
    assert scores.per_label["LOC"].f1 == 0.0
    assert scores.unseen is None


def test_a_span_in_the_wrong_document_is_wrong():
    assert evaluate_spans([[(0, 1, "A")], []], [[], [(0, 1, "A")]]).micro.tp == 0


def test_no_spans_score_zero():
    scores = evaluate_spans([[]], [[]]).micro
    assert (scores.precision, scores.recall, scores.f1) == (0.0, 0.0, 0.0)


def test_unseen_entities_are_scored_apart():
    texts = ["Rosa met Li"]
    gold = [[(0, 4, "PER"), (9, 11, "PER")]]
    predicted = [[(0, 4, "PER"), (5, 8, "PER"), (9, 11, "LOC")]]
    unseen = evaluate_spans(gold, predicted, texts=texts, seen={"Rosa"}).unseen
    assert (unseen.tp, unseen.fp, unseen.fn) == (0, 2, 1)
    assert evaluate_spans(gold, predicted, texts=texts, seen=set()).unseen.tp == 1


def test_surface_forms_and_spans_of_records_and_docs():
    record = {"text": "Rosa in Oslo", "spans": [{"start": 0, "end": 4, "label": "PER"}]}
    assert surface_forms([record]) == {"Rosa"}
    assert record_spans(record) == [(0, 4, "PER")]
    doc = spacy.blank("xx")(record["text"])
    doc.set_ents([Span(doc, 0, 1, "PER")])
    doc.spans["sc"] = [Span(doc, 2, 3, "LOC")]
    assert doc_spans(doc) == [(0, 4, "PER")]
    assert doc_spans(doc, spans_key="sc") == [(8, 12, "LOC")]


def test_different_numbers_of_documents():
    with pytest.raises(ValueError, match=r"\[S215\] Gold has 1 documents and predictions have 2"):
        evaluate_spans([[]], [[], []])


@pytest.mark.parametrize(("texts", "found"), [(None, "none"), (["a", "b"], "2")])
def test_unseen_needs_texts(texts, found):
    with pytest.raises(ValueError, match=rf"\[S216\] .*\(1\), not {found}"):
        evaluate_spans([[]], [[]], texts=texts, seen=["Rosa"])


SPANS = st.lists(st.tuples(st.integers(0, 2), st.integers(3, 4), st.sampled_from("AB")), max_size=5)


@settings(max_examples=100, deadline=None)
@given(documents=st.lists(st.tuples(SPANS, SPANS), max_size=4))
def test_counts_add_up(documents):
    gold, predicted = [g for g, _ in documents], [p for _, p in documents]
    scores = evaluate_spans(gold, predicted)
    all_gold = {(i, *span) for i, spans in enumerate(gold) for span in spans}
    all_predicted = {(i, *span) for i, spans in enumerate(predicted) for span in spans}
    assert scores.micro.tp == len(all_gold & all_predicted)
    assert scores.micro.tp + scores.micro.fn == len(all_gold)
    assert scores.micro.tp + scores.micro.fp == len(all_predicted)
    assert sum(counts.tp for counts in scores.per_label.values()) == scores.micro.tp
    assert sum(counts.fn for counts in scores.per_label.values()) == scores.micro.fn
    swapped = evaluate_spans(predicted, gold).micro
    assert (swapped.precision, swapped.recall, swapped.f1) == (
        scores.micro.recall,
        scores.micro.precision,
        scores.micro.f1,
    )
