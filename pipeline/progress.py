"""What a person sees while documents are annotated: counts and rate, on a terminal only."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class ProgressBar:
    """Documents, tokens and tokens a second on standard error; silent where that is not a terminal.

    show (bool): Whether to show it at all.
    console (Console | None): Where to show it, standard error by default.
    """

    def __init__(self, *, show: bool, console: Console | None = None) -> None:
        self._show = show
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> ProgressBar:
        if not self._show:
            return self
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = self._console or Console(stderr=True)
        numbers = "{task.fields[documents]:,} documents  {task.fields[tokens]:,} tokens  {task.fields[rate]:,.0f}/s"
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TextColumn(numbers))
        self._bar = Progress(
            *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
        )
        self._bar.start()
        self._task = self._bar.add_task("loading", total=None, documents=0, tokens=0, rate=0.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, name: str, documents: int, tokens: int, seconds: float) -> None:
        """Show how far the run is.

        name (str): What is being annotated.
        documents (int): Documents so far.
        tokens (int): Tokens so far.
        seconds (float): Time so far, without loading.
        """
        if self._bar is not None:
            rate = tokens / seconds if seconds else 0.0
            self._bar.update(self._task, description=name, documents=documents, tokens=tokens, rate=rate)
