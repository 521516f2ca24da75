"""Scored pairs of sentences, joined over languages, to train encoders on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from .sentence_files import family_of
from .sentence_sets import StsSet, sts_sets

__all__ = ["ScoredItem", "scored_items"]


class ScoredItem(NamedTuple):
    """A scored pair in one language.

    item (str): The same for its translations.
    lang (str): Language of both sentences.
    first (str): A sentence.
    second (str): Another.
    score (float): How similar people found them, from 0 to 1.
    """

    item: str
    lang: str
    first: str
    second: str
    score: float


def scored_items(folder: str | Path, names: Collection[str], *, open_only: bool = False) -> Iterator[ScoredItem]:
    """Read the train splits of sets, see `sts_sets`.

    Sets of one family whose scores agree row by row are translations of one another.

    folder (str | Path): Folder of corpora.
    names (Collection[str]): Sets or families.
    open_only (bool): Leave out what only research may use.
    YIELDS (ScoredItem): The pairs.
    RAISES (OSError, ValueError): As `sts_sets`.
    """
    families: dict[tuple[str, tuple[float, ...]], list[StsSet]] = defaultdict(list)
    for part in sts_sets(folder, names, split="train", open_only=open_only):
        families[family_of(part.name), tuple(part.scores)].append(part)
    for (_, scores), parts in families.items():
        for part in parts:
            for row, (first, second, score) in enumerate(zip(part.first, part.second, scores)):
                yield ScoredItem(f"{parts[0].name}:{row}", part.lang, first, second, score / max(scores))
