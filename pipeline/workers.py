"""Annotating batches of records in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from ..errors import Errors, first_line
from .batches import Outcome, annotate_batch, pipeline_meta
from .encoders import Encoder
from .loading import PipelineSpec
from .records import Record
from .sources import Source

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from spacy.language import Language

# Batches that may be finished but wait for an earlier one, for each worker.
WINDOW = 4
# Seconds that a worker gets to end by itself.
GRACE = 5.0


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class PoolAnnotator:
    """Annotates in spawned worker processes, each with its own copy of the pipeline.

    A worker gets a batch only when it waits for one, so that neither side can block the other, and a worker that
    dies is seen at once.

    pipeline (Language | PipelineSpec): The pipeline, or how a worker loads it.
    encode (Encoder): What is kept of a document; it has to be picklable.
    n_process (int): Number of workers.
    RAISES (ValueError): S514 when the pipeline cannot be sent, or what a worker says when it cannot load it.
    RAISES (RuntimeError): S510 when a worker dies before it is ready.
    """

    def __init__(self, pipeline: Language | PipelineSpec, encode: Encoder, n_process: int) -> None:
        context = multiprocessing.get_context("spawn")
        payload = pipeline if isinstance(pipeline, PipelineSpec) else _pickled(pipeline)
        self._workers: list[_Worker] = []
        try:
            for _ in range(n_process):
                ours, theirs = context.Pipe()
                arguments = (theirs, payload, encode, n_process)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))
            greetings = [self._greeting(worker) for worker in self._workers]
            self.meta = greetings[0]
        except BaseException:
            self._end(force=True)
            raise

    def __enter__(self) -> PoolAnnotator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end(force=kind is not None)

    def map(self, batches: Iterable[list[Record]], source: Source) -> Iterator[list[Outcome]]:
        """Annotate batches of one source.

        batches (Iterable[list[Record]]): The batches; only a few are read ahead.
        source (Source): Where they come from.
        YIELDS (list[Encoded | Rejected]): The outcomes of each batch, in the order of the batches.
        RAISES (RuntimeError): S509 when a worker dies.
        """
        waiting = enumerate(batches)
        idle = list(self._workers)
        running: dict[_Worker, tuple[int, list[Record]]] = {}
        done: dict[int, list[Outcome]] = {}
        following, more = 0, True
        while more or running or done:
            while more and idle and len(running) + len(done) < WINDOW * len(self._workers):
                job = next(waiting, None)
                if job is None:
                    more = False
                    break
                index, batch = job
                if not batch:  # every record of it was rejected when it was read
                    done[index] = []
                    continue
                worker = idle.pop()
                running[worker] = job
                self._send(worker, batch, source)
            if following in done:
                yield done.pop(following)
                following += 1
            elif running:
                for worker, outcomes in self._finished(running, source):
                    done[running.pop(worker)[0]] = outcomes
                    idle.append(worker)

    def _send(self, worker: _Worker, batch: list[Record], source: Source) -> None:
        try:
            worker.connection.send(batch)
        except OSError as error:
            raise _death(worker, batch, source) from error

    def _finished(
        self, running: dict[_Worker, tuple[int, list[Record]]], source: Source
    ) -> Iterator[tuple[_Worker, list[Outcome]]]:
        """Wait until a worker has an answer or is dead."""
        ready = wait([w.connection for w in running] + [w.process.sentinel for w in running])
        for worker in list(running):
            if worker.connection not in ready and worker.process.sentinel not in ready:
                continue
            try:
                # A worker that answered and died since has still answered.
                if not worker.connection.poll():
                    raise EOFError
                outcomes = worker.connection.recv()
            except (EOFError, OSError) as error:
                raise _death(worker, running[worker][1], source) from error
            yield worker, outcomes

    def _greeting(self, worker: _Worker) -> dict[str, Any]:
        wait([worker.connection, worker.process.sentinel])
        try:
            if not worker.connection.poll():
                raise EOFError
            meta, failure = worker.connection.recv()
        except (EOFError, OSError) as error:
            worker.process.join(GRACE)
            raise RuntimeError(Errors.S510.format(code=worker.process.exitcode)) from error
        if failure:
            raise ValueError(failure)
        return cast("dict[str, Any]", meta)

    def _end(self, *, force: bool) -> None:
        for worker in self._workers:
            if force:
                worker.process.terminate()
            else:
                # One that died since its last answer owes nothing.
                with suppress(OSError):
                    worker.connection.send(None)
        for worker in self._workers:
            worker.process.join(GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()


def _pickled(nlp: Language) -> bytes:
    from spacy.tokens.underscore import Underscore

    try:
        return pickle.dumps((nlp, Underscore.get_state()))
    except Exception as error:  # any component may refuse, each in its own way
        raise ValueError(Errors.S514.format(reason=first_line(error))) from error


def _death(worker: _Worker, batch: list[Record], source: Source) -> RuntimeError:
    worker.process.join(GRACE)
    place = f"{source}, {source.unit}s {batch[0].position} to {batch[-1].position}"
    return RuntimeError(Errors.S509.format(code=worker.process.exitcode, place=place))


def _work(connection: Connection, payload: bytes | PipelineSpec, encode: Encoder, n_process: int) -> None:
    """Main function of a worker: load, say so, then answer batches until there are no more."""
    # Ctrl-C reaches the whole process group; the parent decides what ends and how.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _share_cores(n_process)
    try:
        nlp = payload.load() if isinstance(payload, PipelineSpec) else _unpickled(payload)
    except (OSError, ValueError) as error:
        connection.send((None, str(error)))
        return
    connection.send((pipeline_meta(nlp), None))
    try:
        while (batch := connection.recv()) is not None:
            connection.send(annotate_batch(nlp, batch, encode))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _unpickled(payload: bytes) -> Language:
    from spacy.tokens.underscore import Underscore

    try:
        nlp, state = pickle.loads(payload)
    except Exception as error:  # a function of the main module is not there, for one
        raise ValueError(Errors.S514.format(reason=first_line(error))) from error
    Underscore.load_state(state)
    return cast("Language", nlp)


def _share_cores(n_process: int) -> None:
    """Keep the workers' thread pools from outnumbering the cores."""
    import torch

    share = max(1, (os.cpu_count() or 1) // n_process)
    torch.set_num_threads(min(torch.get_num_threads(), share))
