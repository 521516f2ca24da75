"""Annotating shards: in this process, or in supervised worker processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from .batches import pipeline_meta
from .counts import Counts
from .ledger import Ledger, annotating
from .loading import PipelineSpec
from .plan import Shard
from .shard_work import ShardAnnotator, ShardOptions
from .store_state import open_state
from .worker import FAILURES, FULL, WorkerOptions, memory_of, packed, work

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from spacy.language import Language

# Seconds between looks at time and memory; an answer or a death is seen at once.
TICK = 0.2
# Seconds that a worker gets to end by itself.
GRACE = 5.0
# Seconds that a worker may be silent while it loads, reads or writes.
PATIENCE = 3600.0
# Deaths in a row before the first shard, or of one shard outside its batches, that end the run.
TRIES = 3
# Threads of the libraries that compute are counted when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Jobs = Iterable[tuple[Shard, str]]
# Called with the name of an event and its facts.
Tell = Callable[..., None]


class LocalAnnotator:
    """Annotates in this process, which a bad document can take down.

    nlp (Language): The pipeline.
    options (ShardOptions): What to do.
    tell (Callable): Told of progress.
    """

    def __init__(self, nlp: Language, options: ShardOptions, tell: Tell) -> None:
        self._annotate = ShardAnnotator(nlp, options, lambda counts: tell("progress", counts=counts))
        self.meta = pipeline_meta(nlp)

    def __enter__(self) -> LocalAnnotator:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to end."""

    def run(self, jobs: Jobs) -> Iterator[dict[str, Any]]:
        """Annotate shards.

        jobs (Iterable[tuple[Shard, str]]): The shards, with the digest of their plan.
        YIELDS (dict): The mark of each.
        """
        for job in jobs:
            yield self._annotate(*job)


@dataclass
class _Worker:
    """A place for a process; the process in it may be replaced."""

    options: WorkerOptions
    process: SpawnProcess
    connection: Connection
    # Writes the pipeline to it.
    feeder: threading.Thread
    ready: bool = False
    job: tuple[Shard, str] | None = None
    shards: int = 0
    heard: float = field(default_factory=time.monotonic)
    done: Counts = field(default_factory=Counts)


