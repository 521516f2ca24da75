"""The pipe: learning, annotations, scores, serialisation, and what users feed it."""

from __future__ import annotations

import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import samarkand
import spacy
from ricon_samples import SMALL_ENCODER, SMALL_MODEL
from samarkand.components.ricon_annotations import annotate_spans, register_score
from samarkand.components.ricon_ner import RiconNer
from samarkand.errors import SamarkandWarning
from samarkand.models.ricon_decode import CANDIDATE_TYPE
from samarkand.models.ricon_loss import IGNORED
from samarkand.models.torch_optimizer import create_adamw
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

FLAT = [
    ("زار أحمد زويل مدينة القاهرة .", [("أحمد زويل", "PER"), ("القاهرة", "LOC")]),
    ("李娜在北京大学工作。", [("李娜", "PER"), ("北京大学", "ORG")]),
    ("Marie Curie worked in Paris.", [("Marie Curie", "PER"), ("Paris", "LOC")]),
    ("شركة Apple في 上海 .", [("Apple", "ORG"), ("上海", "LOC")]),
    ("Nothing happened today.", []),
]
NESTED = [
    ("The University of Oslo opened.", [("University of Oslo", "ORG"), ("Oslo", "LOC")]),
    ("北京大学在北京。", [("北京大学", "ORG"), ("北京", "LOC"), ("北京", "LOC", 5)]),
]


def _nlp(**settings: object) -> Language:
    nlp = samarkand.blank("xx")
    nlp.add_pipe("ricon_ner", config={"model": SMALL_MODEL, **settings})
    return nlp


def _examples(nlp: Language, data: list, key: str | None = None) -> list[Example]:
    examples = []
    for text, spans in data:
        offsets = []
        for word, label, *start in spans:
            begin = text.index(word, *start)
            offsets.append((begin, begin + len(word), label))
        reference = nlp.make_doc(text)
        found = [reference.char_span(start, end, label) for start, end, label in offsets]
        if key is None:
            reference.set_ents(found)
        else:
            reference.spans[key] = found
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def _train(nlp: Language, examples: list[Example], steps: int = 80) -> dict[str, float]:
    optimizer = create_adamw(5e-3, average_decay=0.0)
    np.random.seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
    return losses


def _ents(doc: Doc) -> list[tuple[int, int, str, float]]:
    return [(e.start, e.end, e.label_, round(e._.score, 5)) for e in doc.ents]


@pytest.fixture(scope="module")
def trained() -> Language:
    nlp = _nlp()
    # A sentence is also met in the middle of a document.
    text, spans = FLAT[2]
    again = [(word, label, k * (len(text) + 1)) for k in range(3) for word, label in spans]
    _train(nlp, _examples(nlp, [*FLAT, (" ".join([text] * 3), again)]))
    return nlp


@pytest.fixture(scope="module")
def trained_nested() -> Language:
    nlp = _nlp(mode="nested", spans_key="names")
    _train(nlp, _examples(nlp, NESTED, "names"))
    return nlp


def test_learns_a_handful_of_sentences(trained):
    scores = trained.evaluate(_examples(trained, FLAT))
    assert scores["ents_f"] == 1.0
    assert set(scores["ents_per_type"]) == {"PER", "LOC", "ORG"}


def test_learns_nested_spans(trained_nested):
    scores = trained_nested.evaluate(_examples(trained_nested, NESTED, "names"))
    assert scores["spans_names_f"] == 1.0
    doc = trained_nested(NESTED[0][0])
    assert [(s.text, s.label_) for s in doc.spans["names"]] == [("University of Oslo", "ORG"), ("Oslo", "LOC")]
    assert not doc.ents


def test_spans_carry_scores(trained):
    doc = trained(FLAT[2][0])
    assert [e.text for e in doc.ents] == ["Marie Curie", "Paris"]
    assert all(0.5 < e._.score <= 1 for e in doc.ents)


