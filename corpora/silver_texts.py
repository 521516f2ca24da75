"""Texts that names can be linked in without annotators, from the files in SAMARKAND_DATA.

`extracts` are what the knowledge base has of articles, `qa` the passages of question sets about Wikipedia, `ner`
sentences whose names people have marked, `raw` lines of open text, `news` of Arabic news. The terms of `ner` and `news`
are not all open. `patterns` and `places` are no texts but facts put into sentence templates: facts of
Wikidata, and the countries of places whose name other entities bear. Their grammar is often wrong, and they can be left
out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..models.alias_keys import alias_key
from ..models.knowledge_base import Entity
from .fact_links import TELLING
from .files import numbered_lines
from .kb_recipes import COUNTRY, FACTS, MULTIKB, RELATIONS
from .records import read_records
from .seeded import share_of
from .sentence_files import json_rows, tsv_rows

__all__ = ["LANGUAGES", "OPEN_SOURCES", "SOURCES", "TEMPLATES", "SilverText", "cut", "silver_texts"]

LANGUAGES = ("ar", "en", "zh")
COUNTRY_NAME = "country"
PATTERNS = "kb/relation-patterns.tsv.gz"
_PATTERN_LANGUAGES = {"ar": "ar", "en": "en", "zh-hans": "zh"}
# Sentences are put together up to so many characters: short texts are what the linker is for.
LONGEST = {"zh": 120}
LONGEST_ELSEWHERE = 240
# Corpora of `ner/`, with the labels PER, LOC and ORG.
_RECOGNIZED = {
    "ar": ("ar-anercorp",),
    "en": ("en-btc", "en-uner-ewt", "en-wikigold"),
    "zh": ("zh-msra", "zh-uner-gsdsimp", "zh-uner-pud"),
}
_SPLITS = ("train", "dev", "test")
# Sentences that follow one another are often of one article.
NEIGHBOURS = 20
_SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.!?؟…])\s+|\n+")


@dataclass(frozen=True)
class SilverText:
    """A text to find links in.

    text (str): It.
    lang (str): Its language.
    group (str): What it is part of: texts of one group go to one split.
    title (Optional[str]): Id or name of the entity that it is about, where that is known.
    known (tuple[tuple[int, int, str], ...]): Spans whose entities are known beforehand, with their ids.
    marked (Optional[tuple[tuple[int, int, str], ...]]): Names that people have marked, with their labels; None when
        nobody has.
    """

    text: str
    lang: str
    group: str
    title: str | None = None
    known: tuple[tuple[int, int, str], ...] = ()
    marked: tuple[tuple[int, int, str], ...] | None = None


Reader = Callable[[Path, Mapping[str, Entity]], Iterator[SilverText]]


def silver_texts(folder: Path, source: str, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    """The texts of a source, as far as its files are there.

    folder (Path): Folder of corpora.
    source (str): A name in `SOURCES`.
    entities (Mapping[str, Entity]): The knowledge base, by id.
    YIELDS (SilverText): The texts.
    """
    return SOURCES[source](folder, entities)


def cut(text: str, lang: str) -> Iterator[str]:
    """Pieces of whole sentences.

    text (str): The text.
    lang (str): Its language.
    YIELDS (str): The pieces; a sentence that is longer than a piece may be is left out.
    """
    longest = LONGEST.get(lang, LONGEST_ELSEWHERE)
    joiner = "" if lang == "zh" else " "
    piece = ""
    for sentence in filter(None, map(str.strip, _SENTENCE_END.split(text))):
        if piece and len(piece) + len(joiner) + len(sentence) > longest:
            yield piece
            piece = ""
        if len(sentence) <= longest:
            piece = f"{piece}{joiner}{sentence}" if piece else sentence
    if piece:
        yield piece


def _extracts(folder: Path, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    for _, row in json_rows(folder / MULTIKB, id=str):
        for lang, text in row.get("extract", {}).items():
            if lang in LANGUAGES:
                yield from _pieces(text, lang, row["id"], row["id"])


def _passages(folder: Path, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    """Titles of XQuAD are in English whatever the language, which keeps its translations in one split."""
    names = [*(f"qa/xquad.{lang}.eval.jsonl.xz" for lang in LANGUAGES)]
    names += [f"qa/arcd.ar.{split}.jsonl.xz" for split in ("train", "test")]
    seen = set()
    for path in (folder / name for name in names):
        for _, row in json_rows(path, lang=str, title=str, context=str) if path.is_file() else ():
            if row["context"] not in seen:
                seen.add(row["context"])
                title = row["title"].replace("_", " ")
                yield from _pieces(row["context"], row["lang"], title, title)


def _marked(folder: Path, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    names = [
        (lang, f"ner/{name}/{split}.jsonl.xz") for lang in LANGUAGES for name in _RECOGNIZED[lang] for split in _SPLITS
    ]
    for lang, name in names:
        for number, record in enumerate(read_records(folder / name) if (folder / name).is_file() else ()):
            marked = tuple((span["start"], span["end"], span["label"]) for span in record["spans"])
            yield SilverText(record["text"], lang, f"{name}:{number // NEIGHBOURS}", marked=marked)


def _lines(folder: Path, entities: Mapping[str, Entity], names: Mapping[str, str]) -> Iterator[SilverText]:
    for lang, name in names.items():
        path = folder / "raw" / name
        for number, line in numbered_lines(path) if path.is_file() else ():
            yield from _pieces(line, lang, f"{name}:{number}", None)


def _pieces(text: str, lang: str, group: str, title: str | None) -> Iterator[SilverText]:
    return (SilverText(piece, lang, group, title) for piece in cut(text, lang))


def _sentences(folder: Path, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    """A sentence a fact and language, with a template of its relation that the fact's ids choose."""
    templates = _templates(folder)
    telling = _telling_codes(folder)
    for _, (subject, relation, value, *_) in tsv_rows(folder / FACTS, 3):
        ends = entities.get(subject), entities.get(value)
        for lang in LANGUAGES if relation in telling else ():
            known = templates.get((lang, relation))
            if known and all(end is not None and lang in end.names for end in ends):
                chosen = known[int(share_of(subject, relation, value, lang) * len(known))]
                yield _filled(chosen, lang, *(end for end in ends if end is not None))


