"""Reports on annotated corpora: what is counted, what is carried, and what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from annotation_pipelines import make_nlp
from hypothesis import given, settings
from hypothesis import strategies as st
from report_corpora import INJECTIONS, Parsed, hostile_records, hostile_rejections, mention, write_run
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.annotated import AnnotatedCorpus, problem_of
from samarkand.pipeline.cli import app
from samarkand.pipeline.corpus_counts import CorpusCounts
from samarkand.pipeline.corpus_report import report
from samarkand.pipeline.report_documents import LONGEST_TEXT
from samarkand.pipeline.reservoir import Reservoir
from samarkand.pipeline.sources import UsageError
from typer.testing import CliRunner

TEXTS = [f"Ada {n} and 😀 the Bank of Cairo" if n % 3 else f"القاهرة {n} 中文" for n in range(40)]


def read(path):
    return Parsed(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotated")
    lines = [json.dumps({"id": n, "lang": "ar" if n % 3 == 0 else "en", "text": text}) for n, text in enumerate(TEXTS)]
    (folder / "in.jsonl").write_text("\n".join([*lines, "{}", "nothing"]) + "\n", encoding="utf-8")
    for name in ("jsonl", "parquet", "docbin"):
        annotate(folder / "in.jsonl", folder / name, model=make_nlp("test_grouper"), output_format=name)
    annotate(folder / "in.jsonl", folder / "packed", model=make_nlp("test_grouper"), compression="zst")
    return folder


def test_page_of_a_run(annotated, tmp_path):
    summary = report(annotated / "jsonl", tmp_path / "r.html")
    data = read(tmp_path / "r.html").data
    assert summary["documents"] == data["total"] == len(data["documents"]) == len(TEXTS)
    assert [doc["text"] for doc in data["documents"]] == TEXTS
    assert {doc["dir"] for doc in data["documents"]} == {"ltr", "rtl"}
    assert summary["quarantined"] == 2
    assert summary["reasons"] == {"S521": 1, "S522": 1}
    assert [row["code"] for row in data["rejections"]] == ["S522", "S521"]
    assert data["rejections"][1]["place"].endswith("in.jsonl, line 42")
    for doc in data["documents"]:
        units = doc["text"].encode("utf-16-le")
        for ment in [ment for ments in doc["layers"].values() for ment in ments]:
            found = units[2 * ment["start"] : 2 * ment["end"]].decode("utf-16-le")
            assert found in ("Ada", "Cairo", "القاهرة", "Bank of Cairo")


@pytest.mark.parametrize("other", ["parquet", "packed"])
def test_every_format_gives_the_same_page(annotated, tmp_path, other):
    report(annotated / "jsonl", tmp_path / "a.html")
    report(annotated / other, tmp_path / "b.html")
    first, second = (read(tmp_path / f"{name}.html").data for name in "ab")
    for doc in (*first["documents"], *second["documents"]):
        doc["file"] = doc["file"].split(".")[0]
    assert first == second


def test_parquet_keeps_why_there_is_no_link(tmp_path):
    import pyarrow
    import pyarrow.parquet

    span = {"start": 0, "end": 3, "label": "PER", "text": "Ada", "candidates": '[{"id": "Q1", "name": "Ada"}]'}
    spans = [{**span, "kb_id": None, "nil_reason": "doubted"}, {**span, "kb_id": None, "nil_reason": None}]
    row = {"text": "Ada", "entities": spans, "spans": [], "meta": None, "neighbours": '[{"id": "n", "score": 0.5}]'}
    write_run(tmp_path, [], options={"output_format": "parquet"}, files=[{"output": "a.parquet"}])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    summary = report(tmp_path)
    assert summary["labels"] == [{"layer": "entities", "label": "PER", "mentions": 2, "linked": 0, "nil": 1}]
    (doc,) = read(tmp_path / "report.html").data["documents"]
    nil, unlinked = doc["layers"]["entities"]
    assert (nil["link"], nil["reason"]) == (None, "doubted")
    assert "link" not in unlinked
    assert nil["candidates"] == [{"id": "Q1", "name": "Ada", "probability": None}]
    assert doc["neighbours"] == [{"id": "n", "score": 0.5, "text": ""}]


LABELS, LANGUAGES = st.sampled_from(["PER", "LOC", "<b>"]), st.sampled_from(["ar", "zh", "en", "no tag", None])
SPANS = st.lists(
    st.fixed_dictionaries(
        {"start": st.just(0), "end": st.integers(0, 3), "label": LABELS},
        optional={"kb_id": st.sampled_from([None, "Q1", "Q2"])},
    ),
    max_size=4,
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"text": st.sampled_from(["Ada", "القاهرة", "😀😀😀"]), "entities": SPANS, "lang": LANGUAGES},
        optional={"spans": st.dictionaries(st.sampled_from(["x", "entities"]), SPANS, max_size=2)},
    ),
    max_size=12,
)


@given(RECORDS)
@settings(deadline=None, max_examples=50)
def test_counts_equal_those_of_a_slow_count(records):
    counts = CorpusCounts()
    for record in records:
        counts.add(record)
    assert counts.documents == len(records)
    assert counts.characters == len("".join(record["text"] for record in records))
    flat = [("entities", span) for record in records for span in record["entities"]]
    flat += [(f"spans/{k}", s) for record in records for k, group in record.get("spans", {}).items() for s in group]
    for layer, label, mentions, linked, nil in counts.labels():
        own = [span for name, span in flat if name == layer and span["label"] == label]
        assert mentions == len(own)
        assert linked == sum(span.get("kb_id") is not None for span in own)
        assert nil == sum("kb_id" in span and span["kb_id"] is None for span in own)
    assert sum(row.mentions for row in counts.labels()) == len(flat)
    tags = {"ar": "ar", "zh": "zh", "en": "en"}
    documents = Counter(tags.get(record["lang"], "und") for record in records)
    assert {row.language: row.documents for row in counts.languages()} == documents
    for row in counts.languages():
        own = [record for record in records if tags.get(record["lang"], "und") == row.language]
        assert row.entities == sum(len(record["entities"]) for record in own)
        assert row.spans == sum(len(group) for record in own for group in record.get("spans", {}).values())


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 5))
@settings(deadline=None)
def test_sample_is_reproducible_ordered_and_of_its_size(count, size, seed):
    first, second = Reservoir[int](size, seed), Reservoir[int](size, seed)
    made = []
    for number in range(count):
        first.offer(lambda number=number: made.append(number) or number)
        second.offer(lambda number=number: number)
    kept = first.items()
    assert kept == second.items() == sorted(set(kept))
    assert len(kept) == min(count, size)
    assert set(kept) <= set(range(count))
    assert first.seen == count
    assert set(kept) <= set(made)


def test_every_document_has_the_same_chance():
    hits: Counter[int] = Counter()
    for seed in range(2000):
        sample = Reservoir[int](5, seed)
        for number in range(20):
            sample.offer(lambda number=number: number)
        hits.update(sample.items())
    # 2,000 draws of a chance of 1/4 have a standard deviation of 19.4.
    assert all(abs(hits[number] - 500) < 5 * 19.4 for number in range(20))


def test_sample_of_a_corpus_depends_on_the_seed_alone(tmp_path):
    run = write_run(tmp_path / "out", [{"id": n, "text": str(n), "entities": []} for n in range(200)])
    pages = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        summary = report(run, tmp_path / f"{name}.html", documents=20, seed=seed)
        assert (summary["documents"], summary["carried"]) == (200, 20)
        pages[name] = (tmp_path / f"{name}.html").read_bytes()
    assert pages["a"] == pages["b"] != pages["c"]


def test_memory_of_a_report_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    run = write_run(tmp_path, [{"text": str(n), "entities": []} for n in range(3000)])
    alive = Counter()
    made = AnnotatedCorpus.records

    class Watched(dict):
        def __init__(self, *args):
            super().__init__(*args)
            alive["now"] += 1
            alive["most"] = max(alive["most"], alive["now"])

        def __del__(self):
            alive["now"] -= 1

    def watched(self):
        for annotated in made(self):
            object.__setattr__(annotated, "record", Watched(annotated.record))
            yield annotated

    monkeypatch.setattr(AnnotatedCorpus, "records", watched)
    assert report(run, documents=10)["documents"] == 3000
    assert 1 <= alive["most"] <= 3


def test_long_texts_are_shortened_and_that_is_told(tmp_path):
    text = "Ada " + "x" * LONGEST_TEXT + " Cairo"
    ents = [mention(text, "Ada"), mention(text, "Cairo", "LOC")]
    run = write_run(tmp_path, [{"text": text, "entities": ents}])
    assert report(run)["labels"][0]["label"] == "LOC"
    (doc,) = read(tmp_path / "report.html").data["documents"]
    assert (len(doc["text"]), doc["characters"], doc["beyond"]) == (LONGEST_TEXT, len(text), 1)
    assert [ment["label"] for ment in doc["layers"]["entities"]] == ["PER"]


def test_a_hostile_corpus_stays_data(tmp_path):
    run = write_run(tmp_path / "out", hostile_records(), hostile_rejections(), pipeline={"model": INJECTIONS[0]})
    report(run, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    parsed = Parsed(page)
    known = "html head meta title style body h1 h2 div table caption thead tr th tbody td bdi main noscript p script"
    assert {name for name, _ in parsed.tags} <= set(known.split())
    assert [name for name, _ in parsed.tags].count("script") == 2
    assert not any(name.startswith("on") or name in ("src", "href", "style") for _, tag in parsed.tags for name in tag)
    assert not re.search("https?://", page)
    assert not re.search("[\0\u2028\u2029\ufffe\uffff]", "\n".join(parsed.scripts))
    assert [doc["id"] for doc in parsed.data["documents"]] == INJECTIONS
    assert [row["reason"] for row in parsed.data["rejections"]] == INJECTIONS
    assert sorted(row[0] for row in parsed.rows[-len(INJECTIONS) :]) == sorted(
        bad.replace("\0", "\ufffd") for bad in INJECTIONS
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "failed"}, "S1171"),
        ({"options": {"output_format": "conll"}}, "S1172"),
        ({"options": None}, "S1170"),
        ({"files": [{}]}, "S1170"),
        ({"files": [{"output": "../elsewhere.jsonl"}]}, "S1170"),
        ({"files": [{"output": "/etc/hostname"}]}, "S1170"),
    ],
)
def test_folders_that_cannot_be_reported_are_refused(tmp_path, change, code):
    with pytest.raises(UsageError, match=rf"\[{code}\]"):
        report(write_run(tmp_path, [], **change))
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_and_bad_options_are_refused(annotated, tmp_path):
    with pytest.raises(UsageError, match=r"\[S1170\].*run\.json"):
        report(tmp_path)
    with pytest.raises(UsageError, match=r"\[S1172\].*docbin"):
        report(annotated / "docbin")
    run = write_run(tmp_path, [])
    with pytest.raises(UsageError, match=r"\[S507\] Bad value for documents"):
        report(run, documents=0)
    report(run)
    with pytest.raises(UsageError, match=r"\[S504\]"):
        report(run)
    report(run, force=True)


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"entities": []},
        {"text": 5, "entities": []},
        {"text": "Ada"},
        {"text": "Ada", "entities": {}},
        {"text": "Ada", "entities": [], "spans": ["x"]},
        {"text": "Ada", "entities": [], "spans": {"entities": 5}},
        {"text": "Ada", "entities": [], "meta": "en"},
        {"text": "Ada", "entities": [], "meta": {"langs": 5}},
        {"text": "Ada", "entities": [], "spans": {"x": None}},
        {"text": "Ada", "entities": ["Ada"]},
        {"text": "Ada", "entities": [{"start": 0, "end": 4, "label": "PER"}]},
        {"text": "Ada", "entities": [{"start": 2, "end": 1, "label": "PER"}]},
        {"text": "Ada", "entities": [{"start": True, "end": 2, "label": "PER"}]},
        {"text": "Ada", "entities": [{"start": 0, "end": 3}]},
        {"text": "Ada", "entities": [], "spans": {"x": [{"start": 0.0, "end": 3, "label": "PER"}]}},
    ],
)
def test_what_is_no_record_is_named(tmp_path, record):
    assert problem_of({"text": "Ada", "entities": [], "spans": None}) == ""
    run = write_run(tmp_path, [{"text": "Ada", "entities": []}, record])
    with pytest.raises(ValueError, match=r"\[S1173\] .*a\.jsonl, record 2"):
        report(run)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", [b'{"text": "A', b"\xff\n", b"[NaN]\n", b"[" * 100_000])
def test_damaged_lines_are_named(tmp_path, content):
    run = write_run(tmp_path, [])
    (run / "a.jsonl").write_bytes(b'{"text": "Ada", "entities": []}\n' + content)
    with pytest.raises(ValueError, match=r"\[S1173\] .*a\.jsonl, record 2"):
        report(run)


def test_damaged_and_missing_files_are_named(annotated, tmp_path):
    run = write_run(tmp_path, [], files=[{"output": "gone.jsonl"}])
    with pytest.raises(OSError, match=r"\[S512\].*gone\.jsonl"):
        report(run)
    packed = (annotated / "packed" / "in.jsonl.zst").read_bytes()
    (run / "b.jsonl.zst").write_bytes(packed[:-20])
    (run / "c.parquet").write_bytes(b"PAR1 nothing PAR1")
    for name, kind in (("b.jsonl.zst", "jsonl"), ("c.parquet", "parquet")):
        write_run(tmp_path, [], files=[{"output": name}], options={"output_format": kind})
        with pytest.raises(OSError, match=rf"\[S512\].*{re.escape(name)}"):
            report(run)
    write_run(tmp_path, [], ["no object"])
    with pytest.raises(ValueError, match=r"\[S1173\].*quarantine\.jsonl, record 1"):
        report(run)


def write_table(folder, rows):
    import pyarrow
    import pyarrow.parquet

    write_run(folder, [], options={"output_format": "parquet"}, files=[{"output": "a.parquet"}])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")
    return folder


@pytest.mark.parametrize(
    "row",
    [
        {"entities": ["Ada"], "spans": []},
        {"entities": 5, "spans": []},
        {"entities": [], "spans": [{"start": 0, "end": 3, "label": "PER"}]},
        {"entities": [], "spans": "x"},
        {"entities": [], "spans": [], "meta": 5},
        {"entities": [], "spans": [], "neighbours": "[" * 100_000},
        {"entities": [{"start": 0, "end": 3, "label": "PER", "candidates": 5}], "spans": []},
    ],
)
def test_foreign_tables_are_named(tmp_path, row):
    run = write_table(tmp_path, [{"text": "Ada", **row}])
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: [S1173] {run / 'a.parquet'}, record 1 ")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"files": [{"output": "a.jsonl", "documents": 3}]}, "a.jsonl, record 3"),
        ({"files": [{"output": "a.jsonl", "documents": 1}]}, "a.jsonl, record 2"),
        ({"quarantined": 2}, "quarantine.jsonl, record 2"),
    ],
)
def test_files_with_other_counts_than_those_of_the_run_are_named(tmp_path, change, place):
    run = write_run(tmp_path, [{"text": "Ada", "entities": []}] * 2, hostile_rejections()[:1], **change)
    with pytest.raises(ValueError, match=rf"\[S1173\] .*{re.escape(place)} .*run\.json counts"):
        report(run)
    assert not (run / "report.html").exists()


def test_a_quarantine_that_is_gone_is_named(tmp_path):
    run = write_run(tmp_path, [{"text": "Ada", "entities": []}], quarantined=7)
    with pytest.raises(OSError, match=r"\[S512\].*quarantine\.jsonl"):
        report(run)


@pytest.mark.parametrize("name", ["a.jsonl", "run.json", "quarantine.jsonl", "sub/../a.jsonl"])
def test_a_page_never_replaces_what_it_is_about(tmp_path, name):
    run = write_run(tmp_path, [{"text": "Ada", "entities": []}], hostile_rejections())
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(UsageError, match=r"\[S505\]"):
        report(run, run / name, force=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_numbers_that_are_none_are_left_out(tmp_path):
    span = {"start": 0, "end": 3, "label": "PER", "score": float("nan"), "candidates": '[{"id": "Q1"}]'}
    run = write_table(tmp_path, [{"text": "Ada", "entities": [span], "spans": []}])
    report(run)
    (doc,) = read(run / "report.html").data["documents"]
    assert "score" not in doc["layers"]["entities"][0]
    span = {"start": 0, "end": 3, "label": "PER", "score": True, "candidates": [{"id": "Q1", "probability": True}]}
    record = {"text": "Ada", "entities": [span], "neighbours": [{"id": "n", "score": False}]}
    report(write_run(tmp_path, [record]), force=True)
    (doc,) = read(run / "report.html").data["documents"]
    (ment,) = doc["layers"]["entities"]
    assert "score" not in ment
    assert ment["candidates"][0]["probability"] is doc["neighbours"][0]["score"] is None


def test_command(tmp_path):
    run = write_run(tmp_path / "out", [{"text": "Ada", "entities": []}] * 3, hostile_rejections()[:2])
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(run), "-o", str(page), "--documents", "2"])
    assert result.exit_code == 0, result.output
    assert "2 of 3 documents, 2 records in quarantine" in result.output
    assert CliRunner().invoke(app, ["report", str(run), "-o", str(page)]).exit_code == 2
    result = CliRunner().invoke(app, ["report", str(run), "-o", str(page), "--json", "--force"])
    assert json.loads(result.output)["carried"] == 3
