"""Kills of the annotation benchmark: what counts as one, and what the damage is."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kills(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("annotation_kills")


def ended() -> int:
    """Id of a process that was there."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_process_that_ended_since_it_was_found_is_no_kill(tmp_path, kills, monkeypatch):
    """There is no such process any more: the error ended the benchmark, and its counts were lost."""
    gone = ended()
    monkeypatch.setattr(kills, "worker_processes", lambda process: [gone])
    monkeypatch.setattr(kills, "annotate", lambda *arguments, **options: time.sleep(0.5))
    assert kills._run(tmp_path, tmp_path, None, 0.0, 0) == (True, 0)
    assert kills._run(tmp_path, tmp_path, None, 0.0, 1) == (False, 1)


def test_child_processes(kills):
    with subprocess.Popen(["sleep", "30"]) as process:
        assert process.pid in kills.child_processes(os.getpid())
        assert kills.kill(process.pid) == 1
    assert kills.kill(process.pid) == 0
    assert kills.child_processes(process.pid) == []


def test_damage_is_counted(tmp_path, kills):
    outputs = iter([None, [1, 2, 3], None, [1, 1, 4]])
    lefts = []

    def write(folder: Path, ids: list[int]) -> None:
        folder.mkdir()
        (folder / "a.jsonl").write_text("".join(json.dumps({"id": n}) + "\n" for n in ids))

    def attempt(output: Path, left: int) -> tuple[bool, int]:
        lefts.append(left)
        ids = next(outputs)
        if ids is not None:
            write(output, ids)
        return ids is not None, int(ids is None)

    write(tmp_path / "whole", [1, 2, 3])
    counts = kills.count_damage(attempt, tmp_path, 2)
    assert counts == {"kills": 2, "runs": 2, "lost": 2, "doubled": 2, "other bytes": 1}
    assert lefts == [2, 1, 1, 0]


@pytest.mark.slow
def test_runs_that_are_killed_on_a_cluster_lose_and_double_nothing(tmp_path, kills):
    pytest.importorskip("ray")
    importlib.import_module("annotation").main(["--quick", "--part", "kills", "--ray", "--results", str(tmp_path)])
    rows = json.loads((tmp_path / "annotation.json").read_text())
    counts = {row["metric"]: row["value"] for row in rows}
    assert {row["dataset"] for row in rows} == {"killed runs, Ray"}
    assert counts["kills"] == sum(counts[name] for name in counts if name.startswith("kills, ")) >= 4
    assert (counts["lost"], counts["doubled"], counts["other bytes"]) == (0, 0, 0)
