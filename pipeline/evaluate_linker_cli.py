"""The command `samarkand evaluate-linker`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from .cli_tools import JsonOption, reported


def evaluate_linker_cli(
    model: Annotated[
        str, typer.Argument(help="Pipeline with an m3_linker, or a knowledge base (.kb) alone.", show_default=False)
    ],
    kb: Annotated[
        Path | None, typer.Option(help="Knowledge base in place of the pipeline's.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the corpora; SAMARKAND_DATA by default.", show_default=False)
    ] = None,
    silver: Annotated[
        Path | None,
        typer.Option(help="Folder of a corpus that corpora.silver_recipe wrote, for its test splits."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            help="Set or family, such as tweeki-gold, wiki-fair, silver/ar; or a .jsonl file of your own. May be "
            "repeated; all at hand by default.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Documents taken of each set.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Documents linked at once.")] = 64,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the results.")] = Path(
        "evaluation/linking.json"
    ),
    as_json: JsonOption = False,
) -> None:
    """Judge a linker on texts whose mentions are given and linked.

    A gold entity that the knowledge base does not hold counts as NIL, and under "outside". Figures are in percent on
    the screen, and from 0 to 1 in the file.
    """
    with reported("nothing was written"):
        from .given_mentions import load_linker
        from .linking_evaluation import evaluate_linker, load_linking_sets
        from .linking_report import linking_tables, write_linking_results

        chosen = load_linking_sets(data or os.environ.get("SAMARKAND_DATA") or None, sets, silver)
        is_kb = Path(model).is_file()
        nlp = load_linker(None if is_kb else model, kb or (model if is_kb else None))
        results = {"linker": model, **evaluate_linker(nlp, chosen, limit=limit, batch_size=batch_size)}
        write_linking_results(results, output)
        if as_json:
            typer.echo(json.dumps(results, ensure_ascii=False))
            return
        from rich.console import Console

        console = Console()
        for table in linking_tables(results):
            console.print(table)
        rate = results["mentions"] / results["seconds"] if results["seconds"] else 0
        typer.echo(f"{results['mentions']:,} mentions in {results['seconds']:.1f} s ({rate:,.0f} a second)\n{output}")
