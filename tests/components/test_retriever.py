"""The `retriever` pipe: neighbours of documents and sentences, in this process and in others."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import spacy
from samarkand.components.retriever import Retriever
from samarkand.models.search_index import SearchIndex
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span

WIDTH = 8
TEXTS = ["the cat sat", "قط على الحصير", "猫坐在垫子上", "a dog ran", "كلب في الحديقة", "狗在公园里跑"]


def embed(text: str, width: int = WIDTH) -> np.ndarray:
    """A vector that says how often each letter comes."""
    vector = np.zeros(width, dtype=np.float32)
    for letter in text:
        vector[ord(letter) % width] += 1
    return vector


def doc_vector(doc: Doc) -> np.ndarray:
    return doc.user_data["vector"]


def span_vector(span: Span) -> np.ndarray:
    return embed(span.text)


class LetterEncoder:
    """Sets vectors as an encoder does, by hooks."""

    def __init__(self, nlp: Language, name: str, width: int, fingerprint: str) -> None:
        self.width, self.fingerprint = width, fingerprint

    def __call__(self, doc: Doc) -> Doc:
        doc.user_data["vector"] = embed(doc.text, self.width)
        doc.user_hooks["vector"] = doc_vector
        doc.user_span_hooks["vector"] = span_vector
        return doc


@Language.factory("test_letters", default_config={"width": WIDTH, "fingerprint": "letters"})
def make_letters(nlp: Language, name: str, width: int, fingerprint: str) -> LetterEncoder:
    return LetterEncoder(nlp, name, width, fingerprint)


@pytest.fixture
def folder(tmp_path) -> str:
    with SearchIndex.create(tmp_path / "index", WIDTH, fingerprint="letters") as index:
        languages = [{"lang": lang} for lang in ("en", "ar", "zh")] * 2
        index.add([f"t{i}" for i in range(6)], np.stack([embed(text) for text in TEXTS]), TEXTS, languages)
    return str(tmp_path / "index")


def pipeline(folder: str | None, *, encoder: dict | None = None, **settings) -> Language:
    nlp = spacy.blank("xx")
    nlp.add_pipe("test_letters", config=encoder or {})
    nlp.add_pipe("retriever", config={"index": folder, "k": 3, **settings})
    return nlp


def test_neighbours_are_plain_values(folder):
    doc = pipeline(folder)(TEXTS[1])
    found = doc._.neighbours
    assert found[0]["id"] == "t1"
    assert found[0] == {"id": "t1", "score": pytest.approx(1), "text": TEXTS[1], "metadata": {"lang": "ar"}}
    assert len(found) == 3
    assert json.loads(json.dumps(found)) == found


def test_batches_agree_with_single_documents(folder):
    nlp = pipeline(folder)
    texts = [*TEXTS, "", "mixed كلب 狗"] * 3
    alone = [nlp(text)._.neighbours for text in texts]
    assert [doc._.neighbours for doc in nlp.pipe(texts, batch_size=5)] == alone
    assert alone[6] == []
    assert list(nlp.get_pipe("retriever").pipe([])) == []


def test_filter_and_least_score(folder):
    nlp = pipeline(folder, filter={"lang": ["ar", "zh"]}, k=10)
    assert {hit["metadata"]["lang"] for hit in nlp(TEXTS[0])._.neighbours} == {"ar", "zh"}
    nlp = pipeline(folder, min_score=0.999)
    assert [hit["id"] for hit in nlp(TEXTS[2])._.neighbours] == ["t2"]


def test_sentences(folder):
    nlp = pipeline(folder, unit="sent", k=1)
    nlp.add_pipe("sentencizer", first=True)
    doc = nlp("the cat sat. a dog ran.")
    assert [sent._.neighbours[0]["id"] for sent in doc.sents] == ["t0", "t3"]
    assert doc._.neighbours is None
    assert list(nlp("").sents) == []


@pytest.mark.parametrize("carry", ["bytes", "docbin", "pickle"])
def test_neighbours_travel_with_the_document(folder, carry):
    nlp = pipeline(folder)
    doc = nlp(TEXTS[0])
    wanted = doc._.neighbours
    doc.user_hooks.clear()
    doc.user_span_hooks.clear()
    del doc.user_data["vector"]
    if carry == "bytes":
        again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    elif carry == "docbin":
        packed = DocBin(store_user_data=True, docs=[doc]).to_bytes()
        (again,) = DocBin().from_bytes(packed).get_docs(nlp.vocab)
    else:
        again = pickle.loads(pickle.dumps(doc))
    assert list(again._.neighbours) == wanted


@pytest.mark.parametrize("is_open", [False, True])
def test_worker_processes(folder, is_open):
    nlp = pipeline(folder)
    wanted = [nlp(text)._.neighbours for text in TEXTS] if is_open else None
    found = [doc._.neighbours for doc in nlp.pipe(TEXTS * 2, n_process=2, batch_size=3)]
    assert found == (wanted or [nlp(text)._.neighbours for text in TEXTS]) * 2


def test_pickles_open_the_index_again(folder):
    nlp = pipeline(folder)
    wanted = nlp(TEXTS[3])._.neighbours
    pipe = pickle.loads(pickle.dumps(nlp.get_pipe("retriever")))
    doc = nlp.make_doc(TEXTS[3])
    doc.vector = embed(TEXTS[3])
    assert pipe(doc)._.neighbours == wanted
    SearchIndex.create(Path(folder).parent / "other", WIDTH, fingerprint="x").close()
    with pytest.raises(ValueError, match="S831"):
        pipe.load_index(Path(folder).parent / "other")


def test_saved_pipelines_keep_what_was_set_and_what_the_config_says(folder, tmp_path):
    nlp = pipeline(None)
    nlp.get_pipe("retriever").load_index(folder)
    nlp.get_pipe("retriever").k = 2
    wanted = nlp(TEXTS[4])._.neighbours
    nlp.to_disk(tmp_path / "nlp")
    again = spacy.load(tmp_path / "nlp")
    assert again(TEXTS[4])._.neighbours == wanted
    assert len(wanted) == 2
    changed = spacy.load(tmp_path / "nlp", config={"components": {"retriever": {"k": 1}}})
    assert len(changed(TEXTS[4])._.neighbours) == 1
    copied = pipeline(None).from_bytes(nlp.to_bytes())
    assert copied(TEXTS[4])._.neighbours == wanted
    assert not list((tmp_path / "nlp").rglob("*.sqlite"))


def test_another_index_may_follow(folder, tmp_path):
    nlp = pipeline(folder)
    assert nlp(TEXTS[0])._.neighbours[0]["id"] == "t0"
    with SearchIndex.create(tmp_path / "b", WIDTH) as index:
        index.add(["only"], np.ones((1, WIDTH)))
    nlp.get_pipe("retriever").load_index(tmp_path / "b")
    assert [hit["id"] for hit in nlp(TEXTS[0])._.neighbours] == ["only"]


def test_what_cannot_be_looked_up_is_an_error(folder):
    with pytest.raises(ValueError, match=r"S833.*retriever"):
        pipeline(None)("a")
    with pytest.raises(ValueError, match=r"S824.*\(9,\)"):
        pipeline(folder, encoder={"width": 9})("a")
    with pytest.raises(ValueError, match=r"S831.*letters.*numbers"):
        pipeline(folder, encoder={"fingerprint": "numbers"})("a")
    nlp = pipeline(folder)
    nlp.remove_pipe("test_letters")
    with pytest.raises(ValueError, match=r"S834.*'no vector'"):
        nlp("no vector")
    assert nlp("")._.neighbours == []
    with pytest.raises(ValueError, match=r"S835.*unit"):
        pipeline(folder, unit="token")
    with pytest.raises(ValueError, match=r"S835.*k"):
        pipeline(folder, k=0)


def test_S849_damaged_settings_are_told(folder, tmp_path):
    pipe = pipeline(folder).get_pipe("retriever")
    with pytest.raises(ValueError, match=r"S849.*retriever\.json"):
        pipe.from_disk(tmp_path / "none")
    pipe.to_disk(tmp_path / "saved")
    for damaged in (b"{", b"\xff", b"[]", b'{"configured": {}, "set": {}}'):
        (tmp_path / "saved" / "retriever.json").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"S849.*retriever\.json"):
            pipe.from_disk(tmp_path / "saved")
    assert (pipe.index, pipe.k) == (folder, pipeline(folder).get_pipe("retriever").k)


def test_the_error_handler_is_used(folder):
    failed = []
    nlp = pipeline(folder, encoder={"width": 9})
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.append((name, len(docs), str(error)[:6])))
    assert list(nlp.pipe(["a", "b", "c"], batch_size=2)) == []
    assert failed == [("retriever", 2, "[S824]"), ("retriever", 1, "[S824]")]


def test_the_encoder_is_the_last_one_before(folder):
    nlp = pipeline(folder)
    nlp.add_pipe("test_letters", name="later", config={"fingerprint": "later"})
    assert nlp(TEXTS[0])._.neighbours
    assert isinstance(nlp.get_pipe("retriever"), Retriever)
