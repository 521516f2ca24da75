"""Exact-match scores of character spans, the same for every system: what a tokenizer cannot say is a miss."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import Errors

if TYPE_CHECKING:
    from spacy.tokens import Doc

__all__ = ["Counts", "SpanScores", "doc_spans", "evaluate_spans", "record_spans", "surface_forms"]

# (start, end, label) in characters, end exclusive.
CharSpan = tuple[int, int, str]


@dataclass
class Counts:
    """Right, wrong and missed spans, with the scores as shares from 0 to 1."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float:
        """Share of predicted spans that are right; 0 without predictions."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    @property
    def recall(self) -> float:
        """Share of gold spans that are found; 0 without gold."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0

    def add(self, gold: set[Any], predicted: set[Any]) -> None:
        """Count one set of spans against another.

        gold (Set[Any]): The spans that are there.
        predicted (Set[Any]): The spans that were found.
        """
        right = len(gold & predicted)
        self.tp += right
        self.fp += len(predicted) - right
        self.fn += len(gold) - right


@dataclass
class SpanScores:
    """Scores of a corpus.

    micro (Counts): Over all spans.
    per_label (Dict[str, Counts]): By label, in alphabetical order.
    unseen (Optional[Counts]): Over spans whose words were no entity in training; None when not asked for.
    """

    micro: Counts = field(default_factory=Counts)
    per_label: dict[str, Counts] = field(default_factory=dict)
    unseen: Counts | None = None


def evaluate_spans(
    gold: Sequence[Iterable[CharSpan]],
    predicted: Sequence[Iterable[CharSpan]],
    *,
    texts: Sequence[str] | None = None,
    seen: Collection[str] | None = None,
) -> SpanScores:
    """Score predicted spans: one is right when document, start, end and label are those of a gold span.

    gold (Sequence[Iterable[Tuple[int, int, str]]]): For each document (start, end, label), in characters.
    predicted (Sequence[Iterable[Tuple[int, int, str]]]): The predictions; a repeated span counts once.
    texts (Optional[Sequence[str]]): The documents' texts; `seen` needs them.
    seen (Optional[Collection[str]]): Surface forms of the entities of the training set.
    RETURNS (SpanScores): The scores.
    RAISES (ValueError): S215 when the numbers of documents differ, S216 when texts are missing.
    """
    if len(gold) != len(predicted):
        raise ValueError(Errors.S215.format(gold=len(gold), predicted=len(predicted)))
    if seen is not None and (texts is None or len(texts) != len(gold)):
        raise ValueError(Errors.S216.format(documents=len(gold), texts="none" if texts is None else len(texts)))
    scores = SpanScores(unseen=None if seen is None else Counts())
    known = frozenset(seen or ())
    for index, (gold_spans, predicted_spans) in enumerate(zip(gold, predicted)):
        gold_set, predicted_set = set(gold_spans), set(predicted_spans)
        scores.micro.add(gold_set, predicted_set)
        for label in {span[2] for span in gold_set | predicted_set}:
            counts = scores.per_label.setdefault(label, Counts())
            counts.add(_of_label(gold_set, label), _of_label(predicted_set, label))
        if scores.unseen is not None and texts is not None:
            text = texts[index]
            scores.unseen.add(_unseen(gold_set, text, known), _unseen(predicted_set, text, known))
    scores.per_label = dict(sorted(scores.per_label.items()))
    return scores


def record_spans(record: dict[str, Any]) -> list[CharSpan]:
    """The spans of a record as tuples.

    record (Dict[str, Any]): A record.
    RETURNS (List[Tuple[int, int, str]]): Start, end and label.
    """
    return [(span["start"], span["end"], span["label"]) for span in record["spans"]]


def doc_spans(doc: Doc, *, spans_key: str | None = None) -> list[CharSpan]:
    """The spans of a document as tuples.

    doc (Doc): A document.
    spans_key (Optional[str]): A span group; None takes `doc.ents`.
    RETURNS (List[Tuple[int, int, str]]): Start, end and label.
    """
    spans = doc.ents if spans_key is None else doc.spans.get(spans_key, ())
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def surface_forms(records: Iterable[dict[str, Any]]) -> set[str]:
    """The words of every entity of a corpus, for `evaluate_spans(seen=...)`.

    records (Iterable[Dict[str, Any]]): The training records.
    RETURNS (Set[str]): The forms, as written.
    """
    return {record["text"][start:end] for record in records for start, end, _ in record_spans(record)}


def _of_label(spans: set[CharSpan], label: str) -> set[CharSpan]:
    return {span for span in spans if span[2] == label}


def _unseen(spans: set[CharSpan], text: str, seen: frozenset[str]) -> set[CharSpan]:
    return {span for span in spans if text[span[0] : span[1]] not in seen}
