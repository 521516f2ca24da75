"""The process that annotates shards for a supervisor, and how its memory is kept within bounds."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..engine.byte_sizes import format_size
from ..errors import Errors, first_line
from .batches import pipeline_meta
from .loading import PipelineSpec, use_device
from .shard_work import ShardAnnotator, ShardOptions
from .sources import UsageError

if TYPE_CHECKING:
    from spacy.language import Language

# prctl(PR_SET_PDEATHSIG, signal): the system sends the signal when the parent is gone.
_PDEATHSIG = 1
# Share of the memory limit above which a worker is replaced between two shards.
FULL = 0.8
FAILURES = {"UsageError": UsageError, "ValueError": ValueError, "OSError": OSError}


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What concerns a worker process, beside the shards.

    threads (int): Threads of the libraries that compute.
    gpu_id (int): The GPU of this worker, -1 for the CPU.
    memory (Optional[int]): Bytes that it may take.
    cores (tuple[int, ...]): Cores that it is bound to; none leaves that to the system.
    """

    threads: int
    gpu_id: int
    memory: int | None
    cores: tuple[int, ...] = ()


def work(connection: Connection, options: ShardOptions, mine: WorkerOptions) -> None:
    """Main function of a worker: load, say so, then annotate shards until there are no more.

    connection (Connection): To the supervisor. It sends the pipeline (bytes | PipelineSpec), then (shard, digest of the
        plan) or None; a worker sends ("ready", what the pipeline is), ("failed", type of error, message),
        ("progress", counts), ("done", mark).
    options (ShardOptions): What to do with the shards.
    mine (WorkerOptions): What concerns this worker.
    """
    # Ctrl-C reaches the whole process group; the supervisor decides what ends and how.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    # The supervisor is gone when its end of the pipe is.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            _share_cores(mine)
            nlp = _load(connection.recv(), mine.gpu_id)
            if mine.memory is not None:
                check_room(mine.memory)
            if mine.memory is not None and mine.gpu_id < 0:
                limit_memory(mine.memory)
            connection.send(("ready", pipeline_meta(nlp)))
            annotator = ShardAnnotator(nlp, options, lambda counts: connection.send(("progress", counts)))
            while (job := connection.recv()) is not None:
                mark = annotator(*job)
                _return_memory()
                connection.send(("done", mark))
        except (OSError, ValueError) as error:
            if isinstance(error, (BrokenPipeError, ConnectionResetError)):
                raise
            known = type(error).__name__ if type(error).__name__ in FAILURES else "OSError"
            connection.send(("failed", known, str(error)))


def packed(nlp: Language) -> bytes:
    """A pipeline in a form that can be sent to a worker.

    nlp (Language): The pipeline.
    RETURNS (bytes): The pipeline, and the extensions of documents.
    RAISES (ValueError): S514 when a component refuses.
    """
    from spacy.tokens.underscore import Underscore

    try:
        return pickle.dumps((nlp, Underscore.get_state()))
    except Exception as error:  # any component may refuse, each in its own way
        raise ValueError(Errors.S514.format(reason=first_line(error))) from error


def memory_of(process: int | None, field: str = "VmRSS") -> int:
    """Bytes of memory of a process.

    process (Optional[int]): Its id; None is this process.
    field (str): Which figure of Linux' process status.
    RETURNS (int): The bytes; 0 where the system does not tell.
    """
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{process or 'self'}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


def check_room(limit: int) -> None:
    """Refuse a limit that leaves no room for documents: every one of them would be found guilty.

    limit (int): Bytes that this process may take.
    RAISES (UsageError): S534 when the pipeline alone takes most of them.
    """
    used = memory_of(None)
    if used > FULL * limit:
        raise UsageError(Errors.S534.format(used=format_size(used), limit=format_size(limit)))


def limit_memory(limit: int) -> None:
    """Let the system refuse this process more memory: an allocation fails before the machine is short of it.

    limit (int): Bytes in memory; what is reserved and not used at this time does not count.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    unused = max(0, memory_of(None, "VmData") - memory_of(None))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit + unused, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def die_with_parent() -> None:
    """End when the parent process does, even in the middle of a batch."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None:
        # Also sees a parent that died before the call above, and works on other systems.
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _load(payload: bytes | PipelineSpec, gpu_id: int) -> Language:
    if isinstance(payload, PipelineSpec):
        return replace(payload, gpu_id=gpu_id).load()
    use_device(gpu_id)
    from spacy.tokens.underscore import Underscore

    try:
        nlp, state = pickle.loads(payload)
    except Exception as error:  # a function of the main module is not there, for one
        raise ValueError(Errors.S514.format(reason=first_line(error))) from error
    Underscore.load_state(state)
    return cast("Language", nlp)


def _share_cores(mine: WorkerOptions) -> None:
    """Keep the workers' thread pools from outnumbering the cores, and each on its own ones."""
    if mine.cores:
        with suppress(OSError):  # one that was taken away meanwhile
            os.sched_setaffinity(0, mine.cores)
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), mine.threads))


def _return_memory() -> None:
    """Give the system back what the shard has left free: glibc keeps it in pieces, more with every shard."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _end_after(sentinel: Any) -> None:
    wait([sentinel])
    os._exit(1)
