"""The command `samarkand attention`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .cli_tools import JsonOption, reported


def attention_cli(
    text: Annotated[str, typer.Argument(help="The text.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Hub name or folder of a transformers encoder; none is bundled.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("attention.html"),
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a page that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a page of where an encoder looks while it reads a text: every layer and head, and aggregates of heads.

    The page opens from disk in any browser and loads nothing.

    Exit status: 0 the page was written; 1 failed; 2 refused, nothing was changed; 130 interrupted.
    """
    with reported("nothing was written"):
        from .attention_page import show_attention

        summary = show_attention(text, output, model=model, revision=revision, force=force)
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    typer.echo(
        f"{summary['page']}: {summary['layers']} layers, {summary['heads']} heads, {summary['words']} words, "
        f"{summary['pieces']} pieces"
    )