@pytest.mark.parametrize("how", ["bytes", "disk", "pickle"])
def test_saved_pipeline_predicts_the_same(trained, how, tmp_path):
    if how == "bytes":
        again = _nlp()
        np.random.seed(99)
        again.initialize(lambda: _examples(again, FLAT))
        again.from_bytes(trained.to_bytes())
    elif how == "disk":
        trained.to_disk(tmp_path)
        again = spacy.load(tmp_path)
    else:
        again = pickle.loads(pickle.dumps(trained))
    for text, _ in FLAT:
        assert _ents(again(text)) == _ents(trained(text))
    assert again.get_pipe("ricon_ner").labels == trained.get_pipe("ricon_ner").labels


def test_batch_of_one_equals_batch_of_many(trained):
    texts = [text for text, _ in FLAT] + ["", " ", "北", FLAT[0][0] * 30]
    together = list(trained.pipe(texts))
    for text, doc in zip(texts, together):
        assert [e[:3] for e in _ents(doc)] == [e[:3] for e in _ents(trained(text))]


def test_worker_processes_predict_the_same(trained, tmp_path):
    texts = [text for text, _ in FLAT] * 4
    alone = [_ents(doc) for doc in trained.pipe(texts)]
    assert [_ents(doc) for doc in trained.pipe(texts, n_process=2, batch_size=5)] == alone


def test_long_document_is_read_to_its_end(trained):
    text = FLAT[2][0]
    doc = trained(" ".join([text] * 120))
    assert [e.text for e in doc.ents if e.label_ == "LOC"] == ["Paris"] * 120


def test_no_entity_begins_or_ends_with_white_space(trained, monkeypatch):
    doc = trained.make_doc("\n Paris  in\tMay ")
    every = [(i, j, 1, 0.5) for i in range(len(doc)) for j in range(i + 1, len(doc) + 1)]
    answer = np.zeros(len(every), dtype=int), np.array(every, dtype=CANDIDATE_TYPE)
    batch = SimpleNamespace(decode=lambda beta: answer)
    pipe = trained.get_pipe("ricon_ner")
    monkeypatch.setattr(pipe, "mode", "nested")
    monkeypatch.setattr(pipe, "model", SimpleNamespace(predict=lambda docs: [batch]))
    (found,) = pipe.predict([doc])
    texts = {doc[start:end].text for start, end in found[["start", "end"]].tolist()}
    assert "Paris" in texts
    assert all(text == text.strip() for text in texts)


def test_empty_batches_and_documents(trained):
    assert list(trained.pipe([])) == []
    assert [len(doc.ents) for doc in trained.pipe(["", "   ", "\n"])] == [0, 0, 0]
    examples = [Example(trained.make_doc(""), trained.make_doc(""))]
    assert trained.update(examples, sgd=None)["ricon_ner"] == 0.0


def test_set_annotations_with_given_spans():
    nlp = _nlp()
    pipe: RiconNer = nlp.get_pipe("ricon_ner")
    pipe.add_label("A")
    doc = nlp.make_doc("a b c d")
    spans = np.array([(0, 2, 1, 0.9), (3, 4, 1, 0.6)], dtype=CANDIDATE_TYPE)
    pipe.set_annotations([doc], [spans])
    assert _ents(doc) == [(0, 2, "A", 0.9), (3, 4, "A", 0.6)]


@pytest.mark.parametrize(("keep", "expected"), [(True, [("Curie worked", "TERM"), ("Paris", "LOC")]), (False, None)])
def test_a_dictionary_before_wins_when_asked(trained, keep, expected):
    nlp = pickle.loads(pickle.dumps(trained))
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "TERM", "pattern": "Curie worked"}])
    nlp.get_pipe("ricon_ner").keep_existing = keep
    found = [(e.text, e.label_) for e in nlp(FLAT[2][0]).ents]
    assert found == (expected or [("Marie Curie", "PER"), ("Paris", "LOC")])


