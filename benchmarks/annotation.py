"""Annotating a corpus: documents a second with one and two workers, and what is left of runs that are killed.

    python benchmarks/annotation.py --documents 20000 --kills 200

The text is that of `memory.py`: real sentences with new words to the end. `nlp.pipe` annotates the same text in one
process without writing anything. The time of a run is that of planning, annotating and merging; loading the pipeline is
left out. Killed are runs and their workers at random times (see `annotation_kills.py`).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from annotation_kills import kill_often
from memory import perturbed, write_perturbed
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.pipeline.annotate import annotate
from speed import CORPORA, SAMPLES, Pipeline, load_pipeline, split_texts

PHASES = ("planning_seconds", "seconds", "merging_seconds")
PEER = "spacy nlp.pipe"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--kill-documents", type=int, default=4000, help="of each run that is killed")
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents, options.kills, options.kill_documents = 200, 4, 60
    torch.set_num_threads(options.threads)
    texts = [text for name in ((SAMPLES,) if options.quick else CORPORA) for text in split_texts(name)]
    ours = load_pipeline(options.model, quick=options.quick)
    with tempfile.TemporaryDirectory() as folder:
        rows = throughput(ours, texts, Path(folder), options.documents)
        rows += killed(ours, texts, Path(folder), options, workers=0 if options.quick else 2)
    write_rows("annotation", rows, options.results)
    show(rows, "Annotating a corpus")


def throughput(ours: Pipeline, texts: list[str], folder: Path, documents: int) -> list[dict[str, Any]]:
    """Time runs.

    ours (Pipeline): The pipeline.
    texts (list[str]): Real texts.
    folder (Path): Where files go.
    documents (int): How many to annotate.
    RETURNS (list[dict]): Rows: documents a second, and what the second worker brings.
    """
    corpus = write_perturbed(texts, folder / "corpus.jsonl", documents)
    about = {"train": ours.train, "command": f"python benchmarks/annotation.py --documents {documents}"}
    about["note"] = f"{documents} documents"
    began = time.perf_counter()
    for doc in ours.nlp.pipe(perturbed(texts, documents)):
        len(doc)
    speeds = {PEER: documents / (time.perf_counter() - began)}
    for workers in (1, 2):
        summary = annotate(
            corpus,
            folder / f"{workers}",
            model=ours.nlp,
            n_process=workers,
            shard_size=max(1, min(1000, documents // 8)),
        )
        speeds[_name(workers)] = documents / sum(summary[phase] for phase in PHASES)
    rows = [row(system, "stream", "speed", value, unit="documents/s", **about) for system, value in speeds.items()]
    ratio = speeds[_name(2)] / speeds[_name(1)]
    return [*rows, row(_name(2), "stream", "speed over 1 worker", ratio, unit="x", **about)]


def killed(ours: Pipeline, texts: list[str], folder: Path, options: Any, *, workers: int) -> list[dict[str, Any]]:
    """Kill runs.

    ours (Pipeline): The pipeline.
    texts (list[str]): Real texts.
    folder (Path): Where files go.
    options (Namespace): Of the command line.
    workers (int): Most workers of a run.
    RETURNS (list[dict]): A row for each count of `kill_often`.
    """
    corpus = write_perturbed(texts, folder / "kills.jsonl", options.kill_documents)
    shard_size = max(1, options.kill_documents // 12)
    counts = kill_often(corpus, folder / "kills", ours.nlp, options.kills, workers=workers, shard_size=shard_size)
    about = {"train": ours.train, "command": f"python benchmarks/annotation.py --kills {options.kills}"}
    about["note"] = f"{options.kill_documents} documents a run, at most {workers} workers"
    return [row("samarkand annotate", "killed runs", name, value, unit="", **about) for name, value in counts.items()]


def _name(workers: int) -> str:
    return f"samarkand annotate, {workers} worker{'s' if workers > 1 else ''}"


if __name__ == "__main__":
    main()
