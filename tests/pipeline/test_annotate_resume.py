"""Going on with a run: what is refused, what is made again, and what a ledger makes of deaths."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotation_pipelines import files_in, give_stdin, make_nlp
from samarkand.errors import SamarkandWarning
from samarkand.pipeline import identity as identity_module
from samarkand.pipeline import run as run_module
from samarkand.pipeline import shard_work, worker, workers
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.batches import pipeline_meta
from samarkand.pipeline.counts import Counts
from samarkand.pipeline.identity import changed, fingerprint, identify
from samarkand.pipeline.ledger import Ledger
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.merge import Merger
from samarkand.pipeline.plan import Plan
from samarkand.pipeline.records import ReadOptions, Record, Rejected, reject
from samarkand.pipeline.shard_work import ShardAnnotator
from samarkand.pipeline.sources import UsageError
from samarkand.pipeline.state import RunState


@pytest.fixture(scope="module")
def nlp():
    return make_nlp("test_picky")


@pytest.fixture
def begun(tmp_path, nlp) -> Path:
    """A run that stopped after two of its four shards."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(f"Ada {n} in Cairo" for n in range(20)))
    (folder / "b.txt").write_text("Ada\nSTOP\nCairo\n")
    with pytest.raises(KeyboardInterrupt):
        annotate(folder, tmp_path / "out", model=nlp, shard_size=10)
    return tmp_path


def again(folder: Path, nlp: Any, **options: Any) -> dict[str, Any]:
    return annotate(folder / "in", folder / "out", model=nlp, **{"shard_size": 10, "resume": True, **options})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_changes_are_refused_with_their_reasons(begun, nlp):
    state = files_in(begun / "out")
    other = make_nlp("test_picky", "test_grouper")
    with pytest.raises(UsageError, match=r"\[S541\] .*pipeline: fingerprint was .*--force"):
        again(begun, other)
    with pytest.raises(UsageError, match=r"\[S541\] .*options: shard_size was 10 and is 20"):
        again(begun, nlp, shard_size=20)
    with pytest.raises(
        UsageError, match=r"output_format was 'jsonl' and is 'conll'; the output of .*a.txt was a.jsonl"
    ):
        again(begun, nlp, output_format="conll")
    with pytest.raises(UsageError, match=r"options: batch_size was 128 and is 64; options: limit was None and is 5"):
        again(begun, nlp, batch_size=64, limit=5)
    (begun / "in" / "c.txt").write_text("Ada\n")
    with pytest.raises(UsageError, match=r"the input .*c.txt is new"):
        again(begun, nlp)
    (begun / "in" / "c.txt").unlink()
    content = (begun / "in" / "a.txt").read_text()
    (begun / "in" / "a.txt").write_text(content.replace("Ada 3", "Eve 3"))
    with pytest.raises(UsageError, match=r"the input .*a.txt has changed"):
        again(begun, nlp)
    (begun / "in" / "a.txt").unlink()
    with pytest.raises(UsageError, match=r"the input .*a.txt is gone"):
        again(begun, nlp)
    (begun / "in" / "a.txt").write_text(content)
    assert files_in(begun / "out") == state
    # The same content at another time is no change, and what concerns the machine alone may change.
    with pytest.raises(KeyboardInterrupt):
        again(begun, nlp, timeout=9.0, memory_limit="8GB")


def test_force_begins_anew(begun, nlp):
    (begun / "in" / "b.txt").write_text("Ada\n")
    summary = again(begun, nlp, resume=False, force=True)
    assert (summary["documents"], summary["resumed_records"]) == (21, 0)
    assert files_in(begun / "out") == ["a.jsonl", "b.jsonl", "run.json"]


