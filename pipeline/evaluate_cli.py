"""The command `samarkand evaluate-encoder`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_tools import JsonOption, reported

if TYPE_CHECKING:
    from ..models.sentence_model import SentenceModel


def evaluate_encoder_cli(
    model: Annotated[
        str,
        typer.Argument(
            help="Pipeline with a sentence_encoder, or model of sentence-transformers: name or folder.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the corpora; SAMARKAND_DATA by default.", show_default=False)
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            help="Set or family, such as stsb-multi/zh, tatoeba-laser, mpts, tico19, or samples for the built-in "
            "sentences; may be repeated. All at hand by default.",
        ),
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="mean, cls, weighted or first-last, not the model's own.")] = None,
    limit: Annotated[int | None, typer.Option(help="Pairs taken of each set.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Sentences encoded at once.")] = 64,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results.json and results.svg.")] = Path(
        "evaluation"
    ),
    as_json: JsonOption = False,
) -> None:
    """Judge a sentence encoder by similarity, retrieval and mining of translations, perspectives and isotropy.

    Needs the corpora, but for --set samples. Figures are in percent on the screen, and from 0 to 1 in results.json.
    """
    with reported("nothing was written"):
        from .evaluate_encoder import evaluate_encoder
        from .evaluation_report import result_tables, write_results
        from .evaluation_sets import load_sets
        from .option_checks import check_folder

        check_folder(output)
        chosen = load_sets(data or os.environ.get("SAMARKAND_DATA") or None, sets)
        encoder = _load(model, pooling)
        found = evaluate_encoder(encoder, chosen, limit=limit, batch_size=batch_size, progress=True)
        results = {"encoder": model, "pooling": pooling, **found}
        files = write_results(results, output)
        if as_json:
            typer.echo(json.dumps(results, ensure_ascii=False))
            return
        from rich.console import Console

        console = Console()
        for table in result_tables(results):
            console.print(table)
        rate = results["sentences"] / results["seconds"] if results["seconds"] else 0
        typer.echo(f"{results['sentences']:,} sentences in {results['seconds']:.1f} s ({rate:,.0f} a second)")
        typer.echo("\n".join(str(path) for path in files))


def _load(model: str, pooling: str | None) -> SentenceModel:
    from ..models.sentence_model import load_sentence_model
    from .sentence_models import load_encoder

    return load_encoder(model) if pooling is None else load_sentence_model(model, pooling=pooling)
