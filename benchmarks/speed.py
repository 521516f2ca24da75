"""Speed on a CPU: the bundled pipeline beside spaCy's own `ner`, on the same text in the same run.

    python benchmarks/speed.py

Each system has its own tokenizer, so the ratio is of characters a second. spaCy's pipeline is trained first for
some hundred steps, because its parser's work depends on the entities that it finds. The text is annotated in
turn, the first system changing each time; a row is the median. What a pipeline does on text that it meets for the
first time is a row of its own, since both keep what they know of a word.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ner
import samarkand
import spacy
import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.assets import corpus_path
from samarkand.corpora.readers import SpanCorpus
from samarkand.corpora.records import read_records
from spacy.language import Language

CORPORA = {"zh-uner-gsdsimp": "zh", "ar-anercorp": "ar", "en-btc": "en"}
DATASETS = (*CORPORA, "mixed")
SAMPLES = "samples"
OURS, PEER = "samarkand", "spacy/ner"
BUNDLED = "the bundled pipeline"
UNTRAINED = "a random draw"
# Documents of another split that are annotated first, so that no time goes into waking threads.
WARM_UP = 64

TINY_ENCODER = {
    "@architectures": "samarkand.SubwordEncoder.v1",
    "width": 32,
    "embed_width": 16,
    "word_rows": 500,
    "piece_rows": 500,
    "bigram_rows": 500,
    "bigram_width": 8,
}
TINY_RICON = {
    "@architectures": "samarkand.Ricon.v1",
    "width": 32,
    "rank": 8,
    "hidden": 16,
    "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"},
}


@dataclass(frozen=True)
class Pipeline:
    """A pipeline and what its rows say of it.

    nlp (Language): The pipeline.
    train (str): Where its weights come from.
    """

    nlp: Language
    train: str


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2, model=True)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--train-steps", type=int, default=400, help="of spaCy's pipeline, on the training split")
    options = parser.parse_args(arguments)
    if options.quick:
        options.dataset, options.repeats, options.train_steps, options.threads = [SAMPLES], 2, 4, 1
    torch.set_num_threads(options.threads)
    rows = []
    for dataset in options.dataset:
        # A fresh one each time: what it met in one text would make the next no first pass.
        ours = load_pipeline(options.model, quick=options.quick)
        rows += measure(ours, dataset, repeats=options.repeats, train_steps=options.train_steps)
        write_rows("speed", rows, options.results)
    show(rows, f"Speed, {options.threads} threads each")


def load_pipeline(model: Path | None, *, quick: bool) -> Pipeline:
    """The pipeline that is measured.

    model (Optional[Path]): Its folder; None takes the bundled one.
    quick (bool): Without a folder, make a tiny one with random weights instead.
    RETURNS (Pipeline): The pipeline.
    """
    if model is not None:
        return Pipeline(spacy.load(model), f"the pipeline {model.name}")
    if not quick:
        return Pipeline(samarkand.load(), BUNDLED)
    nlp = samarkand.blank("xx", norm="full")
    nlp.add_pipe("tok2vec", config={"model": TINY_ENCODER})
    nlp.add_pipe("ricon_ner", config={"model": TINY_RICON, "max_width": 8})
    with tempfile.TemporaryDirectory() as folder:
        splits = ner.write_splits(SAMPLES, ner.Dataset("xx"), Path(folder))
        nlp.initialize(lambda: SpanCorpus(splits["train"])(nlp))
    return Pipeline(nlp, UNTRAINED)


def split_texts(dataset: str, split: str = "test") -> list[str]:
    """Texts of one split.

    dataset (str): One of `DATASETS`, or "samples". "mixed" takes a document of each corpus in turn, as one.
    split (str): "train", "dev" or "test".
    RETURNS (list[str]): Texts that are more than blanks.
    """
    if dataset == "mixed":
        return [" ".join(parts) for parts in zip(*(split_texts(name, split) for name in CORPORA))]
    if dataset == SAMPLES:
        files = sorted(ner.SAMPLES.glob("*.jsonl"))
    else:
        files = [corpus_path(dataset, split)]
    return [record["text"] for path in files for record in read_records(path) if record["text"].strip()]


def measure(ours: Pipeline, dataset: str, *, repeats: int, train_steps: int) -> list[dict[str, Any]]:
    """Time both pipelines on one text.

    ours (Pipeline): The pipeline of this project.
    dataset (str): One of `DATASETS`, or "samples".
    repeats (int): Passes over the text; the median counts.
    train_steps (int): Training steps of spaCy's pipeline.
    RETURNS (list[dict]): Rows: speeds of both, their ratio, and our time by component.
    """
    systems = {OURS: ours, PEER: train_peer(dataset, train_steps)}
    texts, warm_up = split_texts(dataset), split_texts(dataset, "train")[:WARM_UP]
    passes: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(repeats + 1):
        for name in list(systems)[:: -1 if turn % 2 else 1]:
            nlp = systems[name].nlp
            if turn == 0:
                _seconds(nlp, warm_up)
            passes[name].append(_seconds(nlp, texts))
    # Apart from the passes above, so that memory held by documents burdens neither.
    counts = {name: sum(map(len, system.nlp.pipe(texts))) for name, system in systems.items()}
    return _rows(systems, dataset, texts, passes, counts) + breakdown(ours, dataset, texts, repeats)


def train_peer(dataset: str, steps: int) -> Pipeline:
    """spaCy's `ner` with its own tokenizer, trained on the training split.

    dataset (str): One of `DATASETS`, or "samples"; "mixed" trains on all three.
    steps (int): Training steps.
    RETURNS (Pipeline): The pipeline.
    """
    kind = ner.Dataset(CORPORA.get(dataset, "xx"))
    with tempfile.TemporaryDirectory() as folder:
        splits = _joined_splits(dataset, kind, Path(folder))
        config = ner.spacy_config(kind, splits, own_tokenizer=True)
        nlp = ner.train_best(config, Path(folder), seed=0, steps=steps)
    return Pipeline(nlp, f"train split, {steps} steps")


def breakdown(ours: Pipeline, dataset: str, texts: list[str], repeats: int) -> list[dict[str, Any]]:
    """Shares of the time that the tokenizer and each component take.

    ours (Pipeline): The pipeline.
    dataset (str): Name of the text.
    texts (list[str]): The text.
    repeats (int): Passes; the median counts.
    RETURNS (list[dict]): A row for each part, in percent.
    """
    nlp = ours.nlp
    seconds: dict[str, list[float]] = {name: [] for name in ("tokenizer", *nlp.pipe_names)}
    for _ in range(repeats):
        began = time.perf_counter()
        docs = [nlp.make_doc(text) for text in texts]
        seconds["tokenizer"].append(time.perf_counter() - began)
        for name, pipe in nlp.pipeline:
            began = time.perf_counter()
            docs = list(pipe.pipe(docs, batch_size=nlp.batch_size)) if hasattr(pipe, "pipe") else list(map(pipe, docs))
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    whole = sum(medians.values())
    about = {"train": ours.train, "command": _command(dataset), "note": "each part alone, one after another"}
    return [row(OURS, dataset, f"share: {name}", 100 * value / whole, **about) for name, value in medians.items()]


def _joined_splits(dataset: str, kind: ner.Dataset, folder: Path) -> dict[str, Path]:
    if dataset != "mixed":
        return ner.write_splits(dataset, kind, folder)
    parts = []
    for name in CORPORA:
        (folder / name).mkdir()
        parts.append(ner.write_splits(name, kind, folder / name))
    joined = {split: folder / f"{split}.jsonl" for split in parts[0]}
    for split, path in joined.items():
        path.write_text("".join(part[split].read_text(encoding="utf-8") for part in parts), encoding="utf-8")
    return joined


def _rows(
    systems: dict[str, Pipeline],
    dataset: str,
    texts: list[str],
    passes: dict[str, list[float]],
    counts: dict[str, int],
) -> list[dict[str, Any]]:
    characters = sum(map(len, texts))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in passes.items()}
    note = f"median of {len(passes[OURS]) - 1} passes, {torch.get_num_threads()} threads"
    rows = []
    for name, system in systems.items():
        about = {"train": system.train, "command": _command(dataset), "note": note}
        rows += [
            row(name, dataset, "speed", characters / medians[name], unit="characters/s", **about),
            row(name, dataset, "speed, first pass", characters / passes[name][0], unit="characters/s", **about),
            row(name, dataset, "speed, own tokens", counts[name] / medians[name], unit="tokens/s", **about),
        ]
    about = {"train": systems[OURS].train, "command": _command(dataset), "note": note}
    return [*rows, row(OURS, dataset, "speed ratio", medians[PEER] / medians[OURS], unit="x", **about)]


def _seconds(nlp: Language, texts: list[str]) -> float:
    began = time.perf_counter()
    for _ in nlp.pipe(texts):
        pass
    return time.perf_counter() - began


def _command(dataset: str) -> str:
    return f"python benchmarks/speed.py {'--quick' if dataset == SAMPLES else f'--dataset {dataset}'}"


if __name__ == "__main__":
    main()
