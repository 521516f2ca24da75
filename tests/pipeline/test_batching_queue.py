"""Batches of many callers: each request gets its own results in order, whatever happens to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.pipeline.batching_queue import BatchingQueue, QueueClosed, QueueFull, WorkFailed

SECONDS = 10  # longest wait of a test that goes well
PLUG = 10**6


def double(items: list[int]) -> list[int]:
    if any(item < 0 for item in items):
        raise ValueError("negative")
    return [2 * item for item in items]


@contextmanager
def queue_of(
    work: Callable, *, batch_size: int = 4, wait: float = 0.0, capacity: int = 1000
) -> Iterator[BatchingQueue[int, int]]:
    queue: BatchingQueue[int, int] = BatchingQueue(
        lambda: nullcontext(work), batch_size=batch_size, wait=wait, capacity=capacity
    )
    try:
        yield queue
    finally:
        queue.close(SECONDS)


class Gated:
    """Work that notes its batches, and waits at the item PLUG until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        if PLUG in items:
            self.reached.set()
            assert self.open.wait(SECONDS)
        else:
            self.batches.append(items)
        return double(items)

    def plug(self, queue: BatchingQueue[int, int]) -> Future[list[int]]:
        """Keep the thread busy until `open` is set."""
        future = queue.submit([PLUG])
        assert self.reached.wait(SECONDS)
        return future


def outcome(future: Future[list[int]]) -> list[int] | type[BaseException]:
    try:
        return future.result(SECONDS)
    except (CancelledError, WorkFailed, QueueClosed) as error:
        return type(error)


REQUESTS = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=8)


@settings(max_examples=40, deadline=None)
@given(REQUESTS, st.integers(1, 5), st.sampled_from([0.0, 0.001]), st.integers(1, 4))
def test_every_request_gets_its_own_results_whoever_asks_meanwhile(requests, batch_size, wait, callers):
    with queue_of(double, batch_size=batch_size, wait=wait) as queue, ThreadPoolExecutor(callers) as pool:
        results = pool.map(lambda request: queue.submit(request).result(SECONDS), requests)
        assert list(results) == [[2 * item for item in request] for request in requests]
        assert len(queue) == 0


def simulate(requests: list[list[int]], cancelled: set[int], batch_size: int) -> tuple[list[list[int]], list]:
    """What a queue should do with requests that came before it began: slow and obvious."""
    outcomes: list = [[2 * item for item in request] for request in requests]
    for number in cancelled:
        if requests[number]:  # an empty one was answered at once
            outcomes[number] = CancelledError
    line = [(n, item) for n, request in enumerate(requests) for item in request if n not in cancelled]
    batches = []
    while line:
        batch, line = line[:batch_size], line[batch_size:]
        batches.append([item for _, item in batch])
        if min(batches[-1]) < 0:
            failed = {n for n, _ in batch}
            line = [(n, item) for n, item in line if n not in failed]
            for n in failed:
                outcomes[n] = WorkFailed
    return batches, outcomes


@settings(max_examples=80, deadline=None)
@given(st.data(), st.lists(st.lists(st.integers(-1, 9), max_size=6), max_size=6), st.integers(1, 5))
def test_batches_are_cut_in_order_without_what_was_cancelled_or_has_failed(data, requests, batch_size):
    cancelled = data.draw(st.sets(st.sampled_from(range(len(requests))))) if requests else set()
    work = Gated()
    with queue_of(work, batch_size=batch_size) as queue:
        work.plug(queue)
        futures = [queue.submit(request) for request in requests]
        for number in cancelled:
            futures[number].cancel()
        waiting = sum(len(request) for n, request in enumerate(requests) if n not in cancelled)
        assert len(queue) == waiting
        work.open.set()
        outcomes = [outcome(future) for future in futures]
        queue.close(SECONDS)
    assert (work.batches, outcomes) == simulate(requests, cancelled, batch_size)
    assert len(queue) == 0


def test_a_batch_that_is_full_does_not_wait():
    work = Gated()
    with queue_of(work, batch_size=3, wait=SECONDS) as queue:
        futures = [queue.submit([number]) for number in range(3)]
        assert [outcome(future) for future in futures] == [[0], [2], [4]]
    assert work.batches == [[0, 1, 2]]


def test_a_lonely_request_waits_for_company_and_no_longer():
    with queue_of(double, wait=0.05) as queue:
        began = time.monotonic()
        assert outcome(queue.submit([1])) == [2]
        assert time.monotonic() - began >= 0.05


