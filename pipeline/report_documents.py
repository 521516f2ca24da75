"""What the page of a report carries of a document, and of a line of the quarantine: enough to look at, and bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .annotated import Annotated
from .corpus_counts import layers_of
from .encoders import to_json
from .offline_page import utf16_places
from .pages import direction_of, language_of

# Longest text, in characters; candidates of a mention; neighbours of a document; characters of everything else.
LONGEST_TEXT, MOST_CANDIDATES, MOST_NEIGHBOURS, LONGEST_VALUE = 20_000, 5, 10, 500


def page_document(annotated: Annotated) -> dict[str, Any]:
    """A document for the page.

    annotated (Annotated): The record and its place.
    RETURNS (dict): "file", "position", "id", "lang", "dir", "text", "characters" of the whole text, "layers" of
        mentions in UTF-16 units, "beyond" for those that the shortened text leaves out, and "neighbours".
    """
    record = annotated.record
    text = record["text"][:LONGEST_TEXT]
    places, language = utf16_places(text), language_of(record)
    layers, beyond = {}, 0
    for layer, spans in layers_of(record):
        kept = [span for span in spans if span["end"] <= len(text)]
        beyond += len(spans) - len(kept)
        layers[layer] = [_mention(span, places) for span in kept]
    return {
        "file": annotated.file,
        "position": annotated.position,
        "id": _shown(record.get("id")),
        "lang": language,
        "dir": direction_of(text, language),
        "text": text,
        "characters": len(record["text"]),
        "layers": layers,
        "beyond": beyond,
        "neighbours": [_neighbour(hit) for hit in _objects(record.get("neighbours"))[:MOST_NEIGHBOURS]],
    }


def page_rejection(entry: Mapping[str, Any]) -> dict[str, str]:
    """A line of the quarantine for the page.

    entry (Mapping): The line.
    RETURNS (dict): "place", "code", "reason" and "raw".
    """
    unit = next((unit for unit in ("line", "row") if unit in entry), "")
    place = f"{_shown(entry.get('file'))}, {unit} {_shown(entry.get(unit))}" if unit else _shown(entry.get("file"))
    shown = {name: _shown(entry.get(name)) for name in ("code", "reason", "raw")}
    return {"place": place, **shown}


def _mention(span: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """A mention; "link" is an id, or null for NIL, and absent when no linker has seen it."""
    mention: dict[str, Any] = {"start": places[span["start"]], "end": places[span["end"]], "label": span["label"]}
    if "kb_id" in span:
        mention["link"] = None if span["kb_id"] is None else _shown(span["kb_id"])
    score = _number(span.get("score"))
    if score is not None:
        mention["score"] = score
    if span.get("nil_reason"):
        mention["reason"] = _shown(span["nil_reason"])
    candidates = [_candidate(candidate) for candidate in _objects(span.get("candidates"))[:MOST_CANDIDATES]]
    if candidates:
        mention["candidates"] = candidates
    return mention


def _candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": _shown(candidate.get("id")),
        "name": _shown(candidate.get("name")),
        "probability": _number(candidate.get("probability")),
    }


def _neighbour(hit: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": _shown(hit.get("id")), "score": _number(hit.get("score")), "text": _shown(hit.get("text"))}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """A number that the script can show: truth values and NaN are none."""
    return value if type(value) is int or (type(value) is float and math.isfinite(value)) else None


def _shown(value: Any) -> str:
    """The start of any value as text."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value).decode().strip()
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
