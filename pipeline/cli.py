"""The command line. Heavy imports wait until a command needs them, so that `--help` is quick."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import DEFAULT_PIPELINE, __version__
from ..errors import is_first_rank
from .attention_cli import attention_cli, attention_summary_cli
from .cli_tools import (
    OVERRIDES,
    QUARANTINED,
    JsonOption,
    TxtUnit,
    echo_summary,
    on_stderr,
    optional_value,
    reported,
    terminable,
)
from .evaluate_cli import evaluate_encoder_cli
from .evaluate_linker_cli import evaluate_linker_cli
from .index_cli import index_cli, search_cli
from .kb_cli import kb_app
from .link_cli import link_cli
from .report_cli import report_cli
from .serve_cli import serve_cli
from .weak_label_cli import weak_label_cli
from .whiten_cli import whiten_cli

app = typer.Typer(
    name="samarkand",
    help="Multilingual NLP pipelines: entities in Arabic, Chinese, English and mixed text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


class OutputFormat(str, Enum):
    """Values of `--format`."""

    jsonl = "jsonl"
    parquet = "parquet"
    docbin = "docbin"
    conll = "conll"


class Compression(str, Enum):
    """Values of `--compression`."""

    none = "none"
    gz = "gz"
    zst = "zst"


def main() -> None:
    """Entry point of the `samarkand` command."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"samarkand {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


ModelOption = Annotated[str, typer.Option("--model", "-m", help="Bundled pipeline, folder or installed package.")]
GpuOption = Annotated[int, typer.Option("--gpu-id", "-g", help="GPU to use; -1 for the CPU.")]


@app.command("annotate", cls=optional_value("--ray", "local"))
def annotate_cli(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (recursive), globs, or - for standard input. "
            "txt, jsonl, csv, tsv, parquet, spacy (DocBin), plain or gz, xz, zst; folders of `datasets`.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Folder of the output, or its URL: s3://bucket/folder.", show_default=False
        ),
    ],
    model: ModelOption = DEFAULT_PIPELINE,
    output_format: Annotated[OutputFormat, typer.Option("--format", "-f", help="What to write.")] = OutputFormat.jsonl,
    compression: Annotated[
        Compression, typer.Option(help="Of JSONL and CoNLL; the other formats are compressed in themselves.")
    ] = Compression.none,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    txt_unit: Annotated[TxtUnit, typer.Option(help="What a document is in a .txt file.")] = TxtUnit.line,
    spans_key: Annotated[
        str | None, typer.Option(help="Group of doc.spans that CoNLL shows instead of doc.ents.")
    ] = None,
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file with functions the pipeline needs.")
    ] = None,
    n_process: Annotated[
        int,
        typer.Option(
            "--n-process",
            "-n",
            help="Worker processes; -1 for one a core or GPU. 0 works in this process, without protection from "
            "documents that crash it.",
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Work on the Ray cluster at HOST:PORT, or auto for the one that this machine belongs to; without an "
            "address Ray is started here. -n are the workers there, -1 for all that it has room for.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Documents annotated at once.")] = 128,
    shard_size: Annotated[int, typer.Option(help="Records that are finished together.")] = 2000,
    gpu_id: GpuOption = -1,
    limit: Annotated[int | None, typer.Option(help="Stop after this many records.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a batch, or a document alone, may take.")] = 300.0,
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory of a worker process, such as 4GB; by default a share of the machine's.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut short.")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace output that exists.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write events to standard error as JSON.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Annotate a corpus: one output file for each input file, and run.json with the summary.

    A run that was cut short, by whatever it was, goes on with the same command and --resume.

    Exit status: 0 all was annotated; 1 failed, go on with --resume when the cause is mended; 2 refused, nothing was
    changed; 3 done, but some records are in quarantine.jsonl; 130 interrupted (also by SIGTERM), go on with
    --resume.
    """
    with reported("what is finished is kept, go on with --resume"), terminable():
        from .annotate import annotate
        from .store import output_place

        output = output_place(output)
        summary = annotate(
            inputs,
            output,
            model=model,
            output_format=output_format.value,
            compression=compression.value,
            text_field=text_field,
            txt_unit=txt_unit.value,
            spans_key=spans_key,
            code=code,
            n_process=n_process,
            ray=ray,
            batch_size=batch_size,
            shard_size=shard_size,
            gpu_id=gpu_id,
            limit=limit,
            timeout=timeout,
            memory_limit=memory_limit,
            resume=resume,
            force=force,
            progress=True,
            log_json=log_json,
        )
    echo_summary(summary, _in_words(summary, output), as_json)
    if summary["quarantined"]:
        raise typer.Exit(QUARANTINED)


@app.command("demo")
def demo_cli(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of demo.jsonl and demo.html.")] = Path("out"),
    model: ModelOption = DEFAULT_PIPELINE,
) -> None:
    """Annotate the bundled samples, and show the entities as a table and as a page."""
    with reported():
        from .demo import demo

        demo(output, model=model)


@app.command("info")
def info_cli(as_json: JsonOption = False) -> None:
    """Show versions, bundled pipelines and devices."""
    with reported():
        from .info import info

        facts = info()
    echo_summary(facts, _table(facts), as_json)


ConfigArgument = Annotated[Path, typer.Argument(help="TOML file with the recipe.", show_default=False)]


@app.command("prepare-text", context_settings=OVERRIDES)
def prepare_text_cli(
    context: typer.Context,
    config: ConfigArgument,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a folder that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Clean raw text, train a vocabulary, and write the text as word-pieces for train-encoder.

    Any setting of the recipe can be given after it: --vocabulary.size 16000.
    """
    with reported("nothing was written"):
        from ..corpora.prepare_text import describe, prepare_text

        report = prepare_text(config, context.args, force=force)
    echo_summary(report, describe(report), as_json)


