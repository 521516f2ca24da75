"""What is learnt in English and tested in other languages: plain training against push, pull, robust and all three.

    python benchmarks/transfer.py --dataset sib200 --encoder xx_sentence_sm --variant plain "all three" --seed 0 1 2

- sib200: topics of 701 sentences; macro F by language, by default of those that the small encoder was pretrained on.
- xsid: intents of 240 commands, in 17 languages.
- stsb: similarity of 5,749 pairs, in 6 languages; Spearman's correlation.
- ner: persons, places and organisations from English news, reviews and tweets; micro F on the first 300 documents of
  43 sets.

The best step is chosen by English dev alone. Copies swap words for neighbours of the training texts by the bundled
sentence encoder. "mean" is over languages, or sets, other than English. Alignment is that of translations, see
`transfer_systems.alignment`, before training and after it. The bundled small encoder shows no attention to pull.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from transfer_systems import (
    METRICS,
    PIPES,
    VARIANTS,
    alignment,
    encoder_block,
    learn,
    score,
    untrained,
    variants_for,
    write_neighbours,
)
from transfer_tasks import TASKS, Task, Translations, make_task, sample_translations, samples, translations

NOISE = {"@misc": "samarkand.CharacterNoise.v1"}
STEPS = {"classes": 200, "pairs": 600, "entities": 1500}
MEAN = "mean"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--dataset", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, help="those that the encoder allows by default")
    parser.add_argument("--encoder", nargs="+", default=["subword_base", "xx_sentence_sm"], help="or a folder")
    parser.add_argument("--lang", nargs="+", help="to test on, or all")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=0, help="0: by kind of task")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    makers = {name: partial(make_task, name, langs=options.lang) for name in options.dataset}
    if options.quick:
        makers = {f"samples, {kind}": partial(samples, kind) for kind in PIPES}
        options.encoder, options.steps = ["tiny"], 40
        options.variant = options.variant or ["plain", "all three"]
    pairs = sample_translations() if options.quick else translations()
    rows: list[dict[str, Any]] = []
    for make in makers.values():
        with tempfile.TemporaryDirectory() as folder:
            task = make(folder=Path(folder))
            swaps = NOISE if options.quick else write_neighbours(task, Path(folder) / "neighbours.tsv")
            for encoder in options.encoder:
                for variant in options.variant or variants_for(encoder_block(encoder)):
                    for seed in options.seed:
                        rows += measure(task, encoder, variant, swaps, seed=seed, steps=options.steps, pairs=pairs)
                        write_rows("transfer", rows, options.results)
    show([found for found in rows if found["dataset"].endswith(f"/{MEAN}")], "Transfer from English")


def measure(
    task: Task,
    encoder: str,
    variant: str,
    swaps: dict[str, Any],
    *,
    seed: int,
    steps: int,
    pairs: Translations,
) -> list[dict[str, Any]]:
    """Train one variant on one task and test it in every language.

    task (Task): The task.
    encoder (str): As `encoder_block` takes it.
    variant (str): Key of `VARIANTS`.
    swaps (dict[str, Any]): Config of the swaps.
    seed (int): Seed of weights, order and swaps.
    steps (int): Steps; 0 for those of the kind of task.
    pairs (Translations): Translations for the alignment.
    RETURNS (list[dict]): Rows: by language, their mean, alignment before and after, seconds of training.
    """
    steps = steps or STEPS[task.kind]
    block, pipe = encoder_block(encoder), PIPES[task.kind]
    began = time.perf_counter()
    nlp = learn(task, block, VARIANTS[variant], swaps, seed=seed, steps=steps)
    seconds = time.perf_counter() - began
    about = {
        "seed": seed,
        "train": f"labels in English, encoder {encoder}",
        "command": f'python benchmarks/transfer.py --dataset {task.name} --encoder {encoder} --variant "{variant}" '
        f"--steps {steps} --seed {seed}",
        "note": f"{steps} steps",
    }
    system = f"samarkand/{pipe}, {variant}"
    figures = score(nlp, task)
    mean = statistics.fmean(figure for name, figure in figures.items() if name != task.home)
    metric = METRICS[task.kind]
    rows = [row(system, f"{task.name}/{name}", metric, 100 * figure, **about) for name, figure in figures.items()]
    overall = f"{task.name}/{MEAN}"
    rows.append(row(system, overall, metric, 100 * mean, **about))
    ours = nlp.get_pipe(pipe).model.get_ref("tok2vec")
    for when, tok2vec in (("before", untrained(block, seed)), ("after", ours)):
        gap, found = alignment(tok2vec, nlp, pairs)
        rows.append(row(system, overall, f"alignment {when}", 100 * gap, **{**about, "unit": "x100"}))
        rows.append(row(system, overall, f"translations found {when}", 100 * found, **about))
    rows.append(row(system, overall, "training", seconds, **{**about, "unit": "s"}))
    told = {"system": system, "encoder": encoder, "seed": seed, "home": figures[task.home], MEAN: mean}
    print(json.dumps(told), flush=True)
    return rows


if __name__ == "__main__":
    main()