def test_a_dictionary_after_wins_when_it_overwrites(trained):
    nlp = pickle.loads(pickle.dumps(trained))
    ruler = nlp.add_pipe("entity_ruler", last=True, config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "TERM", "pattern": "Curie worked"}])
    assert [(e.text, e.label_) for e in nlp(FLAT[2][0]).ents] == [("Curie worked", "TERM"), ("Paris", "LOC")]


def test_nested_spans_set_before_are_kept(trained_nested):
    pipe = trained_nested.get_pipe("ricon_ner")
    doc = trained_nested.make_doc(NESTED[0][0])
    doc.spans["names"] = [Span(doc, 0, 3, label="TERM")]
    doc = pipe(doc)
    found = {(s.start, s.end, s.label_) for s in doc.spans["names"]}
    assert (0, 3, "TERM") in found
    assert (3, 4, "LOC") in found
    assert (1, 4, "ORG") not in found, "it crosses the user's own span"


def test_threshold_drops_weak_spans(trained):
    nlp = pickle.loads(pickle.dumps(trained))
    nlp.get_pipe("ricon_ner").threshold = 1.1
    assert not nlp(FLAT[2][0]).ents


def test_unannotated_documents_teach_nothing():
    nlp = _nlp()
    examples = _examples(nlp, FLAT)
    _train(nlp, examples, steps=1)
    network = nlp.get_pipe("ricon_ner").model.shims[0].module
    before = {name: p.clone() for name, p in network.named_parameters()}
    text = FLAT[0][0]
    nlp.update([Example(nlp.make_doc(text), nlp.make_doc(text))], sgd=create_adamw(0.1, L2=0.0))
    assert all(np.array_equal(before[name].detach(), p.detach()) for name, p in network.named_parameters())


def test_spans_wider_than_the_maximum_are_counted_and_missed():
    nlp = _nlp(max_width=1)
    examples = _examples(nlp, FLAT)
    with pytest.warns(SamarkandWarning, match="SW401.* 5 of 8 .*longest: 4"):
        nlp.initialize(lambda: examples)
    optimizer = create_adamw(5e-3)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    scores = nlp.evaluate(_examples(nlp, FLAT))
    assert scores["ents_r"] <= 0.5


def test_width_is_taken_from_the_data():
    nlp = _nlp()
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        nlp.initialize(lambda: _examples(nlp, FLAT))
    assert nlp.get_pipe("ricon_ner").max_width == 4


def test_labels_can_be_given_and_read_back():
    nlp = _nlp()
    examples = _examples(nlp, FLAT)
    nlp.get_pipe("ricon_ner").initialize(lambda: examples, nlp=nlp, labels=["ORG", "PER", "LOC"])
    pipe = nlp.get_pipe("ricon_ner")
    assert pipe.label_data == ["ORG", "PER", "LOC"]
    assert pipe.add_label("PER") == 0


def test_misuse_gives_a_code():
    with pytest.raises(ValueError, match="S401"):
        _nlp(mode="deep")
    with pytest.raises(ValueError, match="S402"):
        _nlp(model={**SMALL_MODEL, "branches": "none"})
    with pytest.raises(ValueError, match="S403"):
        _nlp(max_width=0)
    with pytest.raises(ValueError, match="S406"):
        _nlp(negatives=1.5)
    with pytest.raises(ValueError, match="S407"):
        _nlp(mode="nested", loss_weights={"segments": 1.0})
    with pytest.raises(ValueError, match="S301"):
        _nlp(model={**SMALL_MODEL, "tok2vec": {**SMALL_ENCODER, "context": "rnn"}})
    nlp = _nlp()
    with pytest.raises(ValueError, match=r"S405.*doc\.ents"):
        nlp.initialize(lambda: _examples(nlp, FLAT[-1:]))
    nlp.initialize(lambda: _examples(nlp, FLAT))
    with pytest.raises(ValueError, match="S404"):
        nlp.get_pipe("ricon_ner").add_label("NEW")


