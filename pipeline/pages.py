"""Annotated records as one HTML page, drawn by displaCy, each document in its own language and direction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape
from itertools import pairwise
from typing import Any

from ..language_scripts import LANGUAGE_SCRIPTS

# Tags of two and of three letters; of a language that is also written from left to right only its letters can tell.
RIGHT_TO_LEFT = frozenset(
    "acm aeb afb apc apd ar ara arb arc ars ary arz azb bal ckb div dv fa fas glk he heb khw ks lrc mzn nqo pbt "  # noqa: SIM905
    "per pes pnb prs ps pus sd skr snd syc syr ug uig ur urd ydd yi yid".split()
)
RIGHT_TO_LEFT_SCRIPTS = frozenset({"Adlm", "Arab", "Aran", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"})
# Language, script, region: as much of BCP 47 as corpora use.
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
COLORS = {"PER": "#aa9cfc", "LOC": "#ff9561", "ORG": "#7aecec", "MISC": "#ffeb80"}
# displaCy's own template names left and right; these margins follow the direction of the document.
ENTITY = (
    '<mark class="entity" style="background: {bg}"><bdi>{text}</bdi><span class="label">{label}{kb_link}</span></mark>'
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; }}
article {{ margin-block: 1.5rem; padding-block: 0.5rem; border-block-start: 1px solid #ddd; }}
.about {{ color: #666; font-size: 0.8rem; }}
.entities, .spans {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.entity {{ padding: 0.3em 0.4em; margin-inline: 0.15em; border-radius: 0.35em; }}
.label {{ font-size: 0.7em; font-weight: bold; margin-inline-start: 0.5em; unicode-bidi: isolate; }}
</style>
</head>
<body>
<h1>{title}</h1>
{documents}
</body>
</html>
"""


def render_page(records: Iterable[Mapping[str, Any]], *, title: str = "Samarkand") -> str:
    """Draw annotated records on one page that needs nothing from elsewhere.

    records (Iterable[Mapping]): Records as `samarkand annotate` writes them to JSONL.
    title (str): Title of the page.
    RETURNS (str): The page.
    """
    documents = "\n".join(render_document(record) for record in records)
    return PAGE.format(title=escape(title), documents=documents)


def render_document(record: Mapping[str, Any]) -> str:
    """Draw one record: its entities, and each group of spans below.

    record (Mapping): The record.
    RETURNS (str): An `article` element with the language and direction of the text.
    """
    language = language_of(record)
    direction = direction_of(record["text"], language)
    about = " · ".join(str(part) for part in (record.get("id"), language) if part not in (None, ""))
    parts = [f'<p class="about" dir="ltr">{escape(about)}</p>']
    groups = record.get("spans") or {}
    if record["entities"] or not groups:
        parts.append(_entities(record, language, direction))
    for key, spans in groups.items():
        parts.append(f'<p class="about" dir="ltr">{escape(key)}</p>')
        parts.append(_spans(record["text"], spans, language, direction))
    return f'<article lang="{escape(language)}" dir="{direction}">{"".join(parts)}</article>'


def language_of(record: Mapping[str, Any]) -> str:
    """The language tag of a record, for HTML.

    record (Mapping): The record; its field "lang" goes before the languages that the tokenizer found.
    RETURNS (str): The tag, "und" when none is known.
    """
    found = (record.get("meta") or {}).get("langs") or ()
    for tag in (record.get("lang"), *found):
        if isinstance(tag, str) and tag != "xx" and LANGUAGE_TAG.fullmatch(tag):
            return tag
    return "und"


def direction_of(text: str, language: str = "und") -> str:
    """The base direction of a text: the script of its tag decides, else the language, and where both say nothing, most
    of its letters.

    text (str): The text.
    language (str): Its language tag.
    RETURNS (str): "rtl" or "ltr".
    """
    primary, *parts = language.split("-")
    script = next((part for part in parts if len(part) == 4), None)
    if script is not None:
        return "rtl" if script in RIGHT_TO_LEFT_SCRIPTS else "ltr"
    if primary in RIGHT_TO_LEFT:
        return "rtl"
    if LANGUAGE_SCRIPTS.get(primary):
        return "ltr"
    classes = [unicodedata.bidirectional(char) for char in text]
    return "rtl" if sum(name in ("R", "AL") for name in classes) > classes.count("L") else "ltr"


def _entities(record: Mapping[str, Any], language: str, direction: str) -> str:
    ents = [_safe(entity) for entity in record["entities"]]
    drawn = {"text": record["text"], "ents": ents, "settings": {"lang": language, "direction": direction}}
    return _draw("ent", drawn, {"colors": COLORS, "template": ENTITY})


def _spans(text: str, spans: list[Mapping[str, Any]], language: str, direction: str) -> str:
    """Draw spans that may overlap; the pieces between their ends serve displaCy as tokens."""
    cuts = sorted({0, len(text), *(span["start"] for span in spans), *(span["end"] for span in spans)})
    place = {cut: index for index, cut in enumerate(cuts)}
    pieces = [text[start:end] for start, end in pairwise(cuts)]
    tokens = {"start_token": "start", "end_token": "end"}
    placed = [{**_safe(span), **{name: place[span[end]] for name, end in tokens.items()}} for span in spans]
    drawn = {"text": text, "tokens": pieces, "spans": placed, "settings": {"lang": language, "direction": direction}}
    return _draw("span", drawn, {"colors": COLORS})


def _safe(span: Mapping[str, Any]) -> dict[str, Any]:
    """What displaCy may know of a span, its label and identifier escaped: displaCy escapes only the text."""
    label, kb_id = escape(span["label"]), escape(span.get("kb_id") or "")
    return {"start": span["start"], "end": span["end"], "label": label, "kb_id": kb_id, "kb_url": "#"}


def _draw(style: str, drawn: dict[str, Any], options: dict[str, Any]) -> str:
    from spacy import displacy

    # One call a document: displaCy takes the direction of the first one for all. The wrapper and the notebook
    # output of a session are for its own drawings.
    return displacy.render(drawn, style=style, manual=True, jupyter=False, options=options)
