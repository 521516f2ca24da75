"""From the answers of a model to what is told of each mention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.nil import NIL
from .linker_annotations import Link, nil_reason
from .linker_table import Mention


def row_of(columns: Mapping[str, Sequence | None], row: int) -> dict[str, Any]:
    """One row of columns.

    columns (Mapping[str, Optional[Sequence]]): Columns by name; None for one that there is not.
    row (int): Its number.
    RETURNS (dict[str, Any]): Values by name.
    """
    return {name: None if values is None else values[row] for name, values in columns.items()}


def make_link(mention: Mention, names: Sequence[str], answer: Mapping[str, Any], theta: float) -> Link:
    """What is told of a mention.

    mention (Mention): The mention.
    names (Sequence[str]): Names of its candidates.
    answer (Mapping[str, Any]): The fields of `M3Answers`, as numbers.
    theta (float): Least score that links.
    RETURNS (Link): The answer, its candidates by probability, the best of the network first, and of equals by id.
    """
    # Of scores that are nearly equal the network takes the least id: its choice stands first.
    best = answer["best"]
    ranked = sorted(
        zip(range(len(names)), mention.candidates, names, answer["probabilities"]),
        key=lambda option: (option[0] != best, -option[3], option[1].id),
    )
    candidates = [
        {
            "id": candidate.id,
            "name": name,
            "type": candidate.type,
            "prior": candidate.prior,
            "similarity": candidate.similarity,
            "match": candidate.match,
            "probability": probability,
        }
        for _, candidate, name, probability in ranked
    ]
    scores = {"v1": answer["v1"], "v2": answer["v2"], "s_link": answer["s_link"], "theta": theta}
    chosen = answer["chosen"]
    kb_id = NIL if chosen < 0 else mention.candidates[chosen].id
    reason = None if chosen >= 0 else nil_reason(bool(candidates), answer["v1"], answer["v2"], theta)
    return Link(mention.start, mention.end, mention.label, kb_id, candidates, scores, reason)
