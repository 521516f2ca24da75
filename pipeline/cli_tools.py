"""What every command shares: options, exit statuses, and errors told in one line."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any

import typer

from ..errors import SamarkandWarning, is_coded, is_expected, spoken

FAILED = 1
USAGE = 2
QUARANTINED = 3
INTERRUPTED = 130


class TxtUnit(str, Enum):
    """Values of `--txt-unit`."""

    line = "line"
    file = "file"


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def is_first_rank() -> bool:
    """Whether this process speaks for all that torchrun started: each of them meets the same errors.

    RETURNS (bool): Whether it does; true outside torchrun.
    """
    return os.environ.get("RANK", "0") == "0"


def on_stderr(describe: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], None]:
    """A reporter that prints rows on standard error.

    describe (Callable[[dict[str, Any]], str]): Puts a row into words.
    RETURNS (Callable[[dict[str, Any]], None]): The reporter.
    """
    return lambda row: typer.echo(describe(row), err=True)


@contextmanager
def reported(interrupted: str = "files that were complete are kept, see run.json") -> Iterator[None]:
    """Give errors and warnings one line on standard error, and the exit status that belongs to them.

    interrupted (str): What an interrupted command leaves.
    YIELDS (None)
    """
    from .sources import UsageError

    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_short(message: Any, category: type[Warning], *place: Any) -> None:
            if issubclass(category, SamarkandWarning):
                typer.echo(f"warning: {message}", err=True)
            else:
                show(message, category, *place)

        warnings.showwarning = show_short
        try:
            yield
        except UsageError as error:
            _fail(error, USAGE)
        except (OSError, ValueError, RuntimeError) as error:
            if not is_expected(error):
                raise
            _fail(error, FAILED)
        except KeyboardInterrupt:
            typer.echo(f"interrupted: {interrupted}", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _fail(error: Exception, status: int) -> None:
    if is_first_rank() or not is_coded(error):
        typer.echo(f"error: {spoken(error)}", err=True)
    raise typer.Exit(status) from None
