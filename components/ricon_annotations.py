"""From the spans that `ricon_ner` finds to annotations: which stand, beside those that were there, and their scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc, Span

from ..models.ricon_decode import CANDIDATE_TYPE, Candidates, select_spans, spans_cross


def register_score() -> None:
    """Give spans the attribute `span._.score`."""
    if not Span.has_extension("score"):
        Span.set_extension("score", default=None)


def take_spans(parts: Sequence[Candidates], doc: Doc, *, threshold: float, nested: bool) -> Candidates:
    """Choose among the candidates of a document.

    parts (Sequence[Candidates]): Its candidates, from any number of windows.
    doc (Doc): The document.
    threshold (float): Least score of a span that is taken.
    nested (bool): Allow spans inside one another.
    RETURNS (Candidates): The taken spans, by start, then longest first.
    """
    if not parts:
        return np.empty(0, dtype=CANDIDATE_TYPE)
    candidates = np.concatenate(parts)
    candidates = candidates[candidates["score"] >= threshold]
    # As in spaCy's own `ner`, no entity begins or ends with white space.
    blank = doc.to_array(IS_SPACE).astype(bool)
    candidates = candidates[~(blank[candidates["start"]] | blank[candidates["end"] - 1])]
    return select_spans(candidates, nested=nested)


def annotate_spans(
    doc: Doc, candidates: Candidates, labels: Sequence[str], *, spans_key: str | None, keep_existing: bool
) -> None:
    """Set spans and their scores, beside those that are there.

    Of two that cannot stand together (see `select_spans`) the one of the winning side stays.

    doc (Doc): The document.
    candidates (Candidates): Spans of `take_spans`.
    labels (Sequence[str]): Entity types, in the order of the classes from 1.
    spans_key (Optional[str]): Group of `doc.spans` for nested spans; None for flat ones, in `doc.ents`.
    keep_existing (bool): Spans that are there win.
    """
    found = {Span(doc, start, end, label=labels[kind - 1]): score for start, end, kind, score in candidates.tolist()}
    nested = spans_key is not None
    existing = list(doc.spans.get(spans_key, ()) if nested else doc.ents)
    # The score of a span belongs to its place: given to a span that lost, the one that is there would show it.
    own = _without_conflicts(list(found), existing, nested=nested) if keep_existing else list(found)
    others = existing if keep_existing else _without_conflicts(existing, own, nested=nested)
    for span in own:
        span._.score = found[span]
    merged = sorted([*others, *own], key=_reading_order)
    if nested:
        doc.spans[spans_key] = merged
    else:
        doc.set_ents(merged)


def _without_conflicts(spans: list[Span], winners: list[Span], *, nested: bool) -> list[Span]:
    if not winners:
        return spans
    if not nested:
        taken = {i for winner in winners for i in range(winner.start, winner.end)}
        return [span for span in spans if taken.isdisjoint(range(span.start, span.end))]
    return [
        span
        for span in spans
        if not any(spans_cross(span.start, span.end, winner.start, winner.end) for winner in winners)
    ]


def _reading_order(span: Span) -> tuple[int, int]:
    return span.start, -span.end
