"""Runs on Ray whose output goes to an object store: nodes share the inputs and the store, and no folder of output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import annotation_pipelines
import bucket_filesystem
import pytest
from annotation_pipelines import make_nlp
from samarkand.pipeline.annotate import annotate
from test_annotate_crashes import outputs
from test_ray_cluster import parent

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

URL = "bucket://corpora/out"
CODE = annotation_pipelines.__file__
OPTIONS = {"batch_size": 4, "shard_size": 10, "code": CODE}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        yield bucket_filesystem.install(tmp_path_factory.mktemp("store"), patch)


@pytest.fixture
def out(bucket) -> Iterator[Path]:
    yield bucket / "corpora" / "out"
    shutil.rmtree(bucket / "corpora", ignore_errors=True)


def prepared(folder: Path, count: int, *components: str) -> tuple[Path, Path]:
    """An input, and a pipeline on disk."""
    (folder / "a.txt").write_text("\n".join(f"Ada number {n} in Cairo" for n in range(count)))
    make_nlp(*components).to_disk(folder / "model")
    return folder / "a.txt", folder / "model"


def wait_for_marks(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while len(list(out.glob(".samarkand/shards/*.json"))) < count:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def command(source: Path, model: Path) -> list[str]:
    given = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(source), "-o", URL, "-m", str(model)]
    return [*given, "-c", CODE, "-b", "4", "--shard-size", "10", "-n", "2", "--resume", "--json", "--ray"]


def test_same_bytes_as_in_a_folder(tmp_path, out):
    source, model = prepared(tmp_path, 60, "test_picky", "test_poison")
    source.write_text(source.read_text() + "\nPOISON\nEXIT\n")
    local = annotate(source, tmp_path / "local", model=model, n_process=1, **OPTIONS)
    summary = annotate(source, URL, model=model, n_process=2, ray="local", **OPTIONS)
    assert outputs(out) == outputs(tmp_path / "local")
    assert summary["reasons"] == local["reasons"] == {"S528": 1, "S531": 1}
    assert summary["files"][0]["sha256"] == local["files"][0]["sha256"]


@pytest.mark.parametrize("victim", ["driver", "actor"])
def test_killed_in_the_middle(tmp_path, out, victim):
    """The driver is killed, and the last of the work is done without Ray; or an actor, of which nothing stays."""
    source, model = prepared(tmp_path, 400, "test_slow")
    annotate(source, tmp_path / "local", model=model, **OPTIONS)
    process = subprocess.Popen(command(source, model), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_marks(out, 5, process)
        if victim == "actor":
            os.kill(parent(at_work(out)), signal.SIGKILL)
            stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    if victim == "driver":
        summary = annotate(source, URL, model=model, n_process=1, resume=True, **OPTIONS)
        assert 50 <= summary["resumed_records"] < summary["records"]
    else:
        assert process.returncode == 0, stderr
        summary = json.loads(stdout)
        assert sum(file["attempts"] for file in summary["files"]) > sum(file["shards"] for file in summary["files"])
    assert summary["documents"] == 400
    assert outputs(out) == outputs(tmp_path / "local")


def at_work(out: Path) -> int:
    """A worker process whose ledger is in the store."""
    for _ in range(2000):
        for path in out.glob(".samarkand/ledgers/*.jsonl"):
            entries = [json.loads(line) for line in path.read_text().splitlines() if line]
            worker = next(entry["process"] for entry in reversed(entries) if "process" in entry)
            if Path(f"/proc/{worker}").exists():
                return int(worker)
        time.sleep(0.005)
    raise AssertionError("nobody works")
