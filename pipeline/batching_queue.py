"""One worker thread for many callers: what they ask for is gathered into batches, and each gets its own answers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, suppress
from typing import Generic, TypeVar

from ..errors import Errors, first_line

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[list[Item]], Sequence[Result]]


class QueueFull(RuntimeError):
    """More was asked for than may wait."""


class QueueClosed(RuntimeError):
    """Nothing more is taken."""


class WorkFailed(RuntimeError):
    """The work on a batch raised something, or left something out."""


class _Request(Generic[Item, Result]):
    """What one caller asked for, some of which may be done already."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = list(items)
        self.results: list[Result] = []
        self.future: Future[list[Result]] = Future()
        self.arrived = time.monotonic()
        self.taken = 0

    def take(self, most: int) -> list[Item]:
        taken = self.items[self.taken : self.taken + most]
        self.taken += len(taken)
        return taken

    def add(self, results: Sequence[Result]) -> None:
        self.results += results
        if len(self.results) == len(self.items):
            # Its caller may have left meanwhile.
            with suppress(InvalidStateError):
                self.future.set_result(self.results)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class BatchingQueue(Generic[Item, Result]):
    """Gathers items of many requests, in the order of their arrival, for a thread that works on a batch at a time.

    A batch is worked on when it is full, or when its oldest request has waited long enough. A request whose future is
    cancelled leaves the queue, and its items that are not in work yet are never worked on.

    open_work (Callable): Opens what does the work, in the thread that will use it: a context manager that gives a
        function from the items of a batch to their results, in order.
    batch_size (int): Most items of a batch.
    wait (float): Seconds that a request waits for others to share its batch.
    capacity (int): Most items that wait.
    RAISES (Exception): What opening raises.
    """

    def __init__(
        self,
        open_work: Callable[[], AbstractContextManager[Work[Item, Result]]],
        *,
        batch_size: int,
        wait: float,
        capacity: int,
    ) -> None:
        self._batch_size, self._wait, self._capacity = batch_size, wait, capacity
        self._changed = threading.Condition()
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._unanswered: set[_Request[Item, Result]] = set()
        self._size = 0
        self._is_open = True
        self._busy_since: float | None = None
        opened: Future[None] = Future()
        # A daemon, so that an item that is never done with cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, args=(open_work, opened), daemon=True)
        self._thread.start()
        opened.result()

    def __len__(self) -> int:
        return self._size

    @property
    def is_open(self) -> bool:
        """Whether more is taken."""
        return self._is_open

    @property
    def is_done(self) -> bool:
        """Whether nothing more is taken, and nothing is left to do."""
        return not self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """Seconds since the batch in work was begun; 0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def submit(self, items: Sequence[Item]) -> Future[list[Result]]:
        """Ask for some work. Any thread may do so.

        items (Sequence[Item]): The items.
        RETURNS (Future[list[Result]]): To be their results, in order; WorkFailed with S1142 when the work fails,
            QueueClosed with S1141 when the queue ends before.
        RAISES (QueueFull): S1140.
        RAISES (QueueClosed): S1141.
        """
        request: _Request[Item, Result] = _Request(items)
        with self._changed:
            if not self._is_open:
                raise QueueClosed(Errors.S1141)
            if self._size + len(request.items) > self._capacity:
                about = {"waiting": self._size, "asked": len(request.items), "capacity": self._capacity}
                raise QueueFull(Errors.S1140.format(**about))
            if not request.items:
                request.add([])
                return request.future
            self._waiting.append(request)
            self._unanswered.add(request)
            self._size += len(request.items)
            self._changed.notify_all()
        request.future.add_done_callback(lambda _: self._forget(request))
        return request.future

    def refuse(self) -> None:
        """Take nothing more; what waits is finished."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, finish what waits, and end the thread.

        timeout (Optional[float]): Seconds after which what is left is given up; None for no limit.
        """
        self.refuse()
        self._thread.join(timeout)
        with self._changed:
            left = list(self._unanswered)
        for request in left:
            request.fail(QueueClosed(Errors.S1141))

    def _run(self, open_work: Callable[[], AbstractContextManager[Work[Item, Result]]], opened: Future[None]) -> None:
        try:
            with open_work() as work:
                opened.set_result(None)
                while (batch := self._gather()) is not None:
                    self._busy_since = time.monotonic()
                    _work_on(batch, work)
                    self._busy_since = None
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def _gather(self) -> list[tuple[_Request[Item, Result], list[Item]]] | None:
        """The next batch, by requests; None when the queue is closed and empty."""
        with self._changed:
            while self._is_open and not self._is_due():
                left = self._waiting[0].arrived + self._wait - time.monotonic() if self._waiting else None
                self._changed.wait(left)
            batch, room = [], self._batch_size
            while self._waiting and room:
                request = self._waiting[0]
                items = request.take(room)
                batch.append((request, items))
                room -= len(items)
                self._size -= len(items)
                if request.taken == len(request.items):
                    self._waiting.popleft()
            return batch or None

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        return self._size >= self._batch_size or time.monotonic() >= self._waiting[0].arrived + self._wait

    def _forget(self, request: _Request[Item, Result]) -> None:
        """Let go of a request that has its answer, or wants none any more."""
        with self._changed:
            self._unanswered.discard(request)
            if request.taken < len(request.items):
                self._waiting.remove(request)
                self._size -= len(request.items) - request.taken
                request.taken = len(request.items)


def _work_on(batch: list[tuple[_Request[Item, Result], list[Item]]], work: Work[Item, Result]) -> None:
    items = [item for _, part in batch for item in part]
    try:
        results = list(work(items))
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} items")
    except BaseException as error:  # whatever it is, the thread goes on with the next batch
        logger.exception("A batch of %d items failed.", len(items))
        for request, _ in batch:
            request.fail(WorkFailed(Errors.S1142.format(reason=first_line(error))))
        return
    start = 0
    for request, part in batch:
        request.add(results[start : start + len(part)])
        start += len(part)
