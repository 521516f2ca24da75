"""Pairs of plot summaries that are alike or not from twelve perspectives (MPTS, arXiv 2202.06517)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import Errors
from .sentence_files import check_folder, json_rows

__all__ = ["GENRES", "MptsSet", "mpts_sets", "read_mpts"]

# The perspectives of the published task, of the 27 genres in the files.
GENRES = (
    "Action",
    "Adventure",
    "Animation",
    "Comedy",
    "Crime",
    "Drama",
    "Family",
    "Fantasy",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
)
RELATIONS = (-1, 0, 1)
SPLITS = ("dev", "test")


@dataclass(frozen=True)
class MptsSet:
    """Pairs of texts with a relation from every perspective.

    ids (list[tuple[str, str]]): Items of each pair.
    first (list[str]): First texts.
    second (list[str]): Second texts.
    relations (np.ndarray): Shape (pairs, 12), int8: 1 both have the genre, 0 neither has it, -1 one of them has it.
    """

    ids: list[tuple[str, str]] = field(repr=False)
    first: list[str] = field(repr=False)
    second: list[str] = field(repr=False)
    relations: np.ndarray = field(repr=False)

    @property
    def labels(self) -> np.ndarray:
        """Whether both have the genre, which is what the task calls similar; shape (pairs, 12), bool."""
        return self.relations == 1

    def head(self, count: int | None) -> MptsSet:
        """The first pairs.

        count (Optional[int]): How many; None for all.
        RETURNS (MptsSet): They.
        """
        return MptsSet(self.ids[:count], self.first[:count], self.second[:count], self.relations[:count])


def read_mpts(folder: str | Path, split: str) -> MptsSet:
    """Read a split.

    folder (str | Path): Folder of corpora.
    split (str): "dev" or "test"; the training split is not at hand.
    RETURNS (MptsSet): The pairs, their texts as they are in the file.
    RAISES (OSError): S840 without such a folder, S841 when the file is missing.
    RAISES (ValueError): S842 for a broken line, S207 and S208 for a damaged file.
    """
    path = Path(folder) / "sts" / f"mpts.en.{split}.jsonl.xz"
    check_folder(Path(folder))
    ids, first, second, relations = [], [], [], []
    for number, row in json_rows(path, id=str, a=str, b=str, same=dict):
        found = [row["same"].get(genre, 0) for genre in GENRES]
        items = tuple(row["id"].split("_"))
        if len(items) != 2 or not all(value in RELATIONS for value in row["same"].values()):
            reason = "two items joined by _ and relations of -1, 0 or 1 were expected"
            raise ValueError(Errors.S842.format(path=path, line=number, reason=reason))
        ids.append(items)
        first.append(row["a"])
        second.append(row["b"])
        relations.append(found)
    return MptsSet(ids, first, second, np.array(relations, dtype=np.int8).reshape(-1, len(GENRES)))


def mpts_sets(folder: str | Path) -> tuple[MptsSet, MptsSet]:
    """Read the pairs to learn from and those to judge by.

    folder (str | Path): Folder of corpora.
    RETURNS (tuple[MptsSet, MptsSet]): The dev split, since train is not at hand, and the test split.
    RAISES (OSError, ValueError): As `read_mpts`, and S845 when the splits share an item.
    """
    dev, test = (read_mpts(folder, split) for split in SPLITS)
    shared = {item for pair in dev.ids for item in pair} & {item for pair in test.ids for item in pair}
    if shared:
        raise ValueError(Errors.S845.format(folder=folder, count=len(shared), example=min(shared)))
    return dev, test
