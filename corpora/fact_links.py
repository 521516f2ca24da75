"""Linking names in a text by facts: an entity is meant when the text also names an entity that it has a fact with.

A name that can mean several entities is linked when the facts speak for one of them. What they leave open is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..models.knowledge_base import Entity
from .name_finder import FoundName

__all__ = ["HUB", "TELLING", "FactGraph", "FactLink", "link_by_facts"]

# Names of relations, as the multilingual recipe has them in English, that a text tells by naming both ends. Others, as
# those to languages and occupations, join an entity to a word that any text can hold, or to half of the world.
TELLING = frozenset(
    {
        "country",
        "located in",
        "capital",
        "capital of",
        "borders",
        "continent",
        "headquarters",
        "formed in",
        "location",
        "born in",
        "died in",
        "work location",
        "citizenship",
        "country of origin",
        "employer",
        "member of",
        "manufacturer",
        "developer",
        "owned by",
        "original broadcaster",
        "record label",
    }
)
# A rival of this many times the weight of the chosen entity makes a link uncertain.
RIVAL = 4.0
# One that no fact speaks for outweighs a single fact when it is heavier at all: a state is often named for the city
# that the text means. Two facts are outweighed by this many times the weight.
STRONG_RIVAL = 10.0
# Neighbours of a hub.
HUB = 300


@dataclass(frozen=True)
class FactLink:
    """A name with the entity that it means.

    start (int), end (int): Characters.
    id (str): The entity.
    evidence (frozenset[str]): Entities in the text that it has a fact with.
    candidates (int): Entities that bear the name.
    """

    start: int
    end: int
    id: str
    evidence: frozenset[str]
    candidates: int


class FactGraph:
    """Which entities have facts with which.

    entities (Iterable[Entity]): The entities, with facts whose values are ids.
    relations (Collection[str]): Keys of the facts that count.
    """

    def __init__(self, entities: Iterable[Entity], relations: Collection[str] = TELLING) -> None:
        self.weights: dict[str, float] = {}
        self._near: dict[str, set[str]] = defaultdict(set)
        facts = []
        for entity in entities:
            self.weights[entity.id] = entity.weight
            facts += [(entity.id, value) for key, value in entity.facts if key in relations]
        for subject, value in facts:
            if value in self.weights and value != subject:
                self._near[subject].add(value)
                self._near[value].add(subject)

    def __contains__(self, id: str) -> bool:
        return id in self._near

    def is_hub(self, id: str) -> bool:
        """Whether an entity has facts with very many, as countries have: one such fact says little.

        id (str): The entity.
        RETURNS (bool): Whether it has.
        """
        return len(self.near(id)) >= HUB

    def near(self, id: str) -> Collection[str]:
        """Entities that one has facts with.

        id (str): The entity.
        RETURNS (Collection[str]): Their ids.
        """
        return self._near.get(id, ())


def link_by_facts(names: Sequence[FoundName], graph: FactGraph, title: str | None = None) -> list[FactLink]:
    """Link the names of a text as far as facts say which entities are meant.

    names (Sequence[FoundName]): The names.
    graph (FactGraph): The facts.
    title (Optional[str]): The entity that the text is about, when that is known: its name means it, and it is evidence.
    RETURNS (list[FactLink]): Links, in the order of the names. Each has evidence that is linked itself, or the title.
    """
    options = {at: set(name.ids) for at, name in enumerate(names)}
    links: dict[int, FactLink] = {}
    # What was chosen is the evidence of the next round, so that no link rests on an entity that is not meant.
    for _ in range(len(names) + 1):
        chosen = {at: _choose(at, names[at], options, names, graph, title) for at in options}
        found = {at: link for at, link in chosen.items() if link is not None}
        if found.keys() == links.keys() and all(found[at].id == links[at].id for at in found):
            break
        links = found
        options = {at: {link.id} for at, link in found.items()}
    return [found[at] for at in sorted(found)]


def _choose(
    at: int,
    name: FoundName,
    options: Mapping[int, set[str]],
    names: Sequence[FoundName],
    graph: FactGraph,
    title: str | None,
) -> FactLink | None:
    if title in name.ids:
        return FactLink(name.start, name.end, title, frozenset({title}), len(name.ids))
    # Another occurrence of the same name is no evidence.
    others = [ids for other, ids in options.items() if names[other].ids != name.ids]
    around = set().union(*others, {title} if title else ())
    evidence = {id: frozenset(around.intersection(graph.near(id))) for id in options[at]}
    spoken_for = sorted((id for id in evidence if evidence[id]), key=lambda id: (-len(evidence[id]), id))
    if not spoken_for:
        return None
    best = spoken_for[0]
    if any(_rivals(best, id, evidence, graph) for id in name.ids if id != best):
        return None
    return FactLink(name.start, name.end, best, evidence[best], len(name.ids))


def _rivals(best: str, other: str, evidence: Mapping[str, frozenset[str]], graph: FactGraph) -> bool:
    """Whether another bearer of the name may be meant as well."""
    weight, rival = graph.weights[best], graph.weights[other]
    if evidence.get(other):
        if len(evidence[other]) == len(evidence[best]):
            return rival * RIVAL > weight
        return rival > weight * RIVAL
    return rival > weight * (STRONG_RIVAL if len(evidence[best]) > 1 else 1.0)
