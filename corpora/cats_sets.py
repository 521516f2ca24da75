"""Texts with classes in many languages, read from the files in SAMARKAND_DATA.

A set is asked for by family and split, such as "sib200/train". Languages have the codes of the publisher.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Errors
from .records import Record
from .sentence_files import check_folder, check_known, json_rows, tsv_rows

__all__ = ["CATS_FAMILIES", "CatsFamily", "cats_names", "cats_records"]


@dataclass(frozen=True)
class CatsFamily:
    """A task with its splits.

    task (str): What is told apart.
    licence (str): Terms, as the publisher states them.
    paths (Mapping[str, str]): File of each split, below the folder of corpora.
    lang (Optional[str]): Language of all texts; None when each record has its own.
    text (str): Key of the text.
    text_b (Optional[str]): Key of the second text of a pair.
    label (str): Key of the class.
    open (bool): Whether the terms are those of open data.
    """

    task: str
    licence: str
    paths: Mapping[str, str]
    lang: str | None = None
    text: str = "text"
    text_b: str | None = None
    label: str = "label"
    open: bool = field(default=False, kw_only=True)


def _paths(stem: str, *splits: str) -> dict[str, str]:
    return {split: f"cls/{stem}.{split}.jsonl.xz" for split in splits}


_ALL = ("train", "dev", "test")
_NOT_STATED = "not stated; research use"
_CLUE = "CLUE terms"
_SIB_META, _SIB_TEXT = "cls/sib200.meta.tsv.gz", "cls/sib200.text.tsv.xz"

CATS_FAMILIES: dict[str, CatsFamily] = {
    "sib200": CatsFamily("topics", "CC BY-SA 4.0 (FLORES-200)", dict.fromkeys(_ALL, _SIB_TEXT), open=True),
    "masakhanews": CatsFamily("news topics", _NOT_STATED, _paths("masakhanews", *_ALL)),
    "afrisenti": CatsFamily("sentiment of tweets", "CC BY 4.0", _paths("afrisenti", *_ALL), open=True),
    "xsid": CatsFamily(
        "intents", "CC BY-SA 4.0", {"dev": "cls/xsid.valid.jsonl.xz", "test": "cls/xsid.test.jsonl.xz"}, open=True
    ),
    "csl-ctg": CatsFamily("fields of titles", _NOT_STATED, _paths("csl-cls_ctg.zh", *_ALL), "zh"),
    "csl-dcp": CatsFamily("disciplines of abstracts", _NOT_STATED, _paths("csl-cls_dcp.zh", "dev", "test"), "zh"),
    "tnews": CatsFamily("news topics", _CLUE, _paths("fewclue-tnews.zh", *_ALL), "zh", "sentence", label="label_desc"),
    "iflytek": CatsFamily(
        "kinds of apps", _CLUE, _paths("fewclue-iflytek.zh", *_ALL), "zh", "sentence", None, "label_des"
    ),
    "csldcp": CatsFamily("disciplines of abstracts", _CLUE, _paths("fewclue-csldcp.zh", *_ALL), "zh", "content"),
    "eprstmt": CatsFamily("sentiment of reviews", _CLUE, _paths("fewclue-eprstmt.zh", *_ALL), "zh", "sentence"),
    "bustm": CatsFamily("same question", _CLUE, _paths("fewclue-bustm.zh", *_ALL), "zh", "sentence1", "sentence2"),
    **{
        name: CatsFamily("sentiment of reviews", _NOT_STATED, _paths(f"{name}.{lang}", *_ALL), lang)
        for name, lang in (
            ("chnsenticorp-htl", "zh"),
            ("waimai", "zh"),
            ("online-shopping", "zh"),
            ("res-reviews", "ar"),
            ("res2-reviews", "ar"),
            ("attraction-reviews", "ar"),
        )
    },
}


def cats_names() -> list[str]:
    """RETURNS (list[str]): Names of all sets."""
    return [f"{name}/{split}" for name, family in CATS_FAMILIES.items() for split in family.paths]


def cats_records(folder: str | Path, name: str, langs: Collection[str] | None = None) -> Iterator[Record]:
    """Read a set.

    folder (str | Path): Folder of corpora.
    name (str): Such as "sib200/train".
    langs (Optional[Collection[str]]): Languages to read, by the publisher's codes; None for all.
    YIELDS (dict[str, Any]): Records with "text", "label", "lang" and, of pairs, "text_b".
    RAISES (OSError): S840 without such a folder, S841 when the file is missing.
    RAISES (ValueError): S843 for an unknown name, S842 for a broken row, S207 and S208 for a damaged file.
    """
    folder = Path(folder)
    check_folder(folder)
    check_known([name], cats_names())
    family_name, _, split = name.partition("/")
    family = CATS_FAMILIES[family_name]
    records = _sib200(folder, split) if family_name == "sib200" else _rows(folder / family.paths[split], family)
    return (record for record in records if langs is None or record["lang"] in langs)


def _rows(path: Path, family: CatsFamily) -> Iterator[Record]:
    keys = {"text": family.text, "label": family.label}
    if family.text_b:
        keys["text_b"] = family.text_b
    if family.lang is None:
        keys["lang"] = "lang"
    for _, row in json_rows(path, **dict.fromkeys(keys.values(), str)):
        record = {ours: row[theirs] for ours, theirs in keys.items()}
        yield {"lang": family.lang, **record}


def _sib200(folder: Path, split: str) -> Iterator[Record]:
    """Labels by number of the sentence, and sentences by language and number, are in two files."""
    labels = {number: label for _, (number, part, label, *_) in tsv_rows(folder / _SIB_META, 3) if part == split}
    path = folder / _SIB_TEXT
    found = False
    for _, (lang, number, sentence, *_) in tsv_rows(path, 3):
        if number in labels:
            found = True
            yield {"lang": lang, "id": number, "text": sentence, "label": labels[number]}
    if not found:
        raise ValueError(Errors.S842.format(path=path, line=1, reason=f"no sentence of the split {split!r}"))
