"""Conversion between formats, as a function and from the command line."""

import subprocess
import sys

import pytest
import spacy
from samarkand.corpora.convert import convert, joiner_of
from samarkand.corpora.records import read_records, write_records
from samarkand.errors import SamarkandWarning
from spacy.tokens import DocBin
from spacy.training import Corpus

NLP = spacy.blank("xx")
RECORDS = [
    {"text": "Rosa in Oslo.", "spans": [{"start": 0, "end": 4, "label": "PER"}], "id": "a"},
    {"text": "Bank of Oslo", "spans": [{"start": 0, "end": 12, "label": "ORG"}], "id": "b"},
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    write_records(path, RECORDS)
    return path


def test_docbin_is_read_by_spacys_own_corpus(tmp_path, source):
    report = convert(source, tmp_path / "out.spacy", nlp=NLP)
    assert (report.documents, report.spans) == (2, 2)
    examples = list(Corpus(tmp_path / "out.spacy")(NLP))
    assert [[(e.text, e.label_) for e in eg.reference.ents] for eg in examples] == [
        [("Rosa", "PER")],
        [("Bank of Oslo", "ORG")],
    ]


@pytest.mark.parametrize("spans_key", [None, "mentions"])
def test_links_go_to_a_docbin_and_back(tmp_path, source, spans_key):
    spans = [
        {"start": 0, "end": 4, "label": "PER", "kb_id": None},
        {"start": 8, "end": 12, "label": "LOC", "kb_id": "Q585"},
        {"start": 12, "end": 13, "label": "LOC"},
    ]
    write_records(source, [{"text": "Rosa in Oslo.", "spans": spans}])
    convert(source, tmp_path / "out.spacy", nlp=NLP, spans_key=spans_key)
    (record,) = read_records(tmp_path / "out.spacy", spans_key=spans_key)
    assert record["spans"] == spans


def test_span_groups_and_missing_tokens_reach_the_docbin(tmp_path, source):
    convert(source, tmp_path / "nested.spacy", nlp=NLP, spans_key="sc")
    (doc, _) = DocBin().from_disk(tmp_path / "nested.spacy").get_docs(NLP.vocab)
    assert [s.text for s in doc.spans["sc"]] == ["Rosa"]
    write_records(source, [{"text": "Osloregion", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}])
    with pytest.warns(SamarkandWarning, match=r"\[SW201\]"):
        convert(source, tmp_path / "flat.spacy", nlp=NLP)
    (doc,) = DocBin().from_disk(tmp_path / "flat.spacy").get_docs(NLP.vocab)
    assert doc[0].ent_iob_ == ""


@pytest.mark.parametrize("middle", ["a.spacy", "a.conll", "a.conll.xz", "a.jsonl.gz"])
def test_there_and_back(tmp_path, source, middle):
    convert(source, tmp_path / middle, nlp=NLP)
    convert(tmp_path / middle, tmp_path / "back.jsonl", nlp=NLP)
    back = [{key: record[key] for key in ("text", "spans")} for record in read_records(tmp_path / "back.jsonl")]
    assert back == [{key: record[key] for key in ("text", "spans")} for record in RECORDS]


def test_conll_to_jsonl_joins_chinese_tokens(tmp_path):
    (tmp_path / "a.bmes").write_text("王 B-NAME\n芳 E-NAME\n", encoding="utf8")
    convert(tmp_path / "a.bmes", tmp_path / "a.jsonl", lang="zh")
    assert [record["text"] for record in read_records(tmp_path / "a.jsonl")] == ["王芳"]
    assert [joiner_of(lang) for lang in ("zh", "zh-Hant", "ja", "ar", "en", "xx")] == ["", "", "", " ", " ", " "]


def test_scheme_of_the_conll_file(tmp_path, source):
    convert(source, tmp_path / "a.conll", nlp=NLP, scheme="BIOES")
    assert "Rosa\tS-PER\n" in (tmp_path / "a.conll").read_text(encoding="utf8")


def test_output_is_not_replaced_unless_asked(tmp_path, source):
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    with pytest.raises(FileExistsError, match=r"\[S217\] .*out.jsonl exists.*--force"):
        convert(source, output)
    convert(source, output, force=True)
    assert len(list(read_records(output))) == 2


def test_unknown_output(tmp_path, source):
    with pytest.raises(OSError, match=r"\[S202\] .*out.pdf"):
        convert(source, tmp_path / "out.pdf")


def test_command_line(tmp_path, source):
    command = [sys.executable, "-m", "samarkand.corpora.convert", str(source), str(tmp_path / "out.spacy")]
    first = subprocess.run([*command, "--lang", "en"], capture_output=True, text=True, timeout=120)
    assert (first.returncode, first.stderr) == (0, "")
    assert "out.spacy: 2 documents" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert second.returncode == 1
    assert second.stderr.startswith("[S217]")
    assert len(second.stderr.splitlines()) == 1
