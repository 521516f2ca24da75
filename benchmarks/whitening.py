"""Whitening: speed and memory of the fit, similarity before and after, and what shorter vectors save in a search.

    python benchmarks/whitening.py --threads 2
    python benchmarks/whitening.py --part sts --encoder subword_base student=xx_sentence_sm plain=/path/to/encoder:cls

Fits: see `whitening_fits.py`. STS: maps are fitted on sentences of the set itself without its scores ("target",
transductive), or on the train parts of STS-B and SICK ("inductive"; 98 % of SICK's test pairs share a sentence with its
train part, as it was published).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import samarkand
import torch
from minilm import load_minilm
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.sentence_sets import StsSet, sts_sets
from samarkand.models.sentence_metrics import cosine_spearman
from samarkand.models.sentence_model import SentenceModel, SentenceTransformerModel, load_sentence_model
from samarkand.models.whitening import VectorStatistics, Whitening
from samarkand.models.whitening_exports import whitened_index, without_normalize
from tables import ENGLISH_STS
from whitening_fits import measure_fits, random_vectors

COMMAND = "python benchmarks/whitening.py"
PARTS = ("fit", "sts", "search")
TEACHER, PLAIN = "all-MiniLM-L6-v2", "subword_base"
INDUCTIVE = ("stsb-multi/en", "sick")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--vectors", type=int, default=1_000_000, help="to fit on; a fifth of them to search")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3, help="timed fits of each system")
    parser.add_argument("--dim", type=int, nargs="+", default=[64, 128, 192, 256], help="widths beside the full one")
    parser.add_argument("--exponent", type=float, nargs="+", default=[1.0, 0.5, 0.0])
    parser.add_argument("--sets", nargs="+", default=list(ENGLISH_STS), help="names of STS sets or families")
    parser.add_argument("--encoder", nargs="+", default=[TEACHER], help="NAME=FOLDER[:pooling]")
    options = parser.parse_args(arguments)
    if options.quick:
        options.vectors, options.width, options.rounds, options.dim = 4000, 32, 1, [8, 16]
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    if "fit" in options.part:
        rows += measure_fits(options.vectors, options.width, options.rounds, options.threads)
        write_rows("whitening", rows, options.results)
    if "sts" in options.part:
        sets, inductive = quick_sets() if options.quick else real_sets(options.sets)
        for name in ["random"] if options.quick else options.encoder:
            label, model = ("random", RandomEncoder(options.width)) if options.quick else find_encoder(name)
            rows += measure_sts(label, model, sets, inductive, options.dim, options.exponent)
            write_rows("whitening", rows, options.results)
    if "search" in options.part:
        rows += measure_search(options.vectors // 5, options.width, options.dim, options.threads)
        write_rows("whitening", rows, options.results)
    show(rows, f"Whitening, {options.threads} threads")


class RandomEncoder:
    """The mean of a random vector for each word; a `SentenceModel` without a file.

    width (int): Width of a vector.
    """

    fingerprint = "random"

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """RETURNS (np.ndarray): Shape (len(texts), width)."""
        words = ([np.random.default_rng(list(word.encode())) for word in text.split()] for text in texts)
        means = [np.mean([rng.standard_normal(self.width) for rng in rngs], axis=0) for rngs in words]
        return np.array(means, dtype=np.float32) + 1


class MeanOfTokens:
    """Mean token vectors of the base encoder, which learnt to predict words and nothing else; a `SentenceModel`."""

    fingerprint = PLAIN

    def __init__(self) -> None:
        self._nlp = samarkand.blank("xx")
        tok2vec = {"@architectures": "samarkand.SubwordEncoder.v1", "pretrained": PLAIN}
        model = {"@architectures": "samarkand.TokenPooling.v1", "tok2vec": tok2vec}
        self._nlp.add_pipe("sentence_encoder", config={"model": model})
        self._nlp.initialize()
        self.width = len(self._nlp("a").vector)

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """RETURNS (np.ndarray): Shape (len(texts), width)."""
        return np.stack([doc.vector for doc in self._nlp.pipe(texts, batch_size=batch_size)])


def find_encoder(name: str) -> tuple[str, SentenceModel]:
    """Load an encoder, without a scaling to length one at its end.

    name (str): NAME=FOLDER[:pooling], or the name of the teacher or of the plain encoder.
    RETURNS (tuple[str, SentenceModel]): Its name, and the encoder.
    """
    label, _, place = name.partition("=")
    if label == PLAIN:
        return label, MeanOfTokens()
    if not place and label != TEACHER:
        raise SystemExit(f"{label}: give NAME=FOLDER, {TEACHER} or {PLAIN}")
    folder, _, pooling = place.partition(":")
    model = load_sentence_model(folder, pooling=pooling or None) if place else load_minilm()
    return label, SentenceTransformerModel(without_normalize(model.model))


def real_sets(names: Sequence[str]) -> tuple[list[tuple[StsSet, list[str]]], list[str]]:
    """Read the sets.

    names (Sequence[str]): Sets or families.
    RETURNS (tuple): Each set with the sentences of all its splits, and the sentences of the inductive fit.
    """
    folder = os.environ.get("SAMARKAND_DATA")
    if not folder:
        raise SystemExit("STS sets are read from the folder in SAMARKAND_DATA; set it, or leave out --part sts")
    judged = sts_sets(folder, names)
    everywhere = [part for split in ("train", "dev", "test") for part in sts_sets(folder, names, split=split)]
    target = {
        own.name: [text for part in everywhere if part.name == own.name for text in _sentences(part)] for own in judged
    }
    train = [text for part in sts_sets(folder, INDUCTIVE, split="train") for text in _sentences(part)]
    return [(own, target[own.name]) for own in judged], train


def quick_sets() -> tuple[list[tuple[StsSet, list[str]]], list[str]]:
    """RETURNS (tuple): A made-up set of pairs that share more or fewer words, as `real_sets` gives them."""
    rng = np.random.default_rng(0)
    words = [[f"w{n}" for n in rng.integers(0, 40, 6)] for _ in range(200)]
    scores = [float(n) for n in rng.integers(0, 6, 200)]
    second = [" ".join([*own[: int(score)], "other", "words"]) for own, score in zip(words, scores)]
    made = StsSet("made-up", "en", "test", [" ".join(own) for own in words], second, scores, "", True)
    return [(made, _sentences(made))], _sentences(made)


def _sentences(part: StsSet) -> list[str]:
    return [*part.first, *part.second]


def measure_sts(
    label: str,
    model: SentenceModel,
    sets: Sequence[tuple[StsSet, list[str]]],
    inductive: list[str],
    dims: Sequence[int],
    exponents: Sequence[float],
) -> list[dict[str, Any]]:
    """Spearman's correlation of cosines with scores, before and after.

    label (str): Name of the encoder in the rows.
    model (SentenceModel): The encoder.
    sets (Sequence[tuple[StsSet, list[str]]]): Sets, each with the sentences of its target fit.
    inductive (list[str]): Sentences of the other fit.
    dims (Sequence[int]): Widths beside the full one.
    exponents (Sequence[float]): Of the variance.
    RETURNS (list[dict]): Rows for each set and the mean of all.
    """
    vectors = _encoded(model, [*inductive, *(text for own, texts in sets for text in [*texts, *_sentences(own)])])
    fits = {
        "inductive: STS-B train, SICK train": [_fitted(vectors, inductive)] * len(sets),
        "target: the set's own sentences, all splits": [_fitted(vectors, texts) for _, texts in sets],
    }
    scores: dict[tuple[str, str], list[float]] = {("", "spearman, raw"): []}
    for position, (own, _) in enumerate(sets):
        sides = [np.stack([vectors[text] for text in side]) for side in (own.first, own.second)]
        scores["", "spearman, raw"].append(cosine_spearman(*sides, np.array(own.scores)))
        for train, fitted in fits.items():
            for exponent in exponents:
                full = fitted[position].whitening(exponent=exponent)
                for dim in [*(dim for dim in dims if dim < model.width), model.width]:
                    sides_white = [full.truncate(dim).transform(side) for side in sides]
                    found = cosine_spearman(*sides_white, np.array(own.scores))
                    scores.setdefault((train, _metric(dim, exponent)), []).append(found)
    rows = []
    for (train, metric), found in scores.items():
        for name, value in [*((own.name, value) for (own, _), value in zip(sets, found)), ("mean", np.mean(found))]:
            rows.append(row(label, name, metric, 100 * value, unit="x100", train=train, command=COMMAND))
    return rows


def _metric(dim: int, exponent: float) -> str:
    return f"spearman, {dim} dimensions, exponent {exponent:g}"


def _encoded(model: SentenceModel, texts: Sequence[str]) -> dict[str, np.ndarray]:
    unique = list(dict.fromkeys(texts))
    return dict(zip(unique, model.encode(unique)))


def _fitted(vectors: dict[str, np.ndarray], texts: Sequence[str]) -> VectorStatistics:
    fitted = VectorStatistics()
    fitted.update(np.stack([vectors[text] for text in texts]))
    return fitted


def measure_search(count: int, width: int, dims: Sequence[int], threads: int) -> list[dict[str, Any]]:
    """Search random vectors, exactly, at full width and at fewer dimensions.

    count, width (int): Vectors.
    dims (Sequence[int]): Dimensions to keep.
    threads (int): Of the CPU.
    RETURNS (list[dict]): Rows: milliseconds a query and bytes a vector, and what they are of the full ones.
    """
    import faiss

    faiss.omp_set_num_threads(threads)
    vectors = np.concatenate(list(random_vectors(count, width)))
    queries, fitted = vectors[:: max(1, count // 256)][:256], VectorStatistics()
    fitted.update(vectors)
    whitening: Whitening = fitted.whitening()
    raw = faiss.IndexFlatIP(width)
    raw.add(vectors)
    indexes = {f"faiss/Flat, raw {width}": raw}
    for dim in dims:
        index = whitened_index(faiss.IndexFlatIP(dim), whitening.truncate(dim))
        index.add(vectors)
        indexes[f"faiss/Flat, whitened {dim}"] = index
    spent: dict[str, list[float]] = {name: [] for name in indexes}
    for _ in range(5):
        for name, index in indexes.items():
            began = time.perf_counter()
            index.search(queries, 10)
            spent[name].append((time.perf_counter() - began) * 1000 / len(queries))
    about = {"split": "", "command": COMMAND}
    note = f"median of 5 searches of {len(queries)} queries at once, {threads} threads"
    dataset, rows = f"random, {count:,} x {width}", []
    first = next(iter(indexes))
    for name, index in indexes.items():
        time_each, size = statistics.median(spent[name]), index.sa_code_size()
        share = time_each / statistics.median(spent[first])
        rows.append(row(name, dataset, "query", time_each, unit="ms", note=note, **about))
        rows.append(row(name, dataset, "query of raw", 100 * share, note=note, **about))
        rows.append(row(name, dataset, "vector", size, unit="bytes", **about))
        rows.append(row(name, dataset, "vector of raw", 100 * size / raw.sa_code_size(), **about))
    return rows


if __name__ == "__main__":
    main()
