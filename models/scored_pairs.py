"""Pairs of sentences whose similarity people scored, in several languages: what a last stage learns from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Errors, first_line

if TYPE_CHECKING:
    from datasets import Dataset

SCORED = "scored.parquet"
COLUMNS = ("item", "lang", "first", "second", "score")
TEACHERS_LANGUAGE = "en"
# Scores are compared and never added, so that whole numbers do.
STEPS_OF_SCORE = 1000


@dataclass(frozen=True)
class ScoredPairs:
    """Scored pairs.

    table (Dataset): Columns item, lang, first, second (all strings) and score, from 0 to 1. Rows of one item are
        translations of one another and have one score.
    """

    table: Dataset

    @classmethod
    def load(cls, folder: Path) -> ScoredPairs:
        """Load what `samarkand prepare-pairs` wrote with `scored` in its settings.

        folder (Path): The folder.
        RETURNS (ScoredPairs): The pairs.
        RAISES (ValueError): S875 when there are none, S862 when their file is damaged.
        """
        from datasets import Dataset

        path = folder / SCORED
        if not path.is_file():
            raise ValueError(Errors.S875.format(path=folder))
        try:
            table = Dataset.from_parquet(str(path))
        except Exception as error:
            raise ValueError(Errors.S862.format(path=folder, reason=first_line(error))) from None
        lacking = [name for name in COLUMNS if name not in table.column_names]
        if lacking or not len(table):
            reason = f"{SCORED} has no {', '.join(lacking) or 'rows'}"
            raise ValueError(Errors.S862.format(path=folder, reason=reason))
        return cls(table)

    def draw(self, count: int, seed: int) -> tuple[list[str], list[str], np.ndarray]:
        """Pairs to train on, within a language and across two.

        The first sentence is in the teacher's language half of the time, else in any that the item has; the second in
        the same half of the time, else in any. All items come before any a second time.

        count (int): Pairs to draw.
        seed (int): Of items and languages.
        RETURNS (tuple[list[str], list[str], np.ndarray]): First sentences, second sentences, and scores in thousandths,
            int64, shape (count,).
        """
        columns: dict[str, list[Any]] = {name: list(self.table[name]) for name in COLUMNS}
        rows: dict[str, list[int]] = defaultdict(list)
        for row, item in enumerate(columns["item"]):
            rows[item].append(row)
        items, chance = list(rows.values()), np.random.default_rng(seed)
        rounds = [chance.permutation(len(items)) for _ in range(-(-count // len(items)))]
        first, second, scores = [], [], np.zeros(count, dtype=np.int64)
        for place, item in enumerate(np.concatenate([*rounds, np.zeros(0, dtype=np.int64)])[:count]):
            choice = items[item]
            known = [row for row in choice if columns["lang"][row] == TEACHERS_LANGUAGE]
            one = (known or choice)[0] if chance.random() < 0.5 else choice[chance.integers(len(choice))]
            other = one if chance.random() < 0.5 else choice[chance.integers(len(choice))]
            first.append(columns["first"][one])
            second.append(columns["second"][other])
            scores[place] = round(columns["score"][one] * STEPS_OF_SCORE)
        return first, second, scores
