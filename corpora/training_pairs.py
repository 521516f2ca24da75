"""English sentences with their translations to train encoders on, read from the files in SAMARKAND_DATA.

Files that encoders are judged by are not among them: NTREX, SIB-200, TICO-19, PUD and the Tatoeba test sets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import Errors
from .sentence_files import check_folder, check_known, is_asked, json_rows, tsv_columns, tsv_rows

__all__ = ["TRAINING_SOURCES", "TrainingPair", "TrainingSource", "training_pairs"]


class TrainingPair(NamedTuple):
    """An English sentence and its translation.

    english (str): The English side.
    other (str): The other side.
    lang (str): Code of the other side's language, without a region.
    source (str): Name of its source.
    """

    english: str
    other: str
    lang: str
    source: str


# English, other, language of the other.
_Pair = tuple[str, str, str]


@dataclass(frozen=True)
class TrainingSource:
    """Files of training pairs.

    paths (Mapping[str, tuple[str, ...]]): Files below the folder of corpora, by split.
    read (Callable): Takes a path and yields English, other and language.
    licence (str): Terms, as the publisher states them.
    open (bool): Whether a model that is given away may be trained on it.
    """

    paths: Mapping[str, tuple[str, ...]]
    read: Callable[[Path], Iterator[_Pair]]
    licence: str
    open: bool = True


def training_pairs(
    folder: str | Path, names: Collection[str] | None = None, *, split: str = "train", open_only: bool = False
) -> Iterator[TrainingPair]:
    """Read pairs to train encoders on.

    folder (str | Path): Folder of corpora.
    names (Optional[Collection[str]]): Keys of `TRAINING_SOURCES`; None for all.
    split (str): "train", "dev" or "test"; sources without that split have no pairs.
    open_only (bool): Leave out what only research may use.
    YIELDS (TrainingPair): The pairs, a source after the other in the order of `TRAINING_SOURCES`.
    RAISES (OSError): S840 without such a folder, S841 when a file is missing.
    RAISES (ValueError): S843 for an unknown name, S842 for a broken row, S207 and S208 for a damaged file.
    """
    folder = Path(folder)
    check_folder(folder)
    check_known(names or (), TRAINING_SOURCES)
    for name, source in TRAINING_SOURCES.items():
        if is_asked(name, names) and (source.open or not open_only):
            for path in source.paths.get(split, ()):
                for english, other, lang in source.read(folder / path):
                    yield TrainingPair(english, other, lang.partition("-")[0], name)


def _read_pairs(path: Path) -> Iterator[_Pair]:
    """English, other; the name of the file says which, as in msdocs.en-ar.train.tsv.xz."""
    lang = path.name.split(".")[1].removeprefix("en-")
    for _, (english, other, *_) in tsv_rows(path, 2):
        yield english, other, lang


def _read_quran(path: Path) -> Iterator[_Pair]:
    """Arabic stands in Uthmani spelling with its small signs."""
    columns = tsv_columns(path, "verse", "en")
    for lang in columns:
        if lang not in ("verse", "en"):
            yield from ((english, other, lang) for english, other in zip(columns["en"], columns[lang]))


def _read_mozilla(path: Path) -> Iterator[_Pair]:
    """An object a sentence: {en, ar, zh-CN, ...}, not in all languages each."""
    for _, row in json_rows(path, en=str):
        yield from ((row["en"], other, lang) for lang, other in row.items() if lang != "en")


def _read_bible(path: Path, *, chinese: bool) -> Iterator[_Pair]:
    """Language, verse, text; verses of the same number are translations of one another, English comes first."""
    english: dict[str, str] = {}
    for _, (lang, verse, text, *_) in tsv_rows(path, 3):
        if lang == "en":
            english[verse] = text
        elif verse in english and chinese == (lang == "zh"):
            yield english[verse], text, lang


def _read_names(path: Path) -> Iterator[_Pair]:
    """Split, a part of a person's name in English, the same in the language of the file's name, count."""
    lang = path.name.split(".")[1].removeprefix("en-")
    for _, (split, english, other, *_) in tsv_rows(path, 3):
        if split == "train":
            yield english, other, lang


def _read_stsb(path: Path) -> Iterator[_Pair]:
    """Score, two sentences, language; the rows of each language come in the order of the English ones."""
    sides: dict[str, list[str]] = {}
    for _, (_, first, second, lang, *_) in tsv_rows(path, 4):
        sides.setdefault(lang, []).extend((first, second))
    english = sides.pop("en", [])
    for lang, others in sides.items():
        if len(others) != len(english):
            sizes = {"found": len(others) // 2, "expected": len(english) // 2}
            raise ValueError(Errors.S844.format(path=path, first=lang, second="en", **sizes))
        yield from ((one, other, lang) for one, other in zip(english, others))


def _splits(pattern: str, langs: Collection[str], *splits: str) -> dict[str, tuple[str, ...]]:
    return {split: tuple(f"parallel/{pattern}.en-{lang}.{split}.tsv.xz" for lang in langs) for split in splits}


_BIBLE = {"train": ("parallel/bible.multi.long.tsv.xz",)}
TRAINING_SOURCES: dict[str, TrainingSource] = {
    "msdocs": TrainingSource(_splits("msdocs", ("ar", "zh"), "train", "dev", "test"), _read_pairs, "CC BY 4.0"),
    "hadith": TrainingSource(_splits("hadith", ("ar",), "train", "dev", "test"), _read_pairs, "not stated", open=False),
    "quran": TrainingSource({"train": ("parallel/quran.multi.tsv.xz",)}, _read_quran, "CC BY-SA 4.0"),
    "tatoeba-anki": TrainingSource(_splits("tatoeba-anki", ("ar", "zh"), "train"), _read_pairs, "CC BY 2.0 FR"),
    "pydocs": TrainingSource(_splits("pydocs", ("zh",), "train", "test"), _read_pairs, "CC0 and PSF"),
    "mozilla-www": TrainingSource({"train": ("parallel/mozilla-www.multi.jsonl.xz",)}, _read_mozilla, "MPL 2.0"),
    "bible": TrainingSource(_BIBLE, partial(_read_bible, chinese=False), "public domain and CC0"),
    # Sentences alone: no score is read. The translations are a machine's.
    "stsb-multi": TrainingSource({"train": ("sts/stsb-multi.train.tsv.xz",)}, _read_stsb, "CC BY-SA 4.0"),
    "names": TrainingSource(
        {"train": tuple(f"kb/names.en-{lang}.tsv.xz" for lang in ("ar", "zh"))}, _read_names, "CC0"
    ),
    # The Chinese translation is apart from the rest of its file, for its terms.
    "bible-zh": TrainingSource(
        _BIBLE, partial(_read_bible, chinese=True), "translation under copyright; research use", open=False
    ),
}
