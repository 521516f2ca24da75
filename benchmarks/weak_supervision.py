"""Classifiers of reviews from rules alone, beside full supervision: Chinese hotels and Arabic restaurants.

    python benchmarks/weak_supervision.py --dataset hotel-zh restaurant-ar --seed 0 1 2

Twenty keyword lists a set, in `weak_rules/`, written from what people say of hotels and restaurants, vote on the
training texts. Classifiers learn from the votes; their best step is chosen by votes on the dev texts too, so that no
text has been labelled. Labelled dev texts choose thresholds for precision at a recall, and nothing else. Full
supervision has the labels of both splits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import samarkand
import torch
from ner import train_best
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.components.recall_scorer import RECALLS, evaluate_at_recall
from samarkand.corpora.cats_corpus import CatsCorpus
from samarkand.corpora.cats_sets import cats_records
from samarkand.corpora.labelling_functions import LabellingFunction, Votes, apply_functions
from samarkand.corpora.labelling_rules import make_keyword_labels
from samarkand.corpora.records import Record, write_records
from samarkand.corpora.weak_labels import WeakLabelSettings
from samarkand.models.dawid_skene import DawidSkene
from samarkand.models.label_model import ABSTAIN, LabelModel, MajorityVote
from spacy.language import Language
from spacy.util import load_config

COMMAND = "python benchmarks/weak_supervision.py"
RULES = Path(__file__).parent / "weak_rules"
CONFIG = Path(__file__).parents[1] / "configs" / "weak_textcat.cfg"
GOLD, MAJORITY, SKENE, PEER = "all labels", "majority vote", "Dawid-Skene", "crowd-kit/Dawid-Skene"
LABEL_MODELS: dict[str, type[LabelModel]] = {MAJORITY: MajorityVote, SKENE: DawidSkene}
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Task:
    """A set of texts with labels, and rules for it.

    name (str): Its name in the rows.
    texts (dict[str, list[Record]]): Records with "text" and "label", by split.
    rules (Path): Name of a function, its label and its keywords a line.
    """

    name: str
    texts: dict[str, list[Record]]
    rules: Path


SETS = {"hotel-zh": ("chnsenticorp-htl", "hotel_zh.tsv"), "restaurant-ar": ("res-reviews", "restaurant_ar.tsv")}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--dataset", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.seed, options.steps = [0], 40
    tasks = [samples()] if options.quick else [real_task(name) for name in options.dataset]
    rows: list[dict[str, Any]] = []
    for task in tasks:
        rows += measure(task, options.seed, options.steps, encoder=None if options.quick else "subword_base")
        write_rows("weak_supervision", rows, options.results)
    show(rows, "Classes from rules")


def real_task(name: str) -> Task:
    """RETURNS (Task): A set of the folder in SAMARKAND_DATA."""
    family, rules = SETS[name]
    folder = os.environ["SAMARKAND_DATA"]
    return Task(name, {split: list(cats_records(folder, f"{family}/{split}")) for split in SPLITS}, RULES / rules)


def samples() -> Task:
    """RETURNS (Task): A few made-up reviews."""
    good, bad = ("房间很干净", "服务热情周到", "早餐不错", "位置方便"), ("房间很脏", "隔音太差", "空调坏了", "让人失望")
    records = [
        {"text": f"{first},{second}{n}号。", "label": label}
        for label, words in (("1", good), ("0", bad))
        for first in words
        for second in words
        for n in range(3)
    ]
    return Task("samples", {split: records[at::3] for at, split in enumerate(SPLITS)}, RULES / "hotel_zh.tsv")


def measure(task: Task, seeds: Sequence[int], steps: int, *, encoder: str | None) -> list[dict[str, Any]]:
    """Judge label models and the classifiers that learn from them.

    task (Task): The task.
    seeds (Sequence[int]): A training each.
    steps (int): Steps of a training.
    encoder (Optional[str]): Pretrained encoder; None for random weights.
    RETURNS (list[dict]): Rows: accuracies of labels, macro F and accuracy on test, and precision at recalls.
    """
    about = {"command": f"{COMMAND} --dataset {task.name} --steps {steps}", "note": f"{steps} steps"}
    functions, rows = read_functions(task.rules), []
    votes = {split: vote(functions, task.texts[split]) for split in ("train", "dev")}
    for name, accuracy in label_accuracies(votes["train"], task.texts["train"]).items():
        rows.append(row(name, task.name, "label accuracy", 100 * accuracy, **{**about, "split": "train"}))
    covered = (votes["train"].matrix != ABSTAIN).any(axis=1).mean()
    rows.append(row("rules", task.name, "coverage", 100 * covered, **{**about, "split": "train"}))
    for source, easy_first in ((GOLD, False), (MAJORITY, False), (SKENE, False), (SKENE, True)):
        system = f"samarkand/transfer_textcat, {source}{', curriculum' if easy_first else ''}"
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                nlp = learn(task, source, votes, Path(folder), seed, steps, encoder, easy_first)
            scores = test(nlp, task)
            print(system, seed, scores, flush=True)
            rows += [row(system, task.name, name, 100 * value, **about, seed=seed) for name, value in scores.items()]
    return rows


def read_functions(path: Path) -> dict[str, LabellingFunction]:
    """Labelling functions of a file; an underscore in a keyword is a blank.

    path (Path): A name, a label and keywords a line, between tabs; blanks between keywords.
    RETURNS (dict[str, LabellingFunction]): Functions by name.
    """
    functions = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, label, words = line.split("\t")
            keywords = Path(folder) / f"{name}.txt"
            keywords.write_text("\n".join(word.replace("_", " ") for word in words.split(" ")), encoding="utf-8")
            functions[name] = make_keyword_labels(str(keywords), label)
    return functions


def vote(functions: dict[str, LabellingFunction], records: Sequence[Record]) -> Votes:
    """RETURNS (Votes): What functions say of texts."""
    nlp = samarkand.blank("xx")
    labels = sorted({record["label"] for record in records})
    return apply_functions(functions, (nlp.make_doc(record["text"]) for record in records), labels)


def label_accuracies(votes: Votes, records: Sequence[Record]) -> dict[str, float]:
    """RETURNS (dict[str, float]): How often each label model is right on texts with votes, a tie half the time."""
    voted = (votes.matrix != ABSTAIN).any(axis=1)
    gold = np.array([votes.labels.index(record["label"]) for record in records])[voted]
    shares = {
        name: make().fit(votes.matrix, len(votes.labels)).predict_proba(votes.matrix)[voted]
        for name, make in LABEL_MODELS.items()
    }
    if find_spec("crowdkit"):
        shares[PEER] = _crowd_kit(votes)[voted]
    return {name: float(_right(share, gold).mean()) for name, share in shares.items()}


def _right(shares: np.ndarray, gold: np.ndarray) -> np.ndarray:
    best = np.isclose(shares, shares.max(axis=1, keepdims=True))
    return best[np.arange(len(gold)), gold] / best.sum(axis=1)


def _crowd_kit(votes: Votes) -> np.ndarray:
    """A maintained library's model, which knows of no silence."""
    import pandas
    from crowdkit.aggregation import DawidSkene as Peer

    rows, columns = np.nonzero(votes.matrix != ABSTAIN)
    table = pandas.DataFrame({"task": rows, "worker": columns, "label": votes.matrix[rows, columns]})
    found = Peer(n_iter=100).fit_predict_proba(table)
    shares = np.full((len(votes.matrix), len(votes.labels)), 1 / len(votes.labels))
    shares[np.ix_(found.index.to_numpy(), found.columns.to_numpy())] = found.to_numpy()
    return shares


