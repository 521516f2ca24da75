"""NER by RICON, by a CRF on the same encoder and by spaCy's own `ner`, on the same splits.

    python benchmarks/ner.py --dataset zh-resume --system ricon --seed 0

Each run trains to convergence on the training split, takes the best step by the development split and scores the
test split once: exact-match micro F1 over character spans, misaligned and too wide gold spans counted as misses.
Rows go to results/ner.json as they come; runs that are there are skipped unless --again.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spacy
import torch
from options import benchmark_parser
from results_file import read_rows, row, show, write_rows
from samarkand.corpora.assets import corpus_path
from samarkand.corpora.records import read_records
from samarkand.corpora.scoring import SpanScores, doc_spans, evaluate_spans, record_spans, surface_forms
from spacy.cli.init_config import init_config
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Config

CONFIGS = Path(__file__).parent.parent / "configs"
SAMPLES = Path(__file__).parent.parent / "corpora" / "samples"


@dataclass(frozen=True)
class Dataset:
    """Where the splits of a corpus come from.

    lang (str): Language of spaCy's pipeline.
    nested (bool): Spans may contain one another.
    test (str): Split that is tested on. When it is "dev", the last tenth of train takes the place of dev.
    """

    lang: str
    nested: bool = False
    test: str = "test"


DATASETS = {
    "zh-resume": Dataset("zh"),
    "zh-msra": Dataset("zh"),
    "zh-cluener": Dataset("zh", test="dev"),
    "zh-cmeee": Dataset("zh", nested=True, test="dev"),
    "ar-anercorp": Dataset("ar"),
    "ar-caner": Dataset("ar"),
    "ar-wojood-sample": Dataset("ar", nested=True),
    "en-btc": Dataset("en"),
    "sw-masakhaner2": Dataset("xx"),
    "am-masakhaner1": Dataset("am"),
}


@dataclass(frozen=True)
class System:
    """A trained system.

    label (str): Name in the rows.
    train (str): What its weights come from, beside the training split.
    settings (dict): Config values that differ from the recipe.
    """

    label: str
    train: str
    settings: dict[str, Any] = field(default_factory=dict)


HEAD = "components.ricon_ner"
RAW = "train split; encoder pretrained by this project on open raw text"
NEWS = f"{RAW}, then on Arabic news for research alone"
SYSTEMS = {
    "ricon": System("samarkand/ricon_ner", RAW),
    # But for the choice among the lines of ar.txt.xz, its encoder was made by
    # python -m samarkand.corpora.pretraining $SAMARKAND_DATA/raw ids ar_news.research=8 ar=2
    # python -m samarkand.models.pretrain_encoder ids training/arabic_news --begin subword_base --learn-rate 0.002 \
    #     --minutes 28
    "ricon-news": System("samarkand/ricon_ner, news", NEWS, {"paths.encoder": "training/arabic_news"}),
    "ricon-scratch": System("samarkand/ricon_ner", "train split", {"paths.encoder": None}),
    "ricon-no-aware": System("samarkand/ricon_ner, no aware branch", RAW, {f"{HEAD}.model.branches": "agnostic"}),
    "ricon-no-agnostic": System("samarkand/ricon_ner, no agnostic branch", RAW, {f"{HEAD}.model.branches": "aware"}),
    "ricon-no-orthogonality": System(
        "samarkand/ricon_ner, no orthogonality", RAW, {f"{HEAD}.loss_weights.orthogonality": 0.0}
    ),
    "ricon-no-segments": System("samarkand/ricon_ner, no segments", RAW, {f"{HEAD}.loss_weights.segments": 0.0}),
    "crf": System("samarkand encoder + CRF", RAW),
    "spacy": System("spacy/ner", "train split"),
}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=["ricon", "crf", "spacy"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--max-steps", type=int, default=0, help="0: the recipe's own, by size of the corpus")
    parser.add_argument("--again", action="store_true", help="repeat runs whose rows are there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.dataset, options.max_steps = ["samples"], 20
    rows = []
    for dataset in options.dataset:
        for name in options.system:
            for seed in options.seed:
                if options.again or options.quick or not _is_done(SYSTEMS[name], dataset, seed):
                    rows += measure(name, dataset, seed, options.max_steps)
                    write_rows("ner", rows, options.results)
    show(rows, "NER")


def measure(name: str, dataset: str, seed: int, max_steps: int) -> list[dict[str, Any]]:
    """Train one system on one corpus and score its test split.

    name (str): Key of `SYSTEMS`.
    dataset (str): Key of `DATASETS`, or "samples".
    seed (int): Seed of weights and order.
    max_steps (int): Steps; 0 for the recipe's.
    RETURNS (list[dict]): Rows: F, precision, recall, F on unseen entities, tokens/s, training seconds.
    """
    system, kind = SYSTEMS[name], DATASETS.get(dataset, Dataset("xx"))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        splits = write_splits(dataset, kind, Path(folder))
        config = spacy_config(kind, splits) if name == "spacy" else our_config(name, kind, splits)
        best = train_best(config, Path(folder), seed=seed, steps=max_steps or _steps(name, splits["train"]))
        seconds = time.perf_counter() - began
        key = "ricon" if kind.nested and name.startswith("ricon") else None
        scores, speed = score_test(best, splits, key)
    about = {
        "seed": seed,
        "train": system.train,
        "split": kind.test,
        "command": f"python benchmarks/ner.py --dataset {dataset} --system {name} --seed {seed}",
        "note": "outermost spans only" if kind.nested and key is None else "",
    }
    values = {
        "ents_f": scores.micro.f1,
        "ents_p": scores.micro.precision,
        "ents_r": scores.micro.recall,
        "ents_f_unseen": scores.unseen.f1,
    }
    rows = [row(system.label, dataset, metric, 100 * value, **about) for metric, value in values.items()]
    rows.append(row(system.label, dataset, "speed", speed, **{**about, "unit": "tokens/s"}))
    rows.append(row(system.label, dataset, "training", seconds, **{**about, "unit": "s"}))
    print(json.dumps({"system": name, "dataset": dataset, "seed": seed, **values}), flush=True)
    return rows


def train_best(config: Config, folder: Path, *, seed: int, steps: int, patience: int | None = None) -> spacy.Language:
    """Train a pipeline.

    config (Config): Its config.
    folder (Path): A folder for the weights.
    seed (int): Seed of weights and order.
    steps (int): Most steps.
    patience (Optional[int]): Steps without a better score on dev after which it stops, 0 for never; a third of all by
        default.
    RETURNS (Language): The pipeline at its best step on dev.
    """
    config["training"]["seed"] = config["system"]["seed"] = seed
    patience = steps // 3 if patience is None else patience
    config["training"].update(max_steps=steps, patience=patience, eval_frequency=max(20, steps // 20))
    nlp = init_nlp(config.interpolate())
    (folder / "model").mkdir()
    train(nlp, folder / "model", stdout=sys.stderr, stderr=sys.stderr)
    return spacy.load(folder / "model" / "model-best")


def _is_done(system: System, dataset: str, seed: int) -> bool:
    return any(
        (r["system"], r["train"], r["dataset"], r["seed"]) == (system.label, system.train, dataset, seed)
        for r in read_rows("ner")
    )


def write_splits(dataset: str, kind: Dataset, folder: Path) -> dict[str, Path]:
    """Write the splits of a corpus as JSONL files.

    dataset (str): Key of `DATASETS`, or "samples".
    kind (Dataset): What it is.
    folder (Path): Where to.
    RETURNS (dict[str, Path]): The files "train", "dev" and "test".
    """
    if dataset == "samples":
        records = [r for p in sorted(SAMPLES.glob("*.jsonl")) if p.stem != "nested" for r in read_records(p)]
        splits = {"train": records, "dev": records[:20], "test": records[:20]}
    else:
        splits = {"train": list(read_records(corpus_path(dataset, "train")))}
        splits["test"] = list(read_records(corpus_path(dataset, kind.test)))
        if kind.test == "dev":
            held = len(splits["train"]) // 10
            splits["train"], splits["dev"] = splits["train"][:-held], splits["train"][-held:]
        else:
            splits["dev"] = list(read_records(corpus_path(dataset, "dev")))
    paths = {}
    for name, records in splits.items():
        paths[name] = folder / f"{name}.jsonl"
        lines = (json.dumps(record, ensure_ascii=False) for record in records if record["text"].strip())
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def our_config(name: str, kind: Dataset, splits: dict[str, Path]) -> Config:
    """The config of one of our systems.

    name (str): Key of `SYSTEMS`.
    kind (Dataset): What the corpus is.
    splits (dict[str, Path]): Its files.
    RETURNS (Config): The config; the schedule of its learning rate follows the steps that are set later.
    """
    nested = kind.nested and name != "crf"
    overrides = {"paths.train": str(splits["train"]), "paths.dev": str(splits["dev"])}
    config = load_config(CONFIGS / ("ricon_nested.cfg" if nested else "ricon_flat.cfg"), overrides, interpolate=False)
    for path, value in SYSTEMS[name].settings.items():
        *sections, key = path.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    if name == "crf":
        import crf_tagger

        crf_tagger.put_in_place_of_ricon(config)
    return config


def spacy_config(kind: Dataset, splits: dict[str, Path], *, own_tokenizer: bool = False) -> Config:
    """spaCy's own recipe for `ner` on a CPU, with our reader.

    kind (Dataset): What the corpus is.
    splits (dict[str, Path]): Its files.
    own_tokenizer (bool): Keep spaCy's tokenizer; False takes ours, so that only the model differs.
    RETURNS (Config): The config, interpolated.
    """
    # With our tokenizer the language decides nothing more, and that of Chinese asks for settings of its own tokenizer.
    config = init_config(lang=kind.lang if own_tokenizer else "xx", pipeline=["ner"], optimize="efficiency")
    if not own_tokenizer:
        config["nlp"]["tokenizer"] = {"@tokenizers": "samarkand.ScriptTokenizer.v1", "norm": "full"}
    for split in ("train", "dev"):
        config["corpora"][split] = {"@readers": "samarkand.SpanCorpus.v1", "path": str(splits[split])}
    return config.interpolate()


def _steps(name: str, path: Path) -> int:
    """Most steps: for spaCy about as many tokens as for us, and both were seen to have converged on dev before."""
    least, most, size = (5000, 16000, 700) if name == "spacy" else (3000, 12000, 950)
    return int(min(most, max(least, path.stat().st_size / size)))


def score_test(nlp: spacy.Language, splits: dict[str, Path], key: str | None) -> tuple[SpanScores, float]:
    """Score a pipeline on the test split.

    nlp (Language): The pipeline.
    splits (dict[str, Path]): Files of the splits.
    key (Optional[str]): Key of `doc.spans`; None for `doc.ents`.
    RETURNS (tuple[SpanScores, float]): Scores, and tokens a second.
    """
    records = list(read_records(splits["test"]))
    texts = [record["text"] for record in records]
    began = time.perf_counter()
    docs = list(nlp.pipe(texts))
    speed = sum(map(len, docs)) / (time.perf_counter() - began)
    scores = evaluate_spans(
        [record_spans(record) for record in records],
        [doc_spans(doc, spans_key=key) for doc in docs],
        texts=texts,
        seen=surface_forms(read_records(splits["train"])),
    )
    return scores, speed


if __name__ == "__main__":
    main()
