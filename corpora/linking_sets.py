"""Texts whose mentions people have linked to Wikidata, read from the files in SAMARKAND_DATA.

Sets have names with slashes, `family/part`; a family is asked for by its name alone. Of each file stays what is a
question to a linker: mentions that are pronouns or other coreference, dates and numbers, and those that the annotators
call optional are left out. Mentions can nest; where two ids stand on the same words, either is right.

All mentions have one label: types come with the answers in these files, and would give them away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import Errors
from .records import Record
from .sentence_files import check_folder, check_keys, check_known, family_of, is_asked, json_rows

__all__ = ["LINKING_FILES", "SHORT_TEXT", "UNTYPED", "LinkingSet", "linking_names", "linking_sets", "resolve_titles"]

UNTYPED = "ENTITY"
# Sets whose texts are tweets.
SHORT_TEXT = ("derczynski", "tweeki-gold")
# Some sets mark these as coreference, others do not.
_PRONOUNS = "he him his she her hers it its they them their theirs i me my we us our you your who whose"
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_LITERAL = re.compile(rf"\d|\b(?:{'|'.join((*_MONTHS.split(), *_DAYS.split()))})\b")


@dataclass(frozen=True)
class LinkingFile:
    """A file of linked texts.

    path (str): In the folder of corpora.
    name (str): Name of the set.
    split (str): "train", "dev" or "test": what the set is used for here.
    licence (str): Terms, as the publisher states them.
    lang (str): Language.
    literals (bool): Whether dates and numbers are annotated too.
    """

    path: str
    name: str
    split: str
    licence: str
    lang: str = "en"
    literals: bool = False


@dataclass(frozen=True)
class LinkingSet:
    """Linked texts.

    name (str): Such as "tweeki-gold" or "wiki-fair/test".
    lang (str): Language.
    split (str): "train", "dev" or "test".
    licence (str): Terms, as the publisher states them.
    records (list[Dict[str, Any]]): "id", "text", "lang" and "spans", each with "kb_id": the Wikidata id, null for
        NIL. A span with more than one right id has the others under "alternatives". A span of German DBpedia has
        its "title" instead of an id, see `resolve_titles`.
    templates (bool): Whether the texts are made from templates.
    """

    name: str
    lang: str
    split: str
    licence: str
    records: list[Record] = field(repr=False)
    templates: bool = False


_ELEVANT = "repository Apache 2.0; texts per dataset"
_N3 = "CC BY-NC-SA 4.0"
LINKING_FILES: tuple[LinkingFile, ...] = (
    LinkingFile("el/tweeki-gold.en.jsonl.gz", "tweeki-gold", "test", "Apache 2.0"),
    LinkingFile("el/derczynski.en.jsonl.gz", "derczynski", "test", "Apache 2.0"),
    LinkingFile("el/msnbc-updated.en.jsonl.gz", "msnbc", "test", _ELEVANT),
    LinkingFile("el/reuters-128.en.jsonl.gz", "reuters-128", "test", _N3),
    LinkingFile("el/oke-2016-train.en.jsonl.gz", "oke-2016/train", "train", _ELEVANT),
    LinkingFile("el/oke-2016-eval.en.jsonl.gz", "oke-2016/eval", "test", _ELEVANT),
    LinkingFile("el/spotlight.en.jsonl.gz", "spotlight", "test", "Apache 2.0"),
    LinkingFile("el/wiki-fair-v2.dev.en.jsonl.gz", "wiki-fair/dev", "dev", "Apache 2.0", literals=True),
    LinkingFile("el/wiki-fair-v2.test.en.jsonl.gz", "wiki-fair/test", "test", "Apache 2.0", literals=True),
    LinkingFile("el/news-fair-v2.dev.en.jsonl.gz", "news-fair/dev", "dev", "Apache 2.0", literals=True),
    LinkingFile("el/news-fair-v2.test.en.jsonl.gz", "news-fair/test", "test", "Apache 2.0", literals=True),
    LinkingFile("el/n3-news100.de.jsonl.gz", "news-100", "test", _N3, "de"),
)


def linking_names() -> list[str]:
    """Names of all sets and of their families.

    RETURNS (list[str]): In the order of the files.
    """
    return list(dict.fromkeys(part for file in LINKING_FILES for part in (family_of(file.name), file.name)))


def linking_sets(folder: str | Path, names: Collection[str] | None = None) -> list[LinkingSet]:
    """Read sets.

    folder (str | Path): Folder of corpora.
    names (Optional[Collection[str]]): Sets or families; None for all whose files are there.
    RETURNS (list[LinkingSet]): The sets, in the order of the files.
    RAISES (OSError): S840 without such a folder, S841 when the file of a named set is missing.
    RAISES (ValueError): S843 for an unknown name, S842 for a broken row, S207 and S208 for a damaged file.
    """
    folder = Path(folder)
    check_folder(folder)
    check_known(names or (), linking_names())
    return [
        LinkingSet(file.name, file.lang, file.split, file.licence, list(_read(folder / file.path, file)))
        for file in LINKING_FILES
        if is_asked(file.name, names) and (names is not None or (folder / file.path).is_file())
    ]


def resolve_titles(records: list[Record], find: Callable[[str], str | None]) -> list[Record]:
    """Give spans that have the title of a page an id; a title that is not found leaves its span without one.

    records (list[Dict[str, Any]]): Records of a set.
    find (Callable[[str], Optional[str]]): The id of a title, None when it is unknown or not certain.
    RETURNS (list[Dict[str, Any]]): The records, with new spans.
    """
    return [{**record, "spans": [_resolved(span, find) for span in record["spans"]]} for record in records]


def _resolved(span: Record, find: Callable[[str], str | None]) -> Record:
    id = find(span["title"]) if "title" in span else None
    return span if id is None else {**span, "kb_id": id}


def _read(path: Path, file: LinkingFile) -> Iterator[Record]:
    for number, row in json_rows(path, id=str, text=str, mentions=list):
        spans: dict[tuple[int, int], Record] = {}
        for mention in row["mentions"]:
            check_keys(mention, {"start": int, "end": int}, path, number)
            start, end = mention["start"], mention["end"]
            if not 0 <= start < end <= len(row["text"]):
                reason = f"a mention at {start}-{end} of {len(row['text'])} characters"
                raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))
            if not _is_question(mention, row["text"][start:end], file):
                continue
            span = _span(mention)
            first = spans.setdefault((start, end), span)
            if first is not span and span.get("kb_id"):
                _add_answer(first, span["kb_id"])
        yield {
            "id": row["id"],
            "text": row["text"],
            "lang": row.get("lang", file.lang),
            "spans": sorted(spans.values(), key=lambda span: (span["start"], -span["end"])),
        }


def _is_question(mention: dict[str, Any], surface: str, file: LinkingFile) -> bool:
    is_acronym = surface.isupper() and len(surface) > 1
    if mention.get("coref") or mention.get("optional") or (surface.lower() in _PRONOUNS.split() and not is_acronym):
        return False
    # Nothing else tells a date from a name that Wikidata lacks: neither has an id.
    if file.literals and not mention.get("qid"):
        return surface[:1].isupper() and not _LITERAL.search(surface)
    return True


def _span(mention: dict[str, Any]) -> Record:
    span: Record = {"start": mention["start"], "end": mention["end"], "label": UNTYPED}
    if mention.get("uri"):
        return {**span, "title": unquote(mention["uri"].rpartition("/")[2]).replace("_", " ")}
    return {**span, "kb_id": mention.get("qid")}


def _add_answer(span: Record, id: str) -> None:
    if span.get("kb_id") is None:
        span["kb_id"] = id
    elif id != span["kb_id"]:
        span["alternatives"] = [*span.get("alternatives", ()), id]
