"""What a person or a program sees of a run while it goes on: a bar on a terminal, or events as lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from .counts import Counts

if TYPE_CHECKING:
    from rich.console import Console

# Seconds between two lines that say how far a run is.
INTERVAL = 5.0


class Progress:
    """Keeps count of a run, and shows it on standard error.

    show (bool): Show a bar, when that is a terminal.
    log (bool): Write events as lines of JSON instead.
    console (Console | None): Where to show the bar, standard error by default.
    stream (IO[str] | None): Where to write events, standard error by default.
    """

    def __init__(
        self, *, show: bool, log: bool = False, console: Console | None = None, stream: IO[str] | None = None
    ) -> None:
        self._show, self._log = show and not log, log
        self._console, self._stream = console, stream
        self._bar: Any = None
        self._task: Any = None
        self._began = self._said = time.monotonic()
        self._total = self._before = self._tokens_before = 0
        self.counts = Counts()

    def __enter__(self) -> Progress:
        if not self._show:
            return self
        from rich import progress
        from rich.console import Console

        console = self._console or Console(stderr=True)
        numbers = "{task.fields[documents]:,} documents  {task.fields[rate]:,.0f} tokens/s  "
        columns = (
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=20),
            progress.TextColumn(numbers + "{task.fields[quarantined]:,} quarantined"),
            progress.TextColumn("{task.fields[left]}"),
        )
        self._bar = progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._bar.start()
        self._task = self._bar.add_task("loading", total=None, documents=0, rate=0.0, quarantined=0, left="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, total: int, done: Counts) -> None:
        """The work begins.

        total (int): Records of the input.
        done (Counts): What an earlier run has done.
        """
        self._began, self._total, self._before, self.counts = time.monotonic(), total, done.records, done
        self._tokens_before = done.tokens
        self.tell("begin", records=total, done=done.records)
        self._draw("annotating")

    def tell(self, event: str, **facts: Any) -> None:
        """Something has happened.

        event (str): What; "progress" has the `counts` of some records, with `undone` when these are to be done again.
        facts: Numbers and names that belong to it.
        """
        if event != "progress":
            self._write({"event": event, **facts})
            if event == "merge":
                self._draw("writing")
            return
        counts: Counts = facts["counts"]
        self.counts = self.counts + (_negative(counts) if facts.get("undone") else counts)
        self._draw("annotating")
        if time.monotonic() - self._said >= INTERVAL:
            self._said = time.monotonic()
            self._write({"event": "progress", "records": self._total, **self.counts.as_dict(), **self._pace()})

    def _pace(self) -> dict[str, float | None]:
        seconds = max(1e-9, time.monotonic() - self._began)
        done = self.counts.records - self._before
        left = (self._total - self.counts.records) * seconds / done if done > 0 else None
        tokens = max(0, self.counts.tokens - self._tokens_before)
        return {
            "seconds": round(seconds, 1),
            "tokens_per_second": round(tokens / seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }

    def _draw(self, what: str) -> None:
        if self._bar is None:
            return
        pace = self._pace()
        # How long it takes to write the files is not known.
        known = pace["seconds_left"] is not None and self.counts.records < self._total
        left = f"{_clock(pace['seconds_left'])} left" if known else ""
        self._bar.update(
            self._task,
            description=what,
            total=self._total,
            completed=self.counts.records,
            documents=self.counts.documents,
            rate=pace["tokens_per_second"],
            quarantined=self.counts.rejected.total(),
            left=left,
        )

    def _write(self, entry: dict[str, Any]) -> None:
        if self._log:
            line = json.dumps({"time": round(time.time(), 3), **entry}, ensure_ascii=False)
            # Whoever reads the log may have gone, or its disk may be full: the run goes on.
            with suppress(OSError):
                print(line, file=self._stream or sys.stderr, flush=True)


def _negative(counts: Counts) -> Counts:
    values = {name: -value for name, value in vars(counts).items() if name != "rejected"}
    rejected = counts.rejected.copy()
    rejected.clear()
    rejected.subtract(counts.rejected)
    return Counts(**values, rejected=rejected)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
