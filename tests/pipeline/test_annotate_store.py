"""Runs whose output goes to an object store: the same bytes as in a folder, whatever ends them in between."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotation_pipelines
import bucket_filesystem
import pytest
from annotation_pipelines import files_in, give_stdin, make_nlp
from bucket_filesystem import BucketFileSystem
from samarkand.pipeline import run as run_module
from samarkand.pipeline import store_state
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.cli import app
from samarkand.pipeline.run_options import RunOptions
from samarkand.pipeline.sources import UsageError
from samarkand.pipeline.store import Store, is_url, output_place
from samarkand.pipeline.store_state import OWNER, StoreState, open_state
from test_annotate_crashes import KINDS, kill_at, outputs, run_in_child
from typer.testing import CliRunner

URL = "bucket://corpora/out"
OPTIONS = {"batch_size": 4, "shard_size": 10}
COUNTS = ("documents", "tokens", "entities", "quarantined", "reasons", "records")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Good records and bad ones, in some formats."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = [json.dumps({"id": n, "text": f"Ada number {n} in Cairo"}) for n in range(25)]
    lines[7], lines[14] = "broken", '{"text": "POISON"}'
    (folder / "a.jsonl").write_text("\n".join(lines))
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("\n".join(f"Bank of Cairo {n}" for n in range(13)))
    (folder / "empty.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def nlp():
    return make_nlp("test_picky")


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """The folder in which the store keeps what goes to `URL`; nothing may stay on this machine."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield bucket_filesystem.install(tmp_path, monkeypatch) / "corpora" / "out"
    assert list(scratch.glob("samarkand-*")) == []


def on_put(monkeypatch, number: int, ending: str, do: Callable[[], None]) -> None:
    """Do something before the n-th file of a kind is put."""
    put, seen = BucketFileSystem.put_file, []

    def put_or_do(self: BucketFileSystem, lpath: str, rpath: str, *arguments: Any, **more: Any) -> None:
        seen.append(rpath) if rpath.endswith(ending) else None
        if len(seen) == number and seen[-1] == rpath:
            do()
        put(self, lpath, rpath, *arguments, **more)

    monkeypatch.setattr(BucketFileSystem, "put_file", put_or_do)


def fail() -> None:
    raise ConnectionError("the line is dead\nand more of it")


@pytest.mark.parametrize(("output_format", "compression"), KINDS)
def test_same_bytes_as_in_a_folder(tmp_path, out, inputs, nlp, output_format, compression):
    options = {**OPTIONS, "output_format": output_format, "compression": compression}
    local = annotate(inputs, tmp_path / "local", model=nlp, **options)
    summary = annotate(inputs, URL, model=nlp, **options)
    assert outputs(out) == outputs(tmp_path / "local")
    assert files_in(out) == files_in(tmp_path / "local")  # and nothing of the state
    assert {name: summary[name] for name in COUNTS} == {name: local[name] for name in COUNTS}
    assert [file["sha256"] for file in summary["files"]] == [file["sha256"] for file in local["files"]]
    assert json.loads((out / "run.json").read_bytes()) == summary
    assert summary["options"]["output"] == URL


