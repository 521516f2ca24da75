"""`samarkand.SpanCorpus.v1`: examples from character spans, and nothing that vanishes uncounted."""

import warnings
from itertools import islice

import pytest
import spacy
from confection import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.readers import SpanCorpus
from samarkand.corpora.records import write_records
from samarkand.errors import SamarkandWarning
from spacy.training import Example
from spacy.util import registry

NLP = spacy.blank("xx")


def span(start, end, label="PER"):
    return {"start": start, "end": end, "label": label}


def corpus_of(tmp_path, *records, **settings):
    path = tmp_path / "corpus.jsonl"
    write_records(path, [{"text": text, "spans": spans} for text, spans in records])
    return SpanCorpus(path, **settings)


def ents(example):
    return [(ent.text, ent.label_) for ent in example.reference.ents]


def test_examples_have_the_texts_tokens_and_entities(tmp_path):
    corpus = corpus_of(tmp_path, ("Rosa lives in Oslo.", [span(0, 4), span(14, 18, "LOC")]), ("Nobody.", []))
    first, second = corpus(NLP)
    assert isinstance(first, Example)
    assert first.predicted.text == first.reference.text == "Rosa lives in Oslo."
    assert not first.predicted.ents
    assert ents(first) == [("Rosa", "PER"), ("Oslo", "LOC")]
    assert second.reference.has_annotation("ENT_IOB")
    assert (corpus.report.documents, corpus.report.spans, corpus.report.n_problems) == (2, 2, 0)


def test_nested_spans_go_to_a_span_group(tmp_path):
    spans = [span(0, 12, "ORG"), span(8, 12, "LOC"), span(0, 12, "FAC")]
    (example,) = corpus_of(tmp_path, ("Bank of Oslo", spans), spans_key="sc")(NLP)
    found = {(s.text, s.label_) for s in example.reference.spans["sc"]}
    assert found == {("Bank of Oslo", "ORG"), ("Bank of Oslo", "FAC"), ("Oslo", "LOC")}
    assert not example.reference.ents


@pytest.mark.parametrize("spans_key", [None, "mentions"])
def test_links_reach_the_documents(tmp_path, spans_key):
    spans = [span(0, 4) | {"kb_id": None}, span(14, 18, "LOC") | {"kb_id": "Q585"}, span(5, 10)]
    (example,) = corpus_of(tmp_path, ("Rosa lives in Oslo.", spans), spans_key=spans_key)(NLP)
    reference = example.reference
    found = reference.ents if spans_key is None else reference.spans[spans_key]
    assert [(each.text, each.kb_id_) for each in found] == [("Rosa", "NIL"), ("lives", ""), ("Oslo", "Q585")]


def test_the_longest_of_overlapping_spans_stays(tmp_path):
    spans = [span(8, 12, "LOC"), span(0, 12, "ORG"), span(0, 4, "MISC")]
    corpus = corpus_of(tmp_path, ("Bank of Oslo", spans))
    with pytest.warns(SamarkandWarning, match=r"\[SW203\] 2 of 3 spans .*: (LOC 1, MISC 1|MISC 1, LOC 1)\."):
        (example,) = corpus(NLP)
    assert ents(example) == [("Bank of Oslo", "ORG")]


def test_repeated_spans_are_counted(tmp_path):
    corpus = corpus_of(tmp_path, ("Oslo", [span(0, 4), span(0, 4)]), spans_key="sc")
    with pytest.warns(SamarkandWarning, match=r"\[SW203\] 1 of 2"):
        (example,) = corpus(NLP)
    assert len(example.reference.spans["sc"]) == 1


def test_misaligned_spans_are_left_out_counted_and_missing(tmp_path):
    corpus = corpus_of(tmp_path, ("in Osloregion with Rosa", [span(3, 7, "LOC"), span(19, 23)]))
    match = r"\[SW201\] 1 of 2 spans .*corpus.jsonl .*LOC 1\. First: 'Oslo' LOC at 3-7 in .*jsonl, document 1\."
    with pytest.warns(SamarkandWarning, match=match):
        (example,) = corpus(NLP)
    assert ents(example) == [("Rosa", "PER")]
    assert [token.ent_iob_ for token in example.reference] == ["O", "", "O", "B"]
    assert corpus.report.problems["misaligned"] == {"LOC": 1}


def test_misaligned_spans_are_widened_when_asked(tmp_path):
    corpus = corpus_of(tmp_path, ("in Osloregion", [span(3, 7, "LOC")]), misaligned="expand")
    with pytest.warns(SamarkandWarning, match=r"\[SW202\] 1 of 1 spans .* widened"):
        (example,) = corpus(NLP)
    assert ents(example) == [("Osloregion", "LOC")]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (span(3, 7), "misaligned"),
        (span(0, 99), "invalid"),
        (span(2, 3), "invalid"),
        (span(0, 3), "blanks"),
        (span(3, 13), "overlapping"),
    ],
)
def test_misaligned_error_names_the_span(tmp_path, bad, problem):
    corpus = corpus_of(tmp_path, ("in Osloregion", [span(3, 13, "LOC"), bad]), misaligned="error")
    with pytest.raises(ValueError, match=rf"\[S213\] A span is {problem}: .*PER at .*document 1"):
        list(corpus(NLP))


@pytest.mark.parametrize("bad", [span(2, 2), span(4, 2), span(-1, 2), span(0, 99), span(2, 3)])
def test_invalid_spans_are_counted(tmp_path, bad):
    corpus = corpus_of(tmp_path, ("in Oslo", [bad]))
    with pytest.warns(SamarkandWarning, match=r"\[SW204\] 1 of 1 spans .*: PER 1\."):
        (example,) = corpus(NLP)
    assert ents(example) == []


