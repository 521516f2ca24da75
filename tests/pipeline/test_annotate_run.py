"""Runs over whole corpora: what goes in is accounted for, and files appear only complete."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_pipelines import files_in, make_nlp
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.compression import open_compressed
from samarkand.errors import SamarkandWarning
from samarkand.pipeline import plan as plan_module
from samarkand.pipeline import run as run_module
from samarkand.pipeline import shard_work
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.batches import annotate_batch, batched, batches_by_length
from samarkand.pipeline.corpus_report import report
from samarkand.pipeline.encoders import Encoded, encode_jsonl
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.records import Record, Rejected, Unread
from samarkand.pipeline.sources import UsageError
from samarkand.pipeline.workers import LocalAnnotator
from spacy.tokens import DocBin


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def visible(folder: Path) -> list[str]:
    """Files of a folder without the state of a run."""
    return [name for name in files_in(folder) if not name.startswith(".samarkand/")]


def corpus(folder: Path, texts: list[str], name: str = "a.txt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder / name


TEXTS = [f"Ada number {n} in Cairo" if n % 3 else f"القاهرة {n} 中文" for n in range(40)]


def test_run_writes_outputs_and_summary(tmp_path):
    source = corpus(tmp_path / "in", TEXTS)
    summary = annotate(source, tmp_path / "out", model=make_nlp("test_grouper"), shard_size=7)
    records = jsonl(tmp_path / "out" / "a.jsonl")
    assert [record["text"] for record in records] == TEXTS
    entities = sum(len(record["entities"]) for record in records)
    assert summary["status"] == "complete"
    assert (summary["documents"], summary["entities"], summary["quarantined"]) == (40, entities, 0)
    assert summary["spans"] == entities
    assert summary["tokens"] == sum(len(text.split()) for text in TEXTS)
    assert summary["pipeline"]["components"] == ["entity_ruler", "test_grouper"]
    assert (summary["files"][0]["input"], summary["files"][0]["shards"]) == (str(source), 6)
    content = (tmp_path / "out" / "a.jsonl").read_bytes()
    assert summary["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert json.loads((tmp_path / "out" / "run.json").read_bytes()) == summary
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json"]


@pytest.mark.parametrize("output_format", ["parquet", "docbin", "conll"])
def test_every_format_holds_every_document(tmp_path, output_format):
    source = corpus(tmp_path / "in", ["Ada in Cairo", "nothing"])
    summary = annotate(source, tmp_path / "out", model=make_nlp(), output_format=output_format)
    (path,) = [tmp_path / "out" / file["output"] for file in summary["files"]]
    again = annotate(path, tmp_path / "again", model=make_nlp()) if output_format != "conll" else None
    if again:
        assert [record["text"] for record in jsonl(tmp_path / "again" / "a.jsonl")] == ["Ada in Cairo", "nothing"]
    else:
        assert path.read_text().count("# text = ") == 2


def test_conll_run_counts_what_it_leaves_out(tmp_path):
    source = corpus(tmp_path / "in", ["Ada in Cairo"])
    with pytest.warns(SamarkandWarning, match=r"\[SW502\] 2 spans .*here doc.ents"):
        summary = annotate(source, tmp_path / "out", model=make_nlp("test_grouper"), output_format="conll")
    assert summary["unwritten"] == 2


def test_tokens_of_a_docbin_are_kept(tmp_path):
    from spacy.tokens import Doc, DocBin

    nlp = make_nlp()
    doc = Doc(nlp.vocab, words=["Bank of", "Cairo"])
    (tmp_path / "a.spacy").write_bytes(DocBin(docs=[doc]).to_bytes())
    summary = annotate(tmp_path / "a.spacy", tmp_path / "out", model=nlp)
    assert summary["tokens"] == 2
    assert jsonl(tmp_path / "out" / "a.jsonl")[0]["entities"] == [
        {"start": 8, "end": 13, "label": "LOC", "text": "Cairo"}
    ]


def bad_corpus(folder: Path) -> Path:
    """Records with every kind of trouble between good ones, over two files."""
    folder.mkdir(exist_ok=True)
    lines = [b'{"id": %d, "text": "Ada %d"}' % (n, n) for n in range(30)]
    lines[3] = b'{"id": 3, "text": "POISON 3"}'
    lines[4] = b"broken"
    lines[5] = b'{"text": "\xff"}'
    lines[17] = b'{"id": 17, "text": "POISON 17"}'
    lines[18] = b'{"id": 18, "text": "VANISH"}'
    lines[20] = b'{"id": 20, "text": "%s"}' % (b"x" * 2000)
    lines[29] = b'{"id": 29, "text": "UNTIDY"}'
    (folder / "a.jsonl").write_bytes(b"\n".join(lines))
    corpus(folder, ["Ada", "POISON", "Cairo"], "b.txt")
    return folder


def run_bad_corpus(tmp_path: Path, n_process: int, batch_size: int = 7) -> tuple[Path, dict[str, Any]]:
    output = tmp_path / f"out{n_process}-{batch_size}"
    nlp = make_nlp("test_picky", "test_forgetful", "test_untidy")
    nlp.max_length = 1000
    source = bad_corpus(tmp_path / "in")
    options = {"output_format": "docbin"} if batch_size == 8 else {}
    return output, annotate(source, output, model=nlp, n_process=n_process, batch_size=batch_size, **options)


def test_bad_records_cost_only_themselves(tmp_path):
    output, summary = run_bad_corpus(tmp_path, 0)
    lost = {3, 4, 5, 17, 18, 20}
    assert [record["id"] for record in jsonl(output / "a.jsonl")] == [n for n in range(30) if n not in lost]
    assert [record["text"] for record in jsonl(output / "b.jsonl")] == ["Ada", "Cairo"]
    entries = jsonl(output / "quarantine.jsonl")
    assert [(Path(entry["file"]).name, entry["line"], entry["code"]) for entry in entries] == [
        ("a.jsonl", 4, "S528"),
        ("a.jsonl", 5, "S521"),
        ("a.jsonl", 6, "S520"),
        ("a.jsonl", 18, "S528"),
        ("a.jsonl", 19, "S529"),
        ("a.jsonl", 21, "S527"),
        ("b.txt", 2, "S528"),
    ]
    assert entries[0]["reason"] == "The component 'test_picky' failed: ValueError: cannot stand."
    assert entries[0]["raw"] == {"id": 3, "text": "POISON 3"}
    assert entries[4]["reason"] == "The component 'test_forgetful' gave no document back."
    assert "2000 characters" in entries[5]["reason"]
    assert (summary["documents"], summary["quarantined"]) == (26, 7)
    assert summary["reasons"] == {"S520": 1, "S521": 1, "S527": 1, "S528": 3, "S529": 1}
    assert [file["quarantined"] for file in summary["files"]] == [6, 1]


def test_document_that_the_format_cannot_hold(tmp_path):
    output, summary = run_bad_corpus(tmp_path, 0, batch_size=8)
    assert summary["reasons"]["S530"] == 1
    assert jsonl(output / "quarantine.jsonl")[-2]["raw"] == {"id": 29, "text": "UNTIDY"}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_deep_records_cost_only_themselves(tmp_path):
    """Half as deep as Python goes, a record that had no text could not be shown in the quarantine."""
    depths = (1, 50, 199, 200, 450, 480, 900, 5000)
    lines = [b'{"%s": "Ada", "deep": %s}' % (name, b"[" * d + b"]" * d) for d in depths for name in (b"text", b"no")]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    summary = annotate(tmp_path / "a.jsonl", tmp_path / "out", model=make_nlp())
    assert (summary["documents"], summary["reasons"]) == (3, {"S521": 10, "S522": 3})
    assert [record["deep"] for record in jsonl(tmp_path / "out" / "a.jsonl")] == list(map(nested, depths[:3]))
    # The report reads what has been written, a rejected record within its line too.
    assert report(tmp_path / "out")["reasons"] == summary["reasons"]


def test_document_of_a_docbin_that_is_too_deep_to_be_shown(tmp_path):
    nlp = make_nlp()
    docs = [nlp("Ada"), nlp("Cairo")]
    docs[0].user_data["deep"] = nested(506)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "a.spacy")
    summary = annotate(tmp_path / "a.spacy", tmp_path / "out", model=nlp, output_format="docbin")
    assert (summary["documents"], summary["reasons"]) == (1, {"S530": 1})
    assert "raw" not in jsonl(tmp_path / "out" / "quarantine.jsonl")[0]


def test_document_of_a_docbin_without_its_strings(tmp_path):
    """It ended the run, with a traceback."""
    nlp = make_nlp()
    docs = [nlp("Ada"), nlp("Cairo")]
    docs[0][0].dep_ = "odd"
    documents = DocBin(docs=docs)
    documents.strings.discard("odd")
    documents.to_disk(tmp_path / "a.spacy")
    summary = annotate(tmp_path / "a.spacy", tmp_path / "out", model=nlp)
    assert (summary["documents"], summary["reasons"]) == (1, {"S535": 1})
    assert jsonl(tmp_path / "out" / "quarantine.jsonl")[0]["raw"] == {"text": "Ada"}


def test_two_processes_write_the_same(tmp_path):
    one, summary_one = run_bad_corpus(tmp_path, 0)
    two, summary_two = run_bad_corpus(tmp_path, 2)
    for name in ("a.jsonl", "b.jsonl", "quarantine.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    hashes = [[file["sha256"] for file in summary["files"]] for summary in (summary_one, summary_two)]
    assert hashes[0] == hashes[1]
    assert files_in(one) == files_in(two)


def test_component_that_leaves_documents_out_of_a_batch(tmp_path):
    source = corpus(tmp_path / "in", ["Ada", "VANISH", "Cairo"])
    summary = annotate(source, tmp_path / "out", model=make_nlp("test_sieve"))
    assert [record["text"] for record in jsonl(tmp_path / "out" / "a.jsonl")] == ["Ada", "Cairo"]
    assert summary["reasons"] == {"S529": 1}


def test_long_rejected_record_is_cut(tmp_path):
    source = corpus(tmp_path / "in", ["POISON " * 5000])
    annotate(source, tmp_path / "out", model=make_nlp("test_picky"))
    (entry,) = jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert len(entry["raw"]) == 10_000
    assert entry["raw_characters"] > 35_000


def test_pipeline_that_cannot_be_sent(tmp_path):
    nlp = make_nlp()
    nlp.tokenizer = lambda text: nlp.vocab
    with pytest.raises(ValueError, match=r"\[S514\].*n_process=0"):
        annotate(corpus(tmp_path / "in", ["a"]), tmp_path / "out", model=nlp, n_process=2)
    assert not (tmp_path / "out").exists()


def test_interrupted_run_is_gone_on_with(tmp_path):
    corpus(tmp_path / "in", ["Ada", "POISON"], "a.txt")
    corpus(tmp_path / "in", ["Ada"] * 50 + ["POISON"] * 3 + ["STOP"], "b.txt")
    stop = make_nlp("test_picky")
    with pytest.raises(KeyboardInterrupt):
        annotate(tmp_path / "in", tmp_path / "out", model=stop, shard_size=10)
    assert visible(tmp_path / "out") == ["run.json"]
    summary = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert (summary["status"], summary["documents"], summary["quarantined"]) == ("interrupted", 51, 1)
    with pytest.raises(UsageError, match=r"\[S540\] A run in .*--resume"):
        annotate(tmp_path / "in", tmp_path / "out", model=stop, shard_size=10)
    with pytest.raises(KeyboardInterrupt):
        annotate(tmp_path / "in", tmp_path / "out", model=stop, shard_size=10, resume=True)
    summary = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert (summary["resumed_records"], summary["documents"]) == (52, 51)


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_full_disk_ends_the_run_with_one_line(tmp_path, monkeypatch, output_format):
    class FullDisk:
        def __init__(self, file: object, columns: object) -> None: ...

        def write(self, payload: object) -> None:
            raise OSError(28, "No space left on device")

        close = write

    source = corpus(tmp_path / "in", ["Ada", "POISON"])
    writer = shard_work.FORMATS[output_format]
    full = type(writer)(writer.suffix, writer.encoder, FullDisk, writer.columns)
    monkeypatch.setitem(shard_work.FORMATS, output_format, full)
    with pytest.raises(OSError, match=r"^\[S511\] Cannot write .*: No space left on device\.") as caught:
        annotate(source, tmp_path / "out", model=make_nlp("test_picky"), output_format=output_format)
    assert "\n" not in str(caught.value)
    assert visible(tmp_path / "out") == ["run.json"]
    monkeypatch.setitem(shard_work.FORMATS, output_format, writer)
    summary = annotate(source, tmp_path / "out", model=make_nlp("test_picky"), output_format=output_format, resume=True)
    assert (summary["documents"], summary["quarantined"]) == (1, 1)
    assert len(files_in(tmp_path / "out")) == 3


def test_output_is_not_replaced_unless_forced(tmp_path):
    source = corpus(tmp_path / "in", ["Ada", "POISON"])
    nlp = make_nlp("test_picky")
    annotate(source, tmp_path / "out", model=nlp)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")}
    with pytest.raises(UsageError, match=r"\[S504\] Output exists already: .*a.jsonl.*--force"):
        annotate(source, tmp_path / "out", model=nlp)
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files_in(tmp_path / "out")} == before
    corpus(tmp_path / "in", ["Cairo"])
    annotate(source, tmp_path / "out", model=nlp, force=True)
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json"]
    assert jsonl(tmp_path / "out" / "a.jsonl")[0]["text"] == "Cairo"


def test_input_is_never_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "Ada"}\n')
    with pytest.raises(UsageError, match=r"\[S505\]"):
        annotate(tmp_path / "a.jsonl", tmp_path, model=make_nlp(), force=True)
    assert (tmp_path / "a.jsonl").read_text() == '{"text": "Ada"}\n'


def test_folders_are_mirrored_and_the_output_is_not_read(tmp_path):
    corpus(tmp_path, ["Ada"], "a.txt")
    corpus(tmp_path / "sub", ["Cairo"], "a.txt")
    for force in (False, True):
        summary = annotate(tmp_path, tmp_path / "out", model=make_nlp(), force=force)
        assert [file["output"] for file in summary["files"]] == ["a.jsonl", "sub/a.jsonl"]
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json", "sub/a.jsonl"]


def test_side_files_replace_no_input(tmp_path):
    """With --force, what an earlier run had put in quarantine was gone when it was annotated."""
    corpus(tmp_path, ['{"text": "Ada"}'], "quarantine.jsonl")
    with pytest.raises(UsageError, match=r"\[S505\] .* would replace the input .*quarantine.jsonl"):
        annotate(tmp_path / "quarantine.jsonl", tmp_path, model=make_nlp(), force=True)
    assert files_in(tmp_path) == ["quarantine.jsonl"]


def test_output_that_is_an_input_is_refused(tmp_path):
    """Its files were new inputs to whoever went on with the run."""
    corpus(tmp_path, ["Ada"])
    with pytest.raises(UsageError, match=r"\[S507\] Bad value for output: .* no input itself"):
        annotate([tmp_path / "a.txt", f"{tmp_path}/."], tmp_path, model=make_nlp())
    assert files_in(tmp_path) == ["a.txt"]


def test_glob_that_finds_the_output_does_not_read_it(tmp_path):
    for item in ("*", "**"):
        for name in ("a.txt", "b.txt"):
            corpus(tmp_path, ["Ada"], name)
        options = {"model": make_nlp(), "resume": True}
        summary = annotate(str(tmp_path / item), tmp_path / "out", **options)
        assert annotate(str(tmp_path / item), tmp_path / "out", **options) == summary
        assert [file["output"] for file in summary["files"]] == ["a.jsonl", "b.jsonl"]
        (tmp_path / "out" / "run.json").unlink()
        for file in summary["files"]:
            (tmp_path / "out" / file["output"]).unlink()


@pytest.mark.parametrize("output_format", ["jsonl", "docbin"])
def test_long_names(tmp_path, output_format):
    """A name near the limit of the file system was found too long when all was annotated."""
    ending = {"jsonl": ".jsonl", "docbin": ".spacy"}[output_format]
    corpus(tmp_path / "in", ["Ada"], f"{'é' * 124}.txt")
    annotate(tmp_path / "in", tmp_path / "out", model=make_nlp(), output_format=output_format)
    assert files_in(tmp_path / "out") == ["run.json", f"{'é' * 124}{ending}"]
    corpus(tmp_path / "in", ["Ada"], f"{'é' * 125}.txt")
    with pytest.raises(UsageError, match=r"\[S511\] Cannot write .*: File name too long"):
        annotate(tmp_path / "in", tmp_path / "new", model=make_nlp(), output_format=output_format)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_output_of_an_empty_input_is_a_compressed_file(tmp_path, compression):
    """Without a byte it was none to `gzip -t`."""
    (tmp_path / "a.txt").write_bytes(b"")
    annotate(tmp_path / "a.txt", tmp_path / "out", model=make_nlp(), compression=compression)
    content = (tmp_path / "out" / f"a.jsonl.{compression}").read_bytes()
    assert content[:2] == {"gz": b"\x1f\x8b", "zst": b"\x28\xb5"}[compression]
    with open_compressed(str(tmp_path / "out" / f"a.jsonl.{compression}"), compression) as stream:
        assert stream.read() == b""


@pytest.mark.parametrize("limit", [1, 3, 4, 99])
def test_limit_counts_records_over_all_files(tmp_path, limit):
    corpus(tmp_path / "in", ["Ada", "POISON", "Ada"], "a.txt")
    corpus(tmp_path / "in", ["Ada", "Ada"], "b.txt")
    summary = annotate(tmp_path / "in", tmp_path / "out", model=make_nlp("test_picky"), limit=limit, batch_size=2)
    assert summary["documents"] + summary["quarantined"] == min(limit, 5)
    assert len(summary["files"]) == (1 if limit <= 3 else 2)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_process": -2}, "n_process"),
        ({"shard_size": 0}, "shard_size"),
        ({"timeout": 0}, "timeout"),
        ({"compression": "bz2"}, "compression"),
        ({"compression": "gz", "output_format": "parquet"}, "compression"),
        ({"force": True, "resume": True}, "force"),
        ({"batch_size": 0}, "batch_size"),
        ({"limit": 0}, "limit"),
        ({"output_format": "xml"}, "format"),
        ({"txt_unit": "page"}, "txt_unit"),
        ({"spans_key": "sc"}, "spans_key"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, name):
    with pytest.raises(UsageError, match=rf"\[S507\] Bad value for {name}"):
        annotate(corpus(tmp_path / "in", ["a"]), tmp_path / "out", model=make_nlp(), **options)
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused(tmp_path):
    source = corpus(tmp_path / "in", ["a"])
    with pytest.raises(UsageError, match=r"\[S507\] Bad value for output"):
        annotate(source, source, model=make_nlp())


def test_pipelines_that_do_not_load(tmp_path):
    with pytest.raises(OSError, match=r"\[S001\] No bundled pipeline named 'nowhere'"):
        PipelineSpec("nowhere").load()
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = 'xx'\npipeline = []\n")
    with pytest.raises(OSError, match=r"\[S508\] Cannot load the pipeline .*--code"):
        PipelineSpec(str(tmp_path)).load()
    with pytest.raises(OSError, match=r"\[S508\]"):
        PipelineSpec(str(tmp_path), code=str(tmp_path / "missing.py")).load()


def test_gpu_that_is_not_there():
    with pytest.raises(UsageError, match=r"\[S513\] No GPU 99"):
        PipelineSpec("nowhere", gpu_id=99).load()


def test_pipeline_with_code_of_the_user(tmp_path):
    code = tmp_path / "mine.py"
    code.write_text(
        "from spacy.language import Language\n"
        "@Language.component('test_user_code')\n"
        "def component(doc):\n"
        "    doc.user_data['seen'] = True\n"
        "    return doc\n"
    )
    import spacy

    nlp = spacy.blank("xx")
    spacy.util.import_file("mine", code)
    nlp.add_pipe("test_user_code")
    nlp.to_disk(tmp_path / "model")
    source = corpus(tmp_path / "in", ["Ada"])
    summary = annotate(source, tmp_path / "out", model=tmp_path / "model", code=code)
    assert summary["pipeline"]["components"] == ["test_user_code"]
    assert summary["pipeline"]["model"] == str(tmp_path / "model")


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    """A shard is written before the next is read, and the vocabulary forgets the texts."""
    count, made, lead = 30_000, 0, 0

    def record(number: int) -> Record:
        nonlocal made
        made = number
        return Record(number, f"word{number}")

    def endless(source: object, options: object, place: object = None) -> Iterator[Unread]:
        return (Unread(number, 0, partial(record, number)) for number in range(1, count + 1))

    class Sink:
        written = 0

        def __init__(self, file: object, columns: object) -> None: ...

        def write(self, payload: bytes) -> None:
            nonlocal lead
            lead = max(lead, made - Sink.written)
            Sink.written += 1

        def close(self) -> None: ...

    import spacy

    nlp = spacy.blank("xx")
    nlp("warm up")
    strings = len(nlp.vocab.strings)
    jsonl_format = shard_work.FORMATS["jsonl"]
    monkeypatch.setitem(shard_work.FORMATS, "jsonl", type(jsonl_format)(".jsonl", jsonl_format.encoder, Sink))
    for module in (plan_module, shard_work):
        monkeypatch.setattr(module, "read_lazily", endless)
    source = corpus(tmp_path / "in", ["a"])
    summary = annotate(source, tmp_path / "out", model=nlp, batch_size=100, shard_size=500)
    assert (summary["documents"], Sink.written) == (count, count)
    assert lead <= 500
    assert len(nlp.vocab.strings) - strings < 100


@pytest.mark.parametrize("kind", ["parquet", "dataset", "spacy", "jsonl"])
def test_shards_are_bounded_in_bytes(tmp_path, monkeypatch, kind):
    """Rows and documents counted nothing: thousands of long ones were in memory together."""
    monkeypatch.setattr(plan_module, "SHARD_BYTES", 10_000)
    texts = ["x" * 3000] * 8 + ["y"] * 30
    path = tmp_path / "in" / f"a.{kind}"
    path.parent.mkdir()
    if kind == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif kind == "dataset":
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        datasets.Dataset.from_dict({"text": texts}).save_to_disk(path)
    elif kind == "spacy":
        DocBin(docs=map(make_nlp().make_doc, texts)).to_disk(path)
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (some,) = annotate(path.parent, tmp_path / "out", model=make_nlp())["files"]
    monkeypatch.undo()
    (one,) = annotate(path.parent, tmp_path / "one", model=make_nlp())["files"]
    assert (some["shards"], one["shards"], some["documents"]) == (3, 1, 38)
    assert some["sha256"] == one["sha256"]


def test_seconds_are_of_phases(tmp_path, monkeypatch):
    """What starts and loads is not planned with, nor worked with."""

    class Slow(LocalAnnotator):
        def __init__(self, *arguments: Any) -> None:
            time.sleep(0.2)
            super().__init__(*arguments)

        def run(self, jobs: Any) -> Iterator[dict[str, Any]]:
            time.sleep(0.2)
            return super().run(jobs)

    monkeypatch.setattr(run_module, "LocalAnnotator", Slow)
    summary = annotate(corpus(tmp_path / "in", ["Ada"]), tmp_path / "out", model=make_nlp())
    assert summary["loading_seconds"] >= 0.4
    assert max(summary[name] for name in ("planning_seconds", "seconds", "merging_seconds")) < 0.2


def test_batches_of_like_length_within_a_budget():
    lengths = [5, 1, 9, 1, 30, 2, 5]
    assert list(batches_by_length(lengths, 3, characters=20)) == [[1, 3, 5], [0, 6], [2], [4]]
    assert list(batches_by_length([], 3)) == []
    assert sorted(position for batch in batches_by_length(lengths, 1) for position in batch) == list(range(7))


def test_batches_are_bounded_in_number_and_text():
    items = [Record(n, "x" * n) for n in range(1, 8)] + [Rejected(8, "S521", "broken")]
    assert [[item.position for item in batch] for batch in batched(items, 3)] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert [[item.position for item in batch] for batch in batched(items, 99, characters=9)] == [
        [1, 2, 3, 4],
        [5, 6],
        [7, 8],
    ]
    assert list(batched([], 3)) == []


def test_one_bad_document_costs_few_runs(monkeypatch):
    """Halving, not one by one: the cost of a failure grows with the logarithm of the batch."""
    calls = []
    from samarkand.pipeline import batches

    original = batches._pipe
    monkeypatch.setattr(batches, "_pipe", lambda nlp, records: calls.append(len(records)) or original(nlp, records))
    records = [Record(n, "POISON" if n == 77 else "Ada") for n in range(128)]
    outcomes = annotate_batch(make_nlp("test_picky"), records, encode_jsonl)
    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Rejected)] == [77]
    assert len(calls) == 15


UNICODE = st.text(max_size=40) | st.sampled_from(
    ["👩‍👩‍👧", "é", "e\u0301", "\u202bعربي\u202c", "中文", "हिन्दी", "\r\n", " "]
)


@given(st.lists(UNICODE, min_size=1, max_size=6), st.sampled_from(["Ada", "Cairo", "القاهرة"]))
@settings(max_examples=120, deadline=None)
def test_offsets_slice_to_the_entity(nlp, pieces, name):
    text = f" {name} ".join(pieces) + f" {name}"
    (outcome,) = annotate_batch(nlp, [Record(1, text)], encode_jsonl)
    assert isinstance(outcome, Encoded)
    record = json.loads(outcome.payload)
    assert record["text"] == text
    assert record["entities"]
    for entity in record["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
    assert name in {entity["text"] for entity in record["entities"]}


@pytest.fixture(scope="module")
def nlp():
    return make_nlp()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_workers_and_leaves_no_half_file(tmp_path, sent):
    import subprocess
    import sys
    import time

    make_nlp().to_disk(tmp_path / "model")
    corpus(tmp_path / "in", ["Ada in Cairo"] * 400_000)
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(tmp_path / "in")]
    command += ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--n-process", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.samarkand/shards/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, sent)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip().startswith("interrupted")
    assert visible(tmp_path / "out") == ["run.json"]
