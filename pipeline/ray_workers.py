"""Annotating shards on a Ray cluster, with the functions that annotate them on one machine.

Ray Data carries the name of a shard to an actor and the mark of the shard back; the text and its annotations go from
the shared folder of the input to that of the output, or to its store.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from ..errors import Errors
from .counts import Counts
from .loading import PipelineSpec
from .ray_actor import Answer, Errand
from .ray_driver import RayJob, drive
from .run_options import RunOptions
from .shard_work import ShardOptions
from .store import is_url
from .store_state import open_state
from .worker import packed
from .workers import PATIENCE, Jobs, Tell

if TYPE_CHECKING:
    from spacy.language import Language

# Seconds between looks at whether anything moves on the cluster, and at whether the first worker has begun.
LOOK, GLANCE = 30.0, 0.5
# Seconds that Ray gets to end.
ENDING = 30.0


class RayAnnotator:
    """Annotates on a cluster: hands out shards, and gathers their marks.

    pipeline (Language | PipelineSpec): The pipeline, or how a worker loads it.
    shard_options (ShardOptions): What to do.
    options (RunOptions): What was asked for.
    about (dict): What the output depends on beside the inputs.
    tell (Callable): Told of progress, deaths and replacements.
    RAISES (ValueError): S514 when the pipeline cannot be sent.
    """

    def __init__(
        self,
        pipeline: Language | PipelineSpec,
        shard_options: ShardOptions,
        options: RunOptions,
        about: dict[str, Any],
        tell: Tell,
    ) -> None:
        self._options, self._tell = options, tell
        self._state = open_state(shard_options.output, shard_options.scratch)
        output = shard_options.output
        self._begun: list[str] = []
        loads = isinstance(pipeline, PipelineSpec)
        errand = Errand(
            payload=_abroad(pipeline) if isinstance(pipeline, PipelineSpec) else packed(pipeline),
            options=replace(shard_options, output=output if is_url(output) else os.path.abspath(output)),
            about={name: about[name] for name in ("versions", "pipeline") if loads or name == "versions"},
            workers=options.n_process,
            gpu=options.gpu_id >= 0,
            memory=options.memory if options.memory_limit is not None else None,
        )
        each = {"CPU": 1.0, "GPU": float(errand.gpu), "memory": float(errand.memory or 0)}
        self._job = RayJob(
            address=cast("str", options.ray),
            each={name: amount for name, amount in each.items() if amount},
            errand=errand,
            log=os.path.abspath(self._state.ray_log),
        )

    def __enter__(self) -> RayAnnotator:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=drive, args=(theirs, self._job), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._hear()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._connection.close()
        if kind is not None:
            self._process.terminate()
        self._process.join(ENDING)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if kind is not None:
            self._state.stop_attempts(self._begun)
            with suppress(OSError):
                self._state.publish(self._state.ray_log)

    @property
    def meta(self) -> dict[str, Any]:
        """What the pipeline is; waits until a node of the cluster has loaded it.

        RAISES (ValueError | OSError | RuntimeError): What the node says when it cannot load it.
        RAISES (UsageError): S549 when it would annotate otherwise.
        RAISES (RuntimeError): S518, S519 as `run`.
        """
        return cast("dict[str, Any]", cast("Answer", self._hear()).mark)

    def run(self, jobs: Jobs) -> Iterator[dict[str, Any]]:
        """Annotate shards; waits until the work begins. Workers of a cluster may go on loading then.

        jobs (Iterable[tuple[Shard, str]]): The shards, with the digest of their plan.
        RETURNS (Iterator[dict]): The mark of each, as they are finished.
        RAISES (OSError): What ends the work of a worker: S511, S512, S543.
        RAISES (RuntimeError): S509, S510 of a worker; S518 when Ray fails, S519 when nothing moves any more.
        """
        rows = []
        for shard, plan in jobs:
            self._begun.append(shard.id)
            source = replace(shard.source, path=os.path.abspath(shard.source.path))
            rows.append(pickle.dumps((replace(shard, source=source), plan)))
        # A driver that has died meanwhile is found so by the next look at it.
        with suppress(OSError):
            self._connection.send(rows)
        self._await(move=True)
        return self._marks()

    def _marks(self) -> Iterator[dict[str, Any]]:
        while (answer := self._hear()) is not None:
            for event, facts in answer.told:
                self._tell(event, **facts)
            mark = cast("dict[str, Any]", answer.mark)
            self._tell("progress", counts=Counts.from_dict(mark))
            yield mark

    def _hear(self) -> Answer | None:
        self._await()
        try:
            answer = cast("Answer | None", self._connection.recv())
        except (EOFError, OSError) as error:
            self._process.join(ENDING)
            reason = f"its process ended with exit code {self._process.exitcode}"
            raise RuntimeError(Errors.S518.format(reason=reason)) from error
        if answer is not None and answer.error is not None:
            raise answer.error
        return answer

    def _await(self, *, move: bool = False) -> None:
        """Wait for an answer, or for the first move, while anything moves: tasks of Ray have no limit of time."""
        patience = max(PATIENCE, self._options.timeout)
        seen, since = self._moves(), time.monotonic()
        while not self._connection.poll(GLANCE if move else LOOK):
            moves = self._moves()
            if moves != seen:
                if move:
                    return
                seen, since = moves, time.monotonic()
            elif time.monotonic() - since > patience:
                raise RuntimeError(Errors.S519.format(minutes=patience / 60))

    def _moves(self) -> tuple[int, int]:
        return self._state.moves()


def _abroad(spec: PipelineSpec) -> PipelineSpec:
    """The same pipeline for a process that works in another folder."""
    model = os.path.abspath(spec.model) if Path(spec.model).exists() else spec.model
    return replace(spec, model=model, code=os.path.abspath(spec.code) if spec.code is not None else None)
