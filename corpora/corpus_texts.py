"""The text sides of corpora in SAMARKAND_DATA: what may be trained on, and what models are judged by.

Corpora that no reader gives terms for are taken to be for research alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .assets import corpora
from .cats_sets import CATS_FAMILIES, cats_records
from .linking_sets import linking_sets
from .mpts import read_mpts
from .parallel_sets import BITEXT_FAMILIES
from .records import read_records
from .sentence_files import json_rows
from .sentence_sets import sts_sets
from .training_pairs import TRAINING_SOURCES

__all__ = ["CorpusTexts", "held_out_texts", "train_texts"]

# Language and text.
_Texts = Iterator[tuple[str, str]]
_TRAIN, _JUDGES = ("train",), ("dev", "test", "eval")
_UNKNOWN, _NON_COMMERCIAL, _CLUE = "not stated; research use", "non-commercial research only", "CLUE terms"
# Corpora of `ner/` with open terms that the manifest does not have.
_OPEN_NER = {
    **dict.fromkeys(("en-drugs", "en-fashion", "en-food"), "MIT (repository)"),
    "sr-uner-set": "CC BY-SA 4.0",
}
# Corpora of JSON lines without a reader of their own: terms, and whether they are open.
_ROWS = {
    "qa/arcd": ("MIT", True),
    "qa/exams": ("CC BY-SA 4.0", True),
    "qa/gkmc": ("Apache 2.0", True),
    "qa/xquad": ("CC BY-SA 4.0", True),
    "qa/c3-d": (_NON_COMMERCIAL, False),
    "qa/c3-m": (_NON_COMMERCIAL, False),
    "qa/dream": (_NON_COMMERCIAL, False),
    "cls/csl-kg": (_UNKNOWN, False),
    "cls/fewclue-cluewsc": (_CLUE, False),
    "cls/fewclue-csl": (_CLUE, False),
}
# Their keys with running text; a context can be a list of turns.
_KEYS = ("context", "scenario", "question", "text", "abst")
# Codes and names that publishers use, and the codes of raw text.
_RENAMED = (
    "amh=am, eng=en, eus=eu, ewe=ee, fra=fr, guj=gu, hau=ha, ibo=ig, kin=rw, orm=om, por=pt, sna=sn, swa=sw, swh=sw, "
    "tir=ti, tso=ts, twi=tw, wol=wo, yor=yo, zul=zu, Albanian=sq, Arabic=ar, Bulgarian=bg, Croatian=hr, French=fr, "
    "German=de, Hungarian=hu, Italian=it, Lithuanian=lt, North Macedonian=mk, Polish=pl, Portuguese=pt, "
    "Serbian=sr, Spanish=es, Turkish=tr, Vietnamese=vi"
)
_CODES: dict[str, str] = dict(pair.split("=") for pair in _RENAMED.split(", "))


@dataclass(frozen=True)
class CorpusTexts:
    """Texts of a corpus.

    name (str): Its folder and name, such as "ner/en-btc".
    licence (str): Terms, as the publisher states them.
    open (bool): Whether a model that is given away may be trained on it.
    read (Callable): Yields the language and the text of each, as they are in the corpus.
    """

    name: str
    licence: str
    open: bool
    read: Callable[[], _Texts]


def train_texts(folder: Path) -> list[CorpusTexts]:
    """Train splits of the corpora in `ner/`, `cls/`, `parallel/` and `qa/`, as far as their files are there.

    folder (Path): Folder of corpora.
    RETURNS (list[CorpusTexts]): The corpora.
    """
    return [*_recognized(folder, _TRAIN), *_classified(folder, _TRAIN), *_rows(folder, _TRAIN), *_pairs(folder, _TRAIN)]


def held_out_texts(folder: Path) -> list[CorpusTexts]:
    """Dev and test splits of all corpora, as far as their files are there.

    Corpora that are for judging as a whole, such as translations that encoders are to find, are among them.

    folder (Path): Folder of corpora.
    RETURNS (list[CorpusTexts]): The corpora.
    """
    return [
        *_recognized(folder, _JUDGES),
        *_classified(folder, _JUDGES),
        *_rows(folder, _JUDGES),
        *_pairs(folder, _JUDGES),
        *_judging_pairs(folder),
    ]


def _recognized(folder: Path, splits: tuple[str, ...]) -> Iterator[CorpusTexts]:
    for path in sorted(folder.glob("ner/*/*.jsonl.xz")):
        name = path.parent.name
        if path.name.split(".")[0] in splits:
            known = corpora().get(name)
            licence = known.licence if known else _OPEN_NER.get(name, _UNKNOWN)
            is_open = known.open if known else name in _OPEN_NER
            yield CorpusTexts(f"ner/{name}", licence, is_open, partial(_recognized_texts, path))


def _recognized_texts(path: Path) -> _Texts:
    for record in read_records(path):
        yield _code(record.get("lang")), record["text"]


def _classified(folder: Path, splits: tuple[str, ...]) -> Iterator[CorpusTexts]:
    for name, family in CATS_FAMILIES.items():
        for split, path in family.paths.items():
            if split in splits and (folder / path).is_file():
                read = partial(_classified_texts, folder, f"{name}/{split}")
                yield CorpusTexts(f"cls/{name}", family.licence, family.open, read)


def _classified_texts(folder: Path, name: str) -> _Texts:
    for record in cats_records(folder, name):
        for key in ("text", "text_b"):
            if key in record:
                yield _code(record["lang"]), record[key]


def _rows(folder: Path, splits: tuple[str, ...]) -> Iterator[CorpusTexts]:
    for name, (licence, is_open) in _ROWS.items():
        for path in sorted(folder.glob(f"{name}.*.jsonl.xz")):
            _, lang, split, *_ = path.name.split(".")
            if split in splits:
                yield CorpusTexts(name, licence, is_open, partial(_row_texts, path, lang))


def _row_texts(path: Path, lang: str) -> _Texts:
    for _, row in json_rows(path):
        own = _code(row.get("lang", lang))
        for part in (row, *row.get("qas", ())):
            for key in _KEYS:
                if text := part.get(key):
                    yield own, text if isinstance(text, str) else " ".join(text)


def _pairs(folder: Path, splits: tuple[str, ...]) -> Iterator[CorpusTexts]:
    """Translations in `parallel/`: names and the machine's translations lie elsewhere."""
    for name, source in TRAINING_SOURCES.items():
        for split in splits:
            for path in source.paths.get(split, ()):
                if path.startswith("parallel/") and (folder / path).is_file():
                    read = partial(_pair_texts, source.read, folder / path)
                    yield CorpusTexts(f"parallel/{name}", source.licence, source.open, read)