def _countries(folder: Path, entities: Mapping[str, Entity]) -> Iterator[SilverText]:
    """A sentence a language for each place whose name another entity bears in it."""
    bearers: dict[tuple[str, str], set[str]] = {}
    for entity in entities.values():
        for lang in LANGUAGES:
            if lang in entity.names:
                bearers.setdefault((lang, alias_key(entity.names[lang])), set()).add(entity.id)
    templates = _templates(folder)
    for entity in entities.values():
        country = next((value for key, value in entity.facts if key == COUNTRY_NAME), "")
        for lang in LANGUAGES if country in entities and entity.type == "LOC" else ():
            known = templates.get((lang, COUNTRY))
            named = known and lang in entity.names and lang in entities[country].names
            if known and named and len(bearers[lang, alias_key(entity.names[lang])]) > 1:
                chosen = known[int(share_of(entity.id, lang) * len(known))]
                yield _filled(chosen, lang, entity, entities[country])


def _templates(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Templates by language and relation."""
    templates: dict[tuple[str, str], list[str]] = {}
    for _, (code, relation, template, *_) in tsv_rows(folder / PATTERNS, 3):
        if code in _PATTERN_LANGUAGES and template.count("[X]") == template.count("[Y]") == 1:
            templates.setdefault((_PATTERN_LANGUAGES[code], relation), []).append(template)
    return templates


def _filled(template: str, lang: str, subject: Entity, value: Entity) -> SilverText:
    text, known = "", []
    for part in re.split(r"(\[[XY]\])", template):
        entity = {"[X]": subject, "[Y]": value}.get(part)
        if entity is not None:
            known.append((len(text), len(text) + len(entity.names[lang]), entity.id))
        text += part if entity is None else entity.names[lang]
    return SilverText(text, lang, subject.id, None, tuple(known))


def _telling_codes(folder: Path) -> frozenset[str]:
    """Codes of the relations that `link_by_facts` takes as evidence."""
    relations = json.loads("\n".join(line for _, line in numbered_lines(folder / RELATIONS)))
    return frozenset(code for code, names in relations.items() if names["en"] in TELLING)


SOURCES: dict[str, Reader] = {
    "extracts": _extracts,
    "qa": _passages,
    "ner": _marked,
    "raw": partial(_lines, names={lang: f"{lang}.txt.xz" for lang in LANGUAGES}),
    "news": partial(_lines, names={"ar": "ar_news.research.txt.xz"}),
    "patterns": _sentences,
    "places": _countries,
}
# Those whose texts are made of templates.
TEMPLATES = ("patterns", "places")
# Those whose terms let a pipeline that learnt from them be passed on.
OPEN_SOURCES: Iterable[str] = ("extracts", "qa", "raw")