def test_workers_put_what_they_have_made(tmp_path, out, inputs, nlp):
    annotate(inputs, tmp_path / "local", model=nlp, **OPTIONS)
    summary = annotate(inputs, f"{URL}/", model=nlp, n_process=2, **OPTIONS)
    assert outputs(out) == outputs(tmp_path / "local")
    assert summary["deaths"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_killed_run_resumed_gives_the_same_bytes(tmp_path, out, inputs, nlp, monkeypatch, seed):
    annotate(inputs, tmp_path / "local", model=nlp, **OPTIONS)
    draw, kills = random.Random(seed), 0
    for point in [draw.randrange(1, 120) for _ in range(4)]:
        # What a killed run leaves on its machine is of no use to the next.
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        status = run_in_child(
            lambda at=point: (
                kill_at(at),
                annotate(inputs, URL, model=nlp, resume=True, **OPTIONS),
            )
        )
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
    assert kills >= 2
    annotate(inputs, URL, model=nlp, resume=True, **OPTIONS)
    assert outputs(out) == outputs(tmp_path / "local")
    assert not (out / ".samarkand" / "plan.json").exists()


@pytest.mark.slow
def test_every_point_of_a_run_can_be_the_last(tmp_path, out, inputs, nlp, monkeypatch):
    options = {"batch_size": 4, "shard_size": 15}
    annotate(inputs, tmp_path / "local", model=nlp, **options)
    whole, total = outputs(tmp_path / "local"), 0
    for point in range(1, 10_000):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        status = run_in_child(lambda at=point: (kill_at(at), annotate(inputs, URL, model=nlp, force=True, **options)))
        if status == 0:
            break
        total += 1
        annotate(inputs, URL, model=nlp, resume=True, **options)
        # A run that was complete when it died may leave its claim, which another run could have made as well.
        assert {name: content for name, content in outputs(out).items() if name != OWNER} == whole
    assert total >= 80


@pytest.mark.slow
def test_command_that_is_killed_with_its_workers(tmp_path, out, nlp, monkeypatch):
    make_nlp("test_slow").to_disk(tmp_path / "model")
    (tmp_path / "a.txt").write_text("\n".join(f"Ada number {n} in Cairo" for n in range(400)))
    code = annotation_pipelines.__file__
    annotate(tmp_path / "a.txt", tmp_path / "local", model=tmp_path / "model", code=code, **OPTIONS)
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(tmp_path / "a.txt"), "--resume"]
    command += ["-o", URL, "-m", str(tmp_path / "model"), "-c", code, "-b", "4", "--shard-size", "10", "-n", "2"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".samarkand/shards/*.json"))) < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    assert 50 <= summary["resumed_records"] < summary["documents"] == 400
    assert outputs(out) == outputs(tmp_path / "local")


@pytest.mark.parametrize("ending", [".data", ".rejected", "0-10.json", "plan.json", "a.jsonl", "merged/0.json"])
def test_put_that_fails_leaves_no_mark(tmp_path, out, inputs, nlp, monkeypatch, ending):
    annotate(inputs, tmp_path / "local", model=nlp, **OPTIONS)
    with monkeypatch.context() as patch:
        on_put(patch, 1, ending, fail)
        message = rf"^\[S552\] Cannot write {URL}/.*{ending}: ConnectionError: the line is dead\. .*--resume\.$"
        with pytest.raises(OSError, match=message):
            annotate(inputs, URL, model=nlp, **OPTIONS)
    names = files_in(out)
    assert not any(name.endswith(ending) for name in names)
    marks = {name.removesuffix(".json") for name in names if name.startswith(".samarkand/shards") and "json" in name}
    assert marks <= {name.removesuffix(".data") for name in names}
    if ending != "plan.json":  # before that there is nothing to go on with
        assert json.loads((out / "run.json").read_bytes())["status"] == "failed"
    annotate(inputs, URL, model=nlp, resume=True, **OPTIONS)
    assert outputs(out) == outputs(tmp_path / "local")


def test_data_without_its_mark_is_made_again(tmp_path, out, inputs, nlp, monkeypatch):
    with monkeypatch.context() as patch:
        on_put(patch, 2, ".data", fail)
        with pytest.raises(OSError, match=r"\[S552\]"):
            annotate(inputs, URL, model=nlp, **OPTIONS)
    (mark,) = out.glob(".samarkand/shards/*.json")
    mark.unlink()
    summary = annotate(inputs, URL, model=nlp, resume=True, **OPTIONS)
    assert summary["resumed_records"] == 0
    assert summary["documents"] + summary["quarantined"] == summary["records"]


