"""Scores of the bundled pipeline by corpus, on test splits that it has never seen, and on what it was not made for.

    python benchmarks/bundled.py [--model FOLDER]

Labels of the corpora are brought to PER, LOC and ORG as in `samarkand.corpora.bundle`; exact-match micro F1 over
character spans. Sizes in MB are of the folder on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.bundle import SOURCES, take
from samarkand.corpora.records import read_records
from samarkand.corpora.scoring import doc_spans, evaluate_spans, record_spans
from spacy.language import Language

SAMPLES = Path(__file__).parent.parent / "corpora" / "samples"
TRAIN = "train splits of the open corpora in samarkand.corpora.bundle"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2, model=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    nlp, size = _load(options.model)
    corpora = {f"samples/{path.stem}": list(read_records(path)) for path in sorted(SAMPLES.glob("*.jsonl"))}
    corpora.pop("samples/nested")
    if not options.quick:
        corpora |= {name: list(take(name, source.test)) for name, source in SOURCES.items() if source.test}
    rows = [row for name, records in corpora.items() for row in score(nlp, name, records)]
    rows.append(row("samarkand/xx_samarkand_sm", "folder", "size", size, split="", unit="MB", train=TRAIN))
    write_rows("bundled", rows, options.results)
    show(rows, "The bundled pipeline")


def score(nlp: Language, name: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one corpus.

    nlp (Language): The pipeline.
    name (str): Name of the corpus.
    records (list[dict]): Its records, under the labels of the pipeline.
    RETURNS (list[dict]): Precision, recall and F, together and by label.
    """
    labels = set(nlp.get_pipe("ricon_ner").labels)
    gold = [[span for span in record_spans(record) if span[2] in labels] for record in records]
    docs = nlp.pipe(record["text"] for record in records)
    scores = evaluate_spans(gold, [doc_spans(doc) for doc in docs])
    about = {"train": TRAIN, "command": "python benchmarks/bundled.py"}
    values = {
        "ents_p": scores.micro.precision,
        "ents_r": scores.micro.recall,
        "ents_f": scores.micro.f1,
        **{f"ents_f {label}": counts.f1 for label, counts in scores.per_label.items()},
    }
    return [row("samarkand/xx_samarkand_sm", name, metric, 100 * value, **about) for metric, value in values.items()]


def _load(model: Path | None) -> tuple[Language, float]:
    import samarkand
    import spacy

    folder = model or samarkand.path()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return spacy.load(folder), size


if __name__ == "__main__":
    main()
