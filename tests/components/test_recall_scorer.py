"""Precision at a given recall: thresholds of one set judged on another, in Python and as a scorer."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import samarkand
import spacy
import srsly
from hypothesis import given
from hypothesis import strategies as st
from samarkand.components.recall_scorer import (
    choose_thresholds,
    evaluate_at_recall,
    make_cats_at_recall_scorer,
    score_cats_at_recall,
)
from samarkand.corpora.cats_corpus import CatsCorpus, write_docbin
from samarkand.errors import SamarkandWarning
from samarkand.models.recall_thresholds import precision_and_recall, recall_threshold
from samarkand.models.torch_optimizer import create_adamw
from spacy import registry
from spacy.language import Language
from spacy.training import Example
from spacy.util import load_config

NLP = samarkand.blank("xx")


def example(score: float, gold: dict[str, float]) -> Example:
    doc = NLP.make_doc(f"text {score}")
    predicted = doc.copy()
    predicted.cats = {"spam": score, "ham": 1 - score}
    doc.cats = gold
    return Example(predicted, doc)


SPAM, HAM = {"spam": 1.0}, {"ham": 1.0}
DEV = [*(example(s / 10, SPAM) for s in range(1, 11)), *(example(s / 10, HAM) for s in (0, 1, 2, 3))]
TEST = [*(example(s, SPAM) for s in (0.9, 0.5, 0.15)), *(example(s, HAM) for s in (0.35, 0.4, 0.1))]


def test_thresholds_are_chosen_on_one_set_and_judged_on_another():
    thresholds = choose_thresholds(DEV, [0.8, 0.9, 1.0])
    assert thresholds["spam"] == {"80": 0.3, "90": 0.2, "100": 0.1}
    scores = score_cats_at_recall(TEST, json.loads(json.dumps(thresholds)))
    spam = {percent: scores[f"cats_p_at_r{percent}_per_type"]["spam"] for percent in ("80", "100")}
    assert spam["80"] == {"p": pytest.approx(2 / 4), "r": pytest.approx(2 / 3), "threshold": 0.3}
    assert spam["100"] == {"p": pytest.approx(3 / 6), "r": 1.0, "threshold": 0.1}
    per_type = scores["cats_p_at_r80_per_type"]
    assert scores["cats_p_at_r80"] == pytest.approx((per_type["spam"]["p"] + per_type["ham"]["p"]) / 2)


def test_unknown_labels_do_not_count():
    texts = [example(0.9, {"spam": 1.0}), example(0.8, {}), example(0.7, {"ham": 0.0})]
    assert choose_thresholds(texts, [1.0], multi_label=True) == {"spam": {"100": 0.9}}
    thresholds = {"spam": {"100": 0.5}}
    absent = score_cats_at_recall(texts, thresholds)["cats_p_at_r100"]
    unknown = score_cats_at_recall(texts, thresholds, multi_label=True)["cats_p_at_r100"]
    assert (absent, unknown) == (0.5, 1.0)


def test_what_cannot_be_measured_is_refused():
    for recalls in ([0.0], [90]):
        with pytest.raises(ValueError, match="S1130"):
            choose_thresholds(DEV, recalls)
        with pytest.raises(ValueError, match="S1130"):
            make_cats_at_recall_scorer(recalls)
    with pytest.raises(ValueError, match="S1130"):
        choose_thresholds([example(0.5, {})])
    with pytest.raises(ValueError, match="S1130"):
        score_cats_at_recall([example(0.5, SPAM)], {"other": {"90": 0.5}})
    with pytest.raises(ValueError, match=r"S1130.*'spam'.*95"):
        score_cats_at_recall([example(0.5, SPAM)], {"other": {"90": 0.5, "95": 0.5}, "spam": {"90": 0.5}})


def test_scorers_from_configs():
    chosen, fixed = registry.resolve(
        {
            "chosen": {"@scorers": "samarkand.cats_at_recall_scorer.v1"},
            "fixed": {"@scorers": "samarkand.cats_at_recall_scorer.v1", "thresholds": {"spam": {"90": 0.45}}},
        }
    ).values()
    options = {"labels": ["spam", "ham"], "multi_label": False, "positive_label": None, "threshold": 0.5}
    with pytest.warns(SamarkandWarning, match="SW1130"):
        scores = chosen(TEST, **options)
    assert {"cats_score", "cats_p_at_r80", "cats_p_at_r90", "cats_p_at_r95"} <= set(scores)
    assert fixed(TEST, **options)["cats_p_at_r90_per_type"] == {"spam": {"p": 1.0, "r": 2 / 3, "threshold": 0.45}}


@Language.component("test_spam_score")
def _spam(doc):
    score = float(doc[-1].text)
    doc.cats = {"spam": score, "ham": 1 - score}
    return doc


def test_a_pipeline_is_evaluated():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("test_spam_score")
    expected = score_cats_at_recall(TEST, choose_thresholds(DEV, [0.9]))
    assert evaluate_at_recall(nlp, DEV, TEST, [0.9]) == expected


def test_a_pipe_that_has_learnt_is_given_thresholds_and_others_are_judged_by_them():
    scorer = make_cats_at_recall_scorer([0.9])
    kept: dict = {}
    scorer(DEV, recall_thresholds=kept)
    assert kept == choose_thresholds(DEV, [0.9])
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        judged = scorer(TEST, recall_thresholds=kept)
    assert judged["cats_p_at_r90_per_type"] == score_cats_at_recall(TEST, kept)["cats_p_at_r90_per_type"]
    # Thresholds of other recalls are of no use.
    with pytest.warns(SamarkandWarning, match="SW1130"):
        make_cats_at_recall_scorer([0.8])(TEST, recall_thresholds=kept)
    assert set(kept["spam"]) == {"90"}


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.floats(0.05, 1))
def test_a_saved_threshold_finds_no_less(scores, recall):
    """Regression: spaCy saves 9 decimals of a number, and one that was rounded up lost the positive that it was of."""
    column, gold = np.array(scores), np.ones(len(scores), dtype=bool)
    threshold = recall_threshold(column, gold, recall)
    saved = srsly.json_loads(srsly.json_dumps({"threshold": threshold}))["threshold"]
    assert saved == pytest.approx(threshold, abs=1e-15)
    assert precision_and_recall(column, gold, saved)[1] >= recall - 1e-9


RECIPE = Path(samarkand.__file__).parent / "configs" / "weak_textcat.cfg"
SMALL = {"width": 16, "embed_width": 16, "word_rows": 100, "piece_rows": 100, "bigram_rows": 0, "bigram_width": 4}
WORDS = {"pos": ["good", "fine", "great"], "neg": ["bad", "poor", "awful"]}


@pytest.fixture
def trained(tmp_path) -> Path:
    """A small pipeline trained by `spacy train`, beside the texts that it was trained and chosen on, and test texts."""
    from spacy.cli.train import train

    rng = np.random.default_rng(0)
    for name in ("train", "dev", "test"):
        lines = []
        for _ in range(40):
            label = ("pos", "neg")[rng.integers(2)]
            # The test texts are mostly of the other class.
            word = rng.choice(WORDS[label if name != "test" or rng.random() < 0.3 else "neg"])
            lines.append(json.dumps({"text": f"a {word} day {rng.integers(9)}", "label": label}))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    overrides = {
        "paths.train": str(tmp_path / "train.jsonl"),
        "paths.dev": str(tmp_path / "dev.jsonl"),
        "paths.encoder": None,
        # The last step is after the last evaluation.
        "training.max_steps": 5,
        "training.eval_frequency": 2,
        "training.optimizer.learn_rate.warmup_steps": 1,
    }
    encoder = {f"components.transfer_textcat.model.tok2vec.{key}": value for key, value in SMALL.items()}
    load_config(RECIPE, encoder, interpolate=False).to_disk(tmp_path / "small.cfg")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        train(tmp_path / "small.cfg", tmp_path / "out", overrides=overrides)
    return tmp_path


def test_a_trained_pipeline_keeps_the_thresholds_of_its_development_set(trained):
    """Regression: `spacy evaluate` chose thresholds on the test set that it judged them on, and did not say so."""
    from spacy.cli.evaluate import evaluate

    corpora = {name: CatsCorpus(trained / f"{name}.jsonl") for name in ("dev", "test")}
    for folder in ("model-best", "model-last"):
        nlp = spacy.load(trained / "out" / folder)
        kept = nlp.get_pipe("transfer_textcat").cfg["recall_thresholds"]
        assert {label: set(by_recall) for label, by_recall in kept.items()} == {
            key: {"80", "90", "95"} for key in WORDS
        }
        write_docbin(corpora["test"], trained / f"{folder}.spacy", nlp)
        with warnings.catch_warnings():
            warnings.simplefilter("error", SamarkandWarning)
            scores = evaluate(str(trained / "out" / folder), trained / f"{folder}.spacy", silent=True)
        for label, row in scores["cats_p_at_r90_per_type"].items():
            assert row["threshold"] == kept[label]["90"]
    # The best step is the one whose thresholds it keeps.
    nlp = spacy.load(trained / "out" / "model-best")
    dev, test = ([*corpus(nlp)] for corpus in corpora.values())
    at_recall = evaluate_at_recall(nlp, dev, test)
    assert nlp.evaluate(test)["cats_p_at_r90"] == pytest.approx(at_recall["cats_p_at_r90"])
    assert at_recall["cats_p_at_r90"] != pytest.approx(evaluate_at_recall(nlp, test, test)["cats_p_at_r90"])


def test_thresholds_are_those_of_the_weights(trained):
    nlp = spacy.load(trained / "out" / "model-best")
    pipe = nlp.get_pipe("transfer_textcat")
    dev, test = ([*CatsCorpus(trained / f"{name}.jsonl")(nlp)] for name in ("dev", "test"))
    kept, saved = pipe.cfg["recall_thresholds"], nlp.to_bytes()
    nlp.evaluate(test)
    assert pipe.cfg["recall_thresholds"] is kept
    optimizer = create_adamw(0.02)
    for _ in range(3):
        nlp.update(dev, sgd=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        nlp.evaluate(dev)
        new = pipe.cfg["recall_thresholds"]
        assert new != kept
        nlp.evaluate(test)
        assert pipe.cfg["recall_thresholds"] is new
        # Weights that are loaded come with their thresholds.
        for load, source in ((nlp.from_bytes, saved), (nlp.from_disk, trained / "out" / "model-best")):
            nlp.update(dev, sgd=optimizer)
            load(source)
            nlp.evaluate(test)
            assert pipe.cfg["recall_thresholds"] == kept
    pipe.cfg["recall_thresholds"] = None
    with pytest.warns(SamarkandWarning, match="SW1130"):
        nlp.evaluate(test)
    assert pipe.cfg["recall_thresholds"] is None
