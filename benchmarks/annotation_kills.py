"""Killing runs of `annotate` at random times, going on with each until it is done, and counting the damage."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
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
    RETURNS (Counter[str]): As `count_damage`.
    """
    draw = random.Random(seed)
    began = time.perf_counter()
    annotate(corpus, folder / "whole", model=model, n_process=workers, **options)
    longest = time.perf_counter() - began

    def attempt(output: Path, left: int) -> tuple[bool, int]:
        with_workers = draw.randint(1, workers) if workers else 0
        wait = draw.uniform(0, longest) if left else None
        whom = draw.randrange(2 * with_workers) if with_workers else None
        return _run(corpus, output, model, wait, whom, n_process=with_workers, **options)

    return count_damage(attempt, folder, kills)


def count_damage(attempt: Callable[[Path, int], tuple[bool, int]], folder: Path, kills: int) -> Counter[str]:
    """Go on with runs that are killed until each is done, and compare them with one that nobody killed.

    attempt (Callable): Begins a run or goes on with it, and kills; given the folder of its output and how many kills
        are left. Whether the run came to its end, and how many kills there were.
    folder (Path): Has the output of the run that nobody killed in "whole".
    kills (int): How many.
    RETURNS (Counter[str]): "kills", "runs" that they were part of, records "lost" and "doubled", and "other bytes":
        runs whose output differs.
    """
    whole = _output(folder / "whole")
    counts: Counter[str] = Counter(kills=0, runs=0, lost=0, doubled=0, **{"other bytes": 0})
    while counts["kills"] < kills:
        output = folder / "killed"
        done = False
        while not done:
            done, killed = attempt(output, max(0, kills - counts["kills"]))
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
) -> tuple[bool, int]:
    """A run in a copy of this process; whether it came to its end, and how many processes were killed."""
    child = os.fork()
    if child == 0:
        try:
            annotate(corpus, output, model=model, resume=True, **options)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    killed = 0
    if wait is not None:
        time.sleep(wait)
        workers = worker_processes(child)
        victim = workers[whom] if whom is not None and whom < len(workers) else child
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return at_end(os.waitstatus_to_exitcode(status)), 0
        killed = kill(victim)
    status = os.waitpid(child, 0)[1]
    return at_end(os.waitstatus_to_exitcode(status)), killed


def kill(process: int) -> int:
    """RETURNS (int): How many processes were killed: none when it has ended meanwhile, since it was found."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return 1
    return 0


def at_end(code: int, reason: str = "") -> bool:
    """Whether a run came to its end.

    code (int): How it ended, as `subprocess` says it.
    reason (str): What it said.
    RETURNS (bool): Whether it did; it was killed else.
    RAISES (RuntimeError): When it failed.
    """
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run ended with {code}: {reason}")
    return code == 0


def worker_processes(process: int) -> list[int]:
    """Worker processes of a run; the process that tidies up after them is none.

    process (int): The run.
    RETURNS (list[int]): Their ids.
    """
    return [child for child in child_processes(process) if b"spawn_main" in _command(child)]


def child_processes(process: int) -> list[int]:
    """Processes that a process has started.

    process (int): The process.
    RETURNS (list[int]): Their ids, in order; none when it has ended.
    """
    found: list[int] = []
    # Each thread has its own.
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return sorted(found)


def _command(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def _output(folder: Path) -> bytes:
    (path,) = folder.glob("*.jsonl")
    return path.read_bytes()