def learn(
    task: Task,
    source: str,
    votes: dict[str, Votes],
    folder: Path,
    seed: int,
    steps: int,
    encoder: str | None,
    easy_first: bool,
) -> Language:
    """Train a classifier on labels or on votes.

    task (Task): The task.
    source (str): `GOLD`, or a key of `LABEL_MODELS`.
    votes (dict[str, Votes]): Of train and dev.
    folder (Path): Where files go.
    seed, steps (int): Of the training.
    encoder (Optional[str]): Pretrained encoder.
    easy_first (bool): Whether texts with sure labels come first.
    RETURNS (Language): The pipeline.
    """
    paths = {split: folder / f"{split}.jsonl" for split in ("train", "dev")}
    for split, path in paths.items():
        write_records(path, task.texts[split] if source == GOLD else labelled(task, source, votes, split))
    overrides: dict[str, Any] = {f"paths.{split}": str(path) for split, path in paths.items()}
    overrides["paths.encoder"] = encoder
    overrides["training.batcher.batcher.pace.start"] = 0.2 if easy_first else 1.0
    overrides["training.batcher.batcher.pace.steps"] = max(1, steps // 2)
    config = load_config(CONFIG, overrides, interpolate=False)
    config["training"]["optimizer"]["learn_rate"]["warmup_steps"] = max(1, steps // 10)
    config["training"]["score_weights"] = {"cats_score": 1.0, "cats_p_at_r90": 0.0}
    return train_best(config, folder, seed=seed, steps=steps, patience=0)


def labelled(task: Task, source: str, votes: dict[str, Votes], split: str) -> Iterator[Record]:
    """Records with what a label model makes of votes, it having seen those of train: probabilities to learn from, and
    the likeliest label to choose by. Texts that it is not sure of are left out.
    """
    labels = votes["train"].labels
    model = LABEL_MODELS[source]().fit(votes["train"].matrix, len(labels))
    shares = model.predict_proba(votes[split].matrix)
    voted = (votes[split].matrix != ABSTAIN).any(axis=1)
    for record, share, has_votes in zip(task.texts[split], shares, voted):
        if has_votes and share.max() >= WeakLabelSettings.min_confidence:
            text = {key: value for key, value in record.items() if key != "label"}
            soft = dict(zip(labels, map(float, share)))
            yield {**text, "cats": soft} if split == "train" else {**text, "label": labels[int(share.argmax())]}


def test(nlp: Language, task: Task) -> dict[str, float]:
    """RETURNS (dict[str, float]): Accuracy, macro F, and mean precision at recalls, from 0 to 1."""
    with tempfile.TemporaryDirectory() as folder:
        corpora = {}
        for split in ("dev", "test"):
            path = Path(folder) / f"{split}.jsonl"
            write_records(path, task.texts[split])
            corpora[split] = list(CatsCorpus(path)(nlp))
    at_recall = evaluate_at_recall(nlp, corpora["dev"], corpora["test"], RECALLS)
    precisions = {f"precision at recall {r:.0%}": at_recall[f"cats_p_at_r{100 * r:.0f}"] for r in RECALLS}
    scores = nlp.evaluate(corpora["test"])
    # Each text has one class and gets one: micro F is accuracy.
    return {"accuracy": scores["cats_micro_f"], "macro F": scores["cats_macro_f"], **precisions}


if __name__ == "__main__":
    main()
