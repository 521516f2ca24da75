"""Offsets of the bundled pipeline: random Unicode documents, and every record of annotated corpora.

    python benchmarks/offsets.py --documents 100000

A random document fails when the pipeline raises, when its text is not the text that went in, or when an entity does
not slice to its own words. A record that `samarkand annotate` wrote fails when its text is not that of the input, or
when an entity's offsets do not slice to the text given for it; a record that is missing fails too. The exit status is
1 when anything failed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import ner
import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.assets import corpus_path
from samarkand.corpora.records import read_records
from samarkand.pipeline.annotate import annotate
from spacy.language import Language
from spacy.tokens import Doc
from speed import CORPORA, OURS, SAMPLES, Pipeline, load_pipeline, split_texts

BATCH = 256
LONGEST = 120
# First and last code point of blocks whose text is drawn together.
SCRIPTS = {
    "Latin": (0x20, 0x24F),
    "Greek and Cyrillic": (0x370, 0x52F),
    "Hebrew": (0x590, 0x5FF),
    "Arabic": (0x600, 0x6FF),
    "Arabic presentation forms": (0xFB50, 0xFDFF),
    "Devanagari": (0x900, 0x97F),
    "Thai": (0xE00, 0xE7F),
    "Hangul": (0xAC00, 0xD7A3),
    "Hangul letters": (0x1100, 0x11FF),
    "Kana": (0x3000, 0x30FF),
    "Han": (0x4E00, 0x9FFF),
    "Han, second plane": (0x20000, 0x2A6DF),
    "full width": (0xFF00, 0xFFEF),
}
EMOJI = [
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd",
    "❤️",
    "\U0001f1ea\U0001f1ec",
    "1️⃣",
]
CONTROLS = ["\u200e", "\u200f", "\u061c", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]
BLANKS = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u200b", "\ufeff", "\x00", "\u2028"]
SURROGATES = range(0xD800, 0xE000)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents = 300
    torch.set_num_threads(options.threads)
    names = [SAMPLES] if options.quick else [SAMPLES, *CORPORA]
    ours = load_pipeline(options.model, quick=options.quick)
    sentences = [text for name in names for text in split_texts(name)]
    counts = {
        "random Unicode": check_random(ours.nlp, random_texts(sentences, options.documents, seed=options.seed)),
        **{f"annotated: {name}": check_annotated(ours.nlp, name) for name in names},
    }
    rows = [line for dataset, count in counts.items() for line in _rows(ours, dataset, count, options)]
    write_rows("offsets", rows, options.results)
    show(rows, "Offsets")
    return int(any(count["failures"] for count in counts.values()))


def random_texts(sentences: list[str], count: int, *, seed: int = 0) -> Iterator[str]:
    """Documents that no corpus would hold.

    sentences (list[str]): Real sentences to cut and splice.
    count (int): Documents to make.
    seed (int): Seed.
    YIELDS (str): A text of one to four parts: code points of one script, any code points, marks and emoji, pieces of
        sentences. Without surrogates, which are no characters.
    """
    rng = random.Random(seed)
    kinds: list[Callable[[], str]] = [
        lambda: _of_script(rng),
        lambda: _of_any(rng),
        lambda: _of_marks(rng),
        lambda: _of_sentence(rng, sentences),
        lambda: _of_sentence(rng, sentences),
    ]
    for _ in range(count):
        parts = [rng.choice(kinds)() for _ in range(rng.randint(1, 4))]
        yield rng.choice(["", *BLANKS]).join(parts)


def check_random(nlp: Language, texts: Iterator[str]) -> Counter[str]:
    """Annotate texts and look at every offset.

    nlp (Language): The pipeline.
    texts (Iterator[str]): The texts.
    RETURNS (Counter[str]): "documents", "entities", "failures". The failures are shown on standard error.
    """
    counts = Counter(documents=0, entities=0, failures=0)
    while batch := list(islice(texts, BATCH)):
        with nlp.memory_zone():
            for text, doc in zip(batch, _annotated(nlp, batch)):
                counts["documents"] += 1
                counts["entities"] += len(doc.ents) if doc is not None else 0
                if doc is None or not is_exact(doc, text):
                    counts["failures"] += 1
                    print(f"random Unicode: {text!r}", file=sys.stderr)
    return counts


def is_exact(doc: Doc, text: str) -> bool:
    """Whether a document is its text, token by token, and its entities slice to their words.

    doc (Doc): The document.
    text (str): What it was made from.
    RETURNS (bool): Whether it is.
    """
    tokens_fit = all(text[token.idx : token.idx + len(token)] == token.text for token in doc)
    entities_fit = all(ent.text and text[ent.start_char : ent.end_char] == ent.text for ent in doc.ents)
    return doc.text == text and tokens_fit and entities_fit


def check_annotated(nlp: Language, name: str) -> Counter[str]:
    """Annotate a corpus as `samarkand annotate` does, and look at every offset that was written.

    nlp (Language): The pipeline.
    name (str): A corpus, whose test split is read, or "samples".
    RETURNS (Counter[str]): "documents", "entities", "failures". The failures are shown on standard error.
    """
    paths = sorted(ner.SAMPLES.glob("*.jsonl")) if name == SAMPLES else [corpus_path(name, "test")]
    counts = Counter(documents=0, entities=0, failures=0)
    for path in paths:
        expected = [record["text"] for record in read_records(path)]
        with tempfile.TemporaryDirectory() as folder:
            summary = annotate(path, folder, model=nlp)
            written = Path(folder, summary["files"][0]["output"]).read_text(encoding="utf-8")
        records = [json.loads(line) for line in written.split("\n") if line]
        counts["documents"] += len(expected)
        counts["failures"] += abs(len(expected) - len(records))
        for text, record in zip(expected, records):
            counts["entities"] += len(record["entities"])
            if record["text"] != text or not all(_slices(text, entity) for entity in record["entities"]):
                counts["failures"] += 1
                print(f"{path.name}: {record}", file=sys.stderr)
    return counts


def _slices(text: str, entity: dict[str, Any]) -> bool:
    return bool(entity["text"]) and text[entity["start"] : entity["end"]] == entity["text"]


def _annotated(nlp: Language, texts: list[str]) -> list[Doc | None]:
    """The documents, None for those that the pipeline cannot annotate."""
    with suppress(Exception):
        docs = list(nlp.pipe(texts))
        if len(docs) == len(texts):
            return docs
    return [_annotated_alone(nlp, text) for text in texts]


def _annotated_alone(nlp: Language, text: str) -> Doc | None:
    try:
        return nlp(text)
    except Exception:
        return None


def _of_script(rng: random.Random) -> str:
    first, last = rng.choice(list(SCRIPTS.values()))
    points = [chr(rng.randint(first, last)) for _ in range(rng.randint(1, LONGEST))]
    return "".join(rng.choice(BLANKS) if rng.random() < 0.15 else point for point in points)


def _of_any(rng: random.Random) -> str:
    points = (rng.randrange(sys.maxunicode + 1) for _ in range(rng.randint(0, LONGEST)))
    return "".join(chr(point) for point in points if point not in SURROGATES)


def _of_marks(rng: random.Random) -> str:
    """Emoji, bidi controls and combining marks between letters."""
    marks = [
        *EMOJI,
        *CONTROLS,
        *BLANKS,
        *(chr(rng.randint(0x300, 0x36F)) for _ in range(8)),
        "\u0651",
        "\u0640",
        "\ufe0f",
    ]
    letters = [chr(rng.randint(*rng.choice(list(SCRIPTS.values())))) for _ in range(10)]
    return "".join(rng.choice(rng.choice([marks, letters])) for _ in range(rng.randint(1, LONGEST // 2)))


def _of_sentence(rng: random.Random, sentences: list[str]) -> str:
    sentence = rng.choice(sentences)
    start, end = sorted(rng.randrange(len(sentence) + 1) for _ in range(2))
    return sentence[start:end] if rng.random() < 0.7 else sentence


def _rows(ours: Pipeline, dataset: str, counts: Counter[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    command = f"python benchmarks/offsets.py --documents {options.documents} --seed {options.seed}"
    about = {"unit": "", "train": ours.train, "command": command, "seed": options.seed}
    return [row(OURS, dataset, metric, value, **about) for metric, value in counts.items()]


if __name__ == "__main__":
    sys.exit(main())
