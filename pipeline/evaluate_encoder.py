"""Judging a sentence encoder: similarity, translations, perspectives and isotropy, all from one encoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..corpora.mpts import GENRES, MptsSet
from ..corpora.parallel_sets import Bitext
from ..corpora.sentence_files import family_of
from ..corpora.sentence_sets import StsSet
from ..models.perspective_scores import average_scores, score_perspectives
from ..models.perspectives import GenreProduct, PerspectiveHeads, fit_pairs, predict_pairs
from ..models.sentence_metrics import cosine_spearman, isotropy, mine_pairs, mining_score, retrieval_accuracy
from ..models.sentence_model import SentenceModel
from .encode_once import EncodeOnce
from .evaluation_sets import EvaluationSets
from .option_checks import at_least_one, check_options
from .rounding import rounded

# Distinct sentences of each side of a set that the isotropy is measured on.
ISOTROPY_SAMPLE = 100


def evaluate_encoder(
    model: SentenceModel,
    sets: EvaluationSets,
    *,
    limit: int | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> dict[str, Any]:
    """Judge an encoder by every set.

    model (SentenceModel): The encoder.
    sets (EvaluationSets): The sets.
    limit (Optional[int]): Pairs taken of each set, which makes retrieval easier; None for all.
    batch_size (int): Sentences encoded at once.
    progress (bool): Show a bar on standard error when that is a terminal.
    RETURNS (dict): All shares from 0 to 1. "sts": Spearman by set; "bitexts": accuracy both ways and mining F1 by set;
        "means": of both by family; "mpts": figures by predictor and perspective, or None; "isotropy": by kind of set;
        "model": fingerprint and width; "sentences": distinct ones; "seconds": of encoding.
    RAISES (UsageError): S507 for a limit or batch size below 1.
    RAISES (ValueError): S848 for a vector that is not finite.
    """
    check_options(limit=at_least_one(limit), batch_size=at_least_one(batch_size))
    sets = sets.head(limit)
    encoder = EncodeOnce(model, sets.groups(), batch_size=batch_size, progress=progress)
    samples: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    try:
        sts = [_judge_sts(pairs, encoder, samples["sts"]) for pairs in sets.sts]
        bitexts = [_judge_bitext(pairs, encoder, samples["bitexts"]) for pairs in sets.bitexts]
        mpts = _judge_mpts(*sets.mpts, encoder) if sets.mpts is not None else None
    finally:
        encoder.close()
    return rounded(
        {
            "model": {"fingerprint": model.fingerprint, "width": model.width},
            "limit": limit,
            "sentences": encoder.sentences,
            "seconds": encoder.seconds,
            "means": {
                "sts": _means(sts, "spearman"),
                "bitexts": _means(bitexts, "accuracy", "mining_f1", "mining_held_out_f1"),
            },
            "sts": sts,
            "bitexts": bitexts,
            "mpts": mpts,
            "isotropy": {kind: _isotropy(sample) for kind, sample in samples.items()},
        }
    )


def _judge_sts(pairs: StsSet, encoder: EncodeOnce, sample: dict[str, np.ndarray]) -> dict[str, Any]:
    first, second = encoder.vectors(pairs.first, pairs.second)
    _take(sample, pairs.first, first)
    spearman = cosine_spearman(first, second, np.array(pairs.scores))
    about = {"name": pairs.name, "lang": pairs.lang, "split": pairs.split, "pairs": len(pairs.first)}
    return {**about, "spearman": spearman}


def _judge_bitext(pairs: Bitext, encoder: EncodeOnce, sample: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mining leaves a third of the sentences of either side without a translation."""
    first, second = encoder.vectors(pairs.first, pairs.second)
    _take(sample, pairs.first, first)
    _take(sample, pairs.second, second)
    forward, backward = retrieval_accuracy(first, second)
    row = {
        "name": pairs.name,
        "first_lang": pairs.first_lang,
        "second_lang": pairs.second_lang,
        "pairs": len(pairs.first),
        "accuracy_forward": forward,
        "accuracy_backward": backward,
        "accuracy": (forward + backward) / 2,
    }
    first_rows, second_rows, gold = _mining_task(pairs)
    if len(gold):
        mined = mining_score(*mine_pairs(first[first_rows], second[second_rows]), gold)
        row |= {"mining_f1": mined.f1, "mining_threshold": mined.threshold, "mining_held_out_f1": mined.held_out_f1}
    return row


def _mining_task(pairs: Bitext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that each side keeps, and the pairs that are left, by their places in these rows.

    Of three pairs the first lends its first side alone, the next its second side alone, and the third both. Pairs with
    a sentence that came before are left out, since nobody could tell which of the two is meant.
    """
    seen: tuple[set[str], set[str]] = (set(), set())
    distinct = []
    for row, (first, second) in enumerate(zip(pairs.first, pairs.second)):
        if first not in seen[0] and second not in seen[1]:
            distinct.append(row)
        seen[0].add(first)
        seen[1].add(second)
    rows, part = np.array(distinct, dtype=np.int64), np.arange(len(distinct)) % 3
    places = (np.cumsum(part != lone) - 1 for lone in (1, 0))
    gold = np.stack([place[part == 2] for place in places], axis=1)
    return rows[part != 1], rows[part != 0], gold


def _judge_mpts(train: MptsSet, test: MptsSet, encoder: EncodeOnce) -> dict[str, Any]:
    """Heads are fitted on dev, since train is not at hand; a fifth of it chooses the pass."""
    *learned, first, second = encoder.vectors(train.first, train.second, test.first, test.second)
    size, width = len(GENRES), first.shape[1]
    predictions = {
        "always": np.ones(test.labels.shape),
        "cosine": predict_pairs(PerspectiveHeads(width, size), first, second),
    }
    for name, model in (("heads", PerspectiveHeads(width, size)), ("genre product", GenreProduct(width, size))):
        fit_pairs(model, *learned, train.relations)
        predictions[name] = predict_pairs(model, first, second)
    judged = {name: score_perspectives(values, test.labels) for name, values in predictions.items()}
    return {
        "pairs": len(test.first),
        "train": f"{len(train.first)} pairs of dev",
        "predictors": {
            name: {**average_scores(scores), "perspectives": dict(zip(GENRES, map(asdict, scores)))}
            for name, scores in judged.items()
        },
    }


def _take(sample: dict[str, np.ndarray], texts: Sequence[str], vectors: np.ndarray) -> None:
    """Add a few sentences of a set, evenly spaced; those of other sets are not taken again."""
    rows = np.linspace(0, len(texts) - 1, min(ISOTROPY_SAMPLE, len(texts))).astype(int)
    sample.update((texts[row], vectors[row]) for row in rows)


def _isotropy(sample: dict[str, np.ndarray]) -> dict[str, Any] | None:
    vectors = np.stack(list(sample.values()))
    return asdict(isotropy(vectors)) if vectors.any() else None


def _means(rows: list[dict[str, Any]], *metrics: str) -> dict[str, dict[str, Any]]:
    """Means over the sets of each family, every set alike."""
    families: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        families[family_of(row["name"])].append(row)
    means = {}
    for family, own in families.items():
        found = {metric: [row[metric] for row in own if metric in row] for metric in metrics}
        figures = {metric: float(np.mean(values)) for metric, values in found.items() if values}
        means[family] = {"sets": len(own), **figures}
    return means
