"""Annotating a corpus: documents a second in each way to run, and what is left of runs that are killed.

    python benchmarks/annotation.py --documents 20000 --rounds 3 --kills 200
    python benchmarks/annotation.py --part kills --ray --kills 50

The text is that of `memory.py`: real sentences with new words to the end. Ways to run are in `annotation_speed.py`; in
all of them a worker computes with `--threads` threads, 1 by default. Runs and their workers are killed at random times,
see `annotation_kills.py`; with `--ray`, runs on a cluster of some nodes on this machine, see `annotation_ray_kills.py`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from annotation_kills import kill_often
from annotation_ray_kills import kill_often_on_ray
from annotation_speed import throughput
from memory import write_perturbed
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.pipeline.workers import THREADS
from speed import CORPORA, SAMPLES, Pipeline, load_pipeline, split_texts

PARTS = ("speed", "kills")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="runs in each way")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--kill-documents", type=int, default=4000, help="of each run that is killed")
    parser.add_argument("--ray", action="store_true", help="kill runs on a cluster, its actors and its nodes")
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents, options.rounds, options.kills, options.kill_documents = 200, 1, 4, 60
    torch.set_num_threads(options.threads)
    texts = [text for name in ((SAMPLES,) if options.quick else CORPORA) for text in split_texts(name)]
    ours = load_pipeline(options.model, quick=options.quick)
    threads = dict.fromkeys(THREADS, str(options.threads))
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, threads):
        rows: list[dict[str, Any]] = []
        if "speed" in options.part:
            rows += throughput(ours, texts, Path(folder), options.documents, options.rounds)
            write_rows("annotation", rows, options.results)
        if "kills" in options.part:
            rows += killed(ours, texts, Path(folder), options)
            write_rows("annotation", rows, options.results)
    show(rows, "Annotating a corpus")


def killed(ours: Pipeline, texts: list[str], folder: Path, options: Any) -> list[dict[str, Any]]:
    """Kill runs.

    ours (Pipeline): The pipeline.
    texts (list[str]): Real texts.
    folder (Path): Where files go.
    options (Namespace): Of the command line.
    RETURNS (list[dict]): A row for each count of `kill_often`.
    """
    corpus = write_perturbed(texts, folder / "kills.jsonl", options.kill_documents)
    shard_size = max(1, options.kill_documents // 12)
    command, where, workers = f"python benchmarks/annotation.py --kills {options.kills}", "killed runs", 2
    if options.ray:
        command, where = f"python benchmarks/annotation.py --part kills --ray --kills {options.kills}", f"{where}, Ray"
        counts = kill_often_on_ray(corpus, folder / "kills", ours.nlp, options.kills, shard_size=shard_size)
    else:
        workers = 0 if options.quick else workers
        counts = kill_often(corpus, folder / "kills", ours.nlp, options.kills, workers=workers, shard_size=shard_size)
    about = {"train": ours.train, "command": command}
    about["note"] = f"{options.kill_documents} documents a run, at most {workers} workers"
    return [row("samarkand annotate", where, name, value, unit="", **about) for name, value in counts.items()]


if __name__ == "__main__":
    main()
