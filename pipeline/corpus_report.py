"""An annotated corpus as one page: counts over all of it, and a fair sample of its documents to look through."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from .annotated import AnnotatedCorpus
from .corpus_counts import CorpusCounts
from .files import write_aside, write_errors
from .offline_page import html_table, offline_page
from .option_checks import at_least_one, check_options
from .pages import COLORS
from .report_documents import page_document, page_rejection
from .reservoir import Reservoir
from .run_options import refuse_existing
from .sources import protect_inputs

PAGE = "report.html"


def report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    documents: int = 1000,
    seed: int = 0,
    force: bool = False,
) -> dict[str, Any]:
    """Write a page about the output of `samarkand annotate` that opens in any browser, without a network.

    The corpus is read once. Memory grows with the documents that the page carries and with the number of labels, not
    with the corpus.

    folder (str | Path): Output folder of a complete run, in JSONL or Parquet.
    output (Optional[str | Path]): The page; report.html in the folder by default.
    documents (int): Documents that the page carries at most, and lines of the quarantine. Of more, each has the same
        chance to be among them; counts are over all.
    seed (int): Seed of that choice.
    force (bool): Replace a page that exists.
    RETURNS (dict): "page", "documents", "carried", "characters", "labels", "languages", "quarantined", "reasons".
    RAISES (UsageError): S504, S505, S507, S1170 to S1172, before anything is read.
    RAISES (OSError): S511 and S512 when a file fails.
    RAISES (ValueError): S1173 for what is no annotated record.
    """
    check_options(documents=at_least_one(documents))
    corpus = AnnotatedCorpus(folder)
    path = Path(output) if output is not None else corpus.folder / PAGE
    protect_inputs(corpus.paths, [(corpus.folder, path)])
    if not force:
        refuse_existing([path])
    counts, carried = CorpusCounts(), Reservoir[dict[str, Any]](documents, seed)
    for annotated in corpus.records():
        counts.add(annotated.record)
        carried.offer(partial(page_document, annotated))
    reasons: Counter[str] = Counter()
    rejected = Reservoir[dict[str, str]](documents, seed)
    for entry in corpus.quarantine():
        reasons[entry["code"]] += 1
        rejected.offer(partial(page_rejection, entry))
    sample = carried.items()
    summary = {
        "documents": counts.documents,
        "carried": len(sample),
        "characters": counts.characters,
        "labels": [row._asdict() for row in counts.labels()],
        "languages": [row._asdict() for row in counts.languages()],
        "quarantined": rejected.seen,
        "reasons": dict(sorted(reasons.items())),
    }
    data = {
        "total": counts.documents,
        "quarantined": rejected.seen,
        "colors": COLORS,
        "documents": sample,
        "rejections": rejected.items(),
    }
    title = f"Annotated corpus: {corpus.folder.resolve().name}"
    page = offline_page(title, _tables(summary, corpus.summary), "report.js", data)
    with write_aside(path) as file, write_errors(path):
        file.write(page.encode())
    return {"page": str(path), **summary}


def _tables(summary: dict[str, Any], run: dict[str, Any]) -> str:
    """What can be read without the script."""
    pipeline = run.get("pipeline")
    model = pipeline.get("model") if isinstance(pipeline, dict) else None
    facts = [
        ("documents", summary["documents"]),
        ("characters", summary["characters"]),
        ("in quarantine", summary["quarantined"]),
        *([("pipeline", model)] if model else ()),
    ]
    tables = [
        html_table("Corpus", ("", ""), facts),
        html_table("Languages", ("language", "documents", "entities", "spans in groups"), _cells(summary["languages"])),
        html_table("Labels", ("layer", "label", "mentions", "linked", "NIL"), _cells(summary["labels"])),
    ]
    if summary["reasons"]:
        tables.append(html_table("Quarantine", ("code", "records"), summary["reasons"].items()))
    noscript = "<noscript><p>The documents can be looked through where scripts may run.</p></noscript>"
    return f'<div class="tables">{"".join(tables)}</div>\n<main id="explorer"></main>\n{noscript}'


def _cells(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return [list(row.values()) for row in rows]
