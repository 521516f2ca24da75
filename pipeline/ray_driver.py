"""The process that speaks with Ray on behalf of a run.

Ray writes to standard output, holds on to its process by threads that outlive it, and may end it. None of that reaches
the run, which can end this process at any time, and then its actors end too.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, cast

from ..errors import Errors
from .cluster_room import SPARE_CPUS, check_room
from .ray_actor import Answer, Errand, ShardWorker
from .sources import UsageError
from .worker import die_with_parent
from .workers import PATIENCE

# The address that stands for this machine: Ray is started for the run, and ends with it.
LOCAL = "local"
# Most tasks that a worker's share of the shards is handed out in. Shards of a task follow one another, so that an
# input is not read from its beginning for each of them; the fewer tasks, the more shards the last one keeps waiting.
TASKS = 32
# Seconds for a cluster to be reached in.
REACH = 10.0
# Bytes of the object store of this machine: hardly anything is put there, and Ray takes no less.
STORE = 100 * 2**20


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What is asked of a cluster.

    address (str): "local", "auto" or HOST:PORT.
    each (dict[str, float]): What a worker takes, by the names of Ray's resources.
    errand (Errand): What it is sent to do.
    log (str): File that takes what Ray has to say.
    """

    address: str
    each: dict[str, float]
    errand: Errand
    log: str


def drive(connection: Connection, job: RayJob) -> None:
    """Main function of the process.

    connection (Connection): To the run. An `Answer` comes when there is room, and one when the pipeline is loaded, with
        what it is. For a list of pickled shards with their plan comes one for each, as they are finished, then None.
    job (RayJob): What to do.
    """
    # Ctrl-C reaches the whole process group; the run decides what ends and how.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    _write_to(job.log)
    # The run is gone when its end of the pipe is.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            errand = replace(job.errand, workers=_connect(job))
            connection.send(Answer())
            connection.send(_load(errand, job.each))
            rows = [{"job": row} for row in connection.recv()]
            for answer in _answers(rows, errand, job) if rows else ():
                connection.send(answer)
            connection.send(None)
        except UsageError as error:
            connection.send(Answer(error=error))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # Ray's own errors have many types
            connection.send(Answer(error=RuntimeError(Errors.S518.format(reason=_last_line(error)))))
        finally:
            _disconnect()


def _connect(job: RayJob) -> int:
    """Connect to a cluster, or start Ray on this machine; how many workers there are to be."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    workers = job.errand.workers
    here = {"num_cpus": workers + SPARE_CPUS, "object_store_memory": STORE, "include_dashboard": False}
    try:
        if ":" in job.address:
            # Ray asks for minutes before it takes a cluster to be gone.
            host, port = job.address.split(":")
            socket.create_connection((host, int(port)), timeout=REACH).close()
        ray.init(address=job.address, log_to_driver=False, **(here if job.address == LOCAL else {}))
    except Exception as error:  # of several types
        raise UsageError(Errors.S547.format(address=job.address, reason=_last_line(error))) from error
    return check_room(workers, [node["Resources"] for node in ray.nodes() if node["Alive"]], job.each)


def _load(errand: Errand, each: dict[str, float]) -> Answer:
    """Load the pipeline once, wherever there is room, before anybody relies on it."""
    import ray

    again = {"max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(**_resources(each), **again)(ShardWorker).remote(errand)
    answer = ray.get(actor.meta.remote())
    ray.kill(actor)
    return cast("Answer", answer)


def _answers(rows: list[dict[str, bytes]], errand: Errand, job: RayJob) -> Iterator[Answer]:
    """Let Ray Data hand out shards. An actor that is lost is started again, and its tasks too, without limit."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if job.address == LOCAL:
        # As without Ray, work begins when all workers have loaded; those of a cluster do not wait for one another.
        context.wait_for_min_actors_s = int(PATIENCE)
    workers = min(errand.workers, len(rows))
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), TASKS * workers)).map_batches(
        ShardWorker,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        fn_constructor_args=(errand,),
        **_resources(job.each),
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from map(pickle.loads, table["answer"].to_pylist())


def _resources(each: dict[str, float]) -> dict[str, Any]:
    return {"num_cpus": each["CPU"], "num_gpus": each.get("GPU"), "memory": each.get("memory")}


def _disconnect() -> None:
    import ray

    ray.shutdown()


def _write_to(log: str) -> None:
    """Let the log take what is written to standard output and standard error, by Python or past it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _last_line(error: Exception) -> str:
    """What an error of Ray comes down to: it puts the traces of other processes first."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".")
