"""Character spans onto the tokens of a `Doc`: nothing that does not fit vanishes uncounted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import Errors, SamarkandWarning, Warnings
from .records import NIL

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

__all__ = ["MISALIGNED", "SpanReport", "align_spans", "set_gold_ents"]

MISALIGNED = ("warn", "expand", "error")


@dataclass
class SpanReport:
    """What a corpus held and what did not fit, with counts by label and the first example of each problem.

    documents (int): Documents read.
    spans (int): Spans that were asked for.
    problems (Dict[str, Counter]): Number of spans by label, for "misaligned" (off the tokens' edges),
        "overlapping" (or repeated), "invalid" (empty, or out of the text) and "blanks" (at the edges).
    long (int): Documents over the maximum length.
    long_spans (int): Spans in those.
    examples (Dict[str, str]): The first span of each problem, with its place.
    """

    documents: int = 0
    spans: int = 0
    problems: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    long: int = 0
    long_spans: int = 0

    def add(self, problem: str, span: dict[str, Any], text: str, where: str) -> None:
        """Count one span.

        problem (str): A key of `problems`.
        span (Dict[str, Any]): The span.
        text (str): The document's text.
        where (str): File and number of the document.
        """
        self.problems.setdefault(problem, Counter())[span["label"]] += 1
        if problem not in self.examples:
            self.examples[problem] = describe(span, text, where)

    def total(self, problem: str) -> int:
        """Number of spans with a problem.

        problem (str): A key of `problems`.
        RETURNS (int): The number.
        """
        return sum(self.problems.get(problem, Counter()).values())

    @property
    def n_problems(self) -> int:
        """Number of problems of all kinds."""
        return self.long + sum(map(self.total, self.problems))

    def warn(self, path: str, *, misaligned: str, max_length: int = 0) -> None:
        """Give one warning for each kind of problem.

        path (str): What was read.
        misaligned (str): What was done with misaligned spans: a value of MISALIGNED.
        max_length (int): Longest document that was taken, in tokens.
        """
        messages = {
            "misaligned": Warnings.SW201 if misaligned == "warn" else Warnings.SW202,
            "overlapping": Warnings.SW203,
            "invalid": Warnings.SW204,
            "blanks": Warnings.SW208,
        }
        for problem, message in messages.items():
            if count := self.total(problem):
                labels = ", ".join(f"{label} {n}" for label, n in self.problems[problem].most_common())
                text = message.format(
                    count=count, spans=self.spans, path=path, labels=labels, example=self.examples[problem]
                )
                warnings.warn(text, SamarkandWarning, stacklevel=3)
        if self.long:
            text = Warnings.SW209.format(
                count=self.long,
                documents=self.documents,
                path=path,
                spans=self.long_spans,
                max_length=max_length,
            )
            warnings.warn(text, SamarkandWarning, stacklevel=3)


def describe(span: dict[str, Any], text: str, where: str) -> str:
    """A span as a message shows it.

    span (Dict[str, Any]): The span.
    text (str): The document's text.
    where (str): File and number of the document.
    RETURNS (str): Words, label, offsets and place.
    """
    start, end = span["start"], span["end"]
    return f"{text[max(start, 0) : max(end, 0)][:40]!r} {span['label']} at {start}-{end} in {where}"


def align_spans(
    doc: Doc, spans: Sequence[dict[str, Any]], report: SpanReport, *, flat: bool, misaligned: str, where: str
) -> tuple[list[Span], list[Span]]:
    """Turn character spans into token spans.

    doc (Doc): The tokenized text.
    spans (Sequence[Dict[str, Any]]): Spans with "start", "end" and "label", and "kb_id" where they are linked.
    report (SpanReport): Takes the counts.
    flat (bool): Keep the longest of spans that overlap; otherwise drop repeated spans only.
    misaligned (str): A value of MISALIGNED; "error" raises for every problem.
    where (str): File and number of the document.
    RETURNS (Tuple[List[Span], List[Span]]): The spans in order, and those left out, as whole tokens.
    RAISES (ValueError): S213 for a span that does not fit, when `misaligned` is "error".
    """
    kept: list[tuple[Span, dict[str, Any]]] = []
    left_out: list[Span] = []
    report.spans += len(spans)
    # doc.text is put together anew on every access.
    text = doc.text
    for span in spans:
        bounds = _bounds(text, span, report, where, strict=misaligned == "error")
        if bounds is None:
            continue
        mode = "expand" if misaligned == "expand" else "strict"
        kb_id = NIL if span.get("kb_id", "") is None else span.get("kb_id", "")
        token_span = doc.char_span(*bounds, label=span["label"], kb_id=kb_id, alignment_mode=mode)
        if token_span is None or (token_span.start_char, token_span.end_char) != bounds:
            _problem("misaligned", span, text, report, where, strict=misaligned == "error")
        if token_span is None:
            left_out.append(doc.char_span(*bounds, label=span["label"], alignment_mode="expand"))
        else:
            kept.append((token_span, span))
    # A stable sort: of equal spans the first one stays.
    kept.sort(key=_longest_first)
    taken: set[Any] = set()
    chosen = []
    for token_span, span in kept:
        marks = range(token_span.start, token_span.end) if flat else [token_span_key(token_span)]
        if taken.isdisjoint(marks):
            taken.update(marks)
            chosen.append(token_span)
        else:
            _problem("overlapping", span, text, report, where, strict=misaligned == "error")
    chosen.sort(key=token_span_key)
    return chosen, left_out


def set_gold_ents(doc: Doc, spans: Sequence[Span], left_out: Sequence[Span]) -> None:
    """Set `doc.ents`; tokens of spans that were left out become missing, not outside.

    doc (Doc): The document.
    spans (Sequence[Span]): Its entities, which do not overlap.
    left_out (Sequence[Span]): Entities whose tokens a component must not learn as non-entities.
    """
    covered = {i for span in spans for i in range(span.start, span.end)}
    missing = {i for span in left_out for i in range(span.start, span.end)} - covered
    doc.set_ents(list(spans), missing=[doc[i : i + 1] for i in sorted(missing)], default="outside")


def token_span_key(span: Span) -> tuple[int, int, str]:
    """Order of spans in a document: by start, then the shorter, then label.

    span (Span): The span.
    RETURNS (Tuple[int, int, str]): Start token, end token, label.
    """
    return span.start, span.end, span.label_


def _longest_first(pair: tuple[Span, dict[str, Any]]) -> tuple[int, int]:
    return pair[0].start - pair[0].end, pair[0].start


def _bounds(text: str, span: dict[str, Any], report: SpanReport, where: str, *, strict: bool) -> tuple[int, int] | None:
    """The span's offsets without blanks at its edges, or None when nothing is left."""
    start, end = span["start"], span["end"]
    words = text[start:end] if 0 <= start < end <= len(text) else ""
    if not words.strip():
        _problem("invalid", span, text, report, where, strict=strict)
        return None
    if words != words.strip():
        _problem("blanks", span, text, report, where, strict=strict)
        start += len(words) - len(words.lstrip())
        end -= len(words) - len(words.rstrip())
    return start, end


def _problem(problem: str, span: dict[str, Any], text: str, report: SpanReport, where: str, *, strict: bool) -> None:
    if strict:
        raise ValueError(Errors.S213.format(problem=problem, example=describe(span, text, where)))
    report.add(problem, span, text, where)