def _pair_texts(read: Callable[[Path], Iterator[tuple[str, str, str]]], path: Path) -> _Texts:
    for english, other, lang in read(path):
        yield "en", english
        yield _code(lang.partition("-")[0]), other


def _judging_pairs(folder: Path) -> Iterator[CorpusTexts]:
    for name, family in BITEXT_FAMILIES.items():
        if (folder / family.path).is_file():
            read = partial(_bitext_texts, folder, name)
            yield CorpusTexts(f"parallel/{name}", family.licence, family.open, read)
    for split in ("dev", "test"):
        for part in sts_sets(folder, split=split):
            read = partial(_sides, part.lang, part.first, part.second)
            yield CorpusTexts(f"sts/{part.name}", part.licence, part.open, read)
        if (folder / "sts" / f"mpts.en.{split}.jsonl.xz").is_file():
            part = read_mpts(folder, split)
            yield CorpusTexts("sts/mpts", "MIT", True, partial(_sides, "en", part.first, part.second))
    for part in linking_sets(folder):
        if part.split in _JUDGES:
            read = partial(_sides, part.lang, [record["text"] for record in part.records])
            yield CorpusTexts(f"el/{part.name}", part.licence, False, read)


def _bitext_texts(folder: Path, name: str) -> _Texts:
    family = BITEXT_FAMILIES[name]
    for _, first_lang, second_lang, first, second in family.read(folder / family.path):
        yield from _sides(first_lang, first)
        yield from _sides(second_lang, second)


def _sides(lang: str, *sides: list[str]) -> _Texts:
    for side in sides:
        for text in side:
            yield _code(lang), text


def _code(lang: str | None) -> str:
    """A language's code, which names a file: "hau_Latn" and "hau" are "ha", and none is "xx"."""
    known = (lang or "").partition("_")[0]
    return _CODES.get(known) or re.sub("[^A-Za-z0-9-]", "", known) or "xx"
