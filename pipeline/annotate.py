"""Annotating corpora: every record of the input is annotated, or accounted for with a reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import DEFAULT_PIPELINE
from ..errors import Errors
from .files import QUARANTINE, SUMMARY
from .loading import PipelineSpec
from .machine import cores
from .progress import Progress
from .readers import check_source
from .run import Run
from .run_options import RunOptions
from .sources import STDIN, UsageError, find_sources, output_names, protect_inputs
from .store import is_url, output_place

if TYPE_CHECKING:
    from spacy.language import Language

# Bytes of a file name on the usual file systems.
LONGEST = 255


def annotate(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    model: str | Path | Language = DEFAULT_PIPELINE,
    output_format: str = "jsonl",
    compression: str = "none",
    text_field: str = "text",
    txt_unit: str = "line",
    spans_key: str | None = None,
    code: str | Path | None = None,
    n_process: int = 0,
    ray: str | None = None,
    batch_size: int = 128,
    shard_size: int = 2000,
    gpu_id: int = -1,
    limit: int | None = None,
    timeout: float = 300.0,
    memory_limit: int | str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
    log_json: bool = False,
) -> dict[str, Any]:
    """Annotate files to one output file for each, plus `run.json` with the summary of the run.

    What cannot be annotated goes to `quarantine.jsonl` in the output folder, and the rest goes on. A run that was cut
    short, however that was, is gone on with by the same call with `resume`; its output is that of one run. Memory does
    not grow with the input, except for DocBins, which are in memory as a whole.

    inputs (str | Path | Iterable[str | Path]): Files, folders (recursive), globs, or "-" for standard input.
    output (str | Path): Folder of the output, which is made when it is not there, or the URL of one such as
        "s3://bucket/folder" in a file system that fsspec knows.
    model (str | Path | Language): A loaded pipeline, or the folder, package or bundled name of one.
    output_format (str): "jsonl", "parquet", "docbin" or "conll".
    compression (str): "none", "gz" or "zst" for JSONL and CoNLL; Parquet and DocBin are compressed in themselves.
    text_field (str): Field or column that holds the text.
    txt_unit (str): What a document is in a .txt file: "line" or "file".
    spans_key (str | None): Group of `doc.spans` that CoNLL shows; `doc.ents` by default.
    code (str | Path | None): Python file with functions that the pipeline's config names.
    n_process (int): Worker processes, -1 for one a core or GPU; 0 works in this process, where nothing protects from
        documents that crash it, or take too long.
    ray (str | None): Work on a Ray cluster (extra `scale`) that sees the same files: its address, "auto" for the one
        of this machine or of `RAY_ADDRESS`, or "local" to start Ray here. `n_process` are the workers on it, which take
        a CPU each, and a GPU with `gpu_id` 0; -1 stands for all that it has room for.
    batch_size (int): Documents that a component gets at once.
    shard_size (int): Records that are finished together: what is done again at most for each worker after a crash.
    gpu_id (int): GPU to use, -1 for the CPU. More than one process use this GPU and the next ones, one each.
    limit (int | None): Stop after this many records of the input.
    timeout (float): Seconds that a batch, or a document alone, may take in a worker process.
    memory_limit (int | str | None): Memory that a worker process may take, in bytes or such as "4GB"; by default the
        workers share nine tenths of the machine's, or of what a container is given.
    resume (bool): Go on with a run that was cut short; begin one when there is none, and leave a complete one as it is.
    force (bool): Replace output that exists.
    progress (bool): Show the progress on standard error when that is a terminal.
    log_json (bool): Write events to standard error, one JSON object a line.
    RETURNS (dict): The summary: status, counts, seconds, pipeline, options, versions, inputs, files with hashes.
    RAISES (UsageError): S501 to S507, S511 to S513, S540 to S542, S545 to S549, S551, S751, before anything is changed.
    RAISES (OSError): S001, S508, S511, S512, S543, S544, S552, S553 when the pipeline does not load, or a file fails.
    RAISES (RuntimeError): S509, S510 when worker processes die of something other than a document; S518, S519 when the
        cluster fails, S554 when another run begins in a place that cannot be locked.
    """
    options = RunOptions(
        inputs=[str(item) for item in ([inputs] if isinstance(inputs, (str, Path)) else inputs)],
        output=output_place(output),
        output_format=output_format,
        compression=compression,
        text_field=text_field,
        txt_unit=txt_unit,
        spans_key=spans_key,
        code=str(code) if code is not None else None,
        n_process=_devices(gpu_id) if n_process == -1 and ray in (None, "local") else n_process,
        ray=ray,
        batch_size=batch_size,
        shard_size=shard_size,
        gpu_id=gpu_id,
        limit=limit,
        timeout=timeout,
        memory_limit=memory_limit,
        resume=resume,
        force=force,
    )
    options.check()
    folder = None if is_url(options.output) else Path(options.output)
    sources = find_sources(options.inputs, exclude=folder)
    targets = output_names(sources, options.suffix, reserved=(QUARANTINE, SUMMARY))
    _refuse_long(options.output, targets)
    if folder is not None:
        _refuse_among_inputs(folder, options.inputs)
        sides = ((folder, side) for side in (QUARANTINE, SUMMARY))
        protect_inputs(sources, [(source, folder / name) for source, name in [*zip(sources, targets), *sides]])
    for source in sources:
        check_source(source, options.reading)
    pipeline: Language | PipelineSpec
    if isinstance(model, (str, Path)):
        pipeline = PipelineSpec(str(model), options.code, gpu_id)
    else:
        pipeline = model
    with Progress(show=progress, log=log_json) as shown:
        return Run(options, pipeline, shown).execute(sources, targets)


def _refuse_long(output: str, targets: list[str]) -> None:
    """Refuse names that no file can have, before there is anything to write."""
    for name in targets:
        if len(os.fsencode(name.rpartition("/")[2])) > LONGEST:
            raise UsageError(Errors.S511.format(path=f"{output}/{name}", reason=os.strerror(errno.ENAMETOOLONG)))


def _refuse_among_inputs(folder: Path, inputs: list[str]) -> None:
    """Refuse an output folder that is an input: its files would be new inputs to whoever goes on with the run."""
    if folder.is_dir() and any(item != STDIN and Path(item).resolve() == folder.resolve() for item in inputs):
        raise UsageError(Errors.S507.format(name="output", value=folder, expected="a folder that is no input itself"))


def _devices(gpu_id: int) -> int:
    """Worker processes that use the machine: one a core, or one for each GPU from this one on."""
    if gpu_id < 0:
        return cores()
    import torch

    return max(1, torch.cuda.device_count() - gpu_id)