class Supervisor:
    """Annotates in spawned worker processes, each with its own copy of the pipeline.

    A worker gets a shard only when it waits for one. One that dies, takes too long or too much memory is replaced, and
    its shard is tried again; the ledger of the shard sees to it that this ends. One that has grown is replaced between
    two shards.

    pipeline (Language | PipelineSpec | bytes): The pipeline, how a worker loads it, or what `packed` made of it.
    options (ShardOptions): What to do.
    workers (list[WorkerOptions]): Each worker.
    tell (Callable): Told of progress, deaths and replacements.
    RAISES (ValueError): S514 when the pipeline cannot be sent.
    """

    def __init__(
        self,
        pipeline: Language | PipelineSpec | bytes,
        options: ShardOptions,
        workers: list[WorkerOptions],
        tell: Tell,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        payload = pipeline if isinstance(pipeline, (bytes, PipelineSpec)) else packed(pipeline)
        self._payload = pickle.dumps(payload)
        self._options = options
        self._state = open_state(options.output, options.scratch)
        self._tell = tell
        self._again: deque[tuple[Shard, str]] = deque()
        self._deaths: Counter[str] = Counter()
        self._meta: dict[str, Any] | None = None
        self._workers: list[_Worker] = []
        for mine in workers:
            self._workers.append(self._spawn(mine))

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end(force=kind is not None)

    @property
    def meta(self) -> dict[str, Any]:
        """What the pipeline is; waits until all workers have loaded it.

        RAISES (ValueError | OSError): What a worker says when it cannot load it.
        RAISES (RuntimeError): S510 when workers die before they are ready.
        """
        while self._meta is None or not all(worker.ready for worker in self._workers):
            for _ in self._heard():
                pass
        return self._meta

    def run(self, jobs: Jobs) -> Iterator[dict[str, Any]]:
        """Annotate shards.

        jobs (Iterable[tuple[Shard, str]]): The shards, with the digest of their plan; only as many are taken as there
            are workers.
        YIELDS (dict): The mark of each, as they are finished.
        RAISES (OSError): What ends the work of a worker: S511, S512, S543.
        RAISES (RuntimeError): S509 when workers die of a shard outside its batches, S510 before they are ready.
        """
        waiting = iter(jobs)
        more = True
        while True:
            for place, worker in enumerate(self._workers):
                if worker.ready and worker.job is None:
                    job = self._again.popleft() if self._again else next(waiting, None)
                    more = more and job is not None
                    if job is not None:
                        self._give(place, worker, job)
            if not more and not self._again and all(worker.job is None for worker in self._workers):
                return
            yield from self._heard()

    def _give(self, place: int, worker: _Worker, job: tuple[Shard, str]) -> None:
        """Give a worker a shard, or put a new process in its place when it has grown."""
        if self._recycle(place, worker):
            self._again.appendleft(job)
            return
        worker.job, worker.heard, worker.done = job, time.monotonic(), Counts()
        # One that has died meanwhile is found so by the next look at it.
        with suppress(OSError):
            worker.connection.send(job)

    def _heard(self) -> Iterator[dict[str, Any]]:
        """Wait for news for a moment, then look after each worker."""
        ready = wait([w.connection for w in self._workers] + [w.process.sentinel for w in self._workers], TICK)
        for place, worker in enumerate(self._workers):
            if worker.connection in ready or worker.process.sentinel in ready:
                # What a worker has said before it died still counts.
                for message in _messages(worker.connection):
                    yield from self._message(worker, *message)
                if worker.process.sentinel in ready:
                    self._bury(place, worker, *_cause(worker.process))
                    continue
            self._watch(place, worker)

    def _message(self, worker: _Worker, kind: str, *content: Any) -> Iterator[dict[str, Any]]:
        worker.heard = time.monotonic()
        if kind == "ready":
            worker.ready, self._meta = True, content[0]
            self._deaths[""] = 0
        elif kind == "failed":
            raise FAILURES[content[0]](content[1])
        elif kind == "progress":
            worker.done += content[0]
            self._tell("progress", counts=content[0])
        else:
            worker.job = None
            worker.shards += 1
            yield content[0]

    def _recycle(self, place: int, worker: _Worker) -> bool:
        limit = worker.options.memory
        if limit is None or not worker.shards or (used := memory_of(worker.process.pid)) <= FULL * limit:
            return False
        self._tell("recycled", process=worker.process.pid, bytes=used)
        with suppress(OSError):
            worker.connection.send(None)
        _stop(worker)
        self._workers[place] = self._spawn(worker.options)
        return True

    def _watch(self, place: int, worker: _Worker) -> None:
        """Put an end to what goes on for too long or takes too much memory."""
        if worker.job is None:
            if not worker.ready and time.monotonic() - worker.heard > PATIENCE:
                self._kill(place, worker, "timeout", "S532")
            return
        limit = worker.options.memory
        if limit is not None and memory_of(worker.process.pid) > limit:
            self._kill(place, worker, "memory", "S533")
        elif time.monotonic() - worker.heard > self._options.timeout:
            unit = Ledger(self._state.ledger(worker.job[0].id)).unit
            if annotating(unit) or time.monotonic() - worker.heard > max(PATIENCE, self._options.timeout):
                self._kill(place, worker, "timeout", "S532")

    def _kill(self, place: int, worker: _Worker, cause: str, code: str) -> None:
        worker.process.kill()
        worker.process.join()
        self._bury(place, worker, cause, code)

    def _bury(self, place: int, worker: _Worker, cause: str, code: str) -> None:
        """Note a death, and put a new process in the place of the dead one."""
        _close(worker)
        where = ""
        if worker.job is not None:
            shard = worker.job[0]
            if not self._state.finished(shard.id, worker.job[1]):
                ledger = self._state.attempts(shard.id)
                where = ledger.unit
                ledger.death(cause, code)
            self._tell("progress", counts=worker.done, undone=True)
            self._again.append(worker.job)
        about = worker.job[0].id if worker.job is not None else ""
        self._tell("death", process=worker.process.pid, cause=cause, shard=about, work=where)
        if not annotating(where):
            self._deaths[about] += 1
            if self._deaths[about] >= TRIES:
                raise self._give_up(worker, cause, where)
        self._workers[place] = self._spawn(worker.options)

    def _give_up(self, worker: _Worker, cause: str, where: str) -> RuntimeError:
        if worker.job is None:
            return RuntimeError(Errors.S510.format(cause=cause))
        shard = worker.job[0]
        place = f"records {shard.start + 1} to {shard.stop} of {shard.shown}"
        return RuntimeError(Errors.S509.format(tries=TRIES, cause=cause, work=where or "starting on", place=place))

    def _spawn(self, mine: WorkerOptions) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, self._options, mine), daemon=True)
        with _few_threads(mine.threads):
            process.start()
        theirs.close()
        # A pipeline fills the pipe, and a process takes seconds before it reads: nobody is to wait for that.
        feeder = threading.Thread(target=_feed, args=(ours, self._payload), daemon=True)
        feeder.start()
        return _Worker(mine, process, ours, feeder)

    def _end(self, *, force: bool) -> None:
        for worker in self._workers:
            # One that died since its last answer owes nothing, and one that still loads is not needed any more.
            with suppress(OSError):
                if force or not worker.ready:
                    worker.process.terminate()
                else:
                    worker.connection.send(None)
        for worker in self._workers:
            _stop(worker)
            if force and worker.job is not None:
                with suppress(OSError):
                    self._state.attempts(worker.job[0].id).stop()


def _stop(worker: _Worker) -> None:
    worker.process.join(GRACE)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    _close(worker)


def _feed(connection: Connection, payload: bytes) -> None:
    # One that has died meanwhile is found so by the next look at it.
    with suppress(OSError):
        connection.send_bytes(payload)


def _close(worker: _Worker) -> None:
    """Close the connection to a process that has ended; nothing is written to it any more then."""
    worker.feeder.join(GRACE)
    worker.connection.close()


def _messages(connection: Connection) -> Iterator[tuple[Any, ...]]:
    with suppress(EOFError, OSError):
        while connection.poll():
            yield connection.recv()


def _cause(process: SpawnProcess) -> tuple[str, str]:
    """How a process died, and the code for a document that is guilty of it."""
    process.join(GRACE)
    code = process.exitcode
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name, "S531"
    return f"exit code {code}", "S531"


@contextmanager
def _few_threads(threads: int) -> Iterator[None]:
    """Let processes that start in the block count so many cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    asked = {name: int(value) for name, value in before.items() if value is not None and value.isdigit()}
    os.environ.update({name: str(min(threads, asked.get(name, threads))) for name in THREADS})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
