"""A pipeline, and an index if there is one, behind queues: what a server answers with, whatever protocol it speaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from ..models.sentence_model import SentenceModel
from .batches import Outcome
from .batching_queue import BatchingQueue, Item, Result, Work
from .loading import PipelineSpec
from .records import Record
from .serve_metrics import ServeMetrics
from .serve_options import ServeOptions
from .serve_work import Answer, Query, open_annotation, open_search
from .sources import UsageError

if TYPE_CHECKING:
    from spacy.language import Language


class Service:
    """Annotates and searches for many callers at once. It is ready when it is made; close it, or use it in `with`.

    pipeline (Language | PipelineSpec): The pipeline, or where it is loaded from. Nothing else may use it meanwhile.
    options (ServeOptions): Limits and batches.
    index (str | Path | None): Index to search.
    encoder (str | Path | SentenceModel | None): Encoder of the queries; that of the index by default.
    RAISES (UsageError): S507, S1150 for an encoder without an index.
    RAISES (ValueError | OSError): As `open_annotation` and `open_search`.
    """

    def __init__(
        self,
        pipeline: Language | PipelineSpec,
        options: ServeOptions,
        *,
        index: str | Path | None = None,
        encoder: str | Path | SentenceModel | None = None,
    ) -> None:
        options.check()
        if encoder is not None and index is None:
            raise UsageError(Errors.S1150)
        self.options = options
        self.metrics = ServeMetrics()
        self._queues: dict[str, BatchingQueue[Any, Any]] = {}
        self._deadline: float | None = None
        try:
            self._start("annotate", partial(open_annotation, pipeline, options.batch_size))
            if index is not None:
                self._start("search", partial(open_search, index, encoder, options.batch_size))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    @property
    def searches(self) -> bool:
        """Whether there is an index."""
        return "search" in self._queues

    @property
    def is_done(self) -> bool:
        """Whether nothing more is taken, and nothing is left to do."""
        return all(queue.is_done for queue in self._queues.values())

    @property
    def status(self) -> str:
        """One of "ok", "closing", and "stuck": a batch has taken longer than a request may."""
        if not all(queue.is_open for queue in self._queues.values()):
            return "closing"
        busy = max(queue.busy_seconds for queue in self._queues.values())
        return "stuck" if busy > self.options.timeout else "ok"

    async def annotate(self, records: Sequence[Record]) -> list[Outcome]:
        """Annotate records.

        records (Sequence[Record]): The records.
        RETURNS (list[Outcome]): Their lines of JSON, or why there is none, in order.
        RAISES (QueueFull | QueueClosed | WorkFailed): As `BatchingQueue.submit`.
        """
        return await asyncio.wrap_future(self._queues["annotate"].submit(records))

    async def search(self, query: Query) -> Answer:
        """Search the index.

        query (Query): What to look for.
        RETURNS (Answer): Its neighbours, or why there are none.
        RAISES (QueueFull | QueueClosed | WorkFailed): As `BatchingQueue.submit`.
        """
        (answer,) = await asyncio.wrap_future(self._queues["search"].submit([query]))
        return answer

    def refuse(self) -> float:
        """Take nothing more. What waits has the time that a request may take, from the first call on.

        RETURNS (float): When that time is over, by the monotonic clock.
        """
        if self._deadline is None:
            self._deadline = time.monotonic() + self.options.timeout
        for queue in self._queues.values():
            queue.refuse()
        return self._deadline

    def close(self) -> None:
        """Take nothing more, and finish what waits, as far as its time allows (see `refuse`)."""
        deadline = self.refuse()
        for queue in self._queues.values():
            queue.close(max(0.0, deadline - time.monotonic()))

    def give_up(self) -> None:
        """Refuse what is not finished, at once."""
        self._deadline = time.monotonic()
        self.close()

    def _start(self, name: str, open_work: Callable[[], AbstractContextManager[Work[Item, Result]]]) -> None:
        @contextmanager
        def counted() -> Iterator[Work[Item, Result]]:
            with open_work() as work:

                def count(items: list[Item]) -> Sequence[Result]:
                    try:
                        results = work(items)
                    except BaseException:
                        self.metrics.count_failure(name, len(items))
                        raise
                    self.metrics.count_batch(name, results)
                    return results

                yield count

        options = self.options
        queue = BatchingQueue(counted, batch_size=options.batch_size, wait=options.wait, capacity=options.queue)
        self._queues[name] = queue
        self.metrics.watch(name, queue.__len__)
