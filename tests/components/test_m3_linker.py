"""The trained pipe: learning, annotations, the invariants of the method, serialisation, and what users feed it."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import samarkand
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linker_samples import (
    LINKED,
    SMALL_ENCODER,
    SMALL_MODEL,
    link,
    make_doc,
    make_examples,
    make_kb,
    make_nlp,
    told,
)
from samarkand.components.linker_annotations import DOUBTED_AFTER, DOUBTED_BEFORE, NO_CANDIDATES
from samarkand.components.linker_mentions import find_mentions
from samarkand.components.linker_table import make_questions
from samarkand.errors import SamarkandWarning
from samarkand.models.kb_entities import Entity
from samarkand.models.knowledge_base import KnowledgeBase, build_knowledge_base
from samarkand.models.m3_turns import NIL as NIL_PLACE
from samarkand.models.torch_optimizer import create_adamw
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example


def _train(nlp: Language, examples: list[Example], steps: int, rate: float = 1e-2) -> dict[str, float]:
    optimizer = create_adamw(rate, average_decay=0.0)
    np.random.seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
    return losses


@pytest.fixture(scope="module")
def kb(tmp_path_factory) -> KnowledgeBase:
    return make_kb(tmp_path_factory.mktemp("kb"))


@pytest.fixture(scope="module")
def trained(kb) -> Language:
    nlp = make_nlp(kb, SMALL_MODEL)
    _train(nlp, make_examples(nlp), 100)
    nlp.get_pipe("m3_linker").tune(make_examples(nlp))
    return nlp


def _all_told(nlp: Language) -> list:
    return [told(link(nlp, text, mentions)) for text, mentions in LINKED]


def _with(nlp: Language, **decision: float) -> Language:
    """A copy that decides otherwise."""
    copy = pickle.loads(pickle.dumps(nlp))
    copy.get_pipe("m3_linker")._decision.update(decision)
    return copy


def test_learns_a_handful_of_texts(trained):
    scores = trained.evaluate(make_examples(trained))
    assert scores["nel_overall_f"] == 1.0
    assert scores["nel_micro_f"] == scores["nel_linkable_acc"] == scores["nel_nil_f"] == 1.0


def test_tells_candidates_scores_and_reasons(trained):
    doc = link(trained, *LINKED[0])
    paris, _ = doc.ents
    assert (paris.kb_id_, paris._.nil_reason) == ("Q90", None)
    best, *others = paris._.candidates
    assert (best["id"], best["name"], best["type"], best["match"]) == ("Q90", "Paris", "LOC", "exact")
    assert {other["id"] for other in others} == {"Q830149", "Q47899"}
    probabilities = [candidate["probability"] for candidate in paris._.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert all(candidate["prior"] > 0 and candidate["similarity"] == 1 for candidate in paris._.candidates)
    scores = paris._.link_scores
    pipe = trained.get_pipe("m3_linker")
    assert scores["s_link"] == pytest.approx(pipe.beta * scores["v1"] + (1 - pipe.beta) * scores["v2"], abs=1e-5)
    assert scores["s_link"] >= scores["theta"] == pipe.theta


def test_says_why_there_is_no_link(trained):
    (dog,) = link(trained, *LINKED[6]).ents
    assert dog.kb_id_ == "NIL"
    assert dog._.nil_reason in (DOUBTED_BEFORE, DOUBTED_AFTER)
    (nowhere,) = link(trained, *LINKED[8]).ents
    assert (nowhere.kb_id_, nowhere._.nil_reason, nowhere._.candidates) == ("NIL", NO_CANDIDATES, [])
    assert nowhere._.link_scores["s_link"] == 0
    (kept,) = link(_with(trained, theta=0.0), *LINKED[6]).ents
    assert kept._.nil_reason is None


# The invariants of the method, by their numbers; `test_m3_turns` and `test_m3` have them for the network alone.


def test_1_shuffled_options_change_nothing(trained):
    pipe = trained.get_pipe("m3_linker")
    docs = [make_doc(trained, text, mentions, linked=False) for text, mentions in LINKED]
    spans = [[(e.start, e.end, e.label_, None) for e in doc.ents] for doc in docs]
    mentions = find_mentions(docs, spans, pipe.kb, k=10, lang="xx")
    turned = [type(m)(**{**vars(m), "candidates": list(m.candidates)[::-1]}) for m in mentions]
    fixed = {"checksum": pipe.kb.checksum, "order": "easiest", "types": pipe.types, "read": pipe._texts}
    fixed |= {"beta": pipe.beta, "theta": pipe.theta}
    first, second = (
        pipe._links(each, pipe.model.predict(make_questions(docs, each, **fixed))) for each in (mentions, turned)
    )
    for answer, other in zip(first, second):
        assert answer.kb_id == other.kb_id
        assert [c["id"] for c in answer.candidates] == [c["id"] for c in other.candidates]
        for one, two in zip(answer.candidates, other.candidates):
            assert one["probability"] == pytest.approx(two["probability"], abs=1e-5)


def test_2_and_3_one_mention_is_answered_as_without_history(trained):
    single = pickle.loads(pickle.dumps(trained))
    single.get_pipe("m3_linker").model.shims[0].module.m3.history = None
    for text, mentions in LINKED:
        for mention in mentions:
            assert told(link(single, text, [mention])) == told(link(trained, text, [mention]))
    # With two, the answer to the first is remembered.
    several = [told(link(nlp, *LINKED[0])) for nlp in (single, trained)]
    assert several[0] != several[1]


def test_gold_answers_can_stand_for_its_own_in_memory(trained):
    pipe = trained.get_pipe("m3_linker")
    examples = make_examples(trained)
    assert pipe.answer_with_gold(examples) == [[id for _, _, id in mentions] for _, mentions in LINKED]
    assert pipe.answer_with_gold([Example(trained.make_doc("a"), trained.make_doc("a"))]) == [[]]
    # France comes first, with fewer candidates; what is remembered of it is what is told.
    mentions = pipe._gold(examples[:1], pipe.k, training=False)
    questions = pipe._questions([examples[0].predicted], mentions)
    told_gold, told_nil, own = (
        pipe.model.predict(replace(questions, told=None if what is None else np.array(what))).probabilities
        for what in ([0, 0], [NIL_PLACE, NIL_PLACE], None)
    )
    assert torch.equal(told_gold, own)
    assert torch.equal(told_gold[1], told_nil[1])
    assert not torch.equal(told_gold[0], told_nil[0])


def test_4_no_candidates_call_no_encoder_and_one_is_doubted(trained, monkeypatch):
    nlp = _with(trained, theta=0.999999)
    (france,) = link(nlp, "France wins .", [("France", "GPE", "")]).ents
    assert len(france._.candidates) == 1
    assert france.kb_id_ == "NIL"
    model = trained.get_pipe("m3_linker").model

    def fail(*_: object) -> None:
        raise AssertionError("an encoder was called")

    for name in ("tok2vec", "option_encoder"):
        monkeypatch.setattr(model.get_ref(name), "_func", fail)
    (nowhere,) = link(trained, *LINKED[8]).ents
    assert nowhere.kb_id_ == "NIL"


def test_5_theta_of_0_links_all_and_above_1_none(trained):
    for theta, is_linked in ((0.0, True), (1.0001, False)):
        nlp = _with(trained, theta=theta)
        for text, mentions in LINKED:
            for ent in link(nlp, text, mentions).ents:
                assert (ent.kb_id_ != "NIL") == (is_linked and bool(ent._.candidates))


def test_6_a_mention_that_is_nil_changes_no_other(trained):
    text, mentions = LINKED[0]
    nlp = _with(trained, theta=1.0001)
    france = told(link(nlp, text, mentions))[1]
    alone = told(link(nlp, text, mentions[1:]))[0]
    assert france == alone


def test_7_padded_options_change_nothing(trained):
    """France has one candidate, and three columns when Paris is asked too."""
    docs = [make_doc(trained, text, mentions, linked=False) for text, mentions in LINKED]
    pipe = trained.get_pipe("m3_linker")
    for doc in pipe.pipe(docs, batch_size=len(docs)):
        for ent in doc.ents:
            assert sum(c["probability"] for c in ent._.candidates) == pytest.approx(
                float(bool(ent._.candidates)), abs=1e-5
            )
            assert not any(c["probability"] == 0 for c in ent._.candidates)


def test_8_order_depends_on_the_candidates_alone(trained):
    pipe = trained.get_pipe("m3_linker")
    doc = make_doc(trained, "Paris , France and Cairo .", [(w, "GPE", "") for w in ("Paris", "France", "Cairo")])
    spans = [[(e.start, e.end, e.label_, None) for e in doc.ents]]
    for _ in range(3):
        mentions = find_mentions([doc], spans, pipe.kb, k=10, lang="xx")
        assert pipe._questions([doc], mentions).order.tolist() == [2, 0, 1]


@pytest.mark.parametrize("at", [0, 2500, 4990])
def test_9_long_texts_never_lose_the_mention(trained, at):
    words = "كلمة word 字 " * 500
    text = words[:at] + " Paris " + words[at:4993]
    assert len(text) == 5000
    (ent,) = link(trained, text, [("Paris", "GPE", "")]).ents
    pipe = trained.get_pipe("m3_linker")
    seen = []
    reader = pipe.model.shims[0].module.reader
    handle = reader.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    (again,) = link(trained, text, [("Paris", "GPE", "")]).ents
    handle.remove()
    (pairs,) = seen
    marked = pairs.queries[pairs.marks == 1].tolist()
    # Documents that are not asked about have no tokens: the places are those of the document.
    assert marked == [ent.start]
    assert (pairs.queries >= 0).sum() <= 2 * 8 + 1
    assert [c["id"] for c in again._.candidates] == [c["id"] for c in ent._.candidates]


@pytest.mark.parametrize("how", ["bytes", "disk", "pickle"])
def test_10_saved_pipelines_rank_the_same(trained, how, tmp_path):
    if how == "bytes":
        again = make_nlp(trained.get_pipe("m3_linker").kb, SMALL_MODEL)
        np.random.seed(99)
        again.initialize(lambda: make_examples(again))
        again.from_bytes(trained.to_bytes())
    elif how == "disk":
        trained.to_disk(tmp_path)
        again = spacy.load(tmp_path)
    else:
        again = pickle.loads(pickle.dumps(trained))
    assert _all_told(again) == _all_told(trained)
    pipes = [nlp.get_pipe("m3_linker") for nlp in (trained, again)]
    assert pipes[0].theta == pipes[1].theta
    assert pipes[0].kb.checksum == pipes[1].kb.checksum


def test_batch_of_one_equals_batch_of_many(trained):
    docs = [make_doc(trained, text, mentions, linked=False) for text, mentions in LINKED]
    docs += [trained.make_doc(text) for text in ("", "  ", "巴黎")]
    together = list(trained.get_pipe("m3_linker").pipe([doc.copy() for doc in docs]))
    for doc, other in zip(docs, together):
        for alone, found in zip(told(trained.get_pipe("m3_linker")(doc)), told(other)):
            assert alone[:4] == found[:4]
            assert [c[0] for c in alone[4]] == [c[0] for c in found[4]]
            assert alone[5] == pytest.approx(found[5], abs=1e-4)


def test_many_small_chunks_read_the_same(trained, kb):
    config = {**SMALL_MODEL, "max_batch_tokens": 16}
    small = make_nlp(kb, config)
    small.from_bytes(trained.to_bytes())
    assert _all_told(small) == _all_told(trained)


def test_empty_documents_and_batches(trained):
    assert list(trained.pipe([])) == []
    assert [len(doc.ents) for doc in trained.pipe(["", " ", "no mention"])] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_worker_processes_link_the_same(trained, kind, monkeypatch):
    nlp = pickle.loads(pickle.dumps(trained))
    names = ("Paris", "France", "باريس", "Zanzibarland")
    nlp.add_pipe("entity_ruler", first=True).add_patterns([{"label": "LOC", "pattern": name} for name in names])
    texts = ["Paris is in France .", "باريس", "", "Zanzibarland"] * 3
    alone = [told(doc) for doc in nlp.pipe(texts)]
    assert any(row[2] == "Q90" for rows in alone for row in rows)
    context = torch.multiprocessing.get_context(kind)
    monkeypatch.setattr("spacy.language.mp", context)
    assert [told(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=4)] == alone


def test_what_is_told_travels_with_the_document(trained):
    doc = link(trained, *LINKED[0])
    expected = told(doc)
    assert told(Doc(trained.vocab).from_bytes(doc.to_bytes())) == expected
    (again,) = DocBin(store_user_data=True, docs=[doc]).get_docs(trained.vocab)
    assert [(e.kb_id_, e._.candidates[0]["id"], e._.link_scores) for e in again.ents] == [
        (e.kb_id_, e._.candidates[0]["id"], e._.link_scores) for e in doc.ents
    ]


def test_nested_and_overlapping_spans(kb):
    nlp = make_nlp(kb, SMALL_MODEL, spans_key="names")
    text = "Paris Hilton of Paris , Texas ."
    mentions = [("Paris Hilton", "PER", "Q47899"), ("Paris", "LOC", "Q90"), ("Paris , Texas", "LOC", "Q830149")]
    examples = make_examples(nlp, [(text, mentions)], "names")
    _train(nlp, examples, 40)
    with pytest.warns(SamarkandWarning, match="SW931.*'names'"):
        assert nlp.evaluate(examples)["nel_overall_f"] == 1.0
    doc = link(nlp, text, mentions, "names")
    assert [span.kb_id_ for span in doc.spans["names"]] == ["Q47899", "Q90", "Q830149"]
    assert not doc.ents
    other = nlp.make_doc(text)
    other.spans["others"] = []
    with pytest.raises(ValueError, match=r"S933.*'names'.*has: 'others'"):
        nlp.get_pipe("m3_linker")(other)


def test_thousands_of_mentions_in_one_document(trained):
    nlp = pickle.loads(pickle.dumps(trained))
    doc = nlp.make_doc("Paris France Cairo " * 1000)
    doc.set_ents([Span(doc, i, i + 1, label="LOC") for i in range(3000)])
    nlp.get_pipe("m3_linker")(doc)
    assert len(doc.ents) == 3000
    assert all(ent._.candidates for ent in doc.ents)


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab Paris巴黎法国باريس والقاهرة\n\u200f\ufeff😀.", max_size=60), st.data())
def test_any_spans_of_any_text_are_answered(trained, text, data):
    pipe = trained.get_pipe("m3_linker")
    doc = trained.make_doc(text)
    ends = st.integers(0, len(doc)) if len(doc) else st.nothing()
    pairs = data.draw(st.lists(st.tuples(ends, ends), max_size=5)) if len(doc) else []
    spans = [Span(doc, min(pair), max(pair), label="LOC") for pair in pairs if pair[0] != pair[1]]
    doc.spans["any"] = spans
    pipe.spans_key = "any"
    try:
        pipe(doc)
    finally:
        pipe.spans_key = None
    for span in doc.spans["any"]:
        ids = [candidate["id"] for candidate in span._.candidates]
        assert span.kb_id_ in [*ids, "NIL"]
        assert (span._.nil_reason is None) == (span.kb_id_ != "NIL")
        assert sum(c["probability"] for c in span._.candidates) == pytest.approx(float(bool(ids)), abs=1e-5)


def test_mentions_longer_than_the_window_keep_their_ends(trained, tmp_path):
    nlp = pickle.loads(pickle.dumps(trained))
    pipe = nlp.get_pipe("m3_linker")
    name = " ".join(["Paris"] * 40)
    pipe.set_knowledge_base(build_knowledge_base(tmp_path / "long.kb", [Entity("Q1", names={"en": name})]).path)
    doc = nlp.make_doc(f"in {name} now")
    doc.set_ents([Span(doc, 1, 41, label="LOC")])
    seen = []
    pipe.model.shims[0].module.reader.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    pipe(doc)
    (pairs,) = seen
    assert pairs.queries[pairs.marks == 1].tolist() == [1, 2, 3, 38, 39, 40]
    assert pairs.queries[pairs.queries >= 0].tolist() == [0, 1, 2, 3, 38, 39, 40, 41]


def test_shares_an_encoder_and_trains_with_a_tagger(kb):
    nlp = samarkand.blank("xx")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    nlp.add_pipe("tok2vec", config={"model": SMALL_ENCODER})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    nlp.add_pipe("m3_linker", config={"knowledge_base": str(kb.path), "model": {**SMALL_MODEL, "tok2vec": listener}})
    examples = make_examples(nlp)
    for eg in examples:
        for token in eg.reference:
            token.tag_ = "P" if token.is_punct else "W"
    losses = _train(nlp, examples, 100)
    assert set(losses) == {"tok2vec", "m3_linker", "tagger"}
    beta, theta = nlp.get_pipe("m3_linker").tune(make_examples(nlp), nlp=nlp)
    assert 0 <= beta <= 1
    assert theta >= 0
    scores = nlp.evaluate(examples)
    assert scores["nel_overall_f"] > 0.9
    assert scores["tag_acc"] == 1.0
    # A batch without mentions lets the shared encoder go on.
    plain = Example(nlp.make_doc("word"), nlp.make_doc("word"))
    nlp.update([plain], sgd=create_adamw(1e-3))


def test_what_is_learnt_of_the_count_is_what_is_met(kb):
    """Fewer candidates are learnt from than are met, and more are looked up for it: the feature is of those met."""
    nlp = make_nlp(kb, SMALL_MODEL, k=3, k_train=2)
    pipe = nlp.get_pipe("m3_linker")
    examples = make_examples(nlp, LINKED[2:3])
    learnt, met = pipe._gold(examples, 2), pipe._gold(examples, 3, training=False)
    assert [len(mention.candidates) for mention in (*learnt, *met)] == [2, 3]
    assert learnt[0].count == met[0].count == 3
    assert "Q47899" in [candidate.id for candidate in learnt[0].candidates]


def test_learns_with_the_optimizer_of_spacy(kb):
    nlp = make_nlp(kb, SMALL_MODEL)
    np.random.seed(0)
    optimizer = nlp.initialize(lambda: make_examples(nlp))
    prior = nlp.get_pipe("m3_linker").model.shims[0].module.m3
    assert prior.prior_weight == 1
    losses = [nlp.update(make_examples(nlp), sgd=optimizer)["m3_linker"] for _ in range(20)]
    assert losses[-1] < losses[0]
    assert prior.prior_weight != 1
    with nlp.use_params(optimizer.averages):
        assert nlp.evaluate(make_examples(nlp))["nel_overall_f"] > 0


def _gradients(nlp: Language) -> dict[str, torch.Tensor]:
    """Of one batch, by name, the encoder of texts among them."""
    nlp.get_pipe("m3_linker").update(make_examples(nlp))
    model = nlp.get_pipe("m3_linker").model
    networks = {"linker": model.shims[0].module, "texts": model.get_ref("tok2vec").shims[0].module}
    named = {f"{name}.{key}": p for name, network in networks.items() for key, p in network.named_parameters()}
    return {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}


@pytest.mark.parametrize("freeze", [True, False])
def test_chunks_give_the_gradients_of_the_whole(kb, freeze):
    """Chunks are read again on the way back: what they give must be what they gave."""
    found = []
    for most in (16384, 16):
        nlp = make_nlp(kb, {**SMALL_MODEL, "max_batch_tokens": most, "freeze_options": freeze})
        np.random.seed(0)
        nlp.initialize(partial(make_examples, nlp))
        found.append(_gradients(nlp))
    whole, chunked = found
    assert whole.keys() == chunked.keys()
    assert {"texts", "linker"} == {name.split(".")[0] for name in whole}
    for name, gradient in whole.items():
        torch.testing.assert_close(chunked[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_options_that_learn_get_gradients_and_are_not_kept(kb):
    nlp = make_nlp(kb, {**SMALL_MODEL, "freeze_options": False})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    model = nlp.get_pipe("m3_linker").model
    before = model.get_ref("option_encoder").to_bytes()
    first = _all_told(nlp)
    assert len(model.attrs["options"])
    nlp.update(examples, sgd=create_adamw(1e-2, average_decay=0.0))
    assert not len(model.attrs["options"])
    assert model.get_ref("option_encoder").to_bytes() != before
    assert _all_told(nlp) != first


def test_frozen_options_stay_and_are_read_once(kb, monkeypatch):
    nlp = make_nlp(kb, SMALL_MODEL)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("m3_linker")
    encoder = pipe.model.get_ref("option_encoder")
    before = encoder.to_bytes()
    for _ in range(2):
        nlp.update(examples, sgd=create_adamw(1e-2))
    assert encoder.to_bytes() == before
    monkeypatch.setattr(encoder, "_func", lambda *_: pytest.fail("an option was read again"))
    nlp.update(examples, sgd=create_adamw(1e-2))
    _all_told(nlp)


def test_a_changed_entity_is_read_anew(trained, tmp_path):
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    pipe = nlp.get_pipe("m3_linker")
    before = told(link(nlp, *LINKED[1]))
    entity = pipe.kb.entity("Q830149")
    pipe.kb.put(
        [type(entity)(**{**vars(entity), "names": {"en": "Paris, Lamar County"}, "aliases": {"en": ["Paris"]}})]
    )
    after = told(link(nlp, *LINKED[1]))
    assert after != before
    assert "Paris, Lamar County" in [c[1] for c in after[0][4]]


def test_entities_the_knowledge_base_lacks_are_counted_and_learnt_as_nil(kb):
    nlp = make_nlp(kb, SMALL_MODEL)
    data = [*LINKED, ("Paris of Troy .", [("Paris", "PER", "Q167646")])]
    with pytest.warns(SamarkandWarning, match="SW930.* 1 of 11 .*Q167646"):
        nlp.initialize(lambda: make_examples(nlp, data))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        nlp.initialize(lambda: make_examples(nlp))
        nlp.update(make_examples(nlp, data), sgd=create_adamw(1e-3))


def test_mentions_that_nobody_has_linked_teach_nothing(kb):
    nlp = make_nlp(kb, SMALL_MODEL)
    nlp.initialize(lambda: make_examples(nlp))
    unlinked = [(text, [(words, label, "") for words, label, _ in mentions]) for text, mentions in LINKED]
    network = nlp.get_pipe("m3_linker").model.shims[0].module
    before = [parameter.clone() for parameter in network.parameters()]
    losses = nlp.update(make_examples(nlp, unlinked), sgd=create_adamw(0.1, L2=0.0))
    assert losses["m3_linker"] == 0
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters()))
    assert nlp.evaluate(make_examples(nlp, unlinked))["nel_overall_f"] is None


def test_tokens_may_differ_from_those_of_the_reference(kb):
    nlp = make_nlp(kb, SMALL_MODEL)
    reference = make_doc(nlp, *LINKED[0])
    predicted = Doc(nlp.vocab, words=["Par", "is", "is the capital of", "France ."], spaces=[False, True, True, False])
    pipe = nlp.get_pipe("m3_linker")
    (mention,) = pipe._gold([Example(predicted, reference)], 8)
    assert (mention.start, mention.end, mention.gold) == (0, 2, "Q90")


def test_existing_links_stay_when_asked_and_labels_can_be_left_out(trained):
    pipe = pickle.loads(pickle.dumps(trained)).get_pipe("m3_linker")
    pipe.overwrite = False
    doc = make_doc(trained, *LINKED[0])
    for token in doc.ents[0]:
        token.ent_kb_id_ = "mine"
    doc.ents[1][0].ent_kb_id_ = ""
    assert [ent.kb_id_ for ent in pipe(doc).ents] == ["mine", "Q142"]
    pipe.overwrite, pipe.labels_discard = True, frozenset(["GPE"])
    assert {(ent.kb_id_, ent._.nil_reason) for ent in pipe(doc).ents} == {("NIL", "label is not linked")}


def test_spacy_train_tunes_and_evaluates(kb, tmp_path):
    from spacy.cli.evaluate import evaluate
    from spacy.cli.train import train

    corpus = tmp_path / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for text, mentions in LINKED:
            spans = [
                {
                    "start": text.index(w),
                    "end": text.index(w) + len(w),
                    "label": label,
                    "kb_id": None if id == "NIL" else id,
                }
                for w, label, id in mentions
            ]
            file.write(json.dumps({"text": text, "spans": spans}, ensure_ascii=False) + "\n")
    recipe = samarkand.path.__globals__["__file__"].replace("__init__.py", "configs/m3_linker.cfg")
    model = "components.m3_linker.model"
    encoder = {key: value for key, value in SMALL_ENCODER.items() if key != "@architectures"}
    small = {f"{model}.{name}.{key}": encoder[key] for name in ("tok2vec", "option_encoder") for key in encoder}
    overrides = {
        "paths.train": str(corpus),
        "paths.dev": str(corpus),
        "paths.kb": str(kb.path),
        "paths.encoder": None,
        f"{model}.width": 16,
        "training.max_steps": 60,
        "training.eval_frequency": 20,
        "training.optimizer.learn_rate.warmup_steps": 5,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        **small,
    }
    train(recipe, tmp_path / "out", overrides=overrides)
    nlp = spacy.load(tmp_path / "out" / "model-best")
    pipe = nlp.get_pipe("m3_linker")
    assert pipe.cfg["theta"] is not None
    assert pipe.kb.path.is_relative_to(tmp_path / "out")
    DocBin(docs=[eg.reference for eg in make_examples(nlp)]).to_disk(tmp_path / "corpus.spacy")
    scores = evaluate(tmp_path / "out" / "model-best", tmp_path / "corpus.spacy", silent=True)
    assert scores["nel_overall_f"] > 0.8


def test_misuse_gives_a_code(kb, tmp_path):
    wrong = {"order": "hardest", "k": 0, "k_train": 1, "beta": 2.0, "own_history": -1.0, "own_history_steps": 0}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"S936.*{name}"):
            make_nlp(kb, SMALL_MODEL, **{name: value})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    with pytest.raises(ValueError, match="S935"):
        make_nlp(kb, {**SMALL_MODEL, "option_encoder": listener})
    with pytest.raises(ValueError, match="S930"):
        make_nlp(kb, {**SMALL_MODEL, "history": "long"})
    with pytest.raises(ValueError, match="S932"):
        link(make_nlp(None), *LINKED[0])
    with pytest.raises(ValueError, match="S934"):
        link(make_nlp(kb, SMALL_MODEL), *LINKED[0])
    nlp = make_nlp(kb, SMALL_MODEL)
    with pytest.raises(ValueError, match="S937"):
        nlp.initialize(lambda: make_examples(nlp, [("no mention", [])]))
    with pytest.raises(ValueError, match="S937"):
        nlp.get_pipe("m3_linker").tune(make_examples(nlp, [("no mention", [])]))
    foreign = tmp_path / "foreign.kb"
    foreign.write_text("not a knowledge base", encoding="utf-8")
    with pytest.raises(ValueError, match="S900"):
        nlp.get_pipe("m3_linker").set_knowledge_base(foreign)
