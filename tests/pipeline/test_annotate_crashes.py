"""Runs that are killed at any point and gone on with: nothing is lost, nothing doubled, and the bytes are the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from typing import Any

import pytest
from annotation_pipelines import files_in, make_nlp
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.progress import Progress
from samarkand.pipeline.records import ReadOptions
from samarkand.pipeline.shard_work import ShardOptions
from samarkand.pipeline.worker import WorkerOptions, memory_of
from samarkand.pipeline.workers import Supervisor

KINDS = [("jsonl", "none"), ("jsonl", "gz"), ("jsonl", "zst"), ("parquet", "none"), ("docbin", "none"), ("conll", "gz")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Good records and bad ones, in some formats."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = [json.dumps({"id": n, "text": f"Ada number {n} in Cairo", "odd": n % 2 == 1}) for n in range(45)]
    lines[7], lines[30] = "broken", '{"text": "POISON"}'
    (folder / "a.jsonl").write_text("\n".join(lines))
    (folder / "b.txt").write_text("\n".join(f"{'long ' * (n % 7)}Bank of Cairo {n}" for n in range(23)))
    (folder / "empty.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def nlp():
    return make_nlp("test_picky")


def outputs(folder: Path) -> dict[str, bytes]:
    """All that a run is to give the same each time."""
    return {name: (folder / name).read_bytes() for name in files_in(folder) if name != "run.json"}


def run_in_child(work: Callable[[], Any]) -> int:
    """Do something in a copy of this process; how it ended, as `subprocess` says it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            sys.__stderr__.write(f"{error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(point: int) -> None:
    """Let this process be killed before or after the n-th of the operations that a commit consists of."""
    left = point

    def fatal(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = operation(*arguments, **more)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    for name in ("fsync", "replace", "unlink", "mkdir", "rmdir"):
        setattr(os, name, fatal(getattr(os, name)))


def killed_run(inputs: Path, output: Path, nlp: Any, points: list[int], **options: Any) -> tuple[int, dict]:
    """A run that is killed and gone on with, until no point is left or it is done before; kills and the summary."""
    kills = 0
    for point in points:
        status = run_in_child(
            lambda at=point: (kill_at(at), annotate(inputs, output, model=nlp, resume=True, **options))
        )
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
    return kills, annotate(inputs, output, model=nlp, resume=True, **options)


@pytest.mark.parametrize(("output_format", "compression"), KINDS)
def test_killed_driver_resumed_gives_the_same_bytes(tmp_path, inputs, nlp, output_format, compression):
    options = {"output_format": output_format, "compression": compression, "batch_size": 4, "shard_size": 10}
    whole = annotate(inputs, tmp_path / "whole", model=nlp, **options)
    draw = random.Random(output_format + compression)
    points = [draw.randrange(1, 150) for _ in range(3)]
    kills, summary = killed_run(inputs, tmp_path / "killed", nlp, points, **options)
    assert kills >= 2
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    names = ("documents", "tokens", "entities", "quarantined", "reasons")
    assert {name: summary[name] for name in names} == {name: whole[name] for name in names}
    assert (summary["documents"], summary["quarantined"]) == (66, 2)


@pytest.mark.slow
def test_every_point_of_a_run_can_be_the_last(tmp_path, inputs, nlp):
    """Each operation of each commit, one after another, and a second kill somewhere in what follows."""
    options = {"batch_size": 4, "shard_size": 15}
    annotate(inputs, tmp_path / "whole", model=nlp, **options)
    whole, draw, total = outputs(tmp_path / "whole"), random.Random(0), 0
    for point in range(1, 10_000):
        kills, _ = killed_run(inputs, tmp_path / "killed", nlp, [point, draw.randrange(1, 60)], **options)
        assert outputs(tmp_path / "killed") == whole
        shutil.rmtree(tmp_path / "killed")
        total += kills
        if not kills:
            break
    assert total >= 100


def test_text_formats_do_not_depend_on_shards_and_batches(tmp_path, inputs, nlp):
    for number, (batch_size, shard_size) in enumerate([(128, 2000), (3, 7)]):
        options = {"batch_size": batch_size, "shard_size": shard_size}
        annotate(inputs, tmp_path / str(number), model=nlp, **options)
        annotate(inputs, tmp_path / f"p{number}", model=nlp, output_format="parquet", **options)
    assert outputs(tmp_path / "0") == outputs(tmp_path / "1")
    assert outputs(tmp_path / "p0").keys() == outputs(tmp_path / "p1").keys()


def test_full_disk_is_one_line_and_the_run_goes_on(tmp_path, inputs, nlp, capfd):
    """No file may be larger than some bytes: writing fails in the middle of a shard."""

    def with_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
        annotate(inputs, tmp_path / "out", model=nlp, shard_size=30)

    annotate(inputs, tmp_path / "whole", model=nlp, shard_size=30)
    assert run_in_child(with_little_room) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("[S511] Cannot write")
    assert not (tmp_path / "out" / "a.jsonl").exists()
    annotate(inputs, tmp_path / "out", model=nlp, shard_size=30, resume=True)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


POISON = {"EXIT": "S531", "CRASH": "S531", "HOG": "S533", "LOOP": "S532"}


def test_poison_costs_only_itself(tmp_path):
    """Documents that end, crash, fill and stop the process."""
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    for folder, words in ((clean, []), (dirty, list(POISON))):
        folder.mkdir()
        texts = [f"Ada number {n} in Cairo" for n in range(30)]
        (folder / "a.txt").write_text("\n".join([*texts[:15], *words, *texts[15:]]))
        (folder / "b.txt").write_text("\n".join(f"Bank of Cairo {n}" for n in range(200)))
    nlp = make_nlp("test_poison")
    annotate(clean, tmp_path / "expected", model=nlp)
    limits = {"timeout": 5, "memory_limit": memory_of(None) + 200 * 2**20}
    summary = annotate(dirty, tmp_path / "out", model=nlp, n_process=1, shard_size=40, **limits)
    assert summary["deaths"] >= 4
    for name in ("a.jsonl", "b.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(entry["line"], entry["raw"]["text"]) for entry in entries] == list(enumerate(POISON, 16))
    assert [entry["code"] for entry in entries] == list(POISON.values())
    assert "(exit code 7)" in entries[0]["reason"]
    assert "(SIGSEGV)" in entries[1]["reason"]
    assert "5 s" in entries[3]["reason"]
    assert summary["records"] == summary["documents"] + summary["quarantined"] == 234


def test_run_begun_in_this_process_is_finished_by_workers_of_which_one_is_killed(tmp_path, inputs, nlp, monkeypatch):
    options = {"batch_size": 4, "shard_size": 10}
    annotate(inputs, tmp_path / "whole", model=nlp, **options)
    status = run_in_child(lambda: (kill_at(60), annotate(inputs, tmp_path / "out", model=nlp, **options)))
    assert status == -signal.SIGKILL
    killed, tell, draw = [], Progress.tell, random.Random(0)

    def tell_and_kill(self: Progress, event: str, **facts: Any) -> None:
        if event == "progress" and not killed:
            killed.append(draw.choice(multiprocessing.active_children()))
            killed[0].kill()
        tell(self, event, **facts)

    monkeypatch.setattr(Progress, "tell", tell_and_kill)
    summary = annotate(inputs, tmp_path / "out", model=nlp, resume=True, n_process=2, **options)
    assert 0 < summary["resumed_records"] < summary["records"]
    assert summary["documents"] + summary["quarantined"] == summary["records"]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def worker_options(**more: Any) -> WorkerOptions:
    return WorkerOptions(**{"threads": 1, "gpu_id": -1, "memory": None, **more})


def shard_options(output: Path) -> ShardOptions:
    about = {"output_format": "jsonl", "compression": "none", "spans_key": None, "batch_size": 8, "timeout": 60.0}
    return ShardOptions(output=str(output), reading=ReadOptions(), **about)


def test_worker_that_cannot_load(tmp_path):
    pool = Supervisor(PipelineSpec(str(tmp_path)), shard_options(tmp_path), [worker_options()], lambda *a, **k: None)
    with pool, pytest.raises(OSError, match=r"^\[S508\] Cannot load the pipeline"):
        _ = pool.meta


def test_workers_start_without_waiting_for_one_another(tmp_path, monkeypatch):
    """A pipeline is more than a pipe holds: each start lasted until the process had imported all and read it."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 30\n")
    silent.chmod(0o755)
    resource_tracker.ensure_running()
    monkeypatch.setattr(spawn, "_python_exe", spawn.get_executable())
    spawn.set_executable(str(silent))
    began = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        Supervisor(bytes(2**23), shard_options(tmp_path), [worker_options()] * 2, lambda *a, **k: None),
    ):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_workers_that_die_before_they_are_ready(tmp_path):
    (tmp_path / "code.py").write_text("import os; os._exit(9)")
    spec = PipelineSpec(str(tmp_path), code=str(tmp_path / "code.py"))
    pool = Supervisor(spec, shard_options(tmp_path), [worker_options()], lambda *a, **k: None)
    with pool, pytest.raises(RuntimeError, match=r"\[S510\] .*exit code 9"):
        _ = pool.meta


@pytest.mark.slow
def test_worker_that_has_grown_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("Ada\n" * 40)
    limits = {"memory_limit": "600MB", "shard_size": 20}
    summary = annotate(tmp_path / "a.txt", tmp_path / "out", model=make_nlp("test_grower"), n_process=1, **limits)
    assert (summary["documents"], summary["deaths"]) == (40, 0)
    assert summary["recycled"] == 1  # and not once more when there is nothing left to do


@pytest.mark.slow
def test_command_that_is_killed_with_its_workers(tmp_path, inputs):
    """kill -9 at random times, resumed each time with another number of workers."""
    make_nlp().to_disk(tmp_path / "model")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n".join(f"Ada number {n} in Cairo" for n in range(60_000)))
    annotate(tmp_path / "in", tmp_path / "whole", model=tmp_path / "model", shard_size=500)
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(tmp_path / "in"), "--resume"]
    command += ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--shard-size", "500"]
    draw, kills = random.Random(0), 0
    while kills < 6:
        process = subprocess.Popen([*command, "--n-process", str(1 + kills % 2)], stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0, 15))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert kills
    subprocess.run([*command, "--n-process", "2"], check=True, stdout=subprocess.DEVNULL)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