def test_blanks_at_edges_are_cut_and_counted(tmp_path):
    corpus = corpus_of(tmp_path, ("in Oslo now", [span(2, 8, "LOC")]))
    with pytest.warns(SamarkandWarning, match=r"\[SW208\] 1 of 1 .*LOC 1"):
        (example,) = corpus(NLP)
    assert ents(example) == [("Oslo", "LOC")]


def test_one_warning_a_run(tmp_path):
    corpus = corpus_of(tmp_path, *[("in Osloregion", [span(3, 7)])] * 20)
    with pytest.warns(SamarkandWarning, match=r"20 of 20") as caught:
        list(corpus(NLP))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(corpus(NLP))


def test_a_stream_that_is_left_early_warns_of_what_it_met(tmp_path):
    corpus = corpus_of(tmp_path, *[("in Osloregion", [span(3, 7)])] * 20)
    examples = corpus(NLP)
    assert len(list(islice(examples, 5))) == 5
    with pytest.warns(SamarkandWarning, match=r"5 of 5"):
        examples.close()
    with pytest.warns(SamarkandWarning, match=r"20 of 20"):
        list(corpus(NLP))


def test_labels_are_mapped_and_dropped(tmp_path):
    spans = [span(0, 1, "NAME"), span(2, 3, "TITLE"), span(4, 5, "EDU"), span(6, 7, "ORG")]
    record = ("a b c d", spans)
    labels = {"NAME": "PER", "TITLE": None}
    (example,) = corpus_of(tmp_path, record, labels=labels)(NLP)
    assert ents(example) == [("a", "PER"), ("c", "EDU"), ("d", "ORG")]
    (example,) = corpus_of(tmp_path, record, labels={**labels, "*": None, "ORG": "ORG"})(NLP)
    assert ents(example) == [("a", "PER"), ("d", "ORG")]
    (example,) = corpus_of(tmp_path, record, labels={**labels, "*": "MISC"})(NLP)
    assert [label for _, label in ents(example)] == ["PER", "MISC", "MISC"]


def test_long_documents_are_left_out_and_counted(tmp_path):
    corpus = corpus_of(tmp_path, ("a b c", [span(0, 1)]), ("a b", [span(0, 1)]), max_length=2)
    with pytest.warns(SamarkandWarning, match=r"\[SW209\] 1 of 2 documents .* with 1 spans, have over 2 tokens"):
        assert [example.text for example in corpus(NLP)] == ["a b"]


def test_limit_lists_and_formats(tmp_path):
    write_records(tmp_path / "a.jsonl", [{"text": str(i), "spans": []} for i in range(3)])
    (tmp_path / "b.conll").write_text("王 B-PER\n芳 I-PER\n")
    paths = [tmp_path / "b.conll", tmp_path / "a.jsonl"]
    assert [e.text for e in SpanCorpus(paths, joiner="")(NLP)] == ["王芳", "0", "1", "2"]
    assert [e.text for e in SpanCorpus(paths, joiner="", limit=2)(NLP)] == ["王芳", "0"]


def test_shuffling_is_seeded_and_new_on_every_pass(tmp_path):
    records = [(str(i), []) for i in range(20)]
    orders = []
    for seed in (1, 1, 2):
        corpus = corpus_of(tmp_path, *records, shuffle=True, seed=seed)
        orders.append([[example.text for example in corpus(NLP)] for _ in range(2)])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0][0] != orders[0][1]
    assert sorted(orders[0][1], key=int) == [text for text, _ in records]


def test_configs_make_the_corpus(tmp_path):
    write_records(tmp_path / "a.jsonl", [{"text": "Oslo", "spans": [span(0, 4, "GPE")]}])
    text = f"""
    [corpora]
    [corpora.train]
    @readers = "samarkand.SpanCorpus.v1"
    path = ["{tmp_path / "a.jsonl"}"]
    spans_key = "sc"
    labels = {{"GPE": "LOC", "TITLE": null}}
    """
    config = Config().from_str(text)
    (example,) = registry.resolve(config)["corpora"]["train"](NLP)
    assert [s.label_ for s in example.reference.spans["sc"]] == ["LOC"]


@pytest.mark.parametrize("path", [None, [], ""])
def test_no_path(path):
    with pytest.raises(ValueError, match=r"\[S212\] .*--paths.train"):
        SpanCorpus(path)


def test_unknown_value_of_misaligned():
    with pytest.raises(ValueError, match=r"\[S214\] .*warn, expand, error.*'drop'"):
        SpanCorpus("a.jsonl", misaligned="drop")


TEXTS = st.text(alphabet="ab .王芳دبي\u064b\n👍", max_size=25)
SPANS = st.lists(st.tuples(st.integers(-2, 27), st.integers(-2, 27), st.sampled_from(["PER", "LOC"])), max_size=6)


@pytest.mark.filterwarnings("ignore::samarkand.errors.SamarkandWarning")
@pytest.mark.parametrize("spans_key", [None, "sc"])
@pytest.mark.parametrize("misaligned", ["warn", "expand"])
@settings(max_examples=40, deadline=None)
@given(text=TEXTS, spans=SPANS)
def test_every_span_is_kept_or_counted(tmp_path_factory, spans_key, misaligned, text, spans):
    spans = [span(*bounds) for bounds in spans]
    folder = tmp_path_factory.mktemp("corpus")
    corpus = corpus_of(folder, (text, spans), spans_key=spans_key, misaligned=misaligned)
    (example,) = corpus(NLP)
    report = corpus.report
    doc = example.reference
    kept = len(doc.ents) if spans_key is None else len(doc.spans[spans_key])
    left_out = report.total("overlapping") + report.total("invalid")
    left_out += report.total("misaligned") if misaligned == "warn" else 0
    assert doc.text == text
    assert report.spans == len(spans) == kept + left_out
