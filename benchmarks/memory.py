"""Memory of the bundled pipeline over a long stream of documents.

    python benchmarks/memory.py --documents 200000
    python benchmarks/memory.py --documents 1000000 --annotate

Real sentences come again and again with some words replaced by made-up ones, so that the pipeline meets new words to
the end, as it would in a corpus. Measured is the resident set of this process (Linux). Documents go through
`nlp.pipe` in memory zones, as in `samarkand annotate`; `--plain` measures one `nlp.pipe` without them, where spaCy
keeps every new word in its vocabulary. `--annotate` measures a worker of `samarkand annotate` and its supervisor; text
and output go through files.
"""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from annotation_kills import worker_processes
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.progress import Progress
from samarkand.pipeline.worker import memory_of
from spacy.language import Language
from speed import CORPORA, OURS, SAMPLES, Pipeline, load_pipeline, split_texts

MEBIBYTE = 2**20
# Documents of a memory zone, as many as `samarkand annotate` annotates at once.
ZONE = 128
REPLACED = 0.15
# Documents of a shard, as by default; memory of a run is looked at after each.
SHARD = 2000
_WORD = re.compile(r"[^\W\d_]{2,}")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--documents", type=int, default=200_000)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="one nlp.pipe, without memory zones")
    how.add_argument("--annotate", action="store_true", help="a run of samarkand annotate with one worker")
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents = 300
    torch.set_num_threads(options.threads)
    texts = [text for name in ((SAMPLES,) if options.quick else CORPORA) for text in split_texts(name)]
    random.Random(0).shuffle(texts)
    ours = load_pipeline(options.model, quick=options.quick)
    if options.annotate:
        rows = measure_run(ours, texts, options.documents)
    else:
        rows = measure(ours, perturbed(texts, options.documents), options.documents, plain=options.plain)
    write_rows("memory", rows, options.results)
    show(rows, "Memory")


def perturbed(texts: list[str], count: int, *, seed: int = 0) -> Iterator[str]:
    """An endless variety of a few texts.

    texts (list[str]): Real texts.
    count (int): Documents to make.
    seed (int): Seed of the made-up words.
    YIELDS (str): A text with about one word in seven replaced by its letters in random order, one added.
    """
    rng = random.Random(seed)
    for text in islice(cycle(texts), count):
        yield _WORD.sub(lambda match: _made_up(match[0], rng) if rng.random() < REPLACED else match[0], text)


def write_perturbed(texts: list[str], path: Path, count: int) -> Path:
    """Write what `perturbed` makes as a corpus.

    texts (list[str]): Real texts.
    path (Path): A JSONL file.
    count (int): Documents to make.
    RETURNS (Path): The file; its records have an "id".
    """
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(perturbed(texts, count)):
            file.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")
    return path


def measure(ours: Pipeline, texts: Iterable[str], count: int, *, plain: bool) -> list[dict[str, Any]]:
    """Stream documents and look at the memory.

    ours (Pipeline): The pipeline.
    texts (Iterable[str]): The documents.
    count (int): How many these are.
    plain (bool): One `nlp.pipe` instead of memory zones.
    RETURNS (list[dict]): Rows: memory before the stream, at its start (after a hundredth of it, when caches and
        buffers exist), middle and end, and what was added after the middle, in MB of 2**20 bytes; strings in the
        vocabulary at the end; documents a second.
    """
    marks = {max(1, count // 100): "RSS start", count // 2: "RSS middle", count: "RSS end"}
    values = {"RSS loaded": resident()}
    began = time.perf_counter()
    for done in annotated(ours.nlp, texts, zone=None if plain else ZONE):
        if done in marks:
            values[marks[done]] = resident()
    seconds = time.perf_counter() - began
    values["RSS growth"] = values["RSS end"] - values["RSS middle"]
    about = {
        "train": ours.train,
        "command": f"python benchmarks/memory.py --documents {count}{' --plain' if plain else ''}",
        "note": f"{count} documents",
    }
    system = f"{OURS}, {'one nlp.pipe' if plain else 'memory zones'}"
    rows = [row(system, "stream", name, value / MEBIBYTE, unit="MB", **about) for name, value in values.items()]
    return [
        *rows,
        row(system, "stream", "vocabulary", len(ours.nlp.vocab.strings), unit="strings", **about),
        row(system, "stream", "speed", count / seconds, unit="documents/s", **about),
    ]


def measure_run(ours: Pipeline, texts: list[str], count: int) -> list[dict[str, Any]]:
    """Look at the memory of a run with one worker after each shard.

    ours (Pipeline): The pipeline.
    texts (list[str]): Real texts.
    count (int): Documents to annotate.
    RETURNS (list[dict]): Rows of the worker and of its supervisor: memory after a tenth and at the end, the greatest
        in between, and how much that is over the first; documents a second of the run.
    """
    seen: dict[str, list[int]] = {"worker": [], "supervisor": []}

    def look(_: Progress, event: str, **facts: Any) -> None:
        if event == "shard":
            (worker,) = worker_processes(os.getpid())
            seen["worker"].append(memory_of(worker))
            seen["supervisor"].append(resident())

    with tempfile.TemporaryDirectory() as folder, patch.object(Progress, "tell", look):
        corpus = write_perturbed(texts, Path(folder) / "corpus.jsonl", count)
        shard_size = max(1, min(SHARD, count // 10))
        summary = annotate(corpus, Path(folder) / "out", model=ours.nlp, n_process=1, shard_size=shard_size)
    about = {
        "train": ours.train,
        "command": f"python benchmarks/memory.py --documents {count} --annotate",
        "note": f"{count} documents",
    }
    rows = []
    for who, every in seen.items():
        values = every[len(every) // 10 :]
        system = f"samarkand annotate, {who}"
        found = {"RSS after a tenth": values[0], "RSS end": values[-1], "RSS greatest": max(values)}
        rows += [row(system, "stream", name, value / MEBIBYTE, unit="MB", **about) for name, value in found.items()]
        rows.append(row(system, "stream", "RSS growth after a tenth", 100 * (max(values) / values[0] - 1), **about))
    speed = summary["documents"] / summary["seconds"]
    return [*rows, row("samarkand annotate, worker", "stream", "speed", speed, unit="documents/s", **about)]


def annotated(nlp: Language, texts: Iterable[str], *, zone: int | None) -> Iterator[int]:
    """Annotate a stream.

    nlp (Language): The pipeline.
    texts (Iterable[str]): The stream.
    zone (Optional[int]): Documents of a memory zone; None does without.
    YIELDS (int): Documents annotated so far, one at a time.
    """
    if zone is None:
        yield from (done for done, _ in enumerate(nlp.pipe(texts), start=1))
        return
    texts, done = iter(texts), 0
    while batch := list(islice(texts, zone)):
        with nlp.memory_zone():
            for _ in nlp.pipe(batch):
                done += 1
                yield done


def resident() -> int:
    """RETURNS (int): Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _made_up(word: str, rng: random.Random) -> str:
    return "".join(rng.sample(word, len(word))) + rng.choice(word)


if __name__ == "__main__":
    main()