def test_what_does_not_fit_is_refused_and_room_comes_back():
    work = Gated()
    with queue_of(work, capacity=3) as queue:
        work.plug(queue)
        first = queue.submit([1, 2])
        with pytest.raises(QueueFull, match=r"S1140.*2 texts wait, and 2 more.*queue of 3"):
            queue.submit([3, 4])
        first.cancel()
        second = queue.submit([3, 4])
        work.open.set()
        assert outcome(second) == [6, 8]
    assert work.batches == [[3, 4]]


def test_a_request_partly_taken_leaves_when_it_is_cancelled():
    work = Gated()
    with queue_of(work, batch_size=2, capacity=4) as queue:
        parted = queue.submit([PLUG, 1, 2, 3])
        assert work.reached.wait(SECONDS)
        assert len(queue) == 2
        assert parted.cancel()
        assert len(queue) == 0
        others = [queue.submit([number, number]) for number in (4, 5)]
        work.open.set()
        assert [outcome(future) for future in others] == [[8, 8], [10, 10]]
    assert work.batches == [[4, 4], [5, 5]]


def test_a_queue_is_done_when_it_is_closed_and_nothing_is_left():
    work = Gated()
    with queue_of(work) as queue:
        plug = work.plug(queue)
        queue.refuse()
        assert not queue.is_done
        work.open.set()
        assert outcome(plug)
        queue.close(SECONDS)
        assert queue.is_done


def test_closing_finishes_what_waits_and_takes_nothing_more():
    work = Gated()
    with queue_of(work) as queue:
        plug = work.plug(queue)
        waiting = [queue.submit([number] * 3) for number in range(4)]
        queue.refuse()
        assert not queue.is_open
        for items in ([1], []):
            with pytest.raises(QueueClosed, match="S1141"):
                queue.submit(items)
        work.open.set()
        queue.close(SECONDS)
        assert plug.done()
        assert [outcome(future) for future in waiting] == [[0] * 3, [2] * 3, [4] * 3, [6] * 3]


def test_closing_in_vain_leaves_nobody_waiting():
    work = Gated()
    with queue_of(work) as queue:
        futures = [work.plug(queue), queue.submit([1])]
        queue.close(0.01)
        assert [outcome(future) for future in futures] == [QueueClosed, QueueClosed]
        work.open.set()
    assert work.batches == []


@pytest.mark.parametrize("error", [ValueError("odd\nthing"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_the_work_raises_the_thread_goes_on(error):
    def work(items: list[int]) -> list[int]:
        if items == [0]:
            raise error
        return double(items)

    with queue_of(work) as queue:
        with pytest.raises(WorkFailed, match=rf"S1142.*{type(error).__name__}"):
            queue.submit([0]).result(SECONDS)
        assert outcome(queue.submit([1])) == [2]


def test_results_that_are_missing_are_no_results():
    with queue_of(lambda items: items[1:]) as queue, pytest.raises(WorkFailed, match="1 results for 2 items"):
        queue.submit([1, 2]).result(SECONDS)


def test_work_is_opened_used_and_closed_in_one_thread():
    threads = []

    @contextmanager
    def open_work() -> Iterator[Callable[[list[int]], list[int]]]:
        threads.append(threading.current_thread())
        yield lambda items: [threads.append(threading.current_thread()) or item for item in items]
        threads.append(threading.current_thread())

    queue = BatchingQueue(open_work, batch_size=4, wait=0, capacity=9)
    assert outcome(queue.submit([5])) == [5]
    queue.close(SECONDS)
    assert len(threads) == 3
    assert len({thread.ident for thread in threads}) == 1
    assert threads[0] is not threading.main_thread()


def test_what_cannot_be_opened_is_told_at_once():
    @contextmanager
    def open_work() -> Iterator[Callable[[list[int]], list[int]]]:
        raise OSError("no such pipeline")
        yield double

    with pytest.raises(OSError, match="no such pipeline"):
        BatchingQueue(open_work, batch_size=4, wait=0, capacity=9)


def test_busy_seconds_are_those_of_the_batch_in_work():
    work = Gated()
    with queue_of(work) as queue:
        assert queue.busy_seconds == 0
        plug = work.plug(queue)
        time.sleep(0.02)
        assert 0.02 <= queue.busy_seconds < SECONDS
        work.open.set()
        assert outcome(plug)
        queue.close(SECONDS)
        assert queue.busy_seconds == 0
