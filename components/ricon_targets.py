"""What `ricon_ner` learns from examples: gold spans in the predicted tokens, and how wide spans are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from spacy.tokens import Span
from spacy.training import Example

from ..models.ricon_loss import IGNORED

# When no maximum width is asked for, it is the least that holds this share of the training spans, up to a limit.
WIDTH_COVERAGE, WIDTH_LIMIT = 0.998, 32

GoldSpans = list[tuple[int, int, int]]


def reference_spans(eg: Example, spans_key: str | None) -> list[Span]:
    """Annotated spans of an example.

    eg (Example): The example.
    spans_key (Optional[str]): Group of `doc.spans` with nested spans; None for flat ones, in `doc.ents`.
    RETURNS (list[Span]): The spans, in the reference's tokens.
    """
    return list(eg.reference.ents if spans_key is None else eg.reference.spans.get(spans_key, ()))


def gold_spans(eg: Example, labels: Sequence[str], spans_key: str | None) -> GoldSpans | None:
    """Gold spans in the predicted document's tokens.

    eg (Example): The example.
    labels (Sequence[str]): Entity types, in the order of the classes from 1.
    spans_key (Optional[str]): As in `reference_spans`.
    RETURNS (Optional[GoldSpans]): First token, last exclusive, and class of each. Tokens of which the annotation says
        nothing come as spans of the class `IGNORED`. None when the document is not annotated.
    """
    nested = spans_key is not None
    if nested and spans_key not in eg.reference.spans:
        return None
    if not nested and not eg.reference.has_annotation("ENT_IOB"):
        return None
    classes = {label: k for k, label in enumerate(labels, start=1)}
    reference = reference_spans(eg, spans_key)
    spans = eg.get_aligned_spans_y2x(reference, allow_overlap=True)
    gold = [(s.start, s.end, classes[s.label_]) for s in spans if s.label_ in classes]
    unknown = [] if nested else np.flatnonzero(eg.reference.to_array("ENT_IOB") == 0).tolist()
    if len(spans) < len(reference):
        # Entities that are off the predicted tokens' edges are none, but their words are not plain text either.
        off = [span for span in reference if not eg.get_aligned_spans_y2x([span], allow_overlap=True)]
        unknown += [i for span in off for i in range(span.start, span.end)]
    places = {int(place) for i in unknown for place in eg.alignment.y2x[i]}
    return gold + [(i, i + 1, IGNORED) for i in sorted(places)]


def least_width(widths: Counter[int]) -> int:
    """The least width that holds `WIDTH_COVERAGE` of the spans, up to `WIDTH_LIMIT`.

    widths (Counter[int]): Number of spans by width in tokens.
    RETURNS (int): The width in tokens.
    """
    total, held = sum(widths.values()), 0
    for width in sorted(widths):
        held += widths[width]
        if held >= WIDTH_COVERAGE * total:
            return min(width, WIDTH_LIMIT)
    return WIDTH_LIMIT
