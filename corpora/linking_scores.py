"""Scores of linked mentions, the same for every linker.

The mentions are given. Each has a gold answer: an entity of the knowledge base, or NIL. A gold id that the knowledge
base does not hold is NIL too, as GERBIL has it of entities without an address in a known knowledge base ("emerging
entities"); `outside` counts them, so that nobody takes a small knowledge base for an easy corpus.

All shares are from 0 to 1. A document without gold and without answers of a kind has precision, recall and F1 of 1, as
in GERBIL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .scoring import Counts

__all__ = ["KS", "Judged", "LinkingScores", "judge", "score_links"]

# Ranks down to which candidates are looked for the gold entity.
KS = (1, 10, 30)
Document = Sequence["Judged"]


@dataclass(frozen=True)
class Judged:
    """A mention with what is right and what was said.

    gold (frozenset[str]): Ids of the right entities that the knowledge base holds; none for NIL.
    answer (Optional[str]): The id that was said; None for NIL, "" when nothing was said of this mention.
    candidates (Sequence[str]): Ids that were thought of, the best first.
    outside (bool): Whether the gold entity is NIL only because the knowledge base lacks it.
    """

    gold: frozenset[str]
    answer: str | None
    candidates: Sequence[str] = ()
    outside: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the answer is."""
        return self.answer in self.gold if self.gold else self.answer is None


@dataclass(frozen=True)
class LinkingScores:
    """Scores of documents with mentions.

    documents (int), mentions (int): How many there are.
    linkable (int): Mentions whose gold entity the knowledge base holds.
    outside (int): Mentions whose gold entity it lacks; these are NIL.
    linkable_accuracy (float): Share of linkable mentions that are linked rightly. Mentions that are NIL do not count,
        and to say NIL of a linkable one is wrong: the recall of InKB.
    nil_precision, nil_recall, nil_f1 (float): Of NIL as the one class to be found.
    micro_f1 (float): Over all mentions, NIL one answer among others; with an answer for each it is their accuracy.
    macro_f1 (float): Mean of the documents' F1, NIL one answer among others.
    inkb_micro_f1 (float): GERBIL's InKB: answers that are entities against gold that is an entity. NIL is neither
        rewarded nor, where it is gold, forgiven: an entity said of a NIL mention costs precision.
    inkb_macro_f1 (float): Mean of the documents' F1 of that kind.
    recall_at (dict[str, float]): Share of linkable mentions with the gold entity among the first k candidates.
    """

    documents: int
    mentions: int
    linkable: int
    outside: int
    linkable_accuracy: float
    nil_precision: float
    nil_recall: float
    nil_f1: float
    micro_f1: float
    macro_f1: float
    inkb_micro_f1: float
    inkb_macro_f1: float
    recall_at: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The scores as plain values.

        RETURNS (dict): By name.
        """
        return asdict(self)


def judge(gold: Iterable[str | None], answer: str | None, known: Collection[str], ranked: Sequence[str] = ()) -> Judged:
    """Put gold and answer of a mention together.

    gold (Iterable[Optional[str]]): The right ids, any of which will do; None for NIL.
    answer (Optional[str]): As in `Judged`.
    known (Collection[str]): Ids that the knowledge base holds, as far as they matter here.
    ranked (Sequence[str]): Ids of the candidates, the best first.
    RETURNS (Judged): The mention.
    """
    ids = frozenset(id for id in gold if id is not None)
    held = frozenset(id for id in ids if id in known)
    return Judged(held, answer, tuple(ranked), outside=bool(ids) and not held)


def score_links(documents: Iterable[Document], *, ks: Iterable[int] = KS) -> LinkingScores:
    """Score linked mentions.

    documents (Iterable[Sequence[Judged]]): The mentions of each document; documents without any are left out.
    ks (Iterable[int]): Numbers of candidates for `recall_at`.
    RETURNS (LinkingScores): The scores; 0 where nothing could be counted.
    """
    kept = [document for document in documents if document]
    mentions = [mention for document in kept for mention in document]
    linkable = [mention for mention in mentions if mention.gold]
    nil = _counts(mentions, _nil)
    return LinkingScores(
        documents=len(kept),
        mentions=len(mentions),
        linkable=len(linkable),
        outside=sum(mention.outside for mention in mentions),
        linkable_accuracy=_share([mention.is_right for mention in linkable]),
        nil_precision=nil.precision,
        nil_recall=nil.recall,
        nil_f1=nil.f1,
        micro_f1=_counts(mentions, _every).f1,
        macro_f1=_share([_document_f1(document, _every) for document in kept]),
        inkb_micro_f1=_counts(mentions, _in_kb).f1,
        inkb_macro_f1=_share([_document_f1(document, _in_kb) for document in kept]),
        recall_at={str(k): _share([not m.gold.isdisjoint(m.candidates[:k]) for m in linkable]) for k in ks},
    )


# Whether a mention is gold of a kind, and whether its answer is of that kind.
Kind = Callable[[Judged], tuple[bool, bool]]


def _every(mention: Judged) -> tuple[bool, bool]:
    return True, mention.answer != ""


def _nil(mention: Judged) -> tuple[bool, bool]:
    return not mention.gold, mention.answer is None


def _in_kb(mention: Judged) -> tuple[bool, bool]:
    return bool(mention.gold), bool(mention.answer)


def _counts(mentions: Iterable[Judged], kind: Kind) -> Counts:
    counts = Counts()
    for mention in mentions:
        is_gold, is_said = kind(mention)
        is_right = is_gold and is_said and mention.is_right
        counts.tp += is_right
        counts.fp += is_said and not is_right
        counts.fn += is_gold and not is_right
    return counts


def _document_f1(document: Document, kind: Kind) -> float:
    counts = _counts(document, kind)
    return counts.f1 if counts.tp or counts.fp or counts.fn else 1.0


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
