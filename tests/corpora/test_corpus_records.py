"""Records: every format and compression, folders and globs, and one clear line for broken input."""

import gzip
import json
import lzma

import pytest
import spacy
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.records import find_files, read_records, write_records
from spacy.tokens import DocBin, Span

RECORD = {"text": "王芳 in Oslo\u2028!", "spans": [{"start": 0, "end": 2, "label": "PER"}], "id": "x", "meta": [1]}
LINE = json.dumps(RECORD, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_jsonl_through_every_compression(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    assert write_records(path, [RECORD, RECORD]) == 2
    assert list(read_records(path)) == [RECORD, RECORD]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_survives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("records") / "a.jsonl"
    write_records(path, [{"text": text, "spans": []}])
    assert next(read_records(path))["text"] == text


def test_byte_order_mark_blank_lines_and_missing_spans(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
    assert list(read_records(path)) == [{"text": "a", "spans": []}, {"text": "b", "spans": []}]


def test_frames_that_were_appended_are_read(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(LINE.encode()) + zstandard.compress(LINE.encode()))
    assert len(list(read_records(path))) == 2


def test_folders_and_globs_are_sorted(tmp_path):
    for name in ("b.jsonl", "a/c.jsonl.gz", ".hidden/d.jsonl"):
        write_records(tmp_path / name, [{"text": name, "spans": []}])
    (tmp_path / "LICENSE.txt").write_text("terms")
    assert [r["text"] for r in read_records(tmp_path)] == ["a/c.jsonl.gz", "b.jsonl"]
    assert [r["text"] for r in read_records(f"{tmp_path}/*.jsonl")] == ["b.jsonl"]
    assert [r["text"] for r in read_records(f"{tmp_path}/**/c*")] == ["a/c.jsonl.gz"]


def test_format_overrides_the_suffix(tmp_path):
    path = tmp_path / "test.annotated"
    path.write_text("Oslo B-LOC\n")
    assert [r["text"] for r in read_records(path, format="conll")] == ["Oslo"]


def test_docbin_ents_and_span_groups(tmp_path):
    doc = spacy.blank("xx")("Bank of Oslo")
    doc.set_ents([Span(doc, 0, 3, "ORG")])
    doc.spans["sc"] = [Span(doc, 0, 3, "ORG"), Span(doc, 2, 3, "LOC")]
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    (flat,) = read_records(tmp_path / "a.spacy")
    (nested,) = read_records(tmp_path / "a.spacy", spans_key="sc")
    assert flat["spans"] == [{"start": 0, "end": 12, "label": "ORG"}]
    assert nested["spans"][1] == {"start": 8, "end": 12, "label": "LOC"}
    assert flat["tokens"] == [[0, 4], [5, 7], [8, 12]]


def test_nothing_found(tmp_path):
    for path in (tmp_path, tmp_path / "no.jsonl", f"{tmp_path}/*.jsonl"):
        with pytest.raises(FileNotFoundError, match=r"\[S201\] No corpus at"):
            find_files(path)


def test_unknown_suffix(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(OSError, match=r"\[S202\] .*a.pdf"):
        find_files(tmp_path / "a.pdf")
    with pytest.raises(OSError, match=r"\[S202\]"):
        write_records(tmp_path / "b.pdf", [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', r"\[S203\].*line 2: not JSON \(Expecting value, column 10\)"),
        ("[1]", r"\[S204\].*line 2: no text"),
        ('{"text": 1}', r"\[S204\].*line 2"),
        ('{"text": "a", "spans": {}}', r"\[S205\].*line 2: bad spans"),
        ('{"text": "a", "spans": [[0, 1, "PER"]]}', r"\[S205\].*line 2"),
        ('{"text": "a", "spans": [{"start": 0.0, "end": 1, "label": "PER"}]}', r"\[S205\].*line 2"),
        ('{"text": "a", "spans": [{"start": 0, "end": 1, "label": "PER", "kb_id": 7}]}', r"\[S205\].*line 2"),
        ('{"text": "a\\ud800"}', r"\[S206\].*line 2: .*surrogate"),
    ],
)
def test_broken_records_are_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        list(read_records(path))


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINE.encode() * 5 + b'{"text": "caf\xe9"}\n' + LINE.encode())
    with pytest.raises(ValueError, match=r"\[S207\] .*a.jsonl, line 6: not UTF-8"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("zst", zstandard.compress)]
)
def test_cut_files_are_named(tmp_path, suffix, compress):
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(compress(LINE.encode() * 2000)[:-20])
    with pytest.raises(ValueError, match=r"\[S208\] .*a.jsonl.*cut short or damaged"):
        list(read_records(path))


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_files_of_another_kind_are_named(tmp_path, suffix):
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_text(LINE * 10)
    with pytest.raises(ValueError, match=r"\[S208\] .*a.jsonl"):
        list(read_records(path))


def test_no_docbin(tmp_path):
    (tmp_path / "a.spacy").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"\[S210\] .*a.spacy is not a DocBin"):
        list(read_records(tmp_path / "a.spacy"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_records(path, [RECORD])

    def broken():
        yield RECORD
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_records(path, broken())
    assert list(read_records(path)) == [RECORD]
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
