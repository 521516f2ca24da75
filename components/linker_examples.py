"""What a linker learns from examples: gold mentions in the predicted tokens, and candidates with gold among them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

from spacy.tokens import Span
from spacy.training import Example
from spacy.util import filter_spans

from ..errors import Errors, SamarkandWarning, Warnings
from ..models.kb_candidates import Candidate
from ..models.knowledge_base import KnowledgeBase
from ..models.nil import NIL

# First token, last exclusive, label, and the id or NIL.
GoldMention = tuple[int, int, str, str]


def annotated_spans(eg: Example, spans_key: str | None) -> list[Span]:
    """Annotated mentions of an example.

    eg (Example): The example.
    spans_key (Optional[str]): Group of `doc.spans`; None for `doc.ents`.
    RETURNS (list[Span]): Spans of the reference that have an id, or NIL. Of others nobody has said what they mean.
    """
    spans = eg.reference.ents if spans_key is None else eg.reference.spans.get(spans_key, ())
    return [span for span in spans if span.kb_id_]


def gold_mentions(eg: Example, spans_key: str | None) -> list[GoldMention]:
    """Annotated mentions in the predicted document's tokens; those off their edges are left out.

    eg (Example): The example.
    spans_key (Optional[str]): As in `annotated_spans`.
    RETURNS (list[GoldMention]): The mentions.
    """
    spans = annotated_spans(eg, spans_key)
    aligned = eg.get_aligned_spans_y2x(spans, allow_overlap=True)
    if len(aligned) < len(spans):
        pairs = [(span, eg.get_aligned_spans_y2x([span], allow_overlap=True)) for span in spans]
        pairs = [(span, found[0]) for span, found in pairs if found]
    else:
        pairs = list(zip(spans, aligned))
    return [(found.start, found.end, span.label_, span.kb_id_) for span, found in pairs]


def training_candidates(candidates: Sequence[Candidate], gold: str, k: int) -> list[Candidate]:
    """The gold entity, if it is there, and the hardest others.

    candidates (Sequence[Candidate]): What the mention can mean, the best first.
    gold (str): What it means.
    k (int): How many to learn from, at most.
    RETURNS (list[Candidate]): They, the best first.
    """
    chosen = list(candidates[:k])
    late = [candidate for candidate in candidates[k:] if candidate.id == gold]
    return chosen[: k - len(late)] + late


def gold_place(candidates: Sequence[Candidate], gold: str | None) -> int:
    """Place of the gold entity among candidates.

    candidates (Sequence[Candidate]): They.
    gold (Optional[str]): Its id.
    RETURNS (int): From 0; -1 when it is not there.
    """
    return next((place for place, candidate in enumerate(candidates) if candidate.id == gold), -1)


def with_gold_mentions(eg: Example, spans_key: str | None) -> Example:
    """A copy of an example whose predicted document has the annotated mentions of the reference, and no others.

    eg (Example): The example.
    spans_key (Optional[str]): As in `annotated_spans`.
    RETURNS (Example): The copy.
    """
    doc = eg.predicted.copy()
    spans = [Span(doc, start, end, label=label) for start, end, label, _ in gold_mentions(eg, spans_key)]
    if spans_key is None:
        doc.set_ents(filter_spans(spans))
    else:
        doc.spans[spans_key] = spans
    return Example(doc, eg.reference)


def check_links(examples: Iterable[Example], kb: KnowledgeBase, *, spans_key: str | None, name: str) -> None:
    """Make sure that there are links to learn from, and tell of those that lead nowhere.

    examples (Iterable[Example]): The examples.
    kb (KnowledgeBase): The knowledge base.
    spans_key (Optional[str]): As in `annotated_spans`.
    name (str): Name of the pipe.
    RAISES (ValueError): S937 when there is none.
    WARNS: SW930 when entities are not in the knowledge base.
    """
    ids = Counter(span.kb_id_ for eg in examples for span in annotated_spans(eg, spans_key))
    if not ids:
        raise ValueError(Errors.S937.format(name=name))
    known = kb.entities(ids)
    unknown = {id: count for id, count in ids.items() if id != NIL and id not in known}
    if unknown:
        count, total = sum(unknown.values()), sum(ids.values()) - ids[NIL]
        message = Warnings.SW930.format(count=count, total=total, path=kb.path, example=min(unknown))
        warnings.warn(message, SamarkandWarning, stacklevel=3)
