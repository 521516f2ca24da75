"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .records import Rejected

SIZES = tuple(2**power for power in range(11))
# The code of what the items of a batch get that failed as a whole.
FAILED = "S1142"


class ServeMetrics:
    """The counts of one server. Any thread may add to them."""

    def __init__(self) -> None:
        # One of its own: the library's would be shared by all servers of a process.
        self._registry = CollectorRegistry()
        about = {"registry": self._registry, "namespace": "samarkand"}
        self._requests = Counter("requests", "Requests that were answered.", ["path", "status"], **about)
        self._seconds = Histogram("request_seconds", "Seconds from the head to the answer.", ["path"], **about)
        self._items = Counter("items", "Texts and queries that were worked on.", ["queue", "outcome"], **about)
        self._batches = Histogram("batch_items", "Items of a batch.", ["queue"], buckets=SIZES, **about)
        self._waiting = Gauge("waiting_items", "Items that wait in a queue.", ["queue"], **about)

    def watch(self, queue: str, waiting: Callable[[], int]) -> None:
        """Show how many items wait.

        queue (str): Name of the queue.
        waiting (Callable): Counts them.
        """
        self._waiting.labels(queue).set_function(waiting)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        path (str): One of few.
        status (int): Of HTTP.
        seconds (float): What it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_batch(self, queue: str, outcomes: Sequence[object]) -> None:
        """Count a batch.

        queue (str): Name of the queue.
        outcomes (Sequence): Of its items.
        """
        codes = (outcome.code if isinstance(outcome, Rejected) else "done" for outcome in outcomes)
        self._count_items(queue, Tally(codes))

    def count_failure(self, queue: str, items: int) -> None:
        """Count a batch that failed as a whole.

        queue (str): Name of the queue.
        items (int): How many it had.
        """
        self._count_items(queue, Tally({FAILED: items}))

    def _count_items(self, queue: str, tally: Tally[str]) -> None:
        self._batches.labels(queue).observe(tally.total())
        for outcome, count in tally.items():
            self._items.labels(queue, outcome).inc(count)

    def text(self) -> bytes:
        """RETURNS (bytes): All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
