"""The command `samarkand weak-label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_tools import JsonOption, echo_summary, reported


def weak_label_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Config with a section [weak_labels].", show_default=False)],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", "-i", help="JSONL with texts: file, folder or glob (may be repeated).", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl file.", show_default=False)],
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file with functions that the config names.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a file that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Label texts by rules: labelling functions vote, and a label model turns votes into probabilities.

    The output is what samarkand.CatsCorpus.v1 trains on; OUTPUT.summary.json says what each function is worth. Any
    setting of the config can be given after it: --weak_labels.min_confidence 0.8.
    """
    with reported("nothing was written"):
        from ..corpora.weak_labels import describe, weak_label

        summary = weak_label(config, inputs, output, context.args, code=code, force=force)
    echo_summary(summary, describe(summary), as_json)
