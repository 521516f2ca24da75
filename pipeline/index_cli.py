"""The commands `samarkand index` and `samarkand search`."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import DEFAULT_ENCODER
from .cli_tools import QUARANTINED, JsonOption, TxtUnit, echo_summary, reported

# Characters of a neighbour's text that are shown.
SHOWN = 160


class Unit(str, Enum):
    """Values of `--unit`."""

    document = "document"
    sentence = "sentence"


class Metric(str, Enum):
    """Values of `--metric`."""

    cosine = "cosine"
    ip = "ip"


def index_cli(
    corpus: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (recursive), globs, or - for standard input, as `samarkand annotate` reads them.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Pipeline with a sentence_encoder, or model of sentence-transformers: name or folder.",
        ),
    ] = DEFAULT_ENCODER,
    unit: Annotated[Unit, typer.Option(help="What an entry of the index is.")] = Unit.document,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    id_field: Annotated[
        str | None, typer.Option(help="Field or column that holds the id; the file and record number without.")
    ] = None,
    txt_unit: Annotated[TxtUnit, typer.Option(help="What a record is in a .txt file.")] = TxtUnit.line,
    factory: Annotated[str, typer.Option(help="auto, or a string for faiss.index_factory.")] = "auto",
    metric: Annotated[Metric, typer.Option(help="Cosine, or ip for the inner product.")] = Metric.cosine,
    memory: Annotated[str | None, typer.Option(help="What auto may take, such as 4GB; half the machine's.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Records committed at once.")] = 256,
    limit: Annotated[int | None, typer.Option(help="Stop after this many records.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to the index; ids that are in it are passed over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Encode a corpus into a search index. A run that was killed is repeated with --add and goes on where it was.

    Exit status: 0 all is in the index; 1 failed; 2 refused, nothing was changed; 3 done, but some records are in
    quarantine.jsonl; 130 interrupted.
    """
    with reported("what was added is kept; go on with --add"):
        from .index_corpus import index_corpus

        summary = index_corpus(
            corpus,
            output,
            model=model,
            add=add,
            metric=metric.value,
            factory=factory,
            memory=memory,
            unit=unit.value,
            text_field=text_field,
            txt_unit=txt_unit.value,
            id_field=id_field,
            batch_size=batch_size,
            limit=limit,
            progress=True,
        )
    echo_summary(summary, _in_words(summary, output), as_json)
    if summary["quarantined"]:
        raise typer.Exit(QUARANTINED)


def search_cli(
    index: Annotated[Path, typer.Argument(help="Folder of the index.", show_default=False)],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to look for.", show_default=False)] = None,
    queries: Annotated[Path | None, typer.Option(help="File of more texts.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours of each text.")] = 10,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--filter", help="Condition on metadata, such as lang=ar or year>=2020; may be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The encoder; that of the index by default.")
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field or column of --queries that holds the text.")] = "text",
    verify: Annotated[bool, typer.Option("--verify", help="Compare all files with their checksums first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the records of an index that are nearest to texts, in whatever languages. With --json one line a text."""
    with reported("nothing was changed"):
        from .search_corpus import search_corpus

        found = search_corpus(
            index,
            texts or (),
            queries=queries,
            k=k,
            conditions=conditions or (),
            model=model,
            text_field=text_field,
            verify=verify,
        )
        for answer in found:
            typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else _shown(answer))


def _in_words(summary: dict[str, Any], output: Path) -> str:
    rate = summary["added"] / summary["seconds"] if summary["seconds"] else 0
    lines = [
        f"{summary['added']:,} records added in {summary['seconds']:.1f} s ({rate:,.0f} a second), "
        f"{summary['skipped']:,} were there; {summary['records']:,} in {output} ({summary['factory']})"
    ]
    if summary["quarantined"]:
        reasons = ", ".join(f"{code} {count:,}" for code, count in summary["reasons"].items())
        lines.append(f"{summary['quarantined']:,} records in {output / 'quarantine.jsonl'}: {reasons}")
    return "\n".join(lines)


def _shown(answer: dict[str, Any]) -> str:
    lines = [answer["text"]]
    for hit in answer["neighbours"]:
        text = " ".join((hit["text"] or "").split())
        short = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        lines.append(f"  {hit['score']:.3f}  {hit['id']}  {short}")
    return "\n".join(lines)
