"""Annotated folders made by hand, and texts that try to be more than text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

# Each sets the global `pwned` when any of it runs.
INJECTIONS = [
    "</script><script>window.pwned=1</script>",
    "<!--<script>window.pwned=1//-->",
    "]]><![CDATA[<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "<svg onload=window.pwned=1><animate onbegin=window.pwned=1>",
    "javascript:window.pwned=1",
    '<a href="javascript:window.pwned=1">x</a>',
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    '<link rel=stylesheet href="//example.invalid/x.css"><base href="//example.invalid/">',
    "\u2028window.pwned=1\u2029",
    "\u202eevil\u202c \u2067right\u2069 \u200f",
    "nul\0 byte \x0b \x7f \x85 \ufeff \ufffe \uffff",
    "${window.pwned=1} {{pwned}} `pwned` \\u003cscript\\u003e \\",
    "&lt;script&gt;window.pwned=1&lt;/script&gt; &#60;img src=x onerror=window.pwned=1&#62;",
    "__proto__",
    "constructor",
]


def mention(text: str, part: str, label: str = "PER", **more: Any) -> dict[str, Any]:
    start = text.index(part)
    return {"start": start, "end": start + len(part), "label": label, "text": part, **more}


def write_run(folder: Path, records: Sequence[Any], rejected: Sequence[Any] = (), **summary: Any) -> Path:
    """Write a folder as a run in JSONL leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    if rejected:
        lines = "".join(json.dumps(entry) + "\n" for entry in rejected)
        (folder / "quarantine.jsonl").write_text(lines, encoding="utf-8")
    told = {
        "status": "complete",
        "options": {"output_format": "jsonl"},
        "files": [{"output": "a.jsonl"}],
        "pipeline": {"model": "some_model"},
    }
    (folder / "run.json").write_text(json.dumps(told | summary), encoding="utf-8")
    return folder


def hostile_records() -> list[dict[str, Any]]:
    """Every injection in every place of a record."""
    records = []
    for number, bad in enumerate(INJECTIONS):
        text = f"Ada {bad} Cairo"
        ents = [mention(text, "Ada", bad, kb_id=bad), mention(text, "Cairo", "LOC", kb_id=None, nil_reason=bad)]
        ents[0] |= {"candidates": [{"id": bad, "name": bad, "probability": 0.5}], "score": 0.5}
        neighbours = [{"id": bad, "score": 0.5, "text": bad, "metadata": {bad: bad}}]
        record = {"id": bad, "lang": bad, "text": text, "entities": ents, "neighbours": neighbours, bad: bad}
        records.append({**record, "spans": {bad: ents}, "meta": {"langs": {bad: 1.0}}, "number": number})
    return records


def hostile_rejections() -> list[dict[str, Any]]:
    return [{"file": bad, "line": 3, "code": bad, "reason": bad, "raw": {bad: bad}} for bad in INJECTIONS]


class Parsed(HTMLParser):
    """Tags with their attributes, and the content of scripts and cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "td"):
            self._inside = tag
            (self.scripts if tag == "script" else self.rows[-1]).append("")
        elif tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside:
            (self.scripts if self._inside == "script" else self.rows[-1])[-1] += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])
