"""`transfer_textcat`: learning with each switch, pairs, soft and missing labels, saving, scores by language."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import samarkand
import spacy
import torch
from samarkand.components.transfer_textcat import TransferTextcat
from samarkand.models.text_pairs import LANG_KEY, join_pair
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example

ENCODER = {
    "@architectures": "samarkand.SubwordEncoder.v1",
    "width": 64,
    "embed_width": 16,
    "word_rows": 200,
    "piece_rows": 200,
    "bigram_rows": 0,
    "bigram_width": 4,
    "context": "attention",
    "depth": 1,
    "dropout": 0.0,
    "token_dropout": 0.0,
}
MODEL = {"@architectures": "samarkand.TransferTextcat.v1", "tok2vec": ENCODER}
ALL = {"robust": 1.0, "push": 0.1, "pull": 1.0}
TEXTS = [
    ("the cat sat on a big mat", {"animals": 1.0}),
    ("rain falls from grey clouds", {"weather": 1.0}),
    ("a small dog barks at cats", {"animals": 1.0}),
    ("sunny weather lasts all week", {"weather": 1.0}),
]
PAIRS = [
    (join_pair("a cat sleeps", "a cat sleeps"), {"same": 1.0}),
    (join_pair("a dog runs", "rain falls"), {"other": 1.0}),
    (join_pair("snow melts", "snow melts"), {"same": 1.0}),
    (join_pair("birds sing", "a train stops"), {"other": 1.0}),
]
MANY = [
    ("cats in the rain", {"animals": 1.0, "weather": 1.0}),
    ("cats on a mat", {"animals": 1.0, "weather": 0.0}),
    ("rain all day", {"animals": 0.0, "weather": 1.0}),
    ("a train stops", {"animals": 0.0, "weather": 0.0}),
]
HOSTILE = ["", " \n ", "a", "猫 قطة cat кот", "\t", "x\ty", "word " * 900]


def make_nlp(
    data: list, *, transfer: dict | None = None, model: dict | None = None, encoder: dict | None = None, **config: Any
) -> tuple[Language, list[Example]]:
    nlp = samarkand.blank("xx")
    network = {"@architectures": "samarkand.TransferTextcat.v1", "dropout": 0.0, **(model or {})}
    network["tok2vec"] = encoder or ENCODER
    nlp.add_pipe("transfer_textcat", config={"model": network, "transfer": transfer or {}, **config})
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in data]
    np.random.seed(0)
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def train(nlp: Language, examples: list[Example], steps: int = 40) -> dict[str, float]:
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


def scores(nlp: Language, texts: list[str]) -> np.ndarray:
    labels = nlp.get_pipe("transfer_textcat").labels
    return np.array([[doc.cats[label] for label in labels] for doc in nlp.pipe(texts)])


@pytest.mark.parametrize(
    ("data", "transfer", "settings"),
    [
        (TEXTS, {}, {}),
        (TEXTS, {"robust": 1.0}, {"model": {"hidden": 16, "pooling": "max"}}),
        (TEXTS, {"push": 0.1}, {}),
        (TEXTS, {"pull": 1.0}, {}),
        (PAIRS, ALL, {"model": {"pair": True}}),
        (MANY, ALL, {"exclusive": False}),
    ],
    ids=["plain", "robust", "push", "pull", "pairs", "multilabel"],
)
def test_overfits_saves_loads_predicts_and_scores(data, transfer, settings, tmp_path):
    nlp, examples = make_nlp(data, transfer=transfer, **settings)
    losses = train(nlp, examples)
    assert set(losses) == {"transfer_textcat", *(f"transfer_textcat_{term}" for term in transfer)}
    texts = [text for text, _ in data] + HOSTILE
    expected = scores(nlp, texts)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for other in (loaded, pickle.loads(pickle.dumps(nlp))):
        np.testing.assert_array_equal(scores(other, texts), expected)
    figures = loaded.evaluate([Example(loaded.make_doc(eg.text), eg.reference) for eg in examples])
    assert figures["cats_score"] == pytest.approx(1.0)
    assert "cats_macro_f_per_lang" not in figures
    if settings.get("exclusive", True):
        np.testing.assert_allclose(expected[[i for i, t in enumerate(texts) if t]].sum(axis=1), 1, rtol=1e-5)


def test_bytes_go_into_a_pipeline_of_other_weights():
    nlp, examples = make_nlp(TEXTS)
    train(nlp, examples, 5)
    other, _ = make_nlp(TEXTS[::-1])
    other.from_bytes(nlp.to_bytes())
    np.testing.assert_array_equal(scores(other, HOSTILE), scores(nlp, HOSTILE))
    assert other.get_pipe("transfer_textcat").labels == nlp.get_pipe("transfer_textcat").labels


@pytest.mark.parametrize("pair", [False, True])
def test_a_batch_of_one_is_a_batch_of_many(pair):
    nlp, _ = make_nlp(PAIRS, model={"pair": pair})
    texts = [text for text, _ in PAIRS] + HOSTILE
    np.testing.assert_allclose(scores(nlp, texts), np.concatenate([scores(nlp, [t]) for t in texts]), atol=1e-4)
    assert not scores(nlp, [""]).any()
    pipe = nlp.get_pipe("transfer_textcat")
    assert pipe.predict([]).shape == (0, 2)
    assert pipe.update([]) == {"transfer_textcat": 0.0}


def test_the_switches_off_are_the_pipe_without_them():
    """The swaps draw from a source of their own, so that not even their presence changes a run."""
    runs = []
    for transfer in ({}, {"robust": 0.0, "push": 0.0, "pull": 0.0, "block": 99, "max_push": 0.5}):
        nlp, examples = make_nlp(TEXTS, transfer=transfer, encoder={**ENCODER, "dropout": 0.2, "context": "lstm"})
        torch.manual_seed(0)
        runs.append((train(nlp, examples, 5), scores(nlp, HOSTILE)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_each_text_of_a_pair_counts():
    nlp, _ = make_nlp(PAIRS, model={"pair": True})
    one, other, turned = scores(nlp, [join_pair("a b", "c d"), join_pair("a b", "e f"), join_pair("c d", "a b")])
    assert not np.allclose(one, other)
    assert not np.allclose(one, turned)
    assert join_pair(" a\tb ", "c") == "a b\tc"


def test_missing_and_soft_labels():
    data = [("cats", {"a": 0.7, "b": 0.3}), ("dogs", {"b": 1.0}), ("unknown", {})]
    nlp, examples = make_nlp(data)
    train(nlp, examples, 150)
    np.testing.assert_allclose(scores(nlp, ["cats", "dogs"]), [[0.7, 0.3], [0, 1]], atol=0.05)
    pipe = nlp.get_pipe("transfer_textcat")
    loss, gradient = pipe.get_loss(examples, np.zeros((3, 2), dtype="f"))
    assert loss == pytest.approx(np.log(2), rel=1e-5)
    assert not gradient[2].any()
    nlp, examples = make_nlp([("cats", {"a": 1.0}), ("dogs", {"b": 0.0})], exclusive=False)
    _, gradient = nlp.get_pipe("transfer_textcat").get_loss(examples, np.zeros((2, 2), dtype="f"))
    assert (gradient != 0).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("cats", [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, {"a": 1.5, "b": -0.5}])
def test_labels_that_are_no_labels_are_refused(cats):
    with pytest.raises(ValueError, match="S622"):
        make_nlp([("x y", {"a": 1.0}), ("bad", cats)])
    if max(cats.values()) <= 1:
        make_nlp([("x y", {"a": 1.0}), ("fine", cats)], exclusive=False)


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ValueError, match="S621"):
        make_nlp([("x", {"a": 1.0})])
    with pytest.raises(ValueError, match="S621"):
        make_nlp([("x", {})], exclusive=False)
    nlp, examples = make_nlp(TEXTS)
    pipe = nlp.get_pipe("transfer_textcat")
    assert pipe.add_label("weather") == 0
    with pytest.raises(ValueError, match="S404"):
        pipe.add_label("other")
    pipe = samarkand.blank("xx").add_pipe("transfer_textcat")
    with pytest.raises(ValueError, match="S623"):
        pipe.initialize(lambda: examples, positive_label="neither")
    with pytest.raises(ValueError, match="S602"):
        make_nlp(TEXTS, transfer={"pull": 1.0}, encoder={**ENCODER, "context": "lstm"})
    with pytest.raises(ValueError, match="S801"):
        make_nlp(TEXTS, model={"pooling": "weighted"})


def test_a_shared_encoder_works_without_switches_alone():
    for transfer in ({}, {"robust": 1.0}):
        nlp = samarkand.blank("xx")
        nlp.add_pipe("tok2vec", config={"model": ENCODER})
        listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 64, "upstream": "*"}
        model = {"@architectures": "samarkand.TransferTextcat.v1", "tok2vec": listener}
        nlp.add_pipe("transfer_textcat", config={"model": model, "transfer": transfer})
        examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in [*TEXTS, ("", {})]]
        if transfer:
            with pytest.raises(ValueError, match="S606"):
                nlp.initialize(lambda: examples)  # noqa: B023
        else:
            nlp.initialize(lambda: examples)  # noqa: B023
            first = train(nlp, examples, 1)["transfer_textcat"]
            assert train(nlp, examples, 30)["transfer_textcat"] < first


def test_labels_given_and_a_positive_one():
    nlp, examples = make_nlp(TEXTS)
    pipe = samarkand.blank("xx").add_pipe("transfer_textcat", config={"model": MODEL})
    labels = nlp.get_pipe("transfer_textcat").label_data[::-1]
    pipe.initialize(lambda: examples, labels=labels, positive_label="weather")
    assert pipe.labels == ("weather", "animals")
    for eg in examples:
        eg.predicted.cats = {"weather": 0.9, "animals": 0.1}
    assert pipe.score(examples)["cats_score"] == pytest.approx(2 / 3)
    assert pipe.score(examples)["cats_score_desc"] == "F (weather)"
    assert TransferTextcat(nlp, pipe.model, scorer=None).score(examples) == {}


def test_scores_by_language_in_spacy_evaluate(tmp_path):
    from spacy.cli.evaluate import evaluate

    nlp, examples = make_nlp(TEXTS)
    train(nlp, examples)
    docs = DocBin(store_user_data=True)
    for (text, cats), lang in zip([*TEXTS, *TEXTS, ("no language", TEXTS[0][1])], ["en"] * 4 + ["ar"] * 4 + [""]):
        doc = nlp.make_doc(text)
        wrong = {"animals": 1.0, "weather": 0.0} if "animals" not in cats else {"animals": 0.0, "weather": 1.0}
        doc.cats = wrong if lang == "ar" else {"animals": 0.0, "weather": 0.0, **cats}
        if lang:
            doc.user_data[LANG_KEY] = lang
        docs.add(doc)
    docs.to_disk(tmp_path / "dev.spacy")
    nlp.to_disk(tmp_path / "model")
    figures = evaluate(str(tmp_path / "model"), tmp_path / "dev.spacy", output=tmp_path / "out.json", silent=True)
    assert figures["cats_macro_f_per_lang"] == {"ar": 0.0, "en": 1.0}
    assert figures["cats_macro_f_langs"] == 0.5
    assert '"cats_macro_f_per_lang"' in (tmp_path / "out.json").read_text(encoding="utf-8")
