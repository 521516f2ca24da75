"""What a container, or whoever started the process, leaves of a machine, and how workers share it."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from samarkand.pipeline import machine, worker
from samarkand.pipeline import run as run_module
from samarkand.pipeline.progress import Progress
from samarkand.pipeline.run import Run
from samarkand.pipeline.run_options import RunOptions
from samarkand.pipeline.worker import WorkerOptions


def contain(folder: Path, monkeypatch: pytest.MonkeyPatch, groups: str | None, files: dict[str, str]) -> None:
    """Let the system tell of other control groups."""
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{value}\n")
    if groups is not None:
        (folder / "cgroup").write_text(groups)
    monkeypatch.setattr(machine, "GROUPS", folder / "cgroup")
    monkeypatch.setattr(machine, "LIMITS", folder)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/jobs/mine\n", {"jobs/mine/memory.max": "max", "jobs/memory.max": "4096"}, 4096),
        ("0::/\n", {"memory.max": "2048"}, 2048),
        ("4:cpu,cpuacct:/x\n3:memory:/jobs\n0::/\n", {"memory/jobs/memory.limit_in_bytes": "1024"}, 1024),
        ("3:memory:/above/us\n", {"memory/memory.limit_in_bytes": "512"}, 512),
        ("3:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("0::/\n", {}, None),
        (None, {}, None),
    ],
)
def test_memory_is_what_a_container_is_given(tmp_path, monkeypatch, groups, files, expected):
    contain(tmp_path, monkeypatch, groups, files)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory() == (expected or there)
    options = dict.fromkeys((field.name for field in fields(RunOptions)), None)
    assert RunOptions(**{**options, "n_process": 2}).memory == int(0.9 * (expected or there) / 2)


QUOTA, PERIOD = "cpu/x/cpu.cfs_quota_us", "cpu/x/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/jobs/mine\n", {"jobs/mine/cpu.max": "max 100000", "jobs/cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000"}, 1),
        ("0::/\n", {"cpu.max": "900000 100000"}, 8),
        ("4:cpu,cpuacct:/x\n3:memory:/\n", {QUOTA: "300000", PERIOD: "100000"}, 3),
        ("4:cpu,cpuacct:/x\n", {QUOTA: "-1", PERIOD: "100000"}, 8),
        ("0::/\n", {"cpu.max": "what"}, 8),
        (None, {}, 8),
    ],
)
def test_cores_are_what_a_container_is_given(tmp_path, monkeypatch, groups, files, expected):
    contain(tmp_path, monkeypatch, groups, files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert machine.cores() == expected


def shared(monkeypatch: pytest.MonkeyPatch, folder: Path, cores: int, **more: Any) -> list[WorkerOptions]:
    """The workers of a run on a machine of eight cores, of which so many can be used at a time."""
    monkeypatch.setattr(run_module, "cores", lambda: cores)
    monkeypatch.setattr(run_module, "core_ids", lambda: list(range(10, 18)))
    values = dict.fromkeys(field.name for field in fields(RunOptions))
    options = RunOptions(**{**values, "output": str(folder), "gpu_id": -1, "memory_limit": 2**30, **more})
    return list(Run(options, None, Progress(show=False))._workers())


def test_workers_that_take_all_cores_are_bound_to_their_own(tmp_path, monkeypatch):
    found = shared(monkeypatch, tmp_path, 8, n_process=2)
    assert [mine.cores for mine in found] == [(10, 11, 12, 13), (14, 15, 16, 17)]
    assert [mine.threads for mine in found] == [4, 4]


@pytest.mark.parametrize(("cores", "more"), [(8, {"n_process": 3}), (4, {"n_process": 2}), (8, {"n_process": 9})])
def test_workers_that_leave_cores_to_others_are_not_bound(tmp_path, monkeypatch, cores, more):
    assert {mine.cores for mine in shared(monkeypatch, tmp_path, cores, **more)} == {()}


def test_workers_with_a_gpu_are_not_bound(tmp_path, monkeypatch):
    found = shared(monkeypatch, tmp_path, 8, n_process=2, gpu_id=1)
    assert [(mine.gpu_id, mine.cores) for mine in found] == [(1, ()), (2, ())]


def test_worker_keeps_to_its_cores(monkeypatch):
    bound: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: bound.append(cores), raising=False)
    worker._share_cores(WorkerOptions(threads=1000, gpu_id=-1, memory=None))
    worker._share_cores(WorkerOptions(threads=1000, gpu_id=-1, memory=None, cores=(4, 5)))
    assert bound == [(4, 5)]
