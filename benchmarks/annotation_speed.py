"""Documents a second of `annotate`, on this machine and on Ray, beside spaCy's own `nlp.pipe`.

Each worker computes with one thread in every way, so a second one adds a second core's work. The time of a run is
that of planning, annotating and merging. Starting processes and loading the pipeline are left out for `annotate`,
which begins to annotate when all workers have loaded, and are in it for `nlp.pipe`, whose processes are copies of
this one and load nothing. What crash safety costs is the time of `annotate` in this process over that of the same
batches and lines, written to a file as they come.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from memory import perturbed, write_perturbed
from results_file import row
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.batches import annotate_batch, batches_by_length
from samarkand.pipeline.readers import read_source
from samarkand.pipeline.records import ReadOptions
from samarkand.pipeline.sources import find_sources
from samarkand.pipeline.writers import make_encoder
from speed import Pipeline

if TYPE_CHECKING:
    from samarkand.pipeline.records import Record
    from spacy.language import Language

PHASES = ("planning_seconds", "seconds", "merging_seconds")
BATCH = 128
# Few enough that no worker is long without work at the end, and so many that commits do not count.
SHARD = 500
UNSAFE, IN_PROCESS = "same batches, written as they come", "samarkand annotate, in the same process"
RAY = "samarkand annotate, 2 workers on Ray"


def throughput(ours: Pipeline, texts: list[str], folder: Path, documents: int, rounds: int) -> list[dict[str, Any]]:
    """Time runs of each way in turn, some rounds.

    ours (Pipeline): The pipeline.
    texts (list[str]): Real texts.
    folder (Path): Where files go.
    documents (int): How many to annotate.
    rounds (int): Runs of each, of which the median counts.
    RETURNS (list[dict]): Rows: documents a second, and the ratios that matter.
    """
    corpus = write_perturbed(texts, folder / "corpus.jsonl", documents)
    shard_size = max(1, min(SHARD, documents // 8))

    def ours_in(n_process: int, **options: Any) -> float:
        output = folder / "out"
        sizes = {"shard_size": shard_size, "batch_size": BATCH}
        summary = annotate(corpus, output, model=ours.nlp, n_process=n_process, **sizes, **options)
        shutil.rmtree(output)
        return sum(summary[phase] for phase in PHASES)

    ways: dict[str, Callable[[], float]] = {
        _pipe(1): lambda: piped(ours.nlp, perturbed(texts, documents), 1),
        _pipe(2): lambda: piped(ours.nlp, perturbed(texts, documents), 2),
        UNSAFE: lambda: written_unsafely(ours.nlp, corpus, folder / "unsafe.jsonl", shard_size),
        IN_PROCESS: lambda: ours_in(0),
        _name(1): lambda: ours_in(1),
        _name(2): lambda: ours_in(2),
    }
    if importlib.util.find_spec("ray"):
        ways[RAY] = lambda: ours_in(2, ray="local")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            seconds[way].append(run())
    speeds = {way: documents / statistics.median(found) for way, found in seconds.items()}
    about = {
        "train": ours.train,
        "command": f"python benchmarks/annotation.py --documents {documents} --rounds {rounds}",
        "note": f"{documents} documents, median of {rounds}",
    }
    rows = [row(way, "stream", "speed", speed, unit="documents/s", **about) for way, speed in speeds.items()]
    ratios = [(_name(2), "speed over 1 worker", _name(1)), (_name(2), "speed over nlp.pipe", _pipe(2))]
    ratios += [(RAY, "speed over nlp.pipe", _pipe(2))] if RAY in ways else []
    for way, metric, other in ratios:
        rows.append(row(way, "stream", metric, speeds[way] / speeds[other], unit="x", **about))
    overhead = 100 * (speeds[UNSAFE] / speeds[IN_PROCESS] - 1)
    return [*rows, row(IN_PROCESS, "stream", "time for crash safety", overhead, **about)]


def piped(nlp: Language, texts: Iterable[str], n_process: int) -> float:
    """RETURNS (float): Seconds that spaCy itself takes, in some processes, where nothing is written."""
    began = time.perf_counter()
    for doc in nlp.pipe(texts, n_process=n_process, batch_size=BATCH):
        len(doc)
    return time.perf_counter() - began


def written_unsafely(nlp: Language, corpus: Path, output: Path, block: int) -> float:
    """Annotate in the same batches as `annotate`, and write the same lines to one file as they come.

    nlp (Language): The pipeline.
    corpus (Path): A JSONL file.
    output (Path): File to write.
    block (int): Records that are sorted by length together.
    RETURNS (float): Seconds.
    """
    encode = make_encoder("jsonl", None)
    began = time.perf_counter()
    (source,) = find_sources([str(corpus)], exclude=output)
    records = cast("Iterator[Record]", read_source(source, ReadOptions()))
    with output.open("wb") as file:
        while chosen := list(islice(records, block)):
            outcomes: dict[int, Any] = {}
            for batch in batches_by_length([len(record.text) for record in chosen], BATCH):
                outcomes.update(zip(batch, annotate_batch(nlp, [chosen[i] for i in batch], encode)))
            for position in range(len(chosen)):
                file.write(outcomes[position].payload)
    return time.perf_counter() - began


def _pipe(n_process: int) -> str:
    return f"spacy nlp.pipe, n_process {n_process}"


def _name(workers: int) -> str:
    return f"samarkand annotate, {workers} worker{'s' if workers > 1 else ''}"
