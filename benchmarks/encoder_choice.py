"""The small encoder's architecture, chosen by measurement.

    python benchmarks/encoder_choice.py --steps 1500

RICON is trained from random weights on encoders that differ in their context layers and in whether they read
bigrams; all else is the recipe's, with one seed and the same number of steps for each, cut short when a third of
them brings nothing. A row is the F at the best step on the development split, the speed of the whole pipeline on
that split, the seconds that training took, or the encoder's weights in millions.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ner
import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.records import read_records
from samarkand.corpora.scoring import doc_spans, evaluate_spans, record_spans
from spacy.language import Language

DATASETS = ("zh-resume", "ar-anercorp")
SAMPLES = "samples"
# Context layers of each kind. One BiLSTM reads a whole document, the others need layers to see far.
CONTEXTS = {"lstm": 1, "cnn": 3, "attention": 2, "none": 0}
SPEED_REPEATS = 3


@dataclass(frozen=True)
class Variant:
    """An encoder.

    context (str): Kind of its context layers, "none" for an encoder without.
    depth (int): Context layers.
    bigrams (bool): Whether it reads bigrams.
    """

    context: str
    depth: int
    bigrams: bool

    @property
    def label(self) -> str:
        """Name in the rows."""
        context = f"{self.context} x {self.depth}" if self.depth else "no context"
        return f"{context}, {'bigrams' if self.bigrams else 'no bigrams'}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of `samarkand.SubwordEncoder.v1` that differ from its defaults."""
        context = {"context": self.context} if self.depth else {}
        return {**context, "depth": self.depth, **({} if self.bigrams else {"bigram_rows": 0})}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--context", nargs="+", choices=CONTEXTS, default=list(CONTEXTS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.dataset, options.context, options.steps = [SAMPLES], ["cnn"], 3
    rows = []
    for dataset in options.dataset:
        for context in options.context:
            for bigrams in (True, False):
                variant = Variant(context, CONTEXTS[context], bigrams)
                rows += measure(variant, dataset, steps=options.steps, seed=options.seed)
                write_rows("encoder_choice", rows, options.results)
    show(rows, f"Encoders, {options.steps} steps each")


def measure(variant: Variant, dataset: str, *, steps: int, seed: int) -> list[dict[str, Any]]:
    """Train RICON on one encoder.

    variant (Variant): The encoder.
    dataset (str): One of `DATASETS`, or "samples".
    steps (int): Training steps.
    seed (int): Seed of weights and order.
    RETURNS (list[dict]): Rows: F on dev, tokens a second, seconds of training, weights of the encoder.
    """
    kind = ner.DATASETS.get(dataset, ner.Dataset("xx"))
    with tempfile.TemporaryDirectory() as folder:
        splits = ner.write_splits(dataset, kind, Path(folder))
        config = ner.our_config("ricon-scratch", kind, splits)
        config["components"]["tok2vec"]["model"].update(variant.settings)
        began = time.perf_counter()
        nlp = ner.train_best(config, Path(folder), seed=seed, steps=steps)
        seconds = time.perf_counter() - began
        records = list(read_records(splits["dev"]))
    weights = sum(values.numel() for values in nlp.get_pipe("tok2vec").model.shims[0].module.parameters())
    options = f"--dataset {dataset} --context {variant.context} --steps {steps} --seed {seed}"
    about = {
        "split": "dev",
        "seed": seed,
        "train": f"train split, {steps} steps",
        "command": f"python benchmarks/encoder_choice.py {options}",
    }
    return [
        row(variant.label, dataset, "ents_f", 100 * _dev_f(nlp, records), **about),
        row(variant.label, dataset, "speed", _speed(nlp, records), **{**about, "unit": "tokens/s"}),
        row(variant.label, dataset, "training", seconds, **{**about, "unit": "s"}),
        row(variant.label, dataset, "weights", weights / 1e6, **{**about, "unit": "M"}),
    ]


def _dev_f(nlp: Language, records: list[dict[str, Any]]) -> float:
    docs = nlp.pipe(record["text"] for record in records)
    predicted = [doc_spans(doc) for doc in docs]
    return evaluate_spans([record_spans(record) for record in records], predicted).micro.f1


def _speed(nlp: Language, records: list[dict[str, Any]]) -> float:
    """Tokens a second: the median of a few passes."""
    speeds = []
    for _ in range(SPEED_REPEATS):
        began = time.perf_counter()
        tokens = sum(len(doc) for doc in nlp.pipe(record["text"] for record in records))
        speeds.append(tokens / (time.perf_counter() - began))
    return statistics.median(speeds)


if __name__ == "__main__":
    main()
