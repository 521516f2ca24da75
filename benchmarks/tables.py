"""Which rows become which table, see `make_tables.py`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """How rows become a table.

    script (str): Script that measures the rows.
    caption (str): What the figures are.
    select (Callable): Takes the rows of the table, in the order of its columns.
    line (Callable): Heading of a row's line.
    column (Callable): Heading of a row's column.
    compare (bool): Systems are compared: show how many seeds a mean is of, and the best of a line in bold.
    """

    script: str
    caption: str
    select: Callable[[list[Row]], list[Row]]
    line: Callable[[Row], str]
    column: Callable[[Row], str]
    compare: bool = False


def _ours_first(rows: Iterable[Row]) -> list[Row]:
    """RICON, then other systems of this project, then peers."""
    prefixes = ("samarkand/", "samarkand")
    return sorted(
        rows, key=lambda row: (*(not row["system"].startswith(p) for p in prefixes), row["system"], row["train"])
    )


def _by_metrics(rows: list[Row], *, metrics: tuple[str, ...]) -> list[Row]:
    """Rows of some metrics, in their order."""
    return sorted((row for row in _ours_first(rows) if row["metric"] in metrics), key=_position(metrics))


def _position(metrics: tuple[str, ...]) -> Callable[[Row], int]:
    return lambda row: metrics.index(row["metric"])


def _shares(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["metric"].startswith("share: ")]


def _is_ablation(row: Row) -> bool:
    return ", no " in row["system"]


def _peers(rows: list[Row], *, metric: str) -> list[Row]:
    """The systems on one metric, without variants of them."""
    return _ours_first(row for row in rows if row["metric"] == metric and ", " not in row["system"])


def _ablations(rows: list[Row]) -> list[Row]:
    """The ablations on F, and what they are compared with: the same training on the same corpora."""
    rows = [row for row in rows if row["metric"] == "ents_f"]
    cut = {(row["system"].split(", no ")[0], row["dataset"], row["train"]) for row in rows if _is_ablation(row)}
    return _ours_first(row for row in rows if (row["system"].split(", no ")[0], row["dataset"], row["train"]) in cut)


def _with_news(rows: list[Row]) -> list[Row]:
    """What text of the kind that is tested on brings the encoder."""
    found = [row for row in rows if row["metric"] == "ents_f" and row["system"].startswith("samarkand/ricon_ner")]
    tried = {row["dataset"] for row in found if row["system"].endswith(", news")}
    return _ours_first(row for row in found if row["dataset"] in tried and not _is_ablation(row))


def _system(row: Row) -> str:
    return row["system"]


def _dataset(row: Row) -> str:
    return row["dataset"] if row["split"] in ("", "test") else f"{row['dataset']} ({row['split']})"


def _metric(row: Row) -> str:
    return f"{row['metric']}, {row['unit']}" if row["unit"] not in ("", "x") else row["metric"]


def _share(row: Row) -> str:
    return row["metric"].removeprefix("share: ") + ", %"


def _system_metric(row: Row) -> str:
    return f"{row['system']}: {_metric(row)}"


def _dataset_metric(row: Row) -> str:
    return f"{row['dataset']}: {_metric(row)}"


def _dataset_split(row: Row) -> str:
    return f"{row['dataset']}, {row['split']}"


def _optimizers(rows: list[Row]) -> list[Row]:
    """What optimizers keep and take, model by model."""
    metrics = ("state", "state saved", "step ratio")
    return sorted(_by_metrics(rows, metrics=metrics), key=lambda row: row["dataset"])


def _planners(rows: list[Row]) -> list[Row]:
    """What the default planner gains over the baselines, and how long planners search and recompute."""
    gains = [("samarkand/mix", f"throughput over {other}") for other in ("full", "selective", "checkmate")]
    times = [("samarkand/heu", "search")]
    times += [(f"samarkand/{planner}", "recompute") for planner in ("heu", "mix", "opt", "checkmate")]
    columns = [*gains, *times]
    models = ("gpt-1.3b", "gpt-7b", "gpt-20b")
    found = [row for row in rows if (row["system"], row["metric"]) in columns and row["dataset"] in models]
    return sorted(found, key=lambda row: columns.index((row["system"], row["metric"])))


def _peaks(rows: list[Row]) -> list[Row]:
    """The default planner within each budget."""
    found = [row for row in rows if row["system"] == "samarkand/mix"]
    return _by_metrics(found, metrics=("peak", "peak over prediction", "peak over budget"))


def _stages(rows: list[Row]) -> list[Row]:
    """Balance and throughput of stages, ours beside naive ones."""
    metrics = ("balance", "throughput, 1f1b, unlimited", "throughput, last-without-recompute, 6 GB")
    return [{**row, "note": ""} for row in _by_metrics(rows, metrics=metrics)]


def _streams(rows: list[Row], *, runs: bool) -> list[Row]:
    """Memory over a stream of documents, of a pipeline or of runs of `samarkand annotate`."""
    found = [row for row in rows if row["system"].startswith("samarkand annotate") == runs]
    return _by_metrics(found, metrics=RUN_MEMORY if runs else MEMORY)


def _whitened(rows: list[Row]) -> list[Row]:
    """Mean similarity before whitening and after, the widest last."""
    means = [row for row in rows if row["dataset"] == "mean" and row["metric"].startswith("spearman")]
    means.sort(key=lambda row: (_width(row["metric"]), row["metric"]))
    return [{**row, "system": _whitening(row), "train": ""} for row in means]


def _width(metric: str) -> int:
    digits = metric.partition(" dimensions")[0].rpartition(" ")[2]
    return int(digits) if digits.isdigit() else 0


def _by_pieces_seen(rows: list[Row]) -> list[Row]:
    """What is told apart is not the system but how much text it has seen."""
    found = _by_metrics(rows, metrics=("ents_f", "ents_f_unseen"))
    return [{**row, "system": row["train"], "train": ""} for row in found]


def _large(rows: list[Row]) -> list[Row]:
    """Knowledge bases of the size that most entities are measured at."""
    most = max(
        (row["dataset"] for row in rows), key=lambda dataset: int(dataset.split()[0].replace(",", "")), default=""
    )
    return _ours_first(row for row in rows if row["dataset"] == most)


def _whitening(row: Row) -> str:
    """Encoder, exponent of the variance, and what the map was fitted on."""
    return ", ".join(filter(None, [row["system"], *row["metric"].split(", ")[2:], row["train"].partition(":")[0]]))


def _system_dataset(row: Row) -> str:
    return f"{row['dataset']}: {row['system']}"


def _of_sets(rows: list[Row], *, metric: str) -> list[Row]:
    """All systems and their variants on one metric."""
    return _ours_first({**row, "note": ""} for row in rows if row["metric"] == metric)


ENGLISH_STS = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb-multi/en", "sick")


def _others(family: str, *but: str) -> Callable[[str], bool]:
    """Whether a set is of a family, and none of those that have lines of their own."""
    return lambda name: name.startswith(f"{family}/") and name.partition("/")[2] not in but


ENCODER_SETS: dict[str, Callable[[str], bool]] = {
    "STS, English": ENGLISH_STS.__contains__,
    "STS, Chinese": "stsb-multi/zh".__eq__,
    "STS, Arabic": "sts17/track1.ar-ar".__eq__,
    "STS, other languages": _others("stsb-multi", "en", "zh"),
    **{f"PUD, {pair}": f"pud/{pair}".__eq__ for pair in ("en-ar", "en-zh", "ar-zh")},
    **{f"Tatoeba, {lang}-eng": f"tatoeba-laser/{lang}".__eq__ for lang in ("ara", "cmn")},
    "Tatoeba, other languages": _others("tatoeba-laser", "ara", "cmn"),
    "NTREX-128": _others("ntrex128"),
    "SIB-200": _others("sib200"),
    "built-in samples": _others("samples"),
}


def _encoders(rows: list[Row]) -> list[Row]:
    """Of each encoder: similarity, and how often it finds translations, as means where there are many sets."""
    found = [row for row in rows if row["metric"] in ("Spearman", "accuracy")]
    names = {row["dataset"] for row in found}
    means = []
    for system, (title, holds) in product(sorted({row["system"] for row in found}), ENCODER_SETS.items()):
        wanted = {name for name in names if holds(name)}
        some = [row for row in found if row["system"] == system and row["dataset"] in wanted]
        # A mean of fewer sets would be one of others.
        if wanted and {row["dataset"] for row in some} == wanted:
            value = statistics.fmean(row["value"] for row in some)
            means.append({**some[0], "dataset": title, "value": value, "note": ""})
    return means


VARIANTS = ("plain", "robust", "push", "pull", "robust, push", "all three")
VARIANTS += ("transliterated", "adapted", "adapted, transliterated")
ALIGNMENT = ("alignment before", "alignment after", "translations found before", "translations found after")


def _variant(row: Row) -> str:
    return row["system"].partition(", ")[2]


def _family(row: Row) -> str:
    return row["dataset"].partition("/")[0]


def _scores(rows: list[Row], *, means: bool | None = None) -> list[Row]:
    """Scores of trained variants; means over languages, or what they are means of."""
    found = [row for row in rows if row["metric"] in ("macro F", "Spearman", "ents_f")]
    found = [row for row in found if means is None or row["dataset"].endswith("/mean") == means]
    return sorted(found, key=lambda row: (row["train"], VARIANTS.index(_variant(row))))


NER = "exact-match micro F over character spans, mean of (seeds)."
SPEED = ("speed ratio", "speed", "speed, first pass", "speed, own tokens")
MEMORY = ("RSS loaded", "RSS start", "RSS middle", "RSS end", "RSS growth", "vocabulary", "speed")
RUN_MEMORY = ("RSS after a tenth", "RSS greatest", "RSS end", "RSS growth after a tenth", "speed")
WEAK = ("accuracy", "macro F", "precision at recall 80%", "precision at recall 90%", "precision at recall 95%")
TABLES = {
    "ner": Table("ner", f"Test split, {NER}", partial(_peers, metric="ents_f"), _dataset, _system, compare=True),
    "ner-unseen": Table(
        "ner",
        f"Entities whose words are no entity in the training split, {NER}",
        partial(_peers, metric="ents_f_unseen"),
        _dataset,
        _system,
        compare=True,
    ),
    "ablations": Table("ner", f"Test split, {NER}", _ablations, _dataset, _system, compare=True),
    "ner-news": Table("ner", f"Test split, {NER}", _with_news, _dataset, _system, compare=True),
    "bundled": Table(
        "bundled",
        "Exact-match micro F1 over PER, LOC and ORG.",
        partial(_by_metrics, metrics=("ents_p", "ents_r", "ents_f", "ents_f PER", "ents_f LOC", "ents_f ORG")),
        _dataset,
        _metric,
    ),
    "speed": Table(
        "speed",
        "Both on the same text, each with its own tokenizer (spaCy's for mixed text does not cut Chinese clauses); "
        "the ratio is of characters/s.",
        partial(_by_metrics, metrics=SPEED),
        _dataset,
        _system_metric,
    ),
    "speed-parts": Table("speed", "Share of the time that each part takes.", _shares, _dataset, _share),
    "memory": Table("memory", "Memory of the process.", partial(_streams, runs=False), _system, _metric),
    "memory-annotate": Table(
        "memory",
        "Memory of the processes of a run, after each shard; growth is of the greatest over that after a tenth.",
        partial(_streams, runs=True),
        _system,
        _metric,
    ),
    "offsets": Table(
        "offsets",
        "A failure is an offset that does not slice to its text.",
        partial(_by_metrics, metrics=("documents", "entities", "failures")),
        _dataset,
        _metric,
    ),
    "optimizers": Table(
        "optimizers",
        "Bytes that an optimizer keeps, what is saved of AdamW's, and the time of a step over AdamW's.",
        _optimizers,
        _system,
        _dataset_metric,
    ),
    "convergence": Table(
        "convergence",
        "Loss on test bytes in nats a byte, and the optimizer's state, mean over seeds.",
        partial(_by_metrics, metrics=("loss", "state")),
        _system,
        _metric,
    ),
    "recompute": Table(
        "recompute",
        "Throughput of the default planner (mix) over other plans in a simulated pipeline, empty where these do not "
        "fit; time of the processor to search; and what the first stage recomputes for a micro-batch.",
        _planners,
        _dataset_split,
        _system_metric,
    ),
    "peak-memory": Table(
        "peak_memory",
        "Weights, gradients and activations at the worst moment of a step, in MiB and over what the plan predicts.",
        _peaks,
        lambda row: ", ".join(filter(None, [row["dataset"], row["split"]])),
        _system_metric,
    ),
    "stages": Table(
        "parallel",
        "Balance is the slowest stage over the mean; throughput is simulated, and over that of equal layers on each "
        "stage under plain 1F1B with as much memory (6 GB, or unlimited).",
        _stages,
        _dataset,
        _system_metric,
    ),
    "losses": Table(
        "parallel",
        "Training on processes against plain training in one.",
        partial(_by_metrics, metrics=("loss difference",)),
        _dataset,
        _metric,
    ),
    "pretraining": Table(
        "pretraining",
        "Loss of held-out text by language, in nats a hidden piece.",
        partial(_by_metrics, metrics=("loss",)),
        _dataset,
        lambda row: row["train"],
    ),
    "pretraining-ner": Table(
        "pretraining",
        "RICON on the encoder, exact-match micro F over character spans.",
        _by_pieces_seen,
        _system,
        _dataset_metric,
    ),
    "whitening": Table(
        "whitening",
        "Spearman's correlation x 100, mean of the sets: before, and with so many dimensions of a map that was fitted "
        "on the train parts of STS-B and SICK (inductive) or on the sentences of the set itself without its scores "
        "(target). "
        "Exponent 1 is whitening, 0 a rotation alone.",
        _whitened,
        _system,
        lambda row: row["metric"].split(", ")[1],
    ),
    "whitening-fit": Table(
        "whitening",
        "Time of a fit, speed over scikit-learn's PCA on the same kind of number, memory of a fit, and the greatest "
        "relative error of a variance as a power of ten.",
        partial(_by_metrics, metrics=("fit", "fit speed", "fit memory", "error")),
        _system,
        _metric,
    ),
    "whitening-search": Table(
        "whitening",
        "Exact search.",
        partial(_by_metrics, metrics=("query", "query of raw", "vector", "vector of raw")),
        _system,
        lambda row: f"{row['metric']}, {row['unit']}",
    ),
    "sentence-encoders": Table(
        "sentence_encoders",
        "Similarity (Spearman x 100) and translations found (accuracy, both ways); means where a line has many sets: "
        "in English SemEval 2012 to 2016, STS-B and SICK.",
        _encoders,
        _dataset_metric,
        _system,
    ),
    "sentence-speed": Table(
        "sentence_encoders",
        "Sentences of PUD.",
        partial(_by_metrics, metrics=("speed", "speed ratio")),
        _system,
        _metric,
    ),
    "distillation-stages": Table(
        "distillation_stages",
        "Similarity (Spearman x 100) and translations found (accuracy) of students that learnt little, one stage left "
        "out of each.",
        lambda rows: [{**row, "note": ""} for row in rows],
        _dataset,
        _system,
    ),
    "retrieval": Table(
        "retrieval",
        "The ten nearest of as many vectors as are named, against exact search; queries all at once, or one by one.",
        partial(_by_metrics, metrics=("recall@10", "batch", "one by one", "build", "memory")),
        _system_dataset,
        _metric,
    ),
    "kills": Table(
        "retrieval",
        "A process is killed while it adds to an index, again and again.",
        partial(_by_metrics, metrics=("kills", "lost", "doubled")),
        _dataset,
        _metric,
    ),
    "knowledge-base": Table(
        "knowledge_base",
        "Names of each kind are looked up one by one; memory is what the process holds beside what it held before.",
        _large,
        _metric,
        _system,
    ),
    "kb-fuzz": Table(
        "kb_fuzz",
        "Failures are lines and names that were not answered for.",
        partial(_by_metrics, metrics=("tried", "entities", "rejected", "failures")),
        _dataset,
        lambda row: row["metric"],
    ),
    "linking": Table(
        "linking",
        "Micro F1 of links and NIL, mentions given, mean of (seeds).",
        partial(_of_sets, metric="micro_f1"),
        _dataset,
        _system,
        compare=True,
    ),
    "linking-recall": Table(
        "linking",
        "Of mentions whose entity the knowledge base holds, the share with it among the first k candidates.",
        partial(_by_metrics, metrics=("recall@1", "recall@10", "recall@30")),
        _dataset,
        _metric,
    ),
    "transfer": Table(
        "transfer",
        "Learnt in English: macro F, Spearman's correlation or micro F, mean over other languages or sets, of (seeds).",
        partial(_scores, means=True),
        _family,
        _variant,
        compare=True,
    ),
    "transfer-languages": Table(
        "transfer",
        "Learnt in English: macro F, Spearman's correlation or micro F by language or set, mean of (seeds).",
        partial(_scores, means=False),
        _dataset,
        _variant,
        compare=True,
    ),
    "transfer-alignment": Table(
        "transfer",
        "Cosine of translations of English sentences less that of other sentences, and how often the nearest sentence "
        "is the translation, before training and after it.",
        partial(_by_metrics, metrics=ALIGNMENT),
        lambda row: f"{_family(row)}, {_variant(row)}",
        _metric,
    ),
    "unseen-script": Table(
        "unseen_script", "Macro F or micro F, mean of (seeds).", _scores, _dataset, _variant, compare=True
    ),
    "weak-labels": Table(
        "weak_supervision",
        "How often labels made of votes are right, on training texts with votes; and the share of texts with votes.",
        partial(_by_metrics, metrics=("label accuracy", "coverage")),
        _system,
        _dataset_metric,
    ),
    "weak-supervision": Table(
        "weak_supervision",
        "Classifiers on the test split, mean over seeds.",
        partial(_by_metrics, metrics=WEAK),
        _system,
        _dataset_metric,
    ),
    "annotation": Table(
        "annotation",
        "Documents a second, planning and merging in it.",
        partial(_by_metrics, metrics=("speed", "speed over 1 worker", "speed over nlp.pipe", "time for crash safety")),
        _system,
        _metric,
    ),
    "annotation-kills": Table(
        "annotation",
        "Runs that are killed again and again, each gone on with to its end.",
        partial(_by_metrics, metrics=("kills", "runs", "lost", "doubled", "other bytes")),
        _dataset,
        _metric,
    ),
    "fuzz-records": Table(
        "fuzz_records",
        "Hostile records of each kind of file; a failure is a count that does not add up, a sound record that is "
        "missing or a process that died.",
        partial(_by_metrics, metrics=("records", "written", "quarantined", "deaths", "failures", "speed")),
        _dataset,
        _metric,
    ),
    "serving": Table(
        "serving",
        "Requests of one text from so many clients.",
        partial(_by_metrics, metrics=("throughput", "median", "99th percentile")),
        _dataset,
        _system_metric,
    ),
    "serving-overload": Table(
        "serving",
        "How requests end when more is asked than can be done.",
        partial(_by_metrics, metrics=("answered", "refused: 429", "refused: 503", "failed", "answers afterwards")),
        _dataset,
        _metric,
    ),
    "encoder-choice": Table(
        "encoder_choice",
        "Development split, one seed.",
        partial(_by_metrics, metrics=("ents_f", "weights")),
        _system,
        _dataset_metric,
    ),
}
