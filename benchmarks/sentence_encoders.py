"""Sentence encoders by every set at hand, and how fast they are beside all-MiniLM-L6-v2.

    python benchmarks/sentence_encoders.py --encoder student=FOLDER teacher=FOLDER

Figures are those of `samarkand evaluate-encoder`. Speed is of sentences in English, Arabic and Chinese (PUD), through
`sentence-transformers` for all-MiniLM-L6-v2 and through Samarkand for the others, in turn, in the same run; a row is
the median of the passes.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from minilm import load_minilm
from options import benchmark_parser, named_folder
from results_file import row, show, write_rows
from samarkand.models.sentence_model import SentenceModel, SentenceTransformerModel, load_sentence_model
from samarkand.pipeline.evaluate_encoder import evaluate_encoder
from samarkand.pipeline.evaluation_sets import EvaluationSets, load_sets
from samarkand.pipeline.sentence_models import load_encoder
from sentence_transformers import SentenceTransformer

PEER = "sentence-transformers/all-MiniLM-L6-v2"
SAMPLES, SPEED_SET = "samples", "pud"
BITEXT_METRICS = {
    "accuracy": "accuracy",
    "accuracy_forward": "accuracy to second",
    "accuracy_backward": "accuracy to first",
    "mining_f1": "mining F1",
    "mining_held_out_f1": "mining F1, other half's threshold",
}
MPTS_METRICS = {"f1": "F1", "auc": "AUC", "accuracy": "accuracy"}
# A pass in between keeps what is measured from paying for what was loaded first.
WARM_UP = 1


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument(
        "--encoder", nargs="+", type=named_folder, default=[], metavar="NAME=FOLDER", help="or MiniLM alone"
    )
    parser.add_argument("--set", nargs="+", dest="sets", help="sets or families; all at hand by default")
    parser.add_argument("--data", type=Path, default=os.environ.get("SAMARKAND_DATA"), help="folder of the corpora")
    parser.add_argument("--limit", type=int, help="pairs of each set")
    parser.add_argument("--passes", type=int, default=5, help="timed passes of each encoder; 0 for no speeds")
    parser.add_argument("--speed-sentences", type=int, default=3000)
    parser.add_argument("--precision", nargs="+", choices=("bf16", "int8"), default=[], help="beside fp32")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.sets, options.passes = [SAMPLES], 2
    with tempfile.TemporaryDirectory() as folder:
        peer = tiny_encoder(Path(folder)) if options.quick else load_minilm("cpu").model
    encoders = {name: load_encoder(folder) for name, folder in options.encoder} or {
        PEER: SentenceTransformerModel(peer)
    }
    encoders |= {
        f"{name}, {precision}": load_sentence_model(folder, precision=precision)
        for name, folder in options.encoder
        for precision in options.precision
    }
    rows, sets = [], load_sets(options.data, options.sets)
    for name, encoder in encoders.items():
        rows += judge(name, encoder, sets, limit=options.limit)
        write_rows("sentence_encoders", rows, options.results)
    if options.passes:
        texts = speed_texts(load_sets(options.data, [SAMPLES if options.quick else SPEED_SET]))
        rows += time_encoders(encoders, peer, texts[: options.speed_sentences], passes=options.passes)
        write_rows("sentence_encoders", rows, options.results)
    show(rows, f"Sentence encoders, {options.threads} threads")


def judge(name: str, encoder: SentenceModel, sets: EvaluationSets, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Rows of one encoder by every set.

    name (str): Its name in the rows.
    encoder (SentenceModel): The encoder.
    sets (EvaluationSets): The sets.
    limit (Optional[int]): Pairs of each set.
    RETURNS (list[dict]): Rows of Spearman, accuracies, mining, perspectives and isotropy, in percent.
    """
    found = evaluate_encoder(encoder, sets, limit=limit, progress=True)
    words = ["python benchmarks/sentence_encoders.py"]
    words += [f"--encoder {name}=FOLDER"] if name != PEER else []
    words += [f"--limit {limit}"] if limit else []
    about = {"command": " ".join(words), "note": f"width {encoder.width}"}
    return [
        *(row(name, s["name"], "Spearman", 100 * s["spearman"], **about | {"split": s["split"]}) for s in found["sts"]),
        *_bitext_rows(name, found, about),
        *_mpts_rows(name, found["mpts"], about),
        *_isotropy_rows(name, found["isotropy"], about),
    ]