def test_complete_run_is_left_alone(tmp_path, nlp, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Ada\nPOISON\n")
    summary = again(tmp_path, nlp)  # without a run to go on with, one begins
    monkeypatch.setattr(run_module.Run, "_annotate", lambda *arguments: pytest.fail("annotated again"))
    assert again(tmp_path, nlp) == summary
    with pytest.raises(UsageError, match=r"\[S541\] .*batch_size"):
        again(tmp_path, nlp, batch_size=3)
    (tmp_path / "out" / "a.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"\[S541\] .*a.jsonl is not what was written"):
        again(tmp_path, nlp)
    for damaged in ("{}", '{"status": "complete", "inputs": []}'):
        (tmp_path / "out" / "run.json").write_text(damaged)
        with pytest.raises(UsageError, match=r"\[S504\]"):
            again(tmp_path, nlp)
    assert files_in(tmp_path / "out") == ["a.jsonl", "quarantine.jsonl", "run.json"]


def test_one_run_at_a_time(begun, nlp):
    with RunState(begun / "out").locked(), pytest.raises(UsageError, match=r"\[S542\] Another run"):
        again(begun, nlp)


def test_file_system_without_locks_is_told(begun, nlp, monkeypatch):
    """It was taken for another run."""

    def flock(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"\[S511\] Cannot write .*lock: Function not implemented"):
        again(begun, nlp)


def test_what_killed_runs_were_writing_goes(begun):
    """An output that was killed in its merge stayed beside the next one, and filled the disk."""
    state = begun / "out" / ".samarkand"
    half = [state / f".a.jsonl.{'0' * 16}.part", state / "shards" / f".x.data.{'0' * 16}.part"]
    for path in half:
        path.write_bytes(b"half")
    with pytest.raises(KeyboardInterrupt):
        again(begun, make_nlp("test_picky"))
    assert not any(path.exists() for path in half)


def test_damaged_plan_is_refused(begun, nlp):
    (begun / "out" / ".samarkand" / "plan.json").write_text("{")
    with pytest.raises(UsageError, match=r"\[S545\] The plan .*--force"):
        again(begun, nlp)


def test_damaged_shards_are_made_again(begun, nlp):
    (begun / "in" / "b.txt").write_text("Ada\nSTOP\nCairo\n")
    first, second = sorted((begun / "out" / ".samarkand" / "shards").glob("*.data"))
    first.write_bytes(first.read_bytes().replace(b"Ada", b"Eve"))
    second.unlink()
    with pytest.warns(SamarkandWarning, match=r"\[SW503\] 2 finished parts"), pytest.raises(KeyboardInterrupt):
        again(begun, nlp)
    assert b"Eve" not in first.read_bytes()


def test_shard_that_is_damaged_before_it_is_merged(tmp_path, nlp, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Ada\n" * 20)
    merge = Merger.merge

    def damage(self: Merger, number: int) -> dict[str, Any]:
        next((tmp_path / "out").glob(".samarkand/shards/*0-10.data")).write_bytes(b"")
        return merge(self, number)

    monkeypatch.setattr(Merger, "merge", damage)
    with pytest.raises(OSError, match=r"\[S544\] The finished part .*--resume"):
        again(tmp_path, nlp)
    monkeypatch.setattr(Merger, "merge", merge)
    assert again(tmp_path, nlp)["documents"] == 20


def test_what_only_an_attempt_without_a_mark_rejected_is_not_in_quarantine(tmp_path, nlp, monkeypatch):
    """The attempt that counts had other limits: the record was in the output, and in the quarantine too."""

    def too_much(nlp: Any, records: list[Record], encode: Any) -> list[Rejected]:
        return [reject(record.position, "S533", record.text) for record in records]

    def cut_short(*arguments: Any) -> None:
        raise OSError("[S511] cut short")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Ada\n" * 15)
    with monkeypatch.context() as before:
        before.setattr(shard_work, "annotate_batch", too_much)
        before.setattr(shard_work, "write_json", cut_short)
        with pytest.raises(OSError, match="cut short"):
            again(tmp_path, nlp)
    assert len(list(tmp_path.glob("out/.samarkand/shards/*.rejected"))) == 1
    summary = again(tmp_path, nlp)
    assert (summary["documents"], summary["quarantined"], summary["quarantine"]) == (15, 0, None)
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json"]


def test_input_that_changes_or_goes_while_it_is_annotated(tmp_path, nlp, monkeypatch):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a.txt"
    source.write_text("Ada\n" * 20)
    call = ShardAnnotator.__call__

    def spoil(self: ShardAnnotator, shard: Any, plan: str) -> dict[str, Any]:
        if shard.start:
            source.write_text("Eve\n" * 30) if change else source.unlink()
        return call(self, shard, plan)

    monkeypatch.setattr(ShardAnnotator, "__call__", spoil)
    for message in (r"\[S543\] The input .*a.txt has changed", r"\[S512\] Cannot read .*a.txt"):
        change = "S543" in message
        with pytest.raises(OSError, match=message):
            again(tmp_path, nlp)
        assert (tmp_path / "out" / ".samarkand" / "plan.json").exists()
        source.write_text("Ada\n" * 20)
    monkeypatch.setattr(ShardAnnotator, "__call__", call)
    assert again(tmp_path, nlp)["documents"] == 20


@pytest.mark.parametrize(("step", "code"), [("_commit", "S512"), ("merge", "")])
def test_parquet_that_goes_while_it_is_annotated_and_comes_back(tmp_path, nlp, monkeypatch, step, code):
    """The columns of a shard that was committed without it were guessed, and no merge could join them with others."""
    path, gone = tmp_path / "in" / "a.parquet", tmp_path / "gone"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": ["Ada", "Cairo"] * 10, "tags": [["x"]] * 20}), path)
    again(tmp_path, nlp, output_format="parquet")
    whole = (tmp_path / "out" / "a.parquet").read_bytes()
    shutil.rmtree(tmp_path / "out")
    owner = {"_commit": ShardAnnotator, "merge": Merger}[step]
    original = getattr(owner, step)

    def lose(self: Any, *arguments: Any) -> Any:
        path.replace(gone)
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, lose)
        if code:
            with pytest.raises(OSError, match=rf"\[{code}\] Cannot read .*a.parquet"):
                again(tmp_path, nlp, output_format="parquet")
        else:
            again(tmp_path, nlp, output_format="parquet")
    gone.replace(path)
    again(tmp_path, nlp, output_format="parquet")
    assert (tmp_path / "out" / "a.parquet").read_bytes() == whole


def test_standard_input_is_kept_for_going_on(tmp_path, nlp, monkeypatch):
    give_stdin(monkeypatch, "Ada\n\nCairo\nPOISON\nSTOP\n")
    with pytest.raises(KeyboardInterrupt):
        annotate("-", tmp_path / "out", model=nlp, shard_size=2)
    give_stdin(monkeypatch, "")
    with pytest.raises(KeyboardInterrupt):
        annotate("-", tmp_path / "out", model=nlp, shard_size=2, resume=True)
    give_stdin(monkeypatch, "Ada\n\nPOISON\nSTOP\nSTOP\n")
    assert annotate("-", tmp_path / "out", model=nlp, force=True, limit=2)["documents"] == 1
    assert lines(tmp_path / "out" / "quarantine.jsonl")[0]["file"] == "-"
    assert lines(tmp_path / "out" / "quarantine.jsonl")[0]["line"] == 3
    give_stdin(monkeypatch, "")
    assert annotate("-", tmp_path / "out", model=nlp, resume=True, limit=2)["documents"] == 1


@pytest.mark.parametrize("limit", [None, 2])
def test_standard_input_is_kept_before_there_is_a_plan(tmp_path, nlp, monkeypatch, limit):
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    give_stdin(monkeypatch, "Ada\n\nCairo\nBank\n")
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "make_plan", stop)
        with pytest.raises(KeyboardInterrupt):
            annotate("-", tmp_path / "out", model=nlp, limit=limit)
    assert not (tmp_path / "out" / ".samarkand" / "plan.json").exists()
    give_stdin(monkeypatch, "")
    with pytest.raises(UsageError, match=r"\[S540\] .* is not finished"):
        annotate("-", tmp_path / "out", model=nlp, limit=limit)
    assert annotate("-", tmp_path / "out", model=nlp, limit=limit, resume=True)["documents"] == (limit or 3)
    assert files_in(tmp_path / "out") == ["run.json", "stdin.jsonl"]


def test_standard_input_of_another_limit_is_no_use(tmp_path, nlp, monkeypatch):
    state = RunState(tmp_path / "out")
    state.folder.mkdir(parents=True)
    state.spool(2).write_text("Ada\nCairo\n")
    give_stdin(monkeypatch, "Ada\nCairo\nBank\n")
    assert annotate("-", tmp_path / "out", model=nlp, resume=True)["documents"] == 3


def test_shard_that_was_finished_by_one_that_died_counts_as_progress(begun, nlp):
    plan = Plan.load(begun / "out" / ".samarkand" / "plan.json")
    told: list[Counts] = []
    about = {"output_format": "jsonl", "compression": "none", "spans_key": None, "batch_size": 128, "timeout": 60.0}
    options = shard_work.ShardOptions(output=str(begun / "out"), reading=ReadOptions(), **about)
    ShardAnnotator(nlp, options, told.append)(next(iter(plan.shards())), plan.digest)
    assert [counts.documents for counts in told] == [10]


def test_plan_comes_back_as_it_was(begun):
    path = begun / "out" / ".samarkand" / "plan.json"
    plan = Plan.load(path)
    plan.save(begun / "again.json")
    assert (begun / "again.json").read_bytes() == path.read_bytes()
    assert [shard.id for shard in plan.shards()] == ["00000.0-10", "00000.10-20", "00001.0-3"]
    assert {mark["plan"] for mark in map(json.loads, map(Path.read_bytes, path.parent.glob("shards/*.json")))} == {
        plan.digest
    }


def test_identity_of_files_and_folders(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"0123456789" * 100)
    was = identify(file)
    os.utime(file, ns=(1, 1))
    assert not changed(was, identify(file))
    # A large file is hashed in parts, so its time has to be the same.
    monkeypatch.setattr(identity_module, "SAMPLE", 4)
    was = identify(file, whole=100)
    assert not was["whole"]
    assert not changed(was, identify(file, whole=100))
    os.utime(file, ns=(2, 2))
    assert changed(was, identify(file, whole=100))
    folder = identify(tmp_path)
    (tmp_path / "b").write_bytes(b"")
    assert changed(folder, identify(tmp_path))


def test_fingerprint_is_of_content(tmp_path):
    nlp = make_nlp("test_grouper")
    before = fingerprint(nlp)
    list(nlp.pipe(["many new words", "Ada in Cairo"]))
    assert fingerprint(nlp) == before == fingerprint(make_nlp("test_grouper"))
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "X", "pattern": "x"}])
    assert fingerprint(nlp) != before
    nlp.to_disk(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (PipelineSpec(str(tmp_path / name)) for name in ("one", "two"))
    assert fingerprint(one) == fingerprint(two)
    (tmp_path / "code.py").write_text("x = 1")
    assert fingerprint(PipelineSpec(str(tmp_path / "one"), code=str(tmp_path / "code.py"))) != fingerprint(one)
    (tmp_path / "two" / "entity_ruler" / "patterns.jsonl").write_text("{}\n")
    assert fingerprint(one) != fingerprint(two)


def attempt(path: Path, unit: str, death: str | None) -> Ledger:
    ledger = Ledger(path)
    ledger.begin()
    ledger.start("reading")
    ledger.start(unit)
    if death is not None:
        Ledger(path).death(death, "S531")
    return Ledger(path)


@pytest.mark.parametrize(("death", "enough"), [("SIGSEGV", 1), ("timeout", 1), ("SIGKILL", 2), (None, 3)])
def test_deaths_that_condemn(tmp_path, death, enough):
    path = tmp_path / "ledger.jsonl"
    for times in range(1, enough + 1):
        assert not Ledger(path).condemned("batch 3")
        ledger = attempt(path, "batch 3", death)
        ledger.begin()
        assert ledger.condemned("batch 3") == (times == enough)
        ledger.stop()
    assert not ledger.condemned("batch 2")
    assert ledger.cause("batch 3")["death"] == (death or "nobody saw how")


def test_attempts_that_were_stopped_or_torn_are_no_evidence(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for _ in range(9):
        attempt(path, "batch 0", None).stop()
    with open(path, "ab") as file:
        file.write(b'{"unit": "bat')
    ledger = Ledger(path)
    ledger.begin()
    assert not ledger.condemned("batch 0")
    assert Ledger(path).attempts == 10


class Process:
    """A worker process that is not there."""

    pid, exitcode, sentinel = 1, -9, -1

    def kill(self) -> None: ...

    def join(self, seconds: float | None = None) -> None: ...

    def is_alive(self) -> bool:
        return False


def supervisor(tmp_path: Path, monkeypatch, told: list[tuple[str, dict]], count: int = 1) -> workers.Supervisor:
    """A supervisor of workers that never were."""

    def spawn(self: workers.Supervisor, mine: worker.WorkerOptions) -> workers._Worker:
        ours, _ = self._context.Pipe()
        return workers._Worker(mine, Process(), ours, fed)

    from test_annotate_crashes import shard_options, worker_options

    fed = threading.Thread()
    fed.start()
    monkeypatch.setattr(workers.Supervisor, "_spawn", spawn)
    options = [worker_options(memory=1000)] * count
    return workers.Supervisor(
        PipelineSpec("x"), shard_options(tmp_path), options, lambda event, **facts: told.append((event, facts))
    )


def test_shard_that_kills_outside_its_batches_ends_the_run(begun, monkeypatch):
    told: list[tuple[str, dict]] = []
    pool = supervisor(begun / "out", monkeypatch, told)
    plan = Plan.load(begun / "out" / ".samarkand" / "plan.json")
    (shard,) = [shard for shard in plan.shards() if shard.unit == 1]
    for times in range(1, 4):
        attempt(begun / "out" / ".samarkand" / "ledgers" / f"{shard.id}.jsonl", "reading", None)
        pool._workers[0].job = (shard, plan.digest)
        if times < 3:
            pool._bury(0, pool._workers[0], "SIGKILL", "S531")
    with pytest.raises(RuntimeError, match=r"\[S509\] .*3 times \(the last: SIGKILL\).*reading records 1 to 3 of .*b"):
        pool._bury(0, pool._workers[0], "SIGKILL", "S531")
    assert [event for event, _ in told] == ["progress", "death"] * 3
    assert len(pool._again) == 3


def test_workers_that_never_get_ready_end_the_run(tmp_path, monkeypatch):
    pool = supervisor(tmp_path, monkeypatch, [])
    for _ in range(2):
        pool._bury(0, pool._workers[0], "exit code 9", "S531")
    with pytest.raises(RuntimeError, match=r"\[S510\] .*exit code 9.*n_process=0"):
        pool._bury(0, pool._workers[0], "exit code 9", "S531")


def test_work_begins_when_all_workers_have_loaded(tmp_path, monkeypatch):
    """What the others still took to load was counted as work."""
    pool = supervisor(tmp_path, monkeypatch, [], count=3)
    loading = list(pool._workers)
    monkeypatch.setattr(pool, "_heard", lambda: pool._message(loading.pop(), "ready", {"lang": "xx"}))
    assert pool.meta == {"lang": "xx"}
    assert loading == []


def test_memory_of_a_worker_is_watched(begun, monkeypatch):
    told: list[tuple[str, dict]] = []
    pool = supervisor(begun / "out", monkeypatch, told)
    plan = Plan.load(begun / "out" / ".samarkand" / "plan.json")
    shard = list(plan.shards())[-1]
    first = pool._workers[0]
    first.ready, first.shards = True, 1
    monkeypatch.setattr(workers, "memory_of", lambda process: 800)
    pool._give(0, first, (shard, plan.digest))
    assert (pool._workers[0], first.job) == (first, (shard, plan.digest))
    first.job = None
    monkeypatch.setattr(workers, "memory_of", lambda process: 900)
    pool._watch(0, first)
    assert list(pool.run([])) == []
    assert pool._workers[0] is first  # it would be replaced for nothing: there is no more to do
    pool._give(0, first, (shard, plan.digest))
    assert pool._workers[0] is not first
    assert list(pool._again) == [(shard, plan.digest)]
    attempt(begun / "out" / ".samarkand" / "ledgers" / f"{shard.id}.jsonl", "batch 0", None)
    pool._workers[0].job, pool._workers[0].ready = (shard, plan.digest), True
    monkeypatch.setattr(workers, "memory_of", lambda process: 1001)
    pool._watch(0, pool._workers[0])
    assert [event for event, _ in told] == ["recycled", "progress", "death"]
    assert told[-1][1]["cause"] == "memory"
    ledger = Ledger(begun / "out" / ".samarkand" / "ledgers" / f"{shard.id}.jsonl")
    assert ledger.condemned("batch 0")
    assert ledger.cause("batch 0")["code"] == "S533"


def test_limit_that_leaves_no_room_is_refused(monkeypatch):
    monkeypatch.setattr(worker, "memory_of", lambda process: 2**30)
    worker.check_room(2**31)
    with pytest.raises(UsageError, match=r"\[S534\] The pipeline takes 1.00 GiB .* 1.00 GiB"):
        worker.check_room(2**30)


def test_threads_are_shared(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with workers._few_threads(3):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "3")
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in os.environ


def test_pipeline_meta_is_in_the_summary(tmp_path, nlp):
    (tmp_path / "a.txt").write_text("Ada\n")
    summary = annotate(tmp_path / "a.txt", tmp_path / "out", model=nlp)
    assert summary["pipeline"] == {"model": "", "fingerprint": fingerprint(nlp), **pipeline_meta(nlp)}
    assert summary["inputs"][0]["bytes"] == 4
