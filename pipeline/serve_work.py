"""What the threads of a server do with a batch: annotate texts, and search an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.record_filter import Filter
from ..models.search_index import SearchIndex
from ..models.sentence_model import SentenceModel
from .batches import Outcome, annotate_batch, batches_by_length
from .encoders import encode_jsonl
from .index_entries import Entry, encode_entries
from .loading import PipelineSpec
from .records import Record, Rejected
from .search_corpus import encoder_of

if TYPE_CHECKING:
    from spacy.language import Language

# Seconds for which a search may not see what was added to its index.
STALE = 1.0


@dataclass(frozen=True)
class Query:
    """What is looked for in an index.

    text (str): The text.
    k (int): Neighbours of it.
    filter (Filter | None): Conditions on metadata that `filter_sql` takes.
    """

    text: str
    k: int = 10
    filter: Filter | None = None


Answer = dict[str, Any] | Rejected


@contextmanager
def open_annotation(
    pipeline: Language | PipelineSpec, batch_size: int
) -> Iterator[Callable[[list[Record]], list[Outcome]]]:
    """What annotates records. A record that fails costs only itself.

    pipeline (Language | PipelineSpec): The pipeline, or where it is loaded from.
    batch_size (int): Records that a component gets at once.
    YIELDS (Callable): From records to their outcomes, in order: lines of JSON as `samarkand annotate` writes them.
    RAISES (UsageError | OSError): As `PipelineSpec.load`.
    """
    nlp = pipeline.load() if isinstance(pipeline, PipelineSpec) else pipeline

    def annotate(records: list[Record]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        for batch in batches_by_length([len(record.text) for record in records], batch_size):
            done = annotate_batch(nlp, [records[position] for position in batch], encode_jsonl)
            outcomes.update(zip(batch, done))
        return [outcomes[position] for position in range(len(records))]

    yield annotate


@contextmanager
def open_search(
    folder: str | Path, model: str | Path | SentenceModel | None, batch_size: int
) -> Iterator[Callable[[list[Query]], list[Answer]]]:
    """What searches an index. A query that fails costs only itself; changes of the index are seen after a second.

    folder (str | Path): The index.
    model (str | Path | SentenceModel | None): The encoder; that of the index by default.
    batch_size (int): Texts encoded at once.
    YIELDS (Callable): From queries to their answers, in order, as `search_corpus` gives them.
    RAISES (ValueError | OSError): As `SearchIndex.open` and `encoder_of`.
    """
    with SearchIndex.open(folder) as index:
        encoder = encoder_of(index, folder, model)
        fresh = time.monotonic()

        def search(queries: list[Query]) -> list[Answer]:
            nonlocal fresh
            if time.monotonic() - fresh >= STALE:
                index.refresh()
                index.check_fingerprint(encoder.fingerprint)
                fresh = time.monotonic()
            entries = [Entry("", query.text, {}, Record(number, query.text)) for number, query in enumerate(queries)]
            pairs, rejected = encode_entries(encoder, entries, batch_size)
            answers: dict[int, Answer] = {refused.position: refused for refused in rejected}
            for entry, vector in pairs:
                query = queries[entry.record.position]
                (hits,) = index.search(vector[None], query.k, filter=query.filter)
                answers[entry.record.position] = {"text": query.text, "neighbours": [asdict(hit) for hit in hits]}
            return [answers[number] for number in range(len(queries))]

        yield search
