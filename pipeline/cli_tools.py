"""What every command shares: options, exit statuses, and errors told in one line."""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..errors import SamarkandWarning, is_first_rank, tell

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


def on_stderr(describe: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], None]:
    """A reporter that prints rows on standard error.

    describe (Callable[[dict[str, Any]], str]): Puts a row into words.
    RETURNS (Callable[[dict[str, Any]], None]): The reporter.
    """
    return lambda row: typer.echo(describe(row), err=True)


def echo_summary(summary: dict[str, Any], words: str, as_json: bool, *, err: bool = False) -> None:
    """Say what a command did.

    summary (dict): What it did.
    words (str): The same in words.
    as_json (bool): Whether JSON was asked for.
    err (bool): Say it on standard error.
    """
    typer.echo(json.dumps(summary, ensure_ascii=False) if as_json else words, err=err)


def optional_value(option: str, value: str) -> type[TyperCommand]:
    """A command with an option that may stand alone, which typer does not know.

    option (str): Its name.
    value (str): What it means at the end, or before another option.
    RETURNS (type[TyperCommand]): The class of the command.
    """

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            end = args.index("--") if "--" in args else len(args)
            given = [
                f"{option}={value}" if arg == option and following.startswith("-") else arg
                for arg, following in zip(args[:end], [*args[1:end], "-"])
            ]
            return super().parse_args(ctx, given + args[end:])

    return Command


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, by which schedulers end what they have started, end a block as Ctrl-C does.

    YIELDS (None)
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            tell(error)
            raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None
        except KeyboardInterrupt:
            if is_first_rank():
                typer.echo(f"interrupted: {interrupted}", err=True)
            raise typer.Exit(INTERRUPTED) from None
