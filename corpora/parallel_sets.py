"""Sentences with their translations that encoders are judged by, read from the files in SAMARKAND_DATA.

What encoders are trained on is in `training_pairs`, and no file is in both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Errors
from .sentence_files import check_folder, check_known, family_of, is_asked, json_rows, tsv_columns, tsv_rows

__all__ = ["BITEXT_FAMILIES", "Bitext", "BitextFamily", "bitexts"]


@dataclass(frozen=True)
class Bitext:
    """Sentences and their translations: `first[i]` says what `second[i]` says.

    name (str): Family and language or languages, such as "pud/ar-zh" or "ntrex128/arb".
    first_lang (str): Code of the first language, as the publisher has it.
    second_lang (str): Code of the second language, English in most sets.
    first (list[str]): Sentences of the first language.
    second (list[str]): Sentences of the second language.
    licence (str): Terms, as the publisher states them.
    open (bool): Whether the terms are those of open data.
    """

    name: str
    first_lang: str
    second_lang: str
    first: list[str] = field(repr=False)
    second: list[str] = field(repr=False)
    licence: str
    open: bool


# Name's part after the slash, the two languages, and the sentences of each.
_Part = tuple[str, str, str, list[str], list[str]]


@dataclass(frozen=True)
class BitextFamily:
    """Bitexts of one file.

    path (str): Below the folder of corpora.
    read (Callable): Takes a path and yields names, languages and sentences.
    licence (str): Terms, as the publisher states them.
    is_default (bool): Whether it is read without being asked for.
    open (bool): Whether the terms are those of open data.
    """

    path: str
    read: Callable[[Path], Iterator[_Part]]
    licence: str
    is_default: bool = True
    open: bool = True


def bitexts(folder: str | Path, names: Collection[str] | None = None) -> Iterator[Bitext]:
    """Read bitexts that encoders are judged by.

    folder (str | Path): Folder of corpora.
    names (Optional[Collection[str]]): Names or families; None for the families that are default and there.
    YIELDS (Bitext): The bitexts, a family after the other; one file is in memory at a time.
    RAISES (OSError): S840 without such a folder, S841 when the file of a named family is missing.
    RAISES (ValueError): S843 for an unknown name, S842 or S844 for a broken file, S207 and S208 for a damaged one.
    """
    folder = Path(folder)
    check_folder(folder)
    check_known([family_of(name) for name in names or ()], BITEXT_FAMILIES)
    for family, about in BITEXT_FAMILIES.items():
        is_default = about.is_default and (folder / about.path).is_file()
        if is_default if names is None else any(family_of(name) == family for name in names):
            yield from _family(folder, family, names)


def _family(folder: Path, family: str, names: Collection[str] | None) -> Iterator[Bitext]:
    about, known = BITEXT_FAMILIES[family], [family]
    for part, *rest in about.read(folder / about.path):
        known.append(f"{family}/{part}")
        if is_asked(known[-1], names):
            yield Bitext(known[-1], *rest, about.licence, about.open)
    check_known([name for name in names or () if family_of(name) == family], known)


def _read_tatoeba(path: Path) -> Iterator[_Part]:
    """Language, sentence, English; the rows of a language stand together."""
    sides: dict[str, tuple[list[str], list[str]]] = {}
    for _, (lang, sentence, english, *_) in tsv_rows(path, 3):
        first, second = sides.setdefault(lang, ([], []))
        first.append(sentence)
        second.append(english)
    for lang, (first, second) in sides.items():
        yield lang, lang, "eng", first, second


def _read_pud(path: Path) -> Iterator[_Part]:
    columns = tsv_columns(path, "en", "ar", "zh")
    for first, second in (("en", "ar"), ("en", "zh"), ("ar", "zh")):
        yield _aligned(path, columns, first, second, f"{first}-{second}")


def _read_ntrex(path: Path) -> Iterator[_Part]:
    """An object a language: {lang, sents}, aligned by line."""
    sentences = {row["lang"]: row["sents"] for _, row in json_rows(path, lang=str, sents=list)}
    for lang in sentences:
        if lang != "eng":
            yield _aligned(path, sentences, lang, "eng", lang)
    yield _aligned(path, sentences, "arb", "zho-CN", "arb-zho-CN")


def _read_sib200(path: Path) -> Iterator[_Part]:
    """Language, number of the sentence, sentence; all splits of the topics together."""
    sentences: dict[str, dict[str, str]] = {}
    for _, (lang, number, sentence, *_) in tsv_rows(path, 3):
        sentences.setdefault(lang, {})[number] = sentence
    order = sentences.get("eng_Latn", {})
    ordered = {lang: [found[number] for number in order if number in found] for lang, found in sentences.items()}
    for lang in ordered:
        if lang != "eng_Latn":
            yield _aligned(path, ordered, lang, "eng_Latn", lang)


def _read_tico19(path: Path) -> Iterator[_Part]:
    """An object a sentence: {uid, en, ar, ...}; `id` is Indonesian."""
    columns: dict[str, list[str]] = {}
    for _, row in json_rows(path, en=str):
        for lang, sentence in row.items():
            columns.setdefault(lang, []).append(sentence)
    for lang in columns:
        if lang not in ("uid", "en"):
            yield _aligned(path, columns, lang, "en", lang)


def _aligned(path: Path, sentences: Mapping[str, list[str]], first: str, second: str, name: str) -> _Part:
    sizes = len(sentences.get(first, ())), len(sentences.get(second, ()))
    if sizes[0] != sizes[1] or not sizes[0]:
        message = Errors.S844.format(path=path, first=first, found=sizes[0], second=second, expected=sizes[1])
        raise ValueError(message)
    return name, first, second, sentences[first], sentences[second]


BITEXT_FAMILIES: dict[str, BitextFamily] = {
    "tatoeba-laser": BitextFamily("parallel/tatoeba-laser.eval.tsv.gz", _read_tatoeba, "CC BY 2.0 FR"),
    "pud": BitextFamily("parallel/pud.en-ar-zh.eval.tsv.gz", _read_pud, "CC BY-SA 3.0"),
    "ntrex128": BitextFamily("parallel/ntrex128.eval.jsonl.xz", _read_ntrex, "CC BY-SA 4.0"),
    "sib200": BitextFamily("cls/sib200.text.tsv.xz", _read_sib200, "CC BY-SA 4.0 (FLORES-200)"),
    "tico19": BitextFamily("parallel/tico19.multi.jsonl.xz", _read_tico19, "CC0", is_default=False),
}
