"""Entity linking of given mentions: M3 and its ablations, no training, the prior alone, a bi-encoder, spaCy's linker.

    python -m samarkand.corpora.silver_recipe corpus/silver
    python benchmarks/linking.py --silver corpus/silver --system m3 spacy prior --seed 0 1 2

All systems have the same knowledge base, candidates (10 a mention, as the knowledge base ranks them for its text) and
training texts; spaCy's linker and the prior have the candidates of the name alone, as they look names up. The texts are
those of the silver corpus, half of them without types, with --templates some of its templates, and with the train part
of OKE 2016 unless --no-gold. M3 chooses its step and threshold on the dev parts of silver text and, unless
--no-gold, of wiki-fair and news-fair, whole and sentence by sentence. Of mentions inside one another the longest is
asked. NIL is a class. Rows go to results/linking.json as they come.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from linking_data import Task, judge_sets, quick_task, real_task
from linking_systems import SYSTEMS, make_system
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.linking_sets import SHORT_TEXT

METRICS = ("linkable_accuracy", "nil_f1", "micro_f1", "macro_f1", "inkb_micro_f1", "inkb_macro_f1")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--silver", type=Path, default=Path("corpus/silver"), help="folder of corpora.silver_recipe")
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=["prior", "no-training", "m3", "bi", "spacy"])
    parser.add_argument("--set", nargs="+", help="names of sets; all test sets at hand by default")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--max-steps", type=int, default=2000, help="of what is trained")
    parser.add_argument("--templates", type=int, default=0, help="texts of each file of templates to learn from")
    parser.add_argument("--no-gold", action="store_true", help="learn from silver text alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        task, train = _task(options, Path(folder))
        for name in options.system:
            for seed in options.seed if SYSTEMS[name].learns else [0]:
                rows += measure(name, task, seed, options.max_steps, train)
                write_rows("linking", rows, options.results)
    show(rows, "Entity linking")


def _task(options: Any, folder: Path) -> tuple[Task, str]:
    """The task, and what to say of its training texts."""
    if options.quick:
        options.max_steps = 20
        return quick_task(folder), "made-up"
    data = os.environ.get("SAMARKAND_DATA")
    if not data or not (options.silver / "linking.kb").exists():
        raise SystemExit("Set SAMARKAND_DATA, and make --silver with python -m samarkand.corpora.silver_recipe")
    templates = [f"{options.templates:,} texts of each file of templates"] * bool(options.templates)
    named = ["silver text", *templates, *(["OKE 2016 train"] * (not options.no_gold))]
    task = real_task(
        data, options.silver, options.set, templates=options.templates, gold=not options.no_gold, folder=folder
    )
    return task, ", ".join(named)


def measure(name: str, task: Task, seed: int, steps: int, train: str) -> list[dict[str, Any]]:
    """Train one system and score it.

    name (str): Key of `SYSTEMS`.
    task (Task): What to learn from and to answer.
    seed (int): Seed of weights and order.
    steps (int): Most steps of training.
    train (str): What the rows say of the training texts.
    RETURNS (list[dict]): Rows by set and metric, means of the sets of tweets, seconds of training and mentions/s.
    """
    system = SYSTEMS[name]
    began = time.perf_counter()
    answer = make_system(name, task, seed=seed, steps=steps)
    trained = time.perf_counter()
    scores = judge_sets(task, answer)
    seconds = time.perf_counter() - trained
    about = {
        "seed": seed,
        "train": train if system.learns else "",
        "command": f"python benchmarks/linking.py --system {name} --seed {seed} --max-steps {steps}",
        "note": system.note,
    }
    rows = []
    for dataset, found in scores.items():
        rows += [row(system.label, dataset, metric, 100 * getattr(found, metric), **about) for metric in METRICS]
        for k, value in found.recall_at.items():
            recall = {**about, "seed": 0, "train": "", "note": ""}
            rows.append(row("knowledge base", dataset, f"recall@{k}", 100 * value, **recall))
    short = [found for dataset, found in scores.items() if dataset in SHORT_TEXT]
    for metric in METRICS if short else ():
        mean = sum(getattr(found, metric) for found in short) / len(short)
        rows.append(row(system.label, "mean of short text", metric, 100 * mean, **about))
    mentions = sum(found.mentions for found in scores.values())
    rows.append(row(system.label, "all sets", "speed", mentions / seconds, **{**about, "unit": "mentions/s"}))
    rows.append(row(system.label, "all sets", "training", trained - began, **{**about, "unit": "s"}))
    said = {dataset: round(100 * found.micro_f1, 2) for dataset, found in scores.items()}
    print(json.dumps({"system": name, "seed": seed, "micro_f1": said}), flush=True)
    return rows


if __name__ == "__main__":
    main()
