"""`samarkand.SwapAugmenter.v1`: copies with all annotations, in every corpus reader, as a seed has them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import samarkand
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.components.swap_augmenter import make_swap_augmenter
from samarkand.components.word_swaps import WordSwaps, make_character_noise
from samarkand.corpora.cats_corpus import CatsCorpus
from samarkand.corpora.readers import SpanCorpus
from samarkand.models.text_pairs import LANG_KEY
from spacy import registry
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example
from spacy.vocab import Vocab

NLP = samarkand.blank("xx")
CONFIG = {
    "@augmenters": "samarkand.SwapAugmenter.v1",
    "level": 1.0,
    "swaps": {"@misc": "samarkand.CharacterNoise.v1", "rate": 1.0},
}


class Longer(WordSwaps):
    """Every word that may be swapped grows, so that all offsets after it move."""

    def __init__(self) -> None:
        super().__init__(keep=(), seed=0)

    def swap(self, word: str, vocab: Vocab) -> str:
        return word + "xyz"


def _reference() -> Doc:
    words = ["yesterday", "Marie", "Curie", "saw", "Paris", "and", "left"]
    tags, starts = [f"T{i}" for i in range(7)], [1, 0, 0, 0, 0, 1, 0]
    doc = Doc(NLP.vocab, words=words, spaces=[True] * 6 + [False], lemmas=words, tags=tags, sent_starts=starts)
    # Of the last two tokens nothing is known.
    doc.set_ents([Span(doc, 1, 3, "PER", kb_id="Q1")], missing=[doc[5:7]], default="outside")
    doc.spans["places"] = [Span(doc, 3, 5, "TRIP", kb_id="Q2", span_id="S"), Span(doc, 4, 5, "LOC")]
    doc.cats = {"travel": 0.7, "work": 0.3}
    doc.user_data[LANG_KEY] = "en"
    doc.user_data["._.", "note", 3, 8] = "of a span"
    return doc


def _augmented(doc: Doc, swaps: WordSwaps | None = None) -> list[Example]:
    return list(make_swap_augmenter(swaps or Longer(), level=1.0)(NLP, Example(NLP.make_doc(doc.text), doc)))


def test_a_copy_has_the_annotations_of_the_same_tokens():
    doc = _reference()
    first, copy = _augmented(doc)
    assert first.reference is doc
    found = copy.reference
    assert copy.text == found.text == "yesterdayxyz Marie Curie saw Paris andxyz leftxyz"
    assert [(ent.text, ent.label_, ent.kb_id_) for ent in found.ents] == [("Marie Curie", "PER", "Q1")]
    assert [token.ent_iob for token in found] == [token.ent_iob for token in doc] == [2, 3, 1, 2, 2, 0, 0]
    assert [(span.text, span.label_, span.kb_id_, span.id_) for span in found.spans["places"]] == [
        ("saw Paris", "TRIP", "Q2", "S"),
        ("Paris", "LOC", "", ""),
    ]
    assert [token.tag_ for token in found] == [token.tag_ for token in doc]
    assert [token.lemma_ for token in found] == ["", "Marie", "Curie", "saw", "Paris", "", ""]
    assert [sent.start for sent in found.sents] == [0, 5]
    assert found.cats == doc.cats
    assert found.user_data == {LANG_KEY: "en"}
    # What the pipeline is to predict from has none of them.
    assert not copy.predicted.ents
    assert not copy.predicted.cats
    assert copy.get_aligned_ner() == first.get_aligned_ner()


def test_trees_are_kept():
    doc = Doc(NLP.vocab, words=["cats", "chase", "mice"], heads=[1, 1, 1], deps=["nsubj", "ROOT", "obj"])
    _, copy = _augmented(doc)
    assert [(token.head.i, token.dep_) for token in copy.reference] == [(1, "nsubj"), (1, "ROOT"), (1, "obj")]


@given(st.text(max_size=60), st.data())
@settings(max_examples=40, deadline=None)
def test_spans_of_any_text_are_on_their_words(text, data):
    doc = NLP.make_doc(text)
    if not len(doc):
        return
    start = data.draw(st.integers(0, len(doc) - 1))
    end = data.draw(st.integers(start + 1, len(doc)))
    doc.spans["a"] = [Span(doc, start, end, "X")]
    for eg in _augmented(doc):
        (span,) = eg.reference.spans["a"]
        assert (span.text, span.start, span.end) == (doc[start:end].text, start, end)
        assert eg.predicted.text == eg.reference.text


def test_a_share_of_the_texts_is_copied_and_a_seed_repeats_it():
    examples = [Example(doc, doc.copy()) for doc in map(NLP.make_doc, ["sunny weather everywhere"] * 400)]

    def run(seed: int, level: float = 0.25) -> list[list[str]]:
        augmenter = make_swap_augmenter(make_character_noise(rate=1.0, seed=seed), level=level, seed=seed)
        return [[eg.text for eg in augmenter(NLP, example)] for example in examples]

    first = run(1)
    assert first == run(1) != run(2)
    assert all(texts[0] == "sunny weather everywhere" != texts[-1] for texts in first if len(texts) == 2)
    assert sum(len(texts) == 2 for texts in first) == pytest.approx(100, abs=30)
    assert all(len(texts) == 1 for texts in run(1, level=0.0))
    # A copy that came out the same is none.
    assert len(_augmented(NLP.make_doc("1 2 3"))) == 1
    for level in (-0.1, 1.5):
        with pytest.raises(ValueError, match="S610"):
            make_swap_augmenter(Longer(), level=level)


@pytest.mark.parametrize("reader", ["spacy.Corpus.v1", "samarkand.SpanCorpus.v1", "samarkand.CatsCorpus.v1"])
def test_every_reader_takes_it_from_a_config(reader, tmp_path):
    path = tmp_path / "corpus"
    if reader == "samarkand.CatsCorpus.v1":
        path = path.with_suffix(".jsonl")
        path.write_text(json.dumps({"text": "Marie visited Paris", "label": "travel", "lang": "en"}) + "\n")
    else:
        path = path.with_suffix(".spacy")
        doc = NLP.make_doc("Marie visited Paris")
        doc.set_ents([Span(doc, 2, 3, "LOC")])
        DocBin(docs=[doc]).to_disk(path)
    config = {"@readers": reader, "path": str(path), "augmenter": CONFIG}
    if reader.startswith("spacy."):
        config |= {"gold_preproc": False, "max_length": 0, "limit": 0}
    for settings_ in (config, {**config, "augmenter": None}):
        corpus = registry.resolve({"corpus": settings_})["corpus"]
        assert isinstance(corpus, (Corpus, SpanCorpus, CatsCorpus))
        examples = list(corpus(NLP))
        assert len(examples) == (2 if settings_["augmenter"] else 1)
        assert len({eg.text for eg in examples}) == len(examples)
        for eg in examples:
            if isinstance(corpus, CatsCorpus):
                assert eg.reference.cats == {"travel": 1.0}
                assert eg.reference.user_data[LANG_KEY] == "en"
            else:
                assert [ent.text for ent in eg.reference.ents] == ["Paris"]


def test_a_classifier_learns_from_copies(tmp_path):
    path = tmp_path / "texts.jsonl"
    lines = [{"text": f"{word} day", "label": label} for word, label in (("sunny", "good"), ("gloomy", "bad"))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.SubwordEncoder.v1", "width": 16, "embed_width": 16, "depth": 1}
    encoder |= {"word_rows": 200, "piece_rows": 200, "bigram_rows": 0, "dropout": 0.0, "token_dropout": 0.0}
    model = {"@architectures": "samarkand.TransferTextcat.v1", "tok2vec": encoder, "dropout": 0.0}
    nlp.add_pipe("transfer_textcat", config={"model": model})
    corpus = CatsCorpus(path, augmenter=make_swap_augmenter(make_character_noise(rate=1.0), level=1.0))
    np.random.seed(0)
    optimizer = nlp.initialize(lambda: corpus(nlp))
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(list(corpus(nlp)), sgd=optimizer)
    assert nlp("sunny day").cats["good"] > 0.8
    assert nlp("gloomy day").cats["bad"] > 0.8