@pytest.fixture
def begun(tmp_path, out) -> Path:
    """A folder with inputs of which a run to the store has done two of four shards."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(f"Ada {n} in Cairo" for n in range(20)))
    (folder / "b.txt").write_text("Ada\nSTOP\nCairo\n")
    with pytest.raises(KeyboardInterrupt):
        annotate(folder, URL, model=make_nlp("test_picky"), shard_size=10)
    return folder


def test_changes_are_refused(begun, out, nlp):
    """What is refused changes nothing, and ends no run that is at work there."""
    state = {name: (out / name).read_bytes() for name in files_in(out)}
    with pytest.raises(UsageError, match=rf"\[S540\] A run in {URL} is not finished"):
        annotate(begun, URL, model=nlp, shard_size=10)
    with pytest.raises(UsageError, match=r"\[S541\] .*options: shard_size was 10 and is 20"):
        annotate(begun, URL, model=nlp, shard_size=20, resume=True)
    with pytest.raises(UsageError, match=r"\[S541\] .*pipeline: fingerprint"):
        annotate(begun, URL, model=make_nlp("test_grouper"), shard_size=10, resume=True)
    (begun / "b.txt").write_text("Ada\n")
    with pytest.raises(UsageError, match=r"\[S541\] .*the input .*b.txt has changed"):
        annotate(begun, URL, model=nlp, shard_size=10, resume=True)
    assert {name: (out / name).read_bytes() for name in files_in(out)} == state
    (out / ".samarkand" / "plan.json").write_text("{")
    with pytest.raises(UsageError, match=rf"\[S545\] The plan {URL}/.samarkand/plan.json is damaged"):
        annotate(begun, URL, model=nlp, shard_size=10, resume=True)
    summary = annotate(begun, URL, model=nlp, shard_size=5, force=True)
    assert (summary["documents"], summary["resumed_records"]) == (21, 0)
    assert files_in(out) == ["a.jsonl", "b.jsonl", "run.json"]


def test_complete_run_is_left_alone(tmp_path, out, nlp, monkeypatch):
    (tmp_path / "a.txt").write_text("Ada\nPOISON\n")
    summary = annotate(tmp_path / "a.txt", URL, model=nlp)
    with pytest.raises(UsageError, match=rf"\[S504\] Output exists already: {URL}/a.jsonl, {URL}/quarantine.jsonl, "):
        annotate(tmp_path / "a.txt", URL, model=nlp)
    monkeypatch.setattr(run_module.Run, "_annotate", lambda *arguments: pytest.fail("annotated again"))
    assert annotate(tmp_path / "a.txt", URL, model=nlp, resume=True) == summary
    (out / "a.jsonl").write_text("")
    with pytest.raises(UsageError, match=rf"\[S541\] .*the output {URL}/a.jsonl is not what was written"):
        annotate(tmp_path / "a.txt", URL, model=nlp, resume=True)
    assert files_in(out) == ["a.jsonl", "quarantine.jsonl", "run.json"]


def test_quarantine_of_an_earlier_run_goes(tmp_path, out, nlp):
    for text, there in (("POISON\n", True), ("Ada\n", False)):
        (tmp_path / "a.txt").write_text(text)
        annotate(tmp_path / "a.txt", URL, model=nlp, force=True)
        assert (out / "quarantine.jsonl").exists() == there


@pytest.mark.parametrize(("damage", "kind"), [("other", "data"), ("gone", "data"), ("gone", "rejected")])
def test_damaged_part_is_made_again(tmp_path, out, nlp, monkeypatch, damage, kind):
    (tmp_path / "a.txt").write_text("Ada\nPOISON\n" * 10)

    def spoil() -> None:
        path = next(out.glob(f".samarkand/shards/*.0-10.{kind}"))
        path.write_bytes(path.read_bytes().replace(b"Ada", b"Eve")) if damage == "other" else path.unlink()

    with monkeypatch.context() as patch:
        on_put(patch, 2, ".data", spoil)
        with pytest.raises(OSError, match=rf"^\[S544\] The finished part {URL}/.*0-10.{kind} is damaged"):
            annotate(tmp_path / "a.txt", URL, model=nlp, shard_size=10)
    assert not (out / "a.jsonl").exists()
    summary = annotate(tmp_path / "a.txt", URL, model=nlp, shard_size=10, resume=True)
    assert (summary["documents"], summary["quarantined"], summary["resumed_records"]) == (10, 10, 10)
    assert len((out / "quarantine.jsonl").read_bytes().splitlines()) == 10
    assert b"Eve" not in (out / "a.jsonl").read_bytes()


def test_earlier_run_gives_way_to_a_later_one(tmp_path, out, nlp, monkeypatch):
    """The later one begins, and is complete, while the earlier one works."""
    (tmp_path / "a.txt").write_text("Ada\n" * 20)
    monkeypatch.setattr(store_state, "LOOK", 0.0)

    def begin_another() -> None:
        annotate(tmp_path / "a.txt", URL, model=nlp, shard_size=4, force=True)

    on_put(monkeypatch, 1, "0-10.data", begin_another)
    with pytest.raises(RuntimeError, match=rf"^\[S554\] Another run has begun in {URL}, and this one gives way"):
        annotate(tmp_path / "a.txt", URL, model=nlp, shard_size=10)
    summary = json.loads((out / "run.json").read_bytes())
    assert (summary["status"], summary["options"]["shard_size"]) == ("complete", 4)
    assert summary["files"][0]["bytes"] == (out / "a.jsonl").stat().st_size


def test_document_that_takes_the_machine_down_is_found(tmp_path, out, monkeypatch):
    """Nobody is left to say so: each run knows of those before by the store alone."""
    (tmp_path / "a.txt").write_text("Ada\nEXIT\nCairo\n")
    nlp, deaths = make_nlp("test_poison"), 0
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    work = lambda: annotate(tmp_path / "a.txt", URL, model=nlp, batch_size=1, resume=True)  # noqa: E731
    while run_in_child(work) == 7:
        deaths += 1
        assert deaths < 10
    assert deaths == 7  # three in the batch and three alone, and the first, which noted its beginning only
    summary = json.loads((out / "run.json").read_bytes())
    assert (summary["status"], summary["documents"], summary["reasons"]) == ("complete", 2, {"S531": 1})


def test_notes_reach_the_store(out, monkeypatch):
    state = open_state(URL)
    ledger = state.attempts("a")
    ledger.begin()
    ledger.start("batch 0")
    with open_state(URL) as other:
        assert (other.attempts("a").attempts, other.attempts("a").unit) == (1, "start")
        before = other.moves()
    monkeypatch.setattr(store_state, "NOTE", 0.0)
    ledger.start("batch 1")
    with open_state(URL) as other:
        assert other.attempts("a").unit == "batch 1"
        assert other.moves() != before
        other.stop_attempts(["a", "b"])
    with open_state(URL) as other:
        assert other.attempts("a").unit == ""
        assert [path.name for path in out.glob(".samarkand/ledgers/*")] == ["a.jsonl"]
    state.__exit__(None, None, None)


def test_standard_input_is_kept_in_the_store(out, nlp, monkeypatch):
    give_stdin(monkeypatch, "Ada\n\nCairo\nSTOP\n")
    with pytest.raises(KeyboardInterrupt):
        annotate("-", URL, model=nlp, shard_size=2)
    give_stdin(monkeypatch, "")
    with pytest.raises(KeyboardInterrupt):
        annotate("-", URL, model=nlp, shard_size=2, resume=True)
    assert (out / ".samarkand" / "stdin.txt").read_text() == "Ada\n\nCairo\nSTOP\n"
    marks = list(out.glob(".samarkand/shards/*.json"))
    assert [json.loads(mark.read_bytes())["documents"] for mark in marks] == [2]


def test_standard_input_is_in_the_store_before_the_plan(out, nlp, monkeypatch):
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    give_stdin(monkeypatch, "Ada\nCairo\n")
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "make_plan", stop)
        with pytest.raises(KeyboardInterrupt):
            annotate("-", URL, model=nlp, limit=2)
    give_stdin(monkeypatch, "")
    assert annotate("-", URL, model=nlp, limit=2, resume=True)["documents"] == 2
    assert files_in(out) == ["run.json", "stdin.jsonl"]


def test_store_in_the_memory_of_this_process(tmp_path, nlp):
    import fsspec

    (tmp_path / "a.txt").write_text("Ada in Cairo\n" * 5)
    annotate(tmp_path / "a.txt", tmp_path / "local", model=nlp)
    annotate(tmp_path / "a.txt", "memory://some/out", model=nlp, shard_size=2)
    files = fsspec.filesystem("memory")
    assert files.cat_file("/some/out/a.jsonl") == (tmp_path / "local" / "a.jsonl").read_bytes()
    assert sorted(files.find("/some/out")) == ["/some/out/a.jsonl", "/some/out/run.json"]
    with pytest.raises(UsageError, match=r"\[S507\] Bad value for n_process: 1\. .*memory://"):
        annotate(tmp_path / "a.txt", "memory://other", model=nlp, n_process=1)


def test_url_of_a_folder_is_a_folder(tmp_path, nlp):
    (tmp_path / "a.txt").write_text("Ada\n")
    summary = annotate(tmp_path / "a.txt", f"file://{tmp_path}/out/", model=nlp)
    assert summary["options"]["output"] == str(tmp_path / "out")
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json"]


@pytest.mark.parametrize(
    ("output", "place", "url"),
    [
        ("out/", "out", False),
        (Path("s3://b"), "s3:/b", False),
        ("c://out", "c:/out", False),
        ("local://a/b", "a/b", False),
        ("s3://bucket/a/", "s3://bucket/a", True),
    ],
)
def test_places_of_output(output, place, url):
    assert output_place(output) == place
    assert is_url(output_place(output)) == url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "s3://"}, r"\[S507\] Bad value for output: s3://"),
        ({"output": "s3://bucket/a[1]"}, r"\[S507\] Bad value for output: s3://bucket/a\[1\]"),
        ({"output": "zip::s3://a"}, r"\[S507\] Bad value for output: zip::s3://a"),
        ({"output": "nothing://a"}, r"\[S551\] The output nothing://a cannot be opened: ValueError: Protocol not"),
        ({"output": "bucket://file"}, r"\[S507\] Bad value for output: bucket://file\. It must be a folder"),
    ],
)
def test_places_that_cannot_be_used(tmp_path, out, nlp, options, message):
    (tmp_path / "a.txt").write_text("Ada\n")
    (tmp_path / "bucket" / "file").write_text("x")
    with pytest.raises(UsageError, match=message):
        annotate(tmp_path / "a.txt", model=nlp, **options)


def test_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"^\[S551\] .* s3://b/c cannot be opened: ImportError: Install s3fs .*\.$"):
        Store("s3://b/c")


def test_cluster_does_not_see_standard_input():
    values = dict.fromkeys(RunOptions.__dataclass_fields__)
    values |= {"inputs": ["-"], "output": URL, "ray": "auto", "n_process": 1, "output_format": "jsonl"}
    values |= {"compression": "none", "txt_unit": "line", "batch_size": 1, "shard_size": 1, "timeout": 1.0}
    with pytest.raises(UsageError, match=r"\[S507\] Bad value for inputs: -\."):
        RunOptions(**values).check()


def test_store_that_cannot_be_read_is_one_line(tmp_path, out, nlp, monkeypatch):
    (tmp_path / "a.txt").write_text("Ada\n")
    make_nlp().to_disk(tmp_path / "model")

    def refuse(*arguments: Any, **more: Any) -> None:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(BucketFileSystem, "find", refuse)
    arguments = ["annotate", str(tmp_path / "a.txt"), "-o", URL, "-m", str(tmp_path / "model"), "-n", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: [S553] Cannot read {URL}: Access Denied. What is finished is kept")


def test_command_says_where_things_are(tmp_path, out):
    (tmp_path / "a.txt").write_bytes(b"Ada\n\xff\n")
    make_nlp().to_disk(tmp_path / "model")
    arguments = ["annotate", str(tmp_path / "a.txt"), "-o", f"{URL}/", "-m", str(tmp_path / "model"), "-n", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert f"1 records in {URL}/quarantine.jsonl: S520 1\n1 files in {URL}\n" in result.output


def test_actor_and_its_worker_share_a_folder(out, monkeypatch):
    with open_state(URL) as state:
        again = open_state(URL, state.scratch)
        assert isinstance(again, StoreState)
        assert again.output == state.output
        again.__exit__(None, None, None)
        assert state.output.exists()  # whoever has made it removes it
