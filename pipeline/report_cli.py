"""The command `samarkand report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_tools import JsonOption, echo_summary, reported


def report_cli(
    folder: Annotated[
        Path, typer.Argument(help="Output folder of samarkand annotate, JSONL or Parquet.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; report.html in the folder by default.", show_default=False),
    ] = None,
    documents: Annotated[int, typer.Option(help="Documents that the page carries at most, a fair sample.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a page that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make one page of an annotated corpus: counts, documents with entities and links, and the quarantine.

    The page opens from disk in any browser and loads nothing. Counts are over the whole corpus.

    Exit status: 0 the page was written; 1 failed; 2 refused, nothing was changed; 130 interrupted.
    """
    with reported("nothing was written"):
        from .corpus_report import report

        summary = report(folder, output, documents=documents, seed=seed, force=force)
    words = (
        f"{summary['page']}: {summary['carried']:,} of {summary['documents']:,} documents, "
        f"{summary['quarantined']:,} records in quarantine"
    )
    echo_summary(summary, words, as_json)
