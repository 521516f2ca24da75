"""Which sets an encoder is judged by, from the corpora or from the built-in samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..corpora.mpts import SPLITS, MptsSet, mpts_sets
from ..corpora.parallel_sets import BITEXT_FAMILIES, Bitext, bitexts
from ..corpora.sentence_files import check_known, family_of, is_asked
from ..corpora.sentence_samples import SAMPLES, sample_bitexts, sample_sts
from ..corpora.sentence_sets import StsSet, sts_names, sts_sets
from ..errors import Errors

MPTS = "mpts"
# Fewer pairs are too few to fit heads on and to choose a pass by.
LEAST_MPTS = 10


@dataclass(frozen=True)
class EvaluationSets:
    """What an encoder is judged by.

    sts (Sequence[StsSet]): Pairs with scores.
    bitexts (Sequence[Bitext]): Translations.
    mpts (Optional[tuple[MptsSet, MptsSet]]): Pairs to fit heads of twelve perspectives on, and to judge them by.
    """

    sts: Sequence[StsSet] = ()
    bitexts: Sequence[Bitext] = ()
    mpts: tuple[MptsSet, MptsSet] | None = None

    def groups(self) -> Iterator[list[Sequence[str]]]:
        """The texts by set, in the order in which they are judged.

        YIELDS (list[Sequence[str]]): Sides of a set.
        """
        for pairs in (*self.sts, *self.bitexts):
            yield [pairs.first, pairs.second]
        if self.mpts is not None:
            yield [side for split in self.mpts for side in (split.first, split.second)]

    def head(self, count: int | None) -> EvaluationSets:
        """The same sets, cut short.

        count (Optional[int]): Pairs of each, though of MPTS no fewer than `LEAST_MPTS`; None for all.
        RETURNS (EvaluationSets): They.
        """
        sts = [
            StsSet(s.name, s.lang, s.split, s.first[:count], s.second[:count], s.scores[:count], s.licence, s.open)
            for s in self.sts
        ]
        cut = [
            Bitext(b.name, b.first_lang, b.second_lang, b.first[:count], b.second[:count], b.licence, b.open)
            for b in self.bitexts
        ]
        pairs = max(count, LEAST_MPTS) if count is not None else None
        return EvaluationSets(sts, cut, self.mpts and (self.mpts[0].head(pairs), self.mpts[1].head(pairs)))


def load_sets(folder: str | Path | None, names: Collection[str] | None = None) -> EvaluationSets:
    """Read the sets that an encoder is judged by.

    folder (Optional[str | Path]): Folder of corpora; None when there is none.
    names (Optional[Collection[str]]): Sets or families, "mpts", or "samples" for the built-in sentences; None for all
        that are there, but TICO-19 and the samples.
    RETURNS (EvaluationSets): The sets.
    RAISES (OSError): S840 without a folder or without any set in it, S841 when the file of a named set is missing.
    RAISES (ValueError): S843 for an unknown name, S842, S844 and S845 for broken files, S207 and S208 for damaged ones.
    """
    if names is None:
        return _all(_given(folder))
    scored = dict.fromkeys(family_of(name) for name in sts_names())
    check_known([family_of(name) for name in names], [*scored, *BITEXT_FAMILIES, MPTS, SAMPLES])
    by_family: dict[str, list[str]] = {"sts": [], "bitexts": [], MPTS: [], SAMPLES: []}
    for name in names:
        family = family_of(name)
        kind = "sts" if family in scored else "bitexts" if family in BITEXT_FAMILIES else family
        by_family[kind].append(name)
    samples = _samples(by_family[SAMPLES])
    return EvaluationSets(
        [*samples.sts, *(sts_sets(_given(folder), by_family["sts"]) if by_family["sts"] else ())],
        [*samples.bitexts, *(bitexts(_given(folder), by_family["bitexts"]) if by_family["bitexts"] else ())],
        mpts_sets(_given(folder)) if by_family[MPTS] else None,
    )


def _samples(names: Collection[str]) -> EvaluationSets:
    sts, pairs = sample_sts(), sample_bitexts()
    check_known(names, [SAMPLES, *(s.name for s in (*sts, *pairs))])
    return EvaluationSets([s for s in sts if is_asked(s.name, names)], [b for b in pairs if is_asked(b.name, names)])


def _given(folder: str | Path | None) -> Path:
    if folder is None:
        raise FileNotFoundError(Errors.S840.format(folder="SAMARKAND_DATA, which is not set"))
    return Path(folder)


def _all(folder: Path) -> EvaluationSets:
    has_mpts = all((folder / "sts" / f"mpts.en.{split}.jsonl.xz").is_file() for split in SPLITS)
    sets = EvaluationSets(sts_sets(folder), list(bitexts(folder)), mpts_sets(folder) if has_mpts else None)
    if not any(sets.groups()):
        raise FileNotFoundError(Errors.S840.format(folder=folder))
    return sets
