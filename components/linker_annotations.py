"""What a linker says of a mention: its link, its ranked candidates, its scores, and why there is no link.

All is kept as plain values in `doc.user_data`, which travels with bytes, processes and a DocBin with `store_user_data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc, Span, SpanGroup

NO_CANDIDATES = "no candidates"
DOUBTED_BEFORE = "doubted before choosing"
DOUBTED_AFTER = "doubted after choosing"
BELOW_THRESHOLD = "below threshold"
NOT_ASKED = "label is not linked"
NIL_REASONS = (NO_CANDIDATES, DOUBTED_BEFORE, DOUBTED_AFTER, BELOW_THRESHOLD, NOT_ASKED)
EXTENSIONS = ("candidates", "nil_reason", "link_scores")


@dataclass(frozen=True)
class Link:
    """The answer to one mention.

    start, end (int): Its tokens, end exclusive.
    label (str): Its type.
    kb_id (str): Id of the entity, or `NIL`.
    candidates (list[dict]): "id", "name", "type", "prior", "similarity", "match" and "probability" of each, the best
        first.
    scores (dict[str, Optional[float]]): "v1", "v2" (None without that stage), "s_link" and "theta".
    reason (Optional[str]): One of `NIL_REASONS`; None when it is linked.
    """

    start: int
    end: int
    label: str
    kb_id: str
    candidates: list[dict[str, Any]]
    scores: dict[str, float | None]
    reason: str | None


def register_links() -> None:
    """Give spans the attributes `span._.candidates`, `span._.nil_reason` and `span._.link_scores`."""
    for name in EXTENSIONS:
        if not Span.has_extension(name):
            Span.set_extension(name, default=None)


def nil_reason(has_candidates: bool, v1: float | None, v2: float | None, theta: float) -> str:
    """Why a mention is not linked: the first stage that would not have it, were it alone.

    has_candidates (bool): Whether there was any.
    v1, v2 (Optional[float]): Stages of the verifier.
    theta (float): Least score that links.
    RETURNS (str): One of `NIL_REASONS`.
    """
    if not has_candidates:
        return NO_CANDIDATES
    if v1 is not None and v1 < theta:
        return DOUBTED_BEFORE
    if v2 is not None and v2 < theta:
        return DOUBTED_AFTER
    return BELOW_THRESHOLD


def annotate_links(doc: Doc, links: Sequence[Link], spans_key: str | None) -> None:
    """Set links, candidates, scores and reasons.

    Spans on the same words have one answer, that of the first whose label is linked: attributes of spans tell no labels
    apart.

    doc (Doc): The document.
    links (Sequence[Link]): Its answers.
    spans_key (Optional[str]): Group of `doc.spans` that the mentions are of; None for `doc.ents`.
    """
    answers: dict[tuple[int, int], Link] = {}
    for link in links:
        known = answers.get((link.start, link.end))
        if known is None or (known.reason == NOT_ASKED and link.reason != NOT_ASKED):
            answers[link.start, link.end] = link
    for (start, end), link in answers.items():
        span = Span(doc, start, end)
        span._.candidates, span._.nil_reason, span._.link_scores = link.candidates, link.reason, link.scores
        if spans_key is None:
            for token in span:
                token.ent_kb_id_ = link.kb_id
    if spans_key is None or not links:
        return
    found = {
        (link.start, link.end, link.label): link.kb_id
        if link.reason == NOT_ASKED
        else answers[link.start, link.end].kb_id
        for link in links
    }
    group = doc.spans[spans_key]
    spans = list(group)
    for span in spans:
        # Spans of a group are copies: they are put back below.
        span.kb_id_ = found.get((span.start, span.end, span.label_), span.kb_id_)
    doc.spans[spans_key] = SpanGroup(doc, name=group.name, attrs=dict(group.attrs), spans=spans)
