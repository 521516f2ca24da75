"""Turning an annotated document into what a format writes, with character offsets.

An encoder runs where the document was annotated, so that only its small result leaves the worker process and
the memory zone. All offsets count Unicode code points of the text, as Python slices do.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..corpora.records import NIL
from .rounding import rounded

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

    from .records import Record

BLANK = re.compile(r"\s")
# What `m3_linker` sets on spans.
LINKS = ("candidates", "link_scores", "nil_reason")


@dataclass(frozen=True)
class Encoded:
    """An annotated document, ready to be written.

    payload (Any): What the writer of the format takes.
    tokens (int): Tokens of the document.
    entities (int): Entities in `doc.ents`.
    spans (int): Spans in all groups of `doc.spans`.
    unwritten (int): Annotations that the format cannot hold.
    """

    payload: Any
    tokens: int
    entities: int
    spans: int
    unwritten: int = 0


Encoder = Callable[["Doc", "Record"], Encoded]


def encode_jsonl(doc: Doc, record: Record) -> Encoded:
    """A document as one line of JSON.

    doc (Doc): The annotated document.
    record (Record): Where it came from.
    RETURNS (Encoded): The line, as UTF-8 bytes that end in a line feed.
    """
    return _encoded(doc, to_json({**record.fields, **annotations(doc)}))


def encode_row(doc: Doc, record: Record) -> Encoded:
    """A document as a row of a table: its other fields and its annotations.

    doc (Doc): The annotated document.
    record (Record): Where it came from.
    RETURNS (Encoded): The two dicts.
    RAISES (UnicodeEncodeError): When a field holds half of a surrogate pair.
    """
    for item in record.fields.items():
        for text in item:
            if isinstance(text, str):
                text.encode()
    return _encoded(doc, (record.fields, annotations(doc)))


def encode_docbin(doc: Doc, record: Record) -> Encoded:
    """A document as a DocBin of one; the other fields become keys of `doc.user_data`.

    doc (Doc): The annotated document.
    record (Record): Where it came from.
    RETURNS (Encoded): The DocBin, as bytes.
    """
    from spacy.tokens import DocBin

    for name, value in plain(record.fields).items():
        doc.user_data.setdefault(name, value)
    return _encoded(doc, DocBin(store_user_data=True, docs=[doc]).to_bytes())


def encode_conll(doc: Doc, record: Record, *, spans_key: str | None = None) -> Encoded:
    """A document as CoNLL: a comment with its text, then a line with token, tab and IOB2 tag for each token.

    Tokens of blanks only are left out, blanks inside a token become "_", and of overlapping spans the longest
    is written. Where entities are linked, another comment has their characters and ids: `# links = 0-5=Q90`.

    doc (Doc): The annotated document.
    record (Record): Where it came from.
    spans_key (str | None): Group of `doc.spans` to write, or None for `doc.ents`.
    RETURNS (Encoded): The block, as UTF-8 bytes that end in an empty line.
    """
    from spacy.util import filter_spans

    layer = list(doc.ents) if spans_key is None else filter_spans(doc.spans.get(spans_key, []))
    tags = ["O"] * len(doc)
    for span in layer:
        prefix = "B"
        for token in span:
            if not token.is_space:
                tags[token.i] = f"{prefix}-{BLANK.sub('_', span.label_)}"
                prefix = "I"
    lines = [f"# {name} = {BLANK.sub(' ', value)}" for name, value in _comments(doc, record, layer)]
    lines += [f"{BLANK.sub('_', token.text)}\t{tag}" for token, tag in zip(doc, tags) if not token.is_space]
    block = "\n".join(lines) + "\n\n"
    unwritten = len(doc.ents) + sum(len(group) for group in doc.spans.values()) - len(layer)
    return _encoded(doc, block.encode("utf-8", "backslashreplace"), unwritten=unwritten)


def _comments(doc: Doc, record: Record, layer: list[Span]) -> Iterable[tuple[str, str]]:
    if isinstance(record.fields.get("id"), (str, int)):
        yield "id", str(record.fields["id"])
    yield "text", doc.text
    linked = [span for span in layer if span.kb_id_ not in ("", NIL)]
    if linked:
        ids = ((span, BLANK.sub("_", span.kb_id_)) for span in linked)
        yield "links", " ".join(f"{span.start_char}-{span.end_char}={id}" for span, id in ids)


def annotations(doc: Doc) -> dict[str, Any]:
    """The annotations of a document as plain values.

    doc (Doc): The annotated document.
    RETURNS (dict): "text"; "entities" from `doc.ents`; "spans" by group when the document has groups; "meta"
        with scripts and languages when the tokenizer gives them; "neighbours" when a `retriever` has found some.
    """
    result: dict[str, Any] = {"text": doc.text, "entities": [_span(ent) for ent in doc.ents]}
    if doc.spans:
        result["spans"] = {key: [_span(span) for span in group] for key, group in doc.spans.items()}
    meta = {name: plain(doc._.get(name)) for name in ("scripts", "langs") if doc.has_extension(name)}
    if meta:
        result["meta"] = meta
    if doc.has_extension("neighbours") and doc._.neighbours:
        result["neighbours"] = plain(doc._.neighbours)
    return result


def _span(span: Span) -> dict[str, Any]:
    result: dict[str, Any] = {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "text": span.text,
    }
    score = span._.get("score") if span.has_extension("score") else None
    if score is not None and math.isfinite(score):
        result["score"] = rounded(float(score))
    if span.kb_id:
        # As in the records of corpora, null says that it is no entity of the knowledge base.
        result["kb_id"] = None if span.kb_id_ == NIL else span.kb_id_
    return {**result, **_link(span)}


def _link(span: Span) -> dict[str, Any]:
    """What a linker tells of a mention: its ranked candidates, its scores, and why there is no link."""
    names = [name for name in LINKS if span.has_extension(name)]
    told = {name: rounded(plain(span._.get(name))) for name in names}
    return {name: value for name, value in told.items() if value is not None}


def to_json(value: Mapping[str, Any]) -> bytes:
    """One line of valid JSON for any record that a reader gives.

    value (Mapping): The record.
    RETURNS (bytes): UTF-8 that ends in a line feed. Half surrogate pairs are written as escapes.
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        line = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    try:
        return f"{line}\n".encode()
    except UnicodeEncodeError:
        return f"{json.dumps(plain(value), allow_nan=False)}\n".encode()


def plain(value: Any) -> Any:
    """A value of a table or of a document as JSON can hold it.

    value (Any): The value.
    RETURNS (Any): Dates in ISO 8601, bytes in base64, numbers that are not finite as None, the rest as text.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _encoded(doc: Doc, payload: Any, *, unwritten: int = 0) -> Encoded:
    spans = sum(len(group) for group in doc.spans.values())
    return Encoded(payload, len(doc), len(doc.ents), spans, unwritten)
