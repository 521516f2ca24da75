"""How hard an example is to learn from: by its soft labels, its length, or the loss of another pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from spacy import registry
from spacy.language import Language
from spacy.training import Example
from spacy.util import load_model

from ..errors import Errors, first_line

__all__ = [
    "Difficulty",
    "LossDifficulty",
    "entropy",
    "length",
    "make_confidence_difficulty",
    "make_length_difficulty",
    "make_loss_difficulty",
]

Difficulty: TypeAlias = Callable[[Example], float]
# Scores are kept this far from 0 and 1, so that no loss is infinite.
LEAST = 1e-6


def entropy(example: Example) -> float:
    """Doubt in the labels: the entropy of each label's score, summed.

    example (Example): Gold labels are in its reference.
    RETURNS (float): In nats; 0 for hard labels.
    """
    return sum(_cross_entropy(score, score) for score in example.reference.cats.values())


def length(example: Example) -> float:
    """Length of the text.

    example (Example): The example.
    RETURNS (float): In tokens.
    """
    return float(len(example.reference))


class LossDifficulty:
    """Loss of a pipeline on the gold labels. It should not have been trained on the same examples.

    nlp (Language): A pipeline with a text classifier.
    """

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp

    def __call__(self, example: Example) -> float:
        """The loss.

        example (Example): Gold labels are in its reference.
        RETURNS (float): Mean cross-entropy of the labels, in nats; a label that the pipeline does not know scores 0.
        """
        cats = example.reference.cats
        scores = self.nlp(example.reference.text).cats
        return sum(_cross_entropy(gold, scores.get(label, 0.0)) for label, gold in cats.items()) / max(len(cats), 1)


@registry.misc("samarkand.ConfidenceDifficulty.v1")
def make_confidence_difficulty() -> Difficulty:
    """RETURNS (Difficulty): `entropy`: what the label model is sure of comes first."""
    return entropy


@registry.misc("samarkand.LengthDifficulty.v1")
def make_length_difficulty() -> Difficulty:
    """RETURNS (Difficulty): `length`: short texts come first."""
    return length


@registry.misc("samarkand.LossDifficulty.v1")
def make_loss_difficulty(model: str) -> LossDifficulty:
    """Texts that a trained pipeline gets right come first.

    model (str): Folder or installed package of the pipeline.
    RETURNS (LossDifficulty): The difficulty.
    RAISES (ValueError): S1103 when the pipeline does not load.
    """
    try:
        return LossDifficulty(load_model(model))
    except Exception as error:  # a pipeline and what it needs can raise anything
        raise ValueError(Errors.S1103.format(model=model, reason=first_line(error))) from error


def _cross_entropy(gold: float, score: float) -> float:
    score = min(max(score, LEAST), 1 - LEAST)
    return -gold * math.log(score) - (1 - gold) * math.log(1 - score)
