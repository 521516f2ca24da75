"""The commands `samarkand attention` and `samarkand attention-summary`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, cast

import typer

from .. import DEFAULT_ENCODER
from .cli_tools import JsonOption, TxtUnit, echo_summary, reported

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Hub name, folder or bundled name of a transformers encoder.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The page.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
ForceOption = Annotated[bool, typer.Option("--force", "-F", help="Replace a page that exists.")]


class Measure(str, Enum):
    """Values of `--measure`."""

    received = "received"
    influence = "influence"
    diagonal = "diagonal"
    spread = "spread"


def attention_cli(
    text: Annotated[str | None, typer.Argument(help="The text; left out with --from.", show_default=False)] = None,
    model: ModelOption = DEFAULT_ENCODER,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page, or a .json file that --from and AttViz read.")
    ] = Path("attention.html"),
    revision: RevisionOption = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="JSON of this command or of AttViz to show, instead of a text.")
    ] = None,
    document: Annotated[int, typer.Option(help="Which document of the JSON, from 1.")] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a page of where an encoder looks while it reads a text: every layer and head, and aggregates of heads.

    The page opens from disk in any browser and loads nothing.

    Exit status: 0 the page was written; 1 failed; 2 refused, nothing was changed; 130 interrupted.
    """
    with reported("nothing was written"):
        from .attention_page import convert_attention, show_attention
        from .option_checks import Check, check_options

        check_options(text=Check(text, (text is None) != (source is None), "given, or --from, and not both"))
        if source is not None:
            summary = convert_attention(source, output, document=document, force=force)
        else:
            summary = show_attention(cast("str", text), output, model=model, revision=revision, force=force)
    words = (
        f"{summary['page']}: {summary['layers']} layers, {summary['heads']} heads, {summary['words']} words, "
        f"{summary['pieces']} pieces in {summary['windows']} windows"
    )
    echo_summary(summary, words, as_json)


def attention_summary_cli(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, or - for standard input, as of annotate.", show_default=False),
    ],
    model: ModelOption = DEFAULT_ENCODER,
    output: OutputOption = Path("attention_summary.html"),
    revision: RevisionOption = None,
    measure: Annotated[Measure, typer.Option(help="What is told of a word.")] = Measure.received,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    txt_unit: Annotated[TxtUnit, typer.Option(help="What a document is in a .txt file.")] = TxtUnit.line,
    limit: Annotated[int, typer.Option(help="Stop after this many records.")] = 1000,
    top: Annotated[int, typer.Option(help="Words that are listed, of each head and of all.")] = 25,
    min_count: Annotated[int, typer.Option(help="Words that occur less often are not listed.")] = 5,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a page of where an encoder looks over a corpus: words by head, labels of mentions, heads that do alike.

    The page opens from disk in any browser and loads nothing.

    Exit status: 0 the page was written; 1 failed; 2 refused, nothing was changed; 130 interrupted.
    """
    with reported("nothing was written"):
        from .attention_summary import summarize_attention

        summary = summarize_attention(
            inputs,
            output,
            model=model,
            revision=revision,
            measure=measure.value,
            text_field=text_field,
            txt_unit=txt_unit.value,
            limit=limit,
            top=top,
            min_count=min_count,
            force=force,
        )
    words = (
        f"{summary['page']}: {summary['documents']:,} documents, {summary['words']:,} words, {summary['different']:,} "
        f"different, {summary['rejected']:,} records rejected"
    )
    echo_summary(summary, words, as_json)
