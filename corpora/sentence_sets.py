"""Pairs of sentences with scores of their similarity (STS), read from the files in SAMARKAND_DATA.

Sets have names with slashes, `family/part`; a family is asked for by its name alone. The years of SemEval 2012 to 2016
are one set each with the pairs of all their subsets together ("all" in SentEval's terms); MSRvid of 2012 is missing,
so that sts12 compares with no published figure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Errors
from .sentence_files import check_folder, check_known, family_of, is_asked, tsv_rows

__all__ = ["STS_FILES", "StsFile", "StsSet", "sts_names", "sts_sets"]

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class StsSet:
    """Pairs of sentences with scores.

    name (str): Such as "sts16" or "stsb-multi/zh".
    lang (str): Language, or both as "es-en".
    split (str): "train", "dev" or "test".
    first (list[str]): First sentences.
    second (list[str]): Second sentences.
    scores (list[float]): How similar they are, more is closer; 0 and 1 where people only said yes or no.
    licence (str): Terms, as the publisher states them.
    open (bool): Whether a model that is given away may be trained on it.
    """

    name: str
    lang: str
    split: str
    first: list[str] = field(repr=False)
    second: list[str] = field(repr=False)
    scores: list[float] = field(repr=False)
    licence: str
    open: bool


@dataclass(frozen=True)
class StsFile:
    """A table of score, first sentence, second sentence and, where it holds many sets, a key.

    path (str): Below the folder of corpora.
    split (str): "train", "dev" or "test".
    sets (Mapping[str, tuple[str, str]]): Name and language of a set by its key; the key is the fourth field up to its
        first dot, or "" when the file is one set.
    licence (str): Terms, as the publisher states them.
    open (bool): Whether a model that is given away may be trained on it.
    """

    path: str
    split: str
    sets: Mapping[str, tuple[str, str]]
    licence: str
    open: bool = False


def _plain(path: str, name: str, lang: str, split: str, licence: str, *, open: bool = False) -> StsFile:
    return StsFile(f"sts/{path}", split, {"": (name, lang)}, licence, open)


_SEMEVAL = "per SemEval task; research use"
_YEARS = {f"STS{year}": (f"sts{year}", "en") for year in range(12, 17)}
_STSB = {lang: (f"stsb-multi/{lang}", lang) for lang in ("en", "zh", "es", "fr", "de", "ru", "ja")}
_STSB_LICENCE = "as STS-B: CC BY-SA 4.0 and per source"
_TRACKS = {"1.ar-ar": "ar-ar", "3.es-es": "es-es", "4a.es-en": "es-en", "4b.es-en": "es-en", "5.en-en": "en-en"}
_CSTS = "not stated"

STS_FILES: tuple[StsFile, ...] = (
    StsFile("sts/sts12-16.en.test.tsv.xz", "test", _YEARS, _SEMEVAL),
    StsFile("sts/sts12.en.train.tsv.gz", "train", _YEARS, _SEMEVAL),
    *(_plain(f"sick.en.{split}.tsv.gz", "sick", "en", split, "CC BY-NC-SA 3.0") for split in SPLITS),
    *(StsFile(f"sts/stsb-multi.{split}.tsv.xz", split, _STSB, _STSB_LICENCE) for split in SPLITS),
    *(
        _plain(f"sts17.track{track}.test.tsv", f"sts17/track{track}", langs, "test", "CC BY-SA 4.0", open=True)
        for track, langs in _TRACKS.items()
    ),
    _plain("zh/afqmc.train.tsv.xz", "afqmc", "zh", "train", "not stated (ATEC, CLUE terms)"),
    _plain("zh/afqmc.dev.tsv.gz", "afqmc", "zh", "dev", "not stated (ATEC, CLUE terms)"),
    *(_plain(f"zh/lcqmc.{split}.tsv.xz", "lcqmc", "zh", split, _CSTS) for split in ("dev", "test")),
    _plain("zh/oppo.dev.tsv.xz", "oppo", "zh", "dev", _CSTS),
    *(_plain(f"zh/pawsx-zh.{split}.tsv.xz", "pawsx-zh", "zh", split, "PAWS-X terms") for split in ("dev", "test")),
    _plain("zh/stsb-zh-cnsd.train.tsv.xz", "stsb-zh-cnsd", "zh", "train", _CSTS),
    *(_plain(f"zh/stsb-zh-cnsd.{split}.tsv.gz", "stsb-zh-cnsd", "zh", split, _CSTS) for split in ("dev", "test")),
)


def sts_names() -> list[str]:
    """Names of all sets and of their families.

    RETURNS (list[str]): In the order of the files.
    """
    names = [name for file in STS_FILES for name, _ in file.sets.values()]
    return list(dict.fromkeys(part for name in names for part in (family_of(name), name)))


def sts_sets(
    folder: str | Path, names: Collection[str] | None = None, *, split: str | None = None, open_only: bool = False
) -> list[StsSet]:
    """Read sets.

    folder (str | Path): Folder of corpora.
    names (Optional[Collection[str]]): Sets or families; None for all whose files are there.
    split (Optional[str]): "train", "dev" or "test"; None for the one that a set is judged by: test, or else dev.
    open_only (bool): Leave out what only research may use.
    RETURNS (list[StsSet]): The sets, in the order of the files.
    RAISES (OSError): S840 without such a folder, S841 when the file of a named set is missing.
    RAISES (ValueError): S843 for an unknown name, S842 for a broken row, S207 and S208 for a damaged file.
    """
    folder = Path(folder)
    check_folder(folder)
    check_known(names or (), sts_names())
    sets = []
    for file in STS_FILES:
        is_wanted = any(is_asked(name, names) for name, _ in file.sets.values())
        is_there = names is not None or (folder / file.path).is_file()
        if is_wanted and is_there and (file.open or not open_only) and file.split == (split or _judged_by(file)):
            sets += [part for part in _read(folder / file.path, file) if is_asked(part.name, names)]
    return sets


def _judged_by(file: StsFile) -> str:
    names = set(file.sets.values())
    return "test" if any(other.split == "test" and names & set(other.sets.values()) for other in STS_FILES) else "dev"


def _read(path: Path, file: StsFile) -> list[StsSet]:
    sets: dict[str, StsSet] = {}
    is_keyed = "" not in file.sets
    for number, fields in tsv_rows(path, 4 if is_keyed else 3):
        key = fields[3].partition(".")[0] if is_keyed else ""
        if key not in file.sets:
            raise ValueError(Errors.S842.format(path=path, line=number, reason=f"no set has the key {key!r}"))
        name, lang = file.sets[key]
        part = sets.setdefault(key, StsSet(name, lang, file.split, [], [], [], file.licence, file.open))
        part.first.append(fields[1])
        part.second.append(fields[2])
        part.scores.append(_score(fields[0], path, number))
    return list(sets.values())


def _score(text: str, path: Path, number: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(Errors.S842.format(path=path, line=number, reason=f"{text[:20]!r} is no score"))
    return score
