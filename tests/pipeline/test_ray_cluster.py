"""Runs on a Ray cluster of several nodes, all on this machine, of which workers, nodes and drivers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import annotation_pipelines
import pytest
from annotation_pipelines import make_nlp
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.progress import Progress
from samarkand.pipeline.sources import UsageError
from samarkand.pipeline.worker import memory_of
from test_annotate_crashes import POISON, outputs

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

# A node of these is to be lost, and two workers with a CPU more still fit on the other.
NODE = {"num_cpus": 3, "object_store_memory": 80 * 2**20}
OPTIONS = {"batch_size": 4, "shard_size": 10}
CODE = annotation_pipelines.__file__


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that has no room for workers, and two nodes."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    cluster.add_node(**{**NODE, "num_cpus": 0}, include_dashboard=False)
    for _ in range(2):
        cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for name, count in (("a.txt", 150), ("b.txt", 45)):
        (folder / name).write_text("\n".join(f"Ada number {n} in Cairo" for n in range(count)))
    return folder


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory) -> Path:
    """A pipeline on disk that leaves time to kill."""
    folder = tmp_path_factory.mktemp("model")
    make_nlp("test_picky", "test_slow").to_disk(folder)
    return folder


def run(inputs: Path, output: Path, model: Any, cluster: Any, **options: Any) -> dict[str, Any]:
    values = {"code": CODE, "n_process": 2, "ray": cluster.address, **OPTIONS, **options}
    return annotate(inputs, output, model=model, **values)


def on_shard(monkeypatch, number: int, do: Callable[[], None]) -> None:
    """Do something once, when some shards are finished."""
    tell, seen = Progress.tell, []

    def tell_and_do(self: Progress, event: str, **facts: Any) -> None:
        tell(self, event, **facts)
        if event == "shard":
            seen.append(facts)
            if len(seen) == number:
                do()

    monkeypatch.setattr(Progress, "tell", tell_and_do)


def parent(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("PPid:")))


def at_work(output: Path) -> int:
    """A worker process that has some batches before it."""
    for _ in range(1000):
        for path in (output / ".samarkand" / "ledgers").glob("*.jsonl"):
            with suppress(OSError, KeyError):
                entries = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
                if entries[-1]["unit"] == "batch 0":
                    return [entry["process"] for entry in entries if "process" in entry][-1]
        time.sleep(0.01)
    raise AssertionError("nobody works")


def test_same_bytes_as_on_one_machine_and_poison_is_found_as_there(tmp_path, cluster):
    (tmp_path / "in").mkdir()
    texts = [f"Ada number {n} in Cairo" for n in range(30)]
    (tmp_path / "in" / "a.txt").write_text("\n".join([*texts[:15], *POISON, *texts[15:]]))
    (tmp_path / "in" / "b.txt").write_text("\n".join(["POISON", *(f"Bank of Cairo {n}" for n in range(40))]))
    make_nlp("test_picky", "test_poison").to_disk(tmp_path / "model")
    limits = {"timeout": 5, "memory_limit": memory_of(None) + 400 * 2**20, "shard_size": 17}
    alone = annotate(
        tmp_path / "in", tmp_path / "alone", model=tmp_path / "model", code=CODE, n_process=1, **{**OPTIONS, **limits}
    )
    summary = run(tmp_path / "in", tmp_path / "ray", tmp_path / "model", cluster, **limits)
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "alone")
    assert summary["reasons"] == alone["reasons"] == {"S528": 1, "S531": 2, "S532": 1, "S533": 1}
    assert summary["deaths"] >= 4
    assert summary["pipeline"] == alone["pipeline"]
    assert summary["files"][0]["sha256"] == alone["files"][0]["sha256"]


@pytest.mark.parametrize("victim", ["worker process", "actor", "node"])
def test_killed_in_the_middle(tmp_path, cluster, inputs, slow_model, monkeypatch, victim):
    annotate(inputs, tmp_path / "whole", model=slow_model, code=CODE, **OPTIONS)
    lost = []

    def kill() -> None:
        worker = at_work(tmp_path / "out")
        actor = parent(worker)
        lost.extend(node for node in cluster.worker_nodes if victim == "node" and _raylet(node) == parent(actor))
        os.kill(worker if victim == "worker process" else actor, signal.SIGKILL)
        for node in lost:
            cluster.remove_node(node, allow_graceful=False)

    on_shard(monkeypatch, 4, kill)
    try:
        summary = run(inputs, tmp_path / "out", slow_model, cluster)
    finally:
        for _ in lost:
            cluster.add_node(**NODE)
    assert len(lost) == (victim == "node")
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert summary["records"] == summary["documents"] == 195
    assert summary["deaths"] == (victim == "worker process")
    assert sum(file["attempts"] for file in summary["files"]) > sum(file["shards"] for file in summary["files"])


def test_killed_driver_resumed_gives_the_same_bytes(tmp_path, cluster, inputs, slow_model):
    """The command is killed, then the process that speaks with Ray; the last of the work is done on this machine."""
    annotate(inputs, tmp_path / "whole", model=slow_model, code=CODE, **OPTIONS)
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(inputs), "-o", str(tmp_path / "out")]
    command += [
        "-m",
        str(slow_model),
        "-c",
        CODE,
        "-b",
        "4",
        "--shard-size",
        "10",
        "--resume",
        "--ray",
        cluster.address,
    ]
    marks = 0
    for workers in (1, 2):
        process = subprocess.Popen([*command, "-n", str(workers)], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 90
        while (now := len(list(tmp_path.glob("out/.samarkand/shards/*.json")))) < marks + 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid if workers == 1 else _spawned(process.pid), signal.SIGKILL)
        errors = process.communicate()[1].splitlines()
        marks = now
    assert process.returncode == 1
    (line,) = errors
    assert line.startswith("error: [S518] Ray failed: its process ended with exit code -9.")
    summary = annotate(inputs, tmp_path / "out", model=slow_model, code=CODE, n_process=1, resume=True, **OPTIONS)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert 60 <= summary["resumed_records"] < summary["records"] == summary["documents"]


def test_command_starts_ray_on_this_machine(tmp_path, inputs):
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(inputs / "b.txt"), "-o", "out", "--json"]
    done = subprocess.run([*command, "-n", "2", "--log-json", "--ray"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert [event for event in events if event != "progress"] == ["begin", "shard", "merge", "complete"]
    summary = json.loads(done.stdout)
    assert (summary["documents"], summary["options"]["ray"]) == (45, "local")


def test_errors_of_nodes_are_one_line(tmp_path, cluster, inputs, slow_model, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"^\[S508\] Cannot load the pipeline"):
        run(inputs, tmp_path / "out", tmp_path / "empty", cluster)
    with pytest.raises(UsageError, match=r"^\[S548\] The cluster has no room for 3 workers, but for 2\."):
        run(inputs, tmp_path / "out", slow_model, cluster, n_process=3)
    assert not (tmp_path / "out").exists()
    (tmp_path / "a.txt").write_text("Ada\n" * 95)
    on_shard(monkeypatch, 1, lambda: (tmp_path / "a.txt").write_text("Eve"))
    with pytest.raises(OSError, match=r"^\[S543\] The input .*a.txt has changed"):
        run(tmp_path / "a.txt", tmp_path / "out", slow_model, cluster)
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["status"] == "failed"


def test_cluster_that_is_not_there(tmp_path, inputs):
    with pytest.raises(UsageError, match=r"^\[S547\] No Ray cluster at 127.0.0.1:9: .*ray start --head"):
        annotate(inputs, tmp_path / "out", model=make_nlp(), n_process=1, ray="127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _spawned(process: int) -> int:
    """The child that `multiprocessing` has made of a process, beside the one that tidies up."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    (child,) = (child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    return int(child)
