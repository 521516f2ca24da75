"""Tag schemes of token corpora: IO, IOB1, IOB2, BIOES, BILOU and BMES, to spans and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["SCHEMES", "is_tag", "nested_tags_to_spans", "spans_to_tags", "tags_to_spans"]

# (start, end, label) in tokens, end exclusive.
TokenSpan = tuple[int, int, str]

# Prefix of a one-token span, of the first, of an inside and of the last token of a longer one.
SCHEMES: dict[str, tuple[str, str, str, str]] = {
    "IO": ("I", "I", "I", "I"),
    "IOB1": ("I", "I", "I", "I"),
    "IOB2": ("B", "B", "I", "I"),
    "BIOES": ("S", "B", "I", "E"),
    "BILOU": ("U", "B", "I", "L"),
    "BMES": ("S", "B", "M", "E"),
}

_TAG = re.compile(r"O|[BIELMSU]-.+")
_FIRST = frozenset("BSU")
_LAST = frozenset("ELSU")


def is_tag(text: str) -> bool:
    """Whether a string is a tag of one of the schemes.

    text (str): "O", or a prefix, a hyphen and a label.
    RETURNS (bool): True for a tag.
    """
    return _TAG.fullmatch(text) is not None


def tags_to_spans(tags: Iterable[str]) -> list[TokenSpan]:
    """Decode one sentence; no scheme has to be named, because one rule reads them all.

    A span starts at a first-token prefix, after "O", after a last-token prefix and where the label changes,
    so a sequence that breaks its own scheme is read as the usual evaluation scripts read it.

    tags (Iterable[str]): A tag per token.
    RETURNS (List[Tuple[int, int, str]]): Start token, end token (exclusive) and label, in order.
    """
    spans = []
    start, label = -1, ""
    position = -1
    for position, tag in enumerate(tags):
        prefix, new_label = tag[0], tag[2:]
        if start >= 0 and (prefix == "O" or prefix in _FIRST or new_label != label):
            spans.append((start, position, label))
            start = -1
        if prefix != "O" and start < 0:
            start, label = position, new_label
        if prefix in _LAST:
            spans.append((start, position + 1, label))
            start = -1
    if start >= 0:
        spans.append((start, position + 1, label))
    return spans


def nested_tags_to_spans(rows: Sequence[Sequence[str]]) -> list[TokenSpan]:
    """Decode one sentence whose tokens carry several tags each, at most one a label.

    rows (Sequence[Sequence[str]]): The tags of each token.
    RETURNS (List[Tuple[int, int, str]]): Spans, by start and longest first.
    """
    labels = {tag[2:] for tags in rows for tag in tags if tag != "O"}
    spans: list[TokenSpan] = []
    for label in sorted(labels):
        track = [next((tag for tag in tags if tag[2:] == label), "O") for tags in rows]
        spans.extend(tags_to_spans(track))
    return sorted(spans, key=_by_start_longest_first)


def spans_to_tags(spans: Iterable[TokenSpan], n_tokens: int, *, scheme: str = "IOB2") -> list[str]:
    """Encode the spans of one sentence. "IO" merges adjacent spans of one label: it cannot tell them apart.

    spans (Iterable[Tuple[int, int, str]]): Spans in tokens that do not overlap.
    n_tokens (int): Number of tokens.
    scheme (str): A name in SCHEMES.
    RETURNS (List[str]): A tag per token.
    """
    single, first, inside, last = SCHEMES[scheme]
    tags = ["O"] * n_tokens
    previous = (0, 0, "")
    for start, end, label in sorted(spans):
        prefixes = [single] if end - start == 1 else [first, *[inside] * (end - start - 2), last]
        # IOB1 marks the start of a span only where it would run into the one before.
        if scheme == "IOB1" and previous[1:] == (start, label):
            prefixes[0] = "B"
        tags[start:end] = [f"{prefix}-{label}" for prefix in prefixes]
        previous = (start, end, label)
    return tags


def _by_start_longest_first(span: TokenSpan) -> tuple[int, int, str]:
    return span[0], -span[1], span[2]
