"""Labelling functions over documents: their votes, as classes counted from 0, and what each is worth.

A labelling function takes a Doc and gives a label, or None to abstain. One with a method `pipe` is given all documents
at once, as spaCy's pipes are. A config names functions by the registry: `@misc`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from spacy.tokens import Doc

from ..errors import Errors, first_line, is_coded
from ..models.label_model import ABSTAIN

__all__ = ["FunctionSummary", "LabellingFunction", "Votes", "apply_functions", "summarize_votes"]

LabellingFunction: TypeAlias = Callable[[Doc], str | None]


@dataclass(frozen=True)
class Votes:
    """What functions say of documents.

    matrix (np.ndarray): Classes, or `ABSTAIN`. (documents, functions)
    functions (tuple[str, ...]): Names of the columns.
    labels (tuple[str, ...]): What the classes are.
    """

    matrix: np.ndarray
    functions: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class FunctionSummary:
    """One function's votes; all figures are shares of all documents, but accuracy.

    name (str): The function.
    labels (tuple[str, ...]): What it voted for.
    coverage (float): Documents that it votes on.
    overlap (float): Documents that it and another vote on.
    conflict (float): Documents that it and another vote on differently.
    accuracy (Optional[float]): Right votes, as a share of those on documents whose label is known; None without any.
    """

    name: str
    labels: tuple[str, ...]
    coverage: float
    overlap: float
    conflict: float
    accuracy: float | None


def apply_functions(
    functions: Mapping[str, LabellingFunction], docs: Iterable[Doc], labels: Sequence[str] | None = None
) -> Votes:
    """Have functions vote on documents.

    functions (Mapping[str, LabellingFunction]): Functions by name.
    docs (Iterable[Doc]): The documents.
    labels (Optional[Sequence[str]]): All labels, in the order of the classes; None takes those that were voted for, in
        the order of the alphabet.
    RETURNS (Votes): The votes.
    RAISES (ValueError): S1101 for a vote that is none of the labels, S1102 when a function fails, S1104 for what is no
        function.
    """
    _check_functions(functions)
    docs = list(docs)
    given = {name: list(_votes(name, function, docs)) for name, function in functions.items()}
    found = {vote for column in given.values() for vote in column if vote is not None}
    known = tuple(sorted(found) if labels is None else labels)
    classes: dict[str | None, int] = {label: at for at, label in enumerate(known)} | {None: ABSTAIN}
    matrix = np.full((len(docs), len(given)), ABSTAIN)
    for at, (name, column) in enumerate(given.items()):
        for vote in column:
            if vote not in classes:
                raise ValueError(Errors.S1101.format(name=name, found=vote, labels=", ".join(known)))
        matrix[:, at] = [classes[vote] for vote in column]
    return Votes(matrix, tuple(given), known)


def summarize_votes(votes: Votes, gold: np.ndarray | None = None) -> list[FunctionSummary]:
    """Say what each function is worth.

    votes (Votes): The votes.
    gold (Optional[np.ndarray]): Known classes, `ABSTAIN` where none is known. (documents)
    RETURNS (list[FunctionSummary]): A summary a function.
    """
    matrix = votes.matrix
    voted = matrix != ABSTAIN
    total = max(len(matrix), 1)
    summaries = []
    for at, name in enumerate(votes.functions):
        own, others = matrix[:, [at]], np.delete(matrix, at, axis=1)
        shared = voted[:, [at]] & (others != ABSTAIN)
        is_known = voted[:, at] & (gold != ABSTAIN) if gold is not None else np.zeros(len(matrix), dtype=bool)
        summaries.append(
            FunctionSummary(
                name,
                tuple(votes.labels[label] for label in np.unique(matrix[voted[:, at], at])),
                coverage=voted[:, at].sum() / total,
                overlap=shared.any(axis=1).sum() / total,
                conflict=(shared & (own != others)).any(axis=1).sum() / total,
                accuracy=float((own[is_known, 0] == gold[is_known]).mean()) if is_known.any() else None,
            )
        )
    return summaries


def _check_functions(functions: Mapping[str, LabellingFunction]) -> None:
    if not functions:
        raise ValueError(Errors.S1104.format(reason="there are none"))
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(Errors.S1104.format(reason=f"{name!r} is {function!r}, which cannot be called"))


def _votes(name: str, function: LabellingFunction, docs: list[Doc]) -> Iterator[str | None]:
    """A function's votes, checked; functions are other people's, and can raise anything."""
    pipe = getattr(function, "pipe", None)
    answers = iter(map(function, docs) if pipe is None else pipe(docs))
    for doc in docs:
        try:
            vote = next(answers)
            if vote is not None and not isinstance(vote, str):
                raise TypeError(f"it gave {vote!r}, neither a label nor None")
        except Exception as error:
            if is_coded(error):
                raise
            raise ValueError(Errors.S1102.format(name=name, text=doc.text[:40], reason=first_line(error))) from error
        yield vote
