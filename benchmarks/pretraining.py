"""What pretraining by `samarkand train-encoder` brings: masked-LM loss and NER against pieces seen.

    samarkand prepare-text configs/encoder_base.toml
    python benchmarks/pretraining.py --data corpus/encoder_base

A transformer that a CPU can train (3 layers of width 128, sequences of 128) reads the text of configs/encoder_base.toml
for each number of --steps. Its loss is that of the held-out sequences of each group of text. Then RICON is trained on
it by configs/ricon_transformer.cfg, with one seed and the same steps for all, and scored on the test split; 0 steps
is the same transformer with random weights. `--bundled` trains it on the bundled encoder as well, by
configs/ricon_flat.cfg.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import ner
import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.models.train_encoder import train_encoder
from spacy.util import load_config
from thinc.api import Config

CONFIGS = Path(__file__).parent.parent / "configs"
OURS = "samarkand/train-encoder"
SUBWORD_BASE, BUNDLED = "samarkand/subword_base", "the bundled subword_base"
LENGTH, BATCH, WIDTH = 128, 32, 128
SETTINGS: dict[str, Any] = {
    "reading.length": LENGTH,
    "reading.weights": "{}",
    "model.layers": 3,
    "model.width": WIDTH,
    "model.heads": 4,
    "model.hidden": 3 * WIDTH,
    "schedule.minutes": 0,
    "schedule.shape": "cosine",
    "training.batch_size": BATCH,
    "training.micro_batch": BATCH,
    "training.precision": "fp32",
    "training.compile": "false",
    "training.evaluations": 1,
    "result.weights": "fp32",
}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--data", type=Path, default=Path("corpus/encoder_base"), help="folder of the prepared text")
    parser.add_argument("--steps", nargs="*", type=int, default=[0, 250, 1000, 4000], help="of 4,096 pieces each")
    parser.add_argument("--dataset", nargs="+", choices=ner.DATASETS, default=["zh-resume", "ar-anercorp", "en-btc"])
    parser.add_argument("--ner-steps", type=int, default=1500)
    parser.add_argument("--bundled", action="store_true", help="the bundled encoder too")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            options.data, options.dataset, options.ner_steps = prepare_samples(Path(folder)), ["samples"], 3
            options.steps = [0, 2]
        for steps in options.steps:
            output = Path(folder) / f"{steps}-steps"
            rows += pretrain(options.data, output, steps, options.seed)
            for dataset in options.dataset:
                config = on_transformer(output / "encoder", options.ner_steps, drawn=not steps)
                rows += transfer(config, _seen(steps), f"--steps {steps}", dataset, options.ner_steps, options.seed)
                write_rows("pretraining", rows, options.results)
        for dataset in options.dataset if options.bundled else ():
            config = load_config(CONFIGS / "ricon_flat.cfg", interpolate=False)
            rows += transfer(config, BUNDLED, "--steps --bundled", dataset, options.ner_steps, options.seed)
            write_rows("pretraining", rows, options.results)
    show(rows, "Pretraining")


def prepare_samples(folder: Path) -> Path:
    """Prepare the bundled samples as if they were raw text.

    folder (Path): Where to.
    RETURNS (Path): The prepared text.
    """
    from samarkand.corpora.prepare_text import prepare_text
    from samarkand.corpora.records import read_records

    texts = [" ".join(r["text"].split()) for p in sorted(ner.SAMPLES.glob("*.jsonl")) for r in read_records(p)]
    (folder / "xx.txt").write_text("\n".join(texts), encoding="utf-8")
    sources = json.dumps(str(folder / "xx.txt"))
    data = folder / "prepared"
    words = {"data": data, "text.sources": f"[{{path = {sources}}}]", "vocabulary.size": 500}
    prepare_text(CONFIGS / "encoder_base.toml", _words(words))
    return data


def pretrain(data: Path, output: Path, steps: int, seed: int) -> list[dict[str, Any]]:
    """Pretrain a transformer.

    data (Path): The prepared text.
    output (Path): Where to; the transformer lies in `encoder/`.
    steps (int): Steps; with 0 its weights are drawn anew by whoever loads it, see `transfer`.
    seed (int): Seed of weights, masks and order.
    RETURNS (list[dict]): Rows: loss in nats a hidden piece, by group of text.
    """
    words = {**SETTINGS, "data": data, "output": output, "training.seed": seed}
    words |= {"schedule.steps": max(steps, 1), "schedule.warmup": max(1, steps // 10)}
    last = train_encoder(CONFIGS / "encoder_base.toml", _words(words))
    if not steps:
        return []
    about = {
        "split": "held out",
        "seed": seed,
        "unit": "nats/piece",
        "train": _seen(steps),
        "command": f"python benchmarks/pretraining.py --steps {steps} --seed {seed}",
    }
    return [row(OURS, group, "loss", loss, **about) for group, loss in last["held_out"].items()]


def on_transformer(encoder: Path, ner_steps: int, *, drawn: bool) -> Config:
    """A config of RICON on a transformer.

    encoder (Path): Folder of the transformer.
    ner_steps (int): Steps of RICON.
    drawn (bool): Draw its weights: only its shape and tokenizer are taken.
    RETURNS (Config): The config.
    """
    config = load_config(CONFIGS / "ricon_transformer.cfg", interpolate=False)
    block = config["components"]["tok2vec"]["model"]
    block.update(width=WIDTH, window=LENGTH - 2, stride=LENGTH // 2, name=str(encoder))
    if drawn:
        shape = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
        block.update(name=None, transformer_config=shape, tokenizer_path=str(encoder))
    # One rate for both parts: small encoders gain by it, pretrained or not.
    del config["training"]["optimizer"]["pretrained_learn_rate"]
    config["training"]["optimizer"]["learn_rate"]["warmup_steps"] = ner_steps // 10
    return config


def transfer(config: Config, seen: str, options: str, dataset: str, ner_steps: int, seed: int) -> list[dict[str, Any]]:
    """Train RICON on an encoder.

    config (Config): Its config.
    seen (str): What the encoder has read, for the rows.
    options (str): What the command of the rows says of the encoder.
    dataset (str): Key of `ner.DATASETS`, or "samples".
    ner_steps (int): Steps of RICON.
    seed (int): Seed of weights and order.
    RETURNS (list[dict]): Rows: F on all entities and on unseen ones.
    """
    kind = ner.DATASETS.get(dataset, ner.Dataset("xx"))
    with tempfile.TemporaryDirectory() as folder:
        splits = ner.write_splits(dataset, kind, Path(folder))
        config["paths"].update(train=str(splits["train"]), dev=str(splits["dev"]))
        nlp = ner.train_best(config, Path(folder), seed=seed, steps=ner_steps)
        scores, _ = ner.score_test(nlp, splits, None)
    about = {
        "split": kind.test,
        "seed": seed,
        "train": seen,
        "command": f"python benchmarks/pretraining.py {options} --dataset {dataset} --seed {seed}",
        "note": f"{ner_steps} steps",
    }
    system = SUBWORD_BASE if seen == BUNDLED else OURS
    values = {"ents_f": scores.micro.f1, "ents_f_unseen": scores.unseen.f1}
    print(json.dumps({"dataset": dataset, "encoder": seen, **values}), flush=True)
    return [row(f"{system} + ricon_ner", dataset, metric, 100 * value, **about) for metric, value in values.items()]


def _seen(steps: int) -> str:
    return f"{steps * BATCH * LENGTH / 1e6:.1f} M pieces"


def _words(settings: dict[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


if __name__ == "__main__":
    main()
