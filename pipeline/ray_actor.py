"""The actor of a run on a Ray cluster: it supervises one worker process, as the parent of a run on one machine does.

So documents that kill, hang or hoard are found and told of in the same way. Ray starts actors that are lost again
without limit, and hands them the same shards: what is committed is skipped, and the ledgers of the shards see to it
that this ends.
"""

from __future__ import annotations

import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from .identity import differences, fingerprint, software
from .loading import PipelineSpec
from .plan import Shard
from .run_options import SHARE
from .shard_work import ShardOptions
from .sources import UsageError
from .store_state import open_state
from .worker import WorkerOptions
from .workers import TRIES, Supervisor

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What an actor is sent to do.

    payload (bytes | PipelineSpec): The pipeline.
    options (ShardOptions): What to do with the shards.
    about (dict): What the output depends on, as the plan has it: "versions", and "pipeline" when that is loaded there.
    workers (int): All workers of the run; -1 for as many as there is room for.
    gpu (bool): Whether each has a GPU.
    memory (Optional[int]): Bytes that a worker process may take; by default it shares the node's.
    """

    payload: bytes | PipelineSpec
    options: ShardOptions
    about: dict[str, Any]
    workers: int
    gpu: bool
    memory: int | None


@dataclass(frozen=True)
class Answer:
    """What became of a shard, or of another request.

    mark (Optional[dict]): The mark of the shard.
    told (tuple): Events of its worker process: names and facts.
    error (Optional[Exception]): What ends the run.
    """

    mark: dict[str, Any] | None = None
    told: tuple[tuple[str, dict[str, Any]], ...] = ()
    error: Exception | None = None


class ShardWorker:
    """Annotates shards in a process that it supervises, and that has loaded the pipeline.

    Errors travel in answers, since Ray would wrap them, and take some for reasons to try again.

    errand (Errand): What to do.
    """

    def __init__(self, errand: Errand) -> None:
        self._told: list[tuple[str, dict[str, Any]]] = []
        self._error: Exception | None = None
        try:
            self._state = open_state(errand.options.output)
            options = replace(errand.options, scratch=self._state.scratch)
            _check_software(errand)
            gpu = 0 if errand.gpu else -1  # Ray lets an actor see its own GPU only
            mine = WorkerOptions(threads=1, gpu_id=gpu, memory=errand.memory or _share_of_node(errand))
            self._supervisor = Supervisor(errand.payload, options, [mine], self._tell)
            # Ray takes the actor for ready when this is done, and gives its shards to those that are.
            self._meta = self._supervisor.meta
        except (OSError, ValueError, RuntimeError) as error:
            self._error = error

    def meta(self) -> Answer:
        """RETURNS (Answer): What the pipeline is, as its mark."""
        return self._answer(lambda: self._meta)

    def __call__(self, batch: pyarrow.Table) -> dict[str, list[bytes]]:
        """Annotate shards.

        batch (pyarrow.Table): "job" has the shards, each with the digest of its plan, pickled.
        RETURNS (dict[str, list[bytes]]): "answer" has an `Answer` for each, pickled.
        """
        jobs = [pickle.loads(job) for job in batch["job"].to_pylist()]
        return {"answer": [pickle.dumps(self._answer(lambda job=job: self._annotate(*job))) for job in jobs]}

    def _annotate(self, shard: Shard, plan: str) -> dict[str, Any]:
        ledger = self._state.attempts(shard.id)
        if ledger.stuck and not self._state.finished(shard.id, plan):
            work, cause = ledger.unit, ledger.cause(ledger.unit)["death"]
            ledger.stop()
            place = f"records {shard.start + 1} to {shard.stop} of {shard.shown}"
            raise RuntimeError(Errors.S509.format(tries=TRIES, cause=cause, work=work, place=place))
        (mark,) = self._supervisor.run([(shard, plan)])
        return mark

    def _answer(self, work: Callable[[], dict[str, Any]]) -> Answer:
        if self._error is None:
            try:
                mark = work()
                told, self._told = tuple(self._told), []
                return Answer(mark, told)
            except (OSError, ValueError, RuntimeError) as error:
                self._error = error
        return Answer(error=self._error)

    def _tell(self, event: str, **facts: Any) -> None:
        # Progress within a shard would have to travel beside its answer; it is told of as a whole.
        if event != "progress":
            self._told.append((event, facts))


def _check_software(errand: Errand) -> None:
    """Refuse to annotate with anything else than the run was planned with."""
    found: dict[str, Any] = {"versions": software()}
    if isinstance(errand.payload, PipelineSpec):
        found["pipeline"] = {"fingerprint": fingerprint(errand.payload)}
    reasons = differences(errand.about, found)
    if reasons:
        raise UsageError(Errors.S549.format(node=platform.node(), reasons="; ".join(reasons)))


def _share_of_node(errand: Errand) -> int:
    """Bytes for a worker process when all workers that the node has room for share its memory."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    (node,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    room = int(node["GPU" if errand.gpu else "CPU"])
    return int(SHARE * node["memory"] / max(1, min(room, errand.workers)))
