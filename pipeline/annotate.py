"""Annotating corpora: every record of the input is annotated, or accounted for with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import DEFAULT_PIPELINE
from ..errors import Errors
from .loading import PipelineSpec
from .option_checks import TXT_UNITS, Check, at_least_one, check_options, one_of
from .progress import ProgressBar
from .readers import check_source
from .run import QUARANTINE, SUMMARY, Run, RunOptions
from .sources import STDIN, Source, UsageError, find_sources, output_names
from .writers import FORMATS

if TYPE_CHECKING:
    from spacy.language import Language


def annotate(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    model: str | Path | Language = DEFAULT_PIPELINE,
    output_format: str = "jsonl",
    text_field: str = "text",
    txt_unit: str = "line",
    spans_key: str | None = None,
    code: str | Path | None = None,
    n_process: int = 1,
    batch_size: int = 128,
    gpu_id: int = -1,
    limit: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Annotate files to one output file for each, plus `run.json` with the summary of the run.

    What cannot be annotated goes to `quarantine.jsonl` in the output folder, and the rest goes on. Memory does not
    grow with the input, except for DocBins, which are in memory as a whole.

    inputs (str | Path | Iterable[str | Path]): Files, folders (recursive), globs, or "-" for standard input.
    output (str | Path): Folder of the output; it is made when it is not there.
    model (str | Path | Language): A loaded pipeline, or the folder, package or bundled name of one.
    output_format (str): "jsonl", "parquet", "docbin" or "conll".
    text_field (str): Field or column that holds the text.
    txt_unit (str): What a document is in a .txt file: "line" or "file".
    spans_key (str | None): Group of `doc.spans` that CoNLL shows; `doc.ents` by default.
    code (str | Path | None): Python file with functions that the pipeline's config names.
    n_process (int): Worker processes, -1 for one a core; 1 works in this process.
    batch_size (int): Documents that a component gets at once.
    gpu_id (int): GPU to use, -1 for the CPU.
    limit (int | None): Stop after this many records of the input.
    force (bool): Replace output that exists.
    progress (bool): Show the progress on standard error when that is a terminal.
    RETURNS (dict): The summary: status, counts, seconds, pipeline, options, files.
    RAISES (UsageError): S501 to S507, S512, S513, before anything is written.
    RAISES (OSError): S001, S508, S511, S512 when the pipeline does not load, or a file fails.
    RAISES (RuntimeError): S509, S510 when a worker process dies.
    """
    options = RunOptions(
        inputs=[str(item) for item in ([inputs] if isinstance(inputs, (str, Path)) else inputs)],
        output=str(output),
        output_format=output_format,
        text_field=text_field,
        txt_unit=txt_unit,
        spans_key=spans_key,
        code=str(code) if code is not None else None,
        n_process=(os.cpu_count() or 1) if n_process == -1 else n_process,
        batch_size=batch_size,
        gpu_id=gpu_id,
        limit=limit,
        force=force,
    )
    _check_options(options)
    units = plan_units(options)
    pipeline: Language | PipelineSpec
    if isinstance(model, (str, Path)):
        pipeline = PipelineSpec(str(model), options.code, gpu_id)
    else:
        pipeline = model
    with ProgressBar(show=progress) as bar:
        return Run(options, bar).execute(units, pipeline)


def plan_units(options: RunOptions) -> list[tuple[Source, Path]]:
    """Find the units of work and the output of each, and refuse what would go wrong later.

    options (RunOptions): What the user asked for.
    RETURNS (list[tuple[Source, Path]]): The sources and the paths of their output.
    RAISES (UsageError): S501 to S506, S512.
    """
    output = Path(options.output)
    sources = find_sources(options.inputs, exclude=output)
    suffix = FORMATS[options.output_format].suffix
    names = output_names(sources, suffix, reserved=(QUARANTINE, SUMMARY))
    targets = [output / name for name in names]
    _protect_inputs(sources, targets)
    existing = [path for path in (*targets, output / QUARANTINE, output / SUMMARY) if path.exists()]
    if existing and not options.force:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise UsageError(Errors.S504.format(paths=", ".join(map(str, existing[:3])) + more))
    for source in sources:
        check_source(source, options.reading)
    return list(zip(sources, targets))


def _protect_inputs(sources: list[Source], targets: list[Path]) -> None:
    inputs = {os.path.realpath(source.path): source for source in sources if source.path != STDIN}
    for source, target in zip(sources, targets):
        hit = inputs.get(os.path.realpath(target))
        if hit is not None:
            raise UsageError(Errors.S505.format(source=source, path=hit))


def _check_options(options: RunOptions) -> None:
    output, key = Path(options.output), options.spans_key
    fits = key is None or options.output_format == "conll"
    check_options(
        output=Check(options.output, not output.exists() or output.is_dir(), "a folder"),
        format=one_of(options.output_format, FORMATS),
        txt_unit=one_of(options.txt_unit, TXT_UNITS),
        spans_key=Check(key, fits, "left out: only CoNLL is limited to one group"),
        n_process=Check(options.n_process, options.n_process >= 1, "1 or more, or -1 for one a core"),
        batch_size=at_least_one(options.batch_size),
        limit=at_least_one(options.limit),
    )
