"""What a sentence encoder of a pipeline reads: documents, and the spans of each that get a vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

# Documents, and of each an array of shape (spans, 2): first token and last exclusive.
Units = tuple[Sequence[Doc], Sequence[np.ndarray]]
UnitEncoder = Model[Units, Floats2d]


def spread(vectors: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Rows by document.

    vectors (np.ndarray): Shape (spans of all documents, width).
    counts (Sequence[int]): Spans of each document.
    RETURNS (list[np.ndarray]): Of each document, shape (its spans, width).
    """
    return np.split(vectors, np.cumsum(counts)[:-1]) if counts else []
