"""Where an encoder looks over many documents, as one page: its words, its heads and the labels of mentions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import DEFAULT_ENCODER, blank
from ..errors import Errors
from ..models.attention_reading import AttentionReader
from ..models.attention_statistics import AttentionStatistics
from .attention_corpus import MEASURES, SHARES, CorpusAttention
from .files import write_aside, write_errors
from .offline_page import html_table, offline_page, packed
from .option_checks import TXT_UNITS, at_least_one, check_options, one_of
from .readers import check_source, read_source
from .records import ReadOptions, Record
from .run_options import refuse_existing
from .sources import find_sources, protect_inputs
from .text_zone import text_zone

# Heads that are named for a label, and digits of a value.
HEADS_OF_LABEL, DIGITS = 5, 4
EVEN = "1 is what a word has when all have alike."
BODY = """<p class="about">{measure} over {documents:,} documents. {even} Attention shows where an encoder looks. It
does not explain what it decides.</p>
<div class="tables">{tables}</div>
<main id="explorer"></main>"""


def summarize_attention(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    model: str = DEFAULT_ENCODER,
    revision: str | None = None,
    measure: str = "received",
    text_field: str = "text",
    txt_unit: str = "line",
    limit: int | None = 1000,
    top: int = 25,
    min_count: int = 5,
    force: bool = False,
) -> dict[str, Any]:
    """Write a page of what heads look at over a corpus: words, labels of mentions, and heads that do alike.

    Mentions are the "entities" of records as `samarkand annotate` writes them. The corpus is read once. Memory grows
    with the different words: by 32 bytes for each and each head.

    inputs (str | Path | Iterable[str | Path]): Files, folders, globs or "-", as of `annotate`.
    output (str | Path): The page.
    model (str): Hub name, folder or bundled name of a transformers encoder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    measure (str): "received", "influence", "diagonal" or "spread".
    text_field (str): Field or column that holds the text.
    txt_unit (str): What a document is in a .txt file: "line" or "file".
    limit (Optional[int]): Stop after this many records; None reads all.
    top (int): Words that are listed, of each head and of all.
    min_count (int): Words that occur less often are not listed.
    force (bool): Replace a page that exists.
    RETURNS (dict): "page", "model", "measure", "layers", "heads", "documents", "words", "different", "blank" (documents
        without a word), "rejected" (records that cannot be read).
    RAISES (UsageError): S501 to S507, S512 before anything is loaded.
    RAISES (OSError): S320 when the encoder cannot be loaded, S511 and S512 when a file fails.
    RAISES (ValueError): S324 to S326 and S330 for encoders that cannot be used, S1182 when the encoder gives no
        attention, S1183 when there is nothing to read.
    """
    check_options(
        measure=one_of(measure, MEASURES),
        txt_unit=one_of(txt_unit, TXT_UNITS),
        limit=at_least_one(limit),
        top=at_least_one(top),
        min_count=at_least_one(min_count),
    )
    path, reading = Path(output), ReadOptions(text_field, txt_unit)
    sources = find_sources([inputs] if isinstance(inputs, (str, Path)) else inputs)
    for source in sources:
        check_source(source, reading)
    protect_inputs(sources, [(path, path)])
    if not force:
        refuse_existing([path])
    reader = AttentionReader(model, revision=revision)
    corpus, nlp, rejected = CorpusAttention(reader, measure), blank(), 0
    for item in islice((item for source in sources for item in read_source(source, reading)), limit):
        if isinstance(item, Record):
            with text_zone(nlp):
                corpus.add(nlp.make_doc(item.text), item.fields.get(item.kept_name("entities")))
        else:
            rejected += 1
    if not corpus.documents:
        raise ValueError(Errors.S1183.format(inputs=", ".join(map(str, sources[:3]))))
    data = summary_data(corpus, reader.heads, top=top, min_count=min_count)
    even = EVEN if measure in SHARES else ""
    body = BODY.format(
        measure=measure.capitalize(),
        documents=corpus.documents,
        even=even,
        tables=_tables(data, corpus.by_label, reader.heads[1]),
    )
    page = offline_page(f"Attention of {model} over a corpus", body, "attention_summary.js", data)
    with write_aside(path) as file, write_errors(path):
        file.write(page.encode())
    return {
        "page": str(path),
        "model": model,
        "measure": measure,
        "layers": reader.heads[0],
        "heads": reader.heads[1],
        "documents": corpus.documents,
        "words": corpus.words,
        "different": len(corpus.by_word.names),
        "blank": corpus.blank,
        "rejected": rejected,
    }


def summary_data(corpus: CorpusAttention, shape: tuple[int, int], *, top: int, min_count: int) -> dict[str, Any]:
    """What the page carries.

    corpus (CorpusAttention): The corpus.
    shape (tuple[int, int]): Layers, and heads of each.
    top (int): Words of a list.
    min_count (int): Words that occur less often are left out.
    RETURNS (dict): "layers", "heads"; "lists" of words with count, mean, standard deviation, least and greatest, the
        greatest mean first: over all heads, then over those of each layer, then of each head, layer by layer;
        "similarity" of heads, packed, and "order", which puts like ones together.
    """
    layers, heads = shape
    every = np.arange(layers * heads)
    groups = [every, *every.reshape(layers, heads), *every[:, None]]
    return {
        "layers": layers,
        "heads": heads,
        "lists": [_list(corpus.by_word, group, top, min_count) for group in groups],
        "similarity": packed(torch.from_numpy(corpus.similarity.matrix)),
        "order": corpus.similarity.order(),
    }


def _list(statistics: AttentionStatistics, group: np.ndarray, top: int, min_count: int) -> list[list[Any]]:
    """The words that some heads look at most, over occurrences and heads."""
    rows = np.flatnonzero(statistics.counts >= min_count)
    means = statistics.means[np.ix_(rows, group)]
    mean = means.mean(axis=1)
    best = np.argsort(-mean, kind="stable")[:top]
    places = np.ix_(rows[best], group)
    # Spread over occurrences within each head, and of the heads' means.
    spread = np.sqrt(statistics.variances[places].mean(axis=1) + means[best].var(axis=1))
    found = zip(mean[best], spread, statistics.lows[places].min(axis=1), statistics.highs[places].max(axis=1))
    names = statistics.names
    return [
        [names[row], int(statistics.counts[row]), *(round(float(value), DIGITS) for value in values)]
        for row, values in zip(rows[best], found)
    ]


def _tables(data: dict[str, Any], by_label: AttentionStatistics, heads: int) -> str:
    """What can be read without the script."""
    names = ("word", "count", "mean", "standard deviation", "least", "greatest")
    tables = [html_table("Words, over all heads", names, data["lists"][0])]
    rows = []
    for name, count, means in zip(by_label.names, by_label.counts, by_label.means):
        best = np.argsort(-means, kind="stable")[:HEADS_OF_LABEL].tolist()
        named = (f"layer {head // heads + 1} head {head % heads + 1}: {means[head]:.2f}" for head in best)
        rows.append((name, int(count), float(means.mean()), ", ".join(named)))
    if rows:
        heading = ("label", "words", "mean", "heads with the greatest mean")
        tables.append(html_table("Words in mentions", heading, sorted(rows)))
    return "".join(tables)
