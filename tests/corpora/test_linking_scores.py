"""Scores of linked mentions, on documents small enough to count by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.linking_scores import Judged, judge, score_links

IDS = ["Q1", "Q2", "Q3"]
answers = st.sampled_from([*IDS, None, ""])
mentions = st.builds(
    Judged,
    gold=st.frozensets(st.sampled_from(IDS), max_size=2),
    answer=answers,
    candidates=st.lists(st.sampled_from(IDS), unique=True).map(tuple),
)
documents = st.lists(st.lists(mentions, max_size=5), max_size=5)


def linked(gold, answer, candidates=()):
    return Judged(frozenset(gold), answer, tuple(candidates))


def test_by_hand():
    first = [linked({"Q1"}, "Q1", ["Q1", "Q2"]), linked({"Q2"}, "Q3", ["Q3", "Q2"]), linked((), None)]
    second = [linked((), "Q1", ["Q1"]), linked({"Q3"}, None), linked({"Q1"}, "")]
    scores = score_links([first, second, []], ks=(1, 2))
    assert (scores.documents, scores.mentions, scores.linkable) == (2, 6, 4)
    assert scores.linkable_accuracy == 1 / 4
    # Said twice, right once; gold twice.
    assert (scores.nil_precision, scores.nil_recall, scores.nil_f1) == (1 / 2, 1 / 2, 1 / 2)
    # Two of six are right; five were answered.
    assert scores.micro_f1 == pytest.approx(2 * (2 / 5) * (2 / 6) / (2 / 5 + 2 / 6))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
    # Three entities were said, one rightly, of four.
    assert scores.inkb_micro_f1 == pytest.approx(2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4))
    assert scores.inkb_macro_f1 == pytest.approx((1 / 2 + 0) / 2)
    assert scores.recall_at == {"1": 1 / 4, "2": 2 / 4}


def test_a_document_without_entities_is_whole_in_inkb():
    scores = score_links([[linked((), None)], [linked({"Q1"}, "Q2")]])
    assert scores.inkb_macro_f1 == 1 / 2
    assert scores.inkb_micro_f1 == 0


def test_gold_that_the_knowledge_base_lacks_is_nil_and_counted():
    missing = judge(["Q9"], None, known={"Q1"})
    assert missing.is_right
    assert missing.outside
    assert not missing.gold
    assert not judge(["Q9"], "Q9", known={"Q1"}).is_right
    assert score_links([[missing]]).outside == 1
    assert not judge([None], None, known={"Q1"}).outside


def test_any_of_several_answers_is_right():
    assert judge(["Q1", "Q2"], "Q2", known={"Q1", "Q2"}).is_right
    assert judge(["Q1", "Q9"], "Q1", known={"Q1"}).is_right


def test_nothing():
    scores = score_links([])
    assert scores.mentions == 0
    assert scores.micro_f1 == scores.macro_f1 == 0


@given(documents)
def test_scores_are_shares_and_agree_with_one_another(documents):
    scores = score_links(documents)
    shares = [value for value in scores.as_dict().values() if isinstance(value, float)]
    assert all(0 <= share <= 1 for share in [*shares, *scores.recall_at.values()])
    assert scores.recall_at["1"] <= scores.recall_at["10"] <= scores.recall_at["30"]


@given(documents)
def test_the_order_of_documents_and_mentions_does_not_count(documents):
    turned = score_links([list(reversed(document)) for document in reversed(documents)]).as_dict()
    straight = score_links(documents).as_dict()
    assert turned.pop("recall_at") == pytest.approx(straight.pop("recall_at"))
    assert turned == pytest.approx(straight)


@given(st.lists(st.frozensets(st.sampled_from(IDS), max_size=2), min_size=1))
def test_gold_answers_score_all(golds):
    document = [Judged(gold, min(gold, default=None), tuple(gold)) for gold in golds]
    scores = score_links([document])
    assert scores.micro_f1 == scores.macro_f1 == scores.inkb_macro_f1 == 1
    assert scores.linkable_accuracy == (1 if any(golds) else 0)
    assert scores.nil_f1 == (0 if all(golds) else 1)


@given(st.lists(st.tuples(st.frozensets(st.sampled_from(IDS), max_size=2), st.sampled_from([*IDS, None])), min_size=1))
def test_micro_f1_is_accuracy_when_all_is_answered(pairs):
    document = [Judged(gold, answer) for gold, answer in pairs]
    right = sum(mention.is_right for mention in document)
    assert score_links([document]).micro_f1 == pytest.approx(right / len(document))