def test_shares_an_encoder_and_trains_with_a_tagger():
    nlp = samarkand.blank("xx")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    nlp.add_pipe("tok2vec", config={"model": SMALL_ENCODER})
    nlp.add_pipe("ricon_ner", config={"model": {**SMALL_MODEL, "tok2vec": listener}})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    examples = _examples(nlp, FLAT)
    for eg in examples:
        for token in eg.reference:
            token.tag_ = "P" if token.is_punct else "W"
    losses = _train(nlp, examples, steps=150)
    assert set(losses) == {"tok2vec", "ricon_ner", "tagger"}
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == 1.0
    assert scores["tag_acc"] == 1.0


def test_spacy_train_and_evaluate(tmp_path):
    from spacy.cli.evaluate import evaluate
    from spacy.cli.train import train

    records = []
    for text, spans in FLAT:
        found = [{"start": text.index(w), "end": text.index(w) + len(w), "label": label} for w, label in spans]
        records.append(json.dumps({"text": text, "spans": found}, ensure_ascii=False))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(records) + "\n", encoding="utf-8")
    config = samarkand.path  # the recipes lie beside the package
    recipe = config.__globals__["__file__"].replace("__init__.py", "configs/ricon_flat.cfg")
    encoder = {f"components.tok2vec.model.{k}": v for k, v in SMALL_ENCODER.items() if k != "@architectures"}
    overrides = {
        "paths.train": str(corpus),
        "paths.dev": str(corpus),
        "paths.encoder": None,
        "components.ricon_ner.model.tok2vec.width": 32,
        "training.max_steps": 60,
        "training.eval_frequency": 30,
        "training.optimizer.learn_rate.warmup_steps": 5,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        **encoder,
    }
    train(recipe, tmp_path / "out", overrides=overrides)
    nlp = spacy.load(tmp_path / "out" / "model-best")
    spacy_corpus = tmp_path / "corpus.spacy"
    from spacy.tokens import DocBin

    DocBin(docs=[eg.reference for eg in _examples(nlp, FLAT)]).to_disk(spacy_corpus)
    scores = evaluate(tmp_path / "out" / "model-best", spacy_corpus, silent=True)
    assert scores["ents_f"] > 0.8


def test_initialize_starts_from_new_weights_and_trains_with_the_same_optimizer(trained):
    nlp = pickle.loads(pickle.dumps(trained))
    examples, optimizer = _examples(nlp, FLAT), create_adamw(5e-3, average_decay=0.0)
    nlp.update(examples, sgd=optimizer)
    nlp.initialize(lambda: examples)
    assert nlp.evaluate(examples)["ents_f"] < 0.9, "what was learnt is forgotten"
    for _ in range(80):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_size_of_batches_can_be_changed_for_a_trained_pipeline(trained, tmp_path):
    trained.to_disk(tmp_path)
    small = {"components.ricon_ner.model.max_batch_tokens": 8}
    nlp = spacy.load(tmp_path, config=small)
    docs = [nlp.make_doc(text) for text, _ in FLAT]
    assert len(nlp.get_pipe("ricon_ner").model.predict(docs)) == len(docs)
    assert len(trained.get_pipe("ricon_ner").model.predict(docs)) == 1


def test_tokens_with_missing_annotation_are_not_learnt_as_text():
    nlp = _nlp()
    nlp.initialize(lambda: _examples(nlp, FLAT))
    reference = nlp.make_doc("Marie Curie worked in Paris.")
    reference.set_ents([reference.char_span(22, 27, "LOC")], missing=[reference[0:2]], default="outside")
    pipe = nlp.get_pipe("ricon_ner")
    place = pipe.labels.index("LOC") + 1
    same_tokens = Example(nlp.make_doc(reference.text), reference)
    assert pipe._gold_spans(same_tokens) == [(4, 5, place), (0, 1, IGNORED), (1, 2, IGNORED)]
    words = ["Marie Curie", "worked", "in", "Paris", "."]
    other_tokens = Example(Doc(nlp.vocab, words=words, spaces=[True, True, True, False, False]), reference)
    assert pipe._gold_spans(other_tokens) == [(3, 4, place), (0, 1, IGNORED)]


