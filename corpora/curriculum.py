"""`samarkand.CurriculumBatcher.v1`: easy examples first, of every class and language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from spacy import registry
from spacy.training import Example

from ..models.text_pairs import LANG_KEY
from .difficulty import Difficulty
from .pace import Pace

__all__ = ["Batcher", "CurriculumBatcher", "make_curriculum_batcher"]

Batcher: TypeAlias = Callable[[Iterable[Example]], Iterable[list[Example]]]


class CurriculumBatcher:
    """Batches of the examples that are open at the time; others are passed over until their turn comes.

    Examples are ranked within each class and language, so that no easy class or language fills the first phase. With
    everything open, batches are those of `batcher`. The steps that were taken count on from pass to pass. All examples
    of a pass are held in memory, so `training.max_epochs` has to be 0 or more.

    batcher (Batcher): Makes batches of what is open.
    difficulty (Difficulty): How hard an example is.
    pace (Pace): Share that is open by step.
    """

    def __init__(self, batcher: Batcher, *, difficulty: Difficulty, pace: Pace) -> None:
        self.batcher = batcher
        self.difficulty = difficulty
        self.pace = pace
        self.step = 0
        # The examples are kept with their difficulty: an id is only theirs as long as they live.
        self._known: dict[int, tuple[Example, float]] = {}

    def __call__(self, examples: Iterable[Example]) -> Iterator[list[Example]]:
        """Make the batches of a pass.

        examples (Iterable[Example]): The examples, in the order of the pass.
        YIELDS (list[Example]): Batches.
        """
        examples = list(examples)
        for batch in self.batcher(self._open(examples, self._ranks(examples))):
            # Counted before the batch is handed out: batchers may look ahead, and callers may stop.
            self.step += 1
            yield batch

    def _open(self, examples: list[Example], ranks: dict[int, float]) -> Iterator[Example]:
        """Examples that are open when the batcher asks for the next one."""
        return (eg for eg in examples if ranks[id(eg)] < self.pace(self.step))

    def _ranks(self, examples: list[Example]) -> dict[int, float]:
        """Place of each example in its group, from 0 for the easiest to below 1."""
        groups: dict[tuple[str, str], dict[int, float]] = {}
        for eg in examples:
            if id(eg) not in self._known:
                self._known[id(eg)] = eg, self.difficulty(eg)
            groups.setdefault(_group(eg), {})[id(eg)] = self._known[id(eg)][1]
        return {
            key: place / len(group)
            for group in groups.values()
            for place, key in enumerate(sorted(group, key=group.__getitem__))
        }


@registry.batchers("samarkand.CurriculumBatcher.v1")
def make_curriculum_batcher(batcher: Batcher, difficulty: Difficulty, pace: Pace) -> CurriculumBatcher:
    """Make a `CurriculumBatcher`.

    batcher (Batcher): Such as `spacy.batch_by_sequence.v1`.
    difficulty (Difficulty): Such as `samarkand.ConfidenceDifficulty.v1`.
    pace (Pace): Such as `samarkand.RootPace.v1`.
    RETURNS (CurriculumBatcher): The batcher.
    """
    return CurriculumBatcher(batcher, difficulty=difficulty, pace=pace)


def _group(eg: Example) -> tuple[str, str]:
    """Language and likeliest class; neither need be known."""
    cats = eg.reference.cats
    return str(eg.reference.user_data.get(LANG_KEY, "")), max(cats, key=cats.get, default="")
