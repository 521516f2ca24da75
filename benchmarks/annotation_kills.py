"""Killing runs of `annotate` at random times, going on with each until it is done, and counting the damage."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from samarkand.pipeline.annotate import annotate


def kill_often(
    corpus: Path, folder: Path, model: Any, kills: int, *, workers: int, seed: int = 0, **options: Any
) -> Counter[str]:
    """Kill runs, half of the time the run itself and else one of its workers, and look at what they give in the end.

    corpus (Path): A JSONL file whose records have an "id" each.
    folder (Path): Where the outputs are written.
    model (Any): What `annotate` takes.
    kills (int): How often.
    workers (int): Most worker processes; each run has another number from 1 on. 0 annotates in the run's own process.
    seed (int): Of the times.
    options (Any): For `annotate`.
    RETURNS (Counter[str]): "kills", "runs" that they were part of, records "lost" and "doubled", and "other bytes":
        runs whose output differs from that of a run that nobody killed.
    """
    draw = random.Random(seed)
    began = time.perf_counter()
    annotate(corpus, folder / "whole", model=model, n_process=workers, **options)
    longest = time.perf_counter() - began
    whole = _output(folder / "whole")
    counts: Counter[str] = Counter(kills=0, runs=0, lost=0, doubled=0, **{"other bytes": 0})
    while counts["kills"] < kills:
        output = folder / "killed"
        done = False
        while not done:
            with_workers = draw.randint(1, workers) if workers else 0
            left = counts["kills"] < kills
            wait = draw.uniform(0, longest) if left else None
            whom = draw.randrange(2 * with_workers) if with_workers else None
            done, killed = _run(corpus, output, model, wait, whom, n_process=with_workers, **options)
            counts["kills"] += killed
        counts["runs"] += 1
        found = Counter(json.loads(line)["id"] for line in _output(output).splitlines())
        expected = {json.loads(line)["id"] for line in whole.splitlines()}
        counts["lost"] += len(expected - found.keys())
        counts["doubled"] += sum(times - 1 for times in found.values()) + len(found.keys() - expected)
        counts["other bytes"] += _output(output) != whole
        shutil.rmtree(output)
    return counts


def _run(
    corpus: Path, output: Path, model: Any, wait: float | None, whom: int | None, **options: Any
) -> tuple[bool, bool]:
    """A run in a copy of this process; whether it came to its end, and whether something was killed."""
    child = os.fork()
    if child == 0:
        try:
            annotate(corpus, output, model=model, resume=True, **options)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    killed = False
    if wait is not None:
        time.sleep(wait)
        workers = worker_processes(child)
        victim = workers[whom] if whom is not None and whom < len(workers) else child
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return _at_end(status), False
        os.kill(victim, signal.SIGKILL)
        killed = True
    status = os.waitpid(child, 0)[1]
    return _at_end(status), killed


def _at_end(status: int) -> bool:
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run ended with {code}")
    return code == 0


def worker_processes(process: int) -> list[int]:
    """Worker processes of a run; the process that tidies up after them is none.

    process (int): The run.
    RETURNS (list[int]): Their ids.
    """
    path = Path(f"/proc/{process}/task/{process}/children")
    found = [int(child) for child in path.read_text().split()] if path.exists() else []
    return [child for child in found if b"spawn_main" in _command(child)]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _output(folder: Path) -> bytes:
    (path,) = folder.glob("*.jsonl")
    return path.read_bytes()