@pytest.mark.parametrize("mode", ["flat", "nested"])
def test_entities_off_the_predicted_tokens_are_not_learnt_as_text(mode):
    nlp = _nlp(mode=mode, spans_key="names")
    pipe = nlp.get_pipe("ricon_ner")
    pipe.add_label("LOC")
    reference = Doc(nlp.vocab, words=["New", "York", "-", "based"], spaces=[True, False, False, False])
    span = Span(reference, 0, 2, label="LOC")
    reference.set_ents([span])
    reference.spans["names"] = [span]
    predicted = Doc(nlp.vocab, words=["New", "York-based"], spaces=[True, False])
    assert pipe._gold_spans(Example(predicted, reference)) == [(0, 1, IGNORED), (1, 2, IGNORED)]


def test_a_dictionary_entry_does_not_get_the_score_of_the_span_it_beat(trained):
    nlp = pickle.loads(pickle.dumps(trained))
    nlp.add_pipe("entity_ruler", first=True).add_patterns([{"label": "TERM", "pattern": "Paris"}])
    scores = {(e.text, e.label_): e._.score for e in nlp(FLAT[2][0]).ents}
    assert scores["Paris", "TERM"] is None
    assert scores["Marie Curie", "PER"] > 0.5


@pytest.mark.parametrize(("keep", "expected"), [(True, (None, 0.8)), (False, (0.9, 0.8))])
@pytest.mark.parametrize("spans_key", [None, "names"])
def test_only_spans_that_ricon_adds_get_its_score(spans_key, keep, expected):
    doc = samarkand.blank("xx")("a b c d")
    register_score()
    mine = [Span(doc, 0, 2, label="A")]
    if spans_key is None:
        doc.set_ents(mine)
    else:
        doc.spans[spans_key] = mine
    found = np.array([(0, 2, 1, 0.9), (3, 4, 1, 0.8)], dtype=CANDIDATE_TYPE)
    annotate_spans(doc, found, ["A"], spans_key=spans_key, keep_existing=keep)
    spans = doc.ents if spans_key is None else doc.spans[spans_key]
    assert [(span.start, span.end, span.label_) for span in spans] == [(0, 2, "A"), (3, 4, "A")]
    assert tuple(span._.score for span in spans) == expected


def test_listener_can_be_replaced_by_an_encoder_of_its_own():
    nlp = samarkand.blank("xx")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    nlp.add_pipe("tok2vec", config={"model": SMALL_ENCODER})
    nlp.add_pipe("ricon_ner", config={"model": {**SMALL_MODEL, "tok2vec": listener}})
    _train(nlp, _examples(nlp, FLAT))
    before = [_ents(nlp(text)) for text, _ in FLAT]
    nlp.replace_listeners("tok2vec", "ricon_ner", ["model.tok2vec"])
    nlp.remove_pipe("tok2vec")
    assert [_ents(nlp(text)) for text, _ in FLAT] == before


def test_learns_above_a_frozen_encoder_that_annotates():
    nlp = samarkand.blank("xx")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    nlp.add_pipe("tok2vec", config={"model": SMALL_ENCODER})
    nlp.add_pipe("ricon_ner", config={"model": {**SMALL_MODEL, "tok2vec": listener}})
    examples = _examples(nlp, FLAT)
    nlp.initialize(lambda: examples)
    encoder = nlp.get_pipe("tok2vec").model.to_bytes()
    optimizer = create_adamw(5e-3, average_decay=0.0)
    first = nlp.update(examples, sgd=optimizer, exclude=["tok2vec"], annotates=["tok2vec"])["ricon_ner"]
    for _ in range(20):
        last = nlp.update(examples, sgd=optimizer, exclude=["tok2vec"], annotates=["tok2vec"])["ricon_ner"]
    assert last < 0.5 * first
    assert nlp.get_pipe("tok2vec").model.to_bytes() == encoder
