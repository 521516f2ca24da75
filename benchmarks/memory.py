"""Memory of the bundled pipeline over a long stream of documents.

    python benchmarks/memory.py --documents 200000

Real sentences come again and again with some words replaced by made-up ones, so that the pipeline meets new words to
the end, as it would in a corpus. Measured is the resident set of this process (Linux). Documents go through
`nlp.pipe` in memory zones, as in `samarkand annotate`; `--plain` measures one `nlp.pipe` without them, where spaCy
keeps every new word in its vocabulary.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from spacy.language import Language
from speed import CORPORA, OURS, SAMPLES, Pipeline, load_pipeline, split_texts

MEBIBYTE = 2**20
# Documents of a memory zone, as many as `samarkand annotate` annotates at once.
ZONE = 128
REPLACED = 0.15
_WORD = re.compile(r"[^\W\d_]{2,}")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--plain", action="store_true", help="one nlp.pipe, without memory zones")
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents = 300
    torch.set_num_threads(options.threads)
    texts = [text for name in ((SAMPLES,) if options.quick else CORPORA) for text in split_texts(name)]
    random.Random(0).shuffle(texts)
    ours = load_pipeline(options.model, quick=options.quick)
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