@app.command("prepare-pairs", context_settings=OVERRIDES)
def prepare_pairs_cli(
    context: typer.Context,
    config: ConfigArgument,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a folder that exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Gather sentences with their translations, and write them with a vocabulary for train-encoder.

    Any setting of the recipe can be given after it: --longest 200.
    """
    with reported("nothing was written"):
        from ..corpora.prepare_pairs import describe, prepare_pairs

        report = prepare_pairs(config, context.args, force=force)
    echo_summary(report, describe(report), as_json)


@app.command("train-encoder", context_settings=OVERRIDES)
def train_encoder_cli(
    context: typer.Context,
    config: ConfigArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an encoder on one device or under torchrun: by masked words, or an objective for sentences.

    The recipe says which: objective = "masked-lm" (prepared text), "mirror" (raw text), "contrastive" or "distill"
    (prepared pairs). Any setting of it can be given after it: --objective mirror --schedule.steps 1000.
    """
    with reported("go on with --resume"):
        from ..models.train_encoder import describe, train_encoder

        row = train_encoder(config, context.args, resume=resume, report=on_stderr(describe))
    if is_first_rank():
        echo_summary(row, f"the encoder is in {row['encoder']}", as_json)


app.command("report")(report_cli)
app.command("attention")(attention_cli)
app.command("attention-summary")(attention_summary_cli)
app.command("whiten")(whiten_cli)
app.command("index")(index_cli)
app.command("search")(search_cli)
app.command("evaluate-encoder")(evaluate_encoder_cli)
app.command("link")(link_cli)
app.command("serve")(serve_cli)
app.command("evaluate-linker")(evaluate_linker_cli)
app.command("weak-label", context_settings=OVERRIDES)(weak_label_cli)
app.add_typer(kb_app, name="kb")


def _in_words(summary: dict[str, Any], output: str) -> str:
    pace = f"{summary['tokens'] / summary['seconds'] if summary['seconds'] else 0:,.0f} tokens/s"
    if summary["resumed_records"]:
        # The seconds are those of the rest alone.
        pace = f"{summary['resumed_records']:,} of {summary['records']:,} records were done before"
    lines = [
        f"{summary['documents']:,} documents, {summary['tokens']:,} tokens, {summary['entities']:,} entities, "
        f"{summary['spans']:,} spans in {summary['seconds']:.1f} s ({pace}; "
        f"loading took {summary['loading_seconds']:.1f} s)"
    ]
    if summary["quarantined"]:
        reasons = ", ".join(f"{code} {count:,}" for code, count in summary["reasons"].items())
        lines.append(f"{summary['quarantined']:,} records in {output}/quarantine.jsonl: {reasons}")
    lines.append(f"{len(summary['files']):,} files in {output}")
    return "\n".join(lines)


def _table(facts: dict[str, Any]) -> str:
    lines = []
    for group, entries in facts.items():
        lines.append(group)
        lines += [f"  {name:24} {value}" for name, value in entries.items()] or ["  none"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
