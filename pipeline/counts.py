"""Counting what became of the records of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .batches import Outcome
from .records import Rejected


@dataclass
class Counts:
    """What was done.

    documents (int): Documents written.
    tokens (int): Their tokens.
    entities (int): Their entities in `doc.ents`.
    spans (int): Their spans in the groups of `doc.spans`.
    unwritten (int): Annotations that the output format cannot hold.
    rejected (Counter[str]): Records in quarantine, by code.
    """

    documents: int = 0
    tokens: int = 0
    entities: int = 0
    spans: int = 0
    unwritten: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """Records of the input that are accounted for."""
        return self.documents + self.rejected.total()

    def add(self, outcome: Outcome) -> None:
        """Count one record.

        outcome (Encoded | Rejected): What became of it.
        """
        if isinstance(outcome, Rejected):
            self.rejected[outcome.code] += 1
            return
        self.documents += 1
        self.tokens += outcome.tokens
        self.entities += outcome.entities
        self.spans += outcome.spans
        self.unwritten += outcome.unwritten

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = vars(self), vars(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """The counts as a summary shows them.

        RETURNS (dict): "quarantined" is the number of records, "reasons" the same by code.
        """
        counts = dict(vars(self))
        reasons = dict(sorted(counts.pop("rejected").items()))
        return {**counts, "quarantined": sum(reasons.values()), "reasons": reasons}

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> Counts:
        """Counts again.

        counts (dict): What `as_dict` gave, and maybe more.
        RETURNS (Counts): The counts.
        """
        names = ("documents", "tokens", "entities", "spans", "unwritten")
        return cls(**{name: counts[name] for name in names}, rejected=Counter(counts["reasons"]))
