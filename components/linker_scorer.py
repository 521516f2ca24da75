"""`samarkand.linker_scorer.v1`: how many mentions a linker answers right, with NIL and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from spacy import registry
from spacy.scorer import PRFScore
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..models.nil import NIL


def score_linker(examples: Iterable[Example], *, spans_key: str | None = None, **_: Any) -> dict[str, Any]:
    """Scores of links, over mentions that are annotated and that the prediction has too.

    Nothing is said of mentions without an id or NIL in the reference. Without such, the `nel_micro_` and `nel_macro_`
    scores are those of spaCy's `Scorer.score_links`.

    examples (Iterable[Example]): Predicted and reference documents.
    spans_key (Optional[str]): Group of `doc.spans` that the mentions are of; None for `doc.ents`.
    RETURNS (dict[str, Any]): `nel_micro_p`, `nel_micro_r`, `nel_micro_f` and `nel_macro_...` of links alone,
        `nel_score` and `nel_f_per_type`; `nel_overall_f`, micro F1 with NIL as a class, which is the share of right
        answers; `nel_linkable_acc`, that share among mentions that have an entity; `nel_nil_p`, `nel_nil_r` and
        `nel_nil_f` of NIL alone. None for scores that nothing can be said of.
    """
    per_type: dict[str, PRFScore] = {}
    nil, counts = PRFScore(), Counter()
    for label, gold, found in _answers(examples, spans_key):
        links = per_type.setdefault(label, PRFScore())
        for scores, says, is_so in ((links, found != NIL, gold != NIL), (nil, found == NIL, gold == NIL)):
            right = says and is_so and found == gold
            scores.tp += right
            scores.fp += says and not right
            scores.fn += is_so and not right
        counts.update(all=1, right=found == gold, linkable=gold != NIL, linked=gold != NIL and found == gold)
    micro = PRFScore()
    for scores in per_type.values():
        micro += scores
    types = max(len(per_type), 1)
    macro = {
        name: sum(getattr(s, name) for s in per_type.values()) / types for name in ("precision", "recall", "fscore")
    }
    return {
        "nel_score": micro.fscore,
        "nel_score_desc": "micro F",
        "nel_micro_p": micro.precision,
        "nel_micro_r": micro.recall,
        "nel_micro_f": micro.fscore,
        "nel_macro_p": macro["precision"],
        "nel_macro_r": macro["recall"],
        "nel_macro_f": macro["fscore"],
        "nel_f_per_type": {label: scores.to_dict() for label, scores in per_type.items()},
        "nel_overall_f": counts["right"] / counts["all"] if counts["all"] else None,
        "nel_linkable_acc": counts["linked"] / counts["linkable"] if counts["linkable"] else None,
        "nel_nil_p": nil.precision if counts["all"] else None,
        "nel_nil_r": nil.recall if counts["all"] else None,
        "nel_nil_f": nil.fscore if counts["all"] else None,
    }


@registry.scorers("samarkand.linker_scorer.v1")
def make_linker_scorer() -> Callable[..., dict[str, Any]]:
    return score_linker


def _answers(examples: Iterable[Example], spans_key: str | None) -> Iterator[tuple[str, str, str]]:
    """Label, gold and predicted id of each mention that both sides have; no id is predicted as NIL."""
    for eg in examples:
        # Of spans in one place, that with the same label answers, else any: labels may not be of the reference.
        found = {key: span.kb_id_ or NIL for span in _spans(eg.predicted, spans_key) for key in _places(span)}
        for span in _spans(eg.reference, spans_key):
            with_label, without = _places(span)
            answer = found.get(with_label, found.get(without))
            if span.kb_id_ and answer is not None:
                yield span.label_, span.kb_id_, answer


def _places(span: Span) -> tuple[tuple[int, int, str], tuple[int, int]]:
    return (span.start_char, span.end_char, span.label_), (span.start_char, span.end_char)


def _spans(doc: Doc, spans_key: str | None) -> Iterable[Span]:
    return doc.ents if spans_key is None else doc.spans.get(spans_key, ())
