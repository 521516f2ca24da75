"""The command `samarkand link`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_tools import QUARANTINED, JsonOption, echo_summary, reported


def link_cli(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="JSONL with text and mentions, plain or gz, xz, zst: files, folders, globs, or - for standard input.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Pipeline with an m3_linker.", show_default=False)
    ] = None,
    kb: Annotated[
        Path | None,
        typer.Option(
            help="Knowledge base: in place of the pipeline's, or alone, to link without training.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .jsonl file; standard output by default.")
    ] = None,
    mentions_field: Annotated[str, typer.Option(help="Field with the mentions.")] = "spans",
    text_field: Annotated[str, typer.Option(help="Field with the text.")] = "text",
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Records linked at once.")] = 64,
    limit: Annotated[int | None, typer.Option(help="Stop after this many records.")] = None,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a file that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Link given mentions to the entities of a knowledge base.

    A mention is an object with start and end, in characters, and label if it is known. It gets kb_id, null for NIL;
    candidates, the best first; nil_reason and link_scores. The summary goes to standard error.

    Exit status: 0 all was linked; 1 failed; 2 refused, nothing was changed; 3 done, but some records are in
    OUTPUT.quarantine.jsonl; 130 interrupted.
    """
    with reported("nothing was written"):
        from .given_mentions import load_linker
        from .link_records import REJECTED, link_records

        summary = link_records(
            inputs,
            output,
            load_linker(model, kb),
            mentions_field=mentions_field,
            text_field=text_field,
            batch_size=batch_size,
            limit=limit,
            force=force,
        )
    rejected = "" if output is None else f" in {output}{REJECTED}"
    echo_summary(summary, _in_words(summary, rejected), as_json, err=True)
    if summary["quarantined"]:
        raise typer.Exit(QUARANTINED)


def _in_words(summary: dict[str, Any], rejected: str) -> str:
    lines = [
        f"{summary['records']:,} records, {summary['mentions']:,} mentions, {summary['linked']:,} linked "
        f"in {summary['seconds']:.1f} s"
    ]
    if summary["nil"]:
        lines.append("NIL: " + ", ".join(f"{reason} {count:,}" for reason, count in summary["nil"].items()))
    if summary["quarantined"]:
        reasons = ", ".join(f"{code} {count:,}" for code, count in summary["reasons"].items())
        lines.append(f"{summary['quarantined']:,} records{rejected}: {reasons}")
    return "\n".join(lines)
