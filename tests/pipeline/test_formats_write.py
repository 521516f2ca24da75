"""Writing: what each format holds, and that files appear only complete."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import os
from pathlib import Path

import numpy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_pipelines import files_in, make_nlp
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.pipeline.encoders import (
    annotations,
    encode_conll,
    encode_docbin,
    encode_jsonl,
    encode_row,
    plain,
    to_json,
)
from samarkand.pipeline.files import write_aside, write_errors
from samarkand.pipeline.records import Record
from samarkand.pipeline.writers import FORMATS, ParquetWriter, make_encoder
from spacy.tokens import Doc, DocBin, Span
from spacy.tokens.underscore import Underscore

TEXT = "Ada left the Bank of Cairo."
LETTERS = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def annotated(text: str = TEXT, *components: str) -> Doc:
    return make_nlp(*components)(text)


def parquet_of(rows: list[dict], schema: pa.Schema | None = None) -> pa.Table:
    """Write rows of other fields, one document each, and read them back."""
    sink = io.BytesIO()
    writer = ParquetWriter(sink, schema)
    for number, fields in enumerate(rows, 1):
        writer.write(encode_row(annotated(), Record(number, TEXT, fields)).payload)
    writer.close()
    return pq.read_table(io.BytesIO(sink.getvalue()))


def test_jsonl_record():
    encoded = encode_jsonl(annotated(TEXT, "test_grouper"), Record(1, TEXT, {"id": 5, "input_text": "x"}))
    assert (encoded.tokens, encoded.entities, encoded.spans) == (7, 2, 3)
    organisation = {"start": 13, "end": 26, "label": "ORG", "text": "Bank of Cairo"}
    inner = {"start": 21, "end": 26, "label": "LOC", "text": "Cairo"}
    person = {"start": 0, "end": 3, "label": "PER", "text": "Ada"}
    scored = [{**person, "score": 0.875}, {**organisation, "score": 0.875}]
    record = json.loads(encoded.payload)
    record.pop("meta", None)
    assert record == {
        "id": 5,
        "input_text": "x",
        "text": TEXT,
        "entities": scored,
        "spans": {"nested": [*scored, inner]},
    }


def test_knowledge_base_identifier_is_written_where_there_is_one():
    doc = annotated("in Cairo", "test_grouper")
    assert annotations(doc)["spans"]["nested"][0]["kb_id"] == "Q85"
    assert "kb_id" not in annotations(doc)["entities"][0]


def _linked(monkeypatch):
    """A document as `m3_linker` leaves it."""
    doc = annotated("Ada in Cairo")
    for name in ("candidates", "nil_reason", "link_scores"):
        monkeypatch.setitem(Underscore.span_extensions, name, (None, None, None, None))
    first, second = doc.ents
    for ent, kb_id in ((first, "NIL"), (second, "Q85")):
        for token in ent:
            token.ent_kb_id_ = kb_id
    first._.nil_reason, second._.candidates = "no candidates", [{"id": "Q85", "prior": 0.12345678}]
    second._.link_scores = {"v1": None, "s_link": numpy.float32(0.5)}
    return doc


def test_links_candidates_and_reasons_of_a_linker(monkeypatch):
    doc = _linked(monkeypatch)
    nil, linked = json.loads(encode_jsonl(doc, Record(1, doc.text)).payload)["entities"]
    assert (nil["kb_id"], nil["nil_reason"]) == (None, "no candidates")
    assert "candidates" not in nil
    assert linked["kb_id"] == "Q85"
    assert linked["candidates"] == [{"id": "Q85", "prior": 0.123457}]
    assert linked["link_scores"] == {"v1": None, "s_link": 0.5}
    assert "nil_reason" not in linked


def test_links_in_columns_and_comments(monkeypatch):
    doc = _linked(monkeypatch)
    sink = io.BytesIO()
    writer = ParquetWriter(sink)
    writer.write(encode_row(doc, Record(1, doc.text)).payload)
    writer.close()
    nil, linked = pq.read_table(io.BytesIO(sink.getvalue())).column("entities").to_pylist()[0]
    assert (nil["kb_id"], nil["nil_reason"], nil["candidates"]) == (None, "no candidates", None)
    assert (linked["kb_id"], json.loads(linked["candidates"])) == ("Q85", [{"id": "Q85", "prior": 0.123457}])
    block = encode_conll(doc, Record(1, doc.text)).payload.decode()
    assert "# links = 7-12=Q85\n" in block


def test_meta_of_the_tokenizer(monkeypatch):
    doc = annotated("in Cairo")
    for name in ("scripts", "langs"):
        monkeypatch.delitem(Underscore.doc_extensions, name, raising=False)
    assert "meta" not in annotations(doc)
    monkeypatch.setitem(Underscore.doc_extensions, "scripts", ({"Latn": 1.0}, None, None, None))
    assert annotations(doc)["meta"] == {"scripts": {"Latn": 1.0}}


def test_neighbours_that_a_pipe_has_found(monkeypatch):
    doc = annotated("in Cairo")
    monkeypatch.delitem(Underscore.doc_extensions, "neighbours", raising=False)
    assert "neighbours" not in annotations(doc)
    monkeypatch.setitem(Underscore.doc_extensions, "neighbours", (None, None, None, None))
    record = Record(1, doc.text)
    for nothing in (None, []):
        doc._.neighbours = nothing
        assert "neighbours" not in json.loads(encode_jsonl(doc, record).payload)
    found = {"id": "t1", "score": numpy.float32(0.5), "text": None, "metadata": {"lang": "ar"}}
    doc._.neighbours = (found,)  # as a DocBin gives lists back
    written = [{**found, "score": 0.5}]
    assert json.loads(encode_jsonl(doc, record).payload)["neighbours"] == written
    sink = io.BytesIO()
    writer = ParquetWriter(sink)
    for row in (doc, annotated("Ada")):
        writer.write(encode_row(row, record).payload)
    writer.close()
    first, second = pq.read_table(io.BytesIO(sink.getvalue())).column("neighbours").to_pylist()
    assert json.loads(first) == written
    assert second is None


@pytest.mark.parametrize("score", [None, float("nan"), numpy.float32(0.1)])
def test_score_is_a_number_or_absent(score):
    doc = annotated("Ada")
    doc.ents[0]._.score = score
    assert annotations(doc)["entities"][0].get("score") == (None if score is None or score != score else 0.1)


@given(st.dictionaries(LETTERS, JSON, max_size=4))
@settings(max_examples=60, deadline=None)
def test_json_is_valid_and_keeps_values(value):
    line = to_json(value)
    assert line.count(b"\n") == 1
    line.decode("utf-8")
    assert json.loads(line, parse_constant=pytest.fail) == plain(value)


def test_json_of_table_values_and_half_surrogates():
    value = {
        "day": datetime.date(2020, 1, 2),
        "bytes": b"\xff",
        "price": decimal.Decimal("1.50"),
        "scores": numpy.array([1.0, numpy.nan]),
        "half": "\ud83d",
    }
    assert json.loads(to_json(value)) == {
        "day": "2020-01-02",
        "bytes": "/w==",
        "price": "1.50",
        "scores": [1.0, None],
        "half": "\ud83d",
    }


def test_conll_block():
    doc = annotated("Ada \n left\tthe Bank of Cairo.")
    block = encode_conll(doc, Record(1, doc.text, {"id": "d-1"})).payload.decode()
    assert block.splitlines() == [
        "# id = d-1",
        "# text = Ada   left the Bank of Cairo.",
        "Ada\tB-PER",
        "left\tO",
        "the\tO",
        "Bank\tB-ORG",
        "of\tI-ORG",
        "Cairo\tI-ORG",
        ".\tO",
        "",
    ]


def test_conll_writes_one_flat_layer_and_counts_the_rest():
    doc = annotated(TEXT, "test_grouper")
    assert encode_conll(doc, Record(1, TEXT)).unwritten == 3
    encoded = make_encoder("conll", "nested")(doc, Record(1, TEXT))
    assert encoded.unwritten == 3
    assert b"Bank\tB-ORG\nof\tI-ORG\nCairo\tI-ORG\n" in encoded.payload
    assert b"B-" not in make_encoder("conll", "absent")(doc, Record(1, TEXT)).payload


def test_conll_entities_that_touch_stay_apart():
    doc = annotated("x y")
    doc.ents = [Span(doc, 0, 1, label="A"), Span(doc, 1, 2, label="A")]
    assert encode_conll(doc, Record(1, doc.text)).payload.endswith(b"x\tB-A\ny\tB-A\n\n")


def test_docbin_keeps_entities_groups_and_fields():
    doc = annotated(TEXT, "test_grouper")
    sink = io.BytesIO()
    writer = FORMATS["docbin"].writer(sink, None)
    writer.write(encode_docbin(doc, Record(1, TEXT, {"id": 5, "tags": ["a"]})).payload)
    writer.write(encode_docbin(annotated("no names"), Record(2, "no names")).payload)
    writer.close()
    first, second = DocBin().from_bytes(sink.getvalue()).get_docs(make_nlp().vocab)
    assert (first.text, second.text) == (TEXT, "no names")
    assert [(ent.text, ent.label_) for ent in first.ents] == [("Ada", "PER"), ("Bank of Cairo", "ORG")]
    assert [span.text for span in first.spans["nested"]] == ["Ada", "Bank of Cairo", "Cairo"]
    assert first.spans["nested"][2].label_ == "LOC"
    assert (first.user_data["id"], list(first.user_data["tags"])) == (5, ["a"])
    assert first.ents[0]._.score == 0.875


def test_parquet_columns_and_annotations():
    table = parquet_of([{"id": 1, "url": "a", "ok": True, "rate": 1}, {"id": 2, "url": None, "ok": None, "rate": 0.5}])
    assert [str(table.schema.field(name).type) for name in ("id", "url", "ok", "rate")] == [
        "int64",
        "string",
        "bool",
        "double",
    ]
    assert table["rate"].to_pylist() == [1.0, 0.5]
    assert table["text"].to_pylist() == [TEXT, TEXT]
    assert table["entities"].to_pylist()[0][1] == {
        "start": 13,
        "end": 26,
        "label": "ORG",
        "text": "Bank of Cairo",
        "score": None,
        "kb_id": None,
        "candidates": None,
        "link_scores": None,
        "nil_reason": None,
    }
    assert table["other_fields"].to_pylist() == [None, None]


def test_parquet_keeps_what_fits_no_column(monkeypatch):
    monkeypatch.setattr("samarkand.pipeline.writers.GROUP_ROWS", 2)
    rows = [{"id": 1}, {"id": 2, "tags": ["a"]}, {"id": "three"}, {"id": 2**70}, {"id": True, "new": None}]
    table = parquet_of(rows)
    assert table["id"].to_pylist() == [1, 2, None, None, None]
    others = [json.loads(value) if value else {} for value in table["other_fields"].to_pylist()]
    assert others == [{}, {"tags": ["a"]}, {"id": "three"}, {"id": 2**70}, {"id": True, "new": None}]


def test_parquet_does_not_round_whole_numbers_to_floats():
    table = parquet_of([{"rate": 0.5}, {"rate": 2**53 + 1}, {"rate": 2**53}])
    assert table["rate"].to_pylist() == [0.5, None, 2.0**53]
    assert json.loads(table["other_fields"][1].as_py()) == {"rate": 2**53 + 1}


def test_parquet_with_declared_columns():
    schema = pa.schema([("day", pa.date32()), ("part", pa.struct([("k", pa.int8())]))])
    rows = [{"day": datetime.date(2020, 1, 2), "part": {"k": 1}}, {"day": None, "part": None}]
    table = parquet_of(rows, schema)
    assert table.select(["day", "part"]).to_pylist() == rows
    assert table.schema.field("part").type == schema.field("part").type


def test_parquet_of_nothing_and_of_half_surrogates():
    assert parquet_of([]).num_rows == 0
    with pytest.raises(UnicodeEncodeError):
        encode_row(annotated(), Record(1, TEXT, {"half": "\ud83d"}))
    assert json.loads(parquet_of([{"nested": ["\ud83d"]}])["other_fields"][0].as_py()) == {"nested": ["\ud83d"]}


def test_spans_in_parquet_carry_their_group():
    sink = io.BytesIO()
    writer = ParquetWriter(sink)
    writer.write(encode_row(annotated(TEXT, "test_grouper"), Record(1, TEXT)).payload)
    writer.close()
    (spans,) = pq.read_table(io.BytesIO(sink.getvalue()))["spans"].to_pylist()
    assert [(span["key"], span["text"]) for span in spans][-1] == ("nested", "Cairo")


def write_half(path: Path) -> None:
    with write_aside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_file_appears_only_complete(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    with write_aside(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_bytes() == b"new"
    assert files_in(tmp_path) == ["sub/a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_gives_one_line_and_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    message = r"^\[S511\] Cannot write .*a.txt: No space left on device\."
    with pytest.raises(OSError, match=message) as caught, write_aside(tmp_path / "a.txt") as file:
        file.write(b"content")
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == []


def test_write_errors_name_the_file(tmp_path):
    with pytest.raises(OSError, match=r"\[S511\] Cannot write .*a.txt: disk on fire"), write_errors(tmp_path / "a.txt"):
        raise OSError("disk on fire")
    (tmp_path / "b").write_bytes(b"")
    with pytest.raises(OSError, match=r"\[S511\]"), write_aside(tmp_path / "b" / "a.txt"):
        pass