def time_encoders(
    encoders: dict[str, SentenceModel], peer: SentenceTransformer, texts: Sequence[str], *, passes: int
) -> list[dict[str, Any]]:
    """Encode the same sentences with all encoders in turn.

    encoders (dict[str, SentenceModel]): Encoders by name.
    peer (SentenceTransformer): all-MiniLM-L6-v2, or what stands for it.
    texts (Sequence[str]): The sentences.
    passes (int): Timed passes of each.
    RETURNS (list[dict]): Rows: sentences a second, and the ratio to the peer's.
    """
    runs: dict[str, Callable[[], Any]] = {
        name: lambda encoder=encoder: encoder.encode(texts) for name, encoder in encoders.items()
    }
    runs[PEER] = lambda: peer.encode(texts, batch_size=64, show_progress_bar=False)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(passes + WARM_UP):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values[WARM_UP:]) for name, values in seconds.items()}
    note = f"median of {passes} passes over {len(texts):,} sentences, {torch.get_num_threads()} threads"
    about = {"split": "", "note": note, "command": "python benchmarks/sentence_encoders.py"}
    rows = [row(n, "speed", "speed", len(texts) / s, unit="sentences/s", **about) for n, s in medians.items()]
    ratios = {name: medians[PEER] / value for name, value in medians.items() if name != PEER}
    return rows + [row(name, "speed", "speed ratio", ratio, unit="x", **about) for name, ratio in ratios.items()]


def speed_texts(sets: EvaluationSets) -> list[str]:
    """Sentences of all languages of a family of bitexts, in turn.

    sets (EvaluationSets): The family.
    RETURNS (list[str]): Distinct sentences.
    """
    sides = {side: texts for b in sets.bitexts for side, texts in ((b.first_lang, b.first), (b.second_lang, b.second))}
    return list(dict.fromkeys(text for texts in zip(*sides.values()) for text in texts))


def tiny_encoder(folder: Path) -> SentenceTransformer:
    """A BERT of one small block with random weights that reads characters, for quick mode.

    folder (Path): Where its files go.
    RETURNS (SentenceTransformer): The encoder.
    """
    from transformers import BertConfig, BertModel, BertTokenizerFast

    texts = (text for group in load_sets(None, [SAMPLES]).groups() for side in group for text in side)
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return SentenceTransformer(str(folder), device="cpu")


def _bitext_rows(name: str, found: dict[str, Any], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for pairs in found["bitexts"]:
        for key, metric in BITEXT_METRICS.items():
            if key in pairs:
                yield row(name, pairs["name"], metric, 100 * pairs[key], **about)


def _mpts_rows(name: str, mpts: dict[str, Any] | None, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if mpts is None:
        return
    fitted = {**about, "note": f"{about['note']}, heads fitted on {mpts['train']}"}
    for predictor, scores in mpts["predictors"].items():
        for mean in ("weighted", "macro"):
            for key, metric in MPTS_METRICS.items():
                yield row(name, f"mpts: {predictor}", f"{mean} {metric}", 100 * scores[mean][key], **fitted)
        for genre, score in scores["perspectives"].items():
            if score["auc"] is not None:
                yield row(name, f"mpts: {predictor}", f"AUC {genre}", 100 * score["auc"], **fitted)


def _isotropy_rows(name: str, isotropy: dict[str, Any], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, figures in isotropy.items():
        for metric in ("partition", "mean_norm", "mean_cosine") if figures else ():
            yield row(name, f"isotropy: {kind}", metric, 100 * figures[metric], **about)
        if figures:
            rank = figures["effective_rank"]
            yield row(name, f"isotropy: {kind}", "effective rank", rank, **about | {"unit": "dimensions"})


if __name__ == "__main__":
    main()
