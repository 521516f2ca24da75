"""Which entities a name can mean, from the rows of a knowledge base: how likely, how like, and in which order."""

from __future__ import annotations

import heapq
import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .alias_keys import alias_key, clitic_keys
from .alias_parts import part_keys
from .alias_search import similar_keys, similarity
from .kb_entities import LONGEST_NAME
from .sqlite_tools import select

# Names that are like another are looked for when fewer entities than these bear the name itself.
FEW = 3
# Names that are like another, at most.
SIMILAR = 50
# No entity that bears a name is less likely than this beside the likeliest.
LEAST_PRIOR = 1e-6
# Names of the last two are together, the most similar first.
MATCHES = ("exact", "clitic", "part", "fuzzy")
NEUTRAL = ("mul", "")
_ROWS = (
    "SELECT e.id, e.type, e.weight, a.alias, a.lang, a.count FROM keys k CROSS JOIN aliases a ON a.key = k.number "
    "CROSS JOIN entities e ON e.row = a.entity WHERE k.key = ?"
)
_ROWS_OF_NUMBERS = (
    "SELECT e.id, e.type, e.weight, a.alias, a.lang, a.count, a.key FROM aliases a "
    "CROSS JOIN entities e ON e.row = a.entity WHERE a.key IN ({})"
)


@dataclass(frozen=True)
class Candidate:
    """An entity that a name can mean.

    id (str): The entity.
    prior (float): How likely the alias means it; all entities of the alias have 1 together. Of a "part", all that were
        found as such have.
    similarity (float): How like the name is to the alias, as keys: 1 for the same key, less for others.
    alias (str): The alias, as it is in the knowledge base.
    match (str): "exact", "clitic" for a name without the words written as one with it, "part" for one that shares
        words with it, or "fuzzy" for one like it.
    type (str): Of the entity; "" when it is not known.
    """

    id: str
    prior: float
    similarity: float
    alias: str
    match: str
    type: str


class Bearer(NamedTuple):
    """One entity under one name."""

    id: str
    type: str
    weight: float
    alias: str
    lang: str
    count: float


class _Search(NamedTuple):
    """What is looked for."""

    db: sqlite3.Connection
    text: str
    lang: str | None
    k: int


def find_candidates(db: sqlite3.Connection, text: str, k: int, lang: str | None, fuzzy: bool) -> list[Candidate]:
    """Entities that a name can mean.

    db (sqlite3.Connection): The knowledge base.
    text (str): The name as it stands in a text.
    k (int): How many to give, at most.
    lang (Optional[str]): Code of its language; None when it is not known.
    fuzzy (bool): Whether names that share words with it or, when few entities bear it, are like it count.
    RETURNS (list[Candidate]): The best first, see `KnowledgeBase.candidates`; none for more than `LONGEST_NAME`
        characters.
    """
    if len(text) > LONGEST_NAME:
        return []
    key = alias_key(text)
    search = _Search(db, text, lang, max(k, FEW))
    found: dict[str, Candidate] = {}
    if key:
        _add(found, _of_key(search, key, 1.0, "exact"))
        for other in clitic_keys(text):
            _add(found, _of_key(search, other, similarity(key, other), "clitic"))
    few = len(found) < FEW
    if key and fuzzy and len(found) < k:
        _add(found, _parts(search))
    if key and fuzzy and few:
        for other, like in similar_keys(db, key)[:SIMILAR]:
            _add(found, _of_key(search, other, like, "fuzzy"))
    return sorted(found.values(), key=_rank)[:k]


def priors(bearers: Iterable[tuple[str, str, float, str, str, float]]) -> dict[str, float]:
    """How likely each entity is meant by a name that all of them bear.

    An entity has as much as it is counted, and by its weight a share of one more.

    bearers (Iterable[tuple]): The fields of `Bearer`, once for each spelling of the name and each language.
    RETURNS (dict[str, float]): Prior by id, above 0; together they are 1.
    """
    weights: dict[str, float] = {}
    counts: dict[str, dict[str, float]] = {}
    for id, _, weight, alias, _, count in bearers:
        weights[id] = weight
        if count:
            counts.setdefault(id, {})[alias] = count
    # Scaled, so that no sum is too large for a number; exact sums, so that the order of the entities does not count.
    most = max([1.0, *(count for of_entity in counts.values() for count in of_entity.values())])
    scores = {id: share / most for id, share in _shares(weights).items()}
    for id, of_entity in counts.items():
        scores[id] = math.fsum([scores[id], *(count / most for count in of_entity.values())])
    least = LEAST_PRIOR * max(scores.values(), default=0.0)
    return _shares({id: max(score, least) for id, score in scores.items()})


def _shares(weights: dict[str, float]) -> dict[str, float]:
    most = max(weights.values(), default=1.0)
    total = math.fsum([weight / most for weight in weights.values()])
    return {id: weight / most / total for id, weight in weights.items()}


def _of_key(search: _Search, key: str, like: float, match: str) -> list[Candidate]:
    """The best entities of a key, each with the name in the text, else with its most frequent one, else the first."""
    rows = search.db.execute(_ROWS, (key,)).fetchall()
    if search.lang:
        rows = [row for row in rows if row[4] in (search.lang, *NEUTRAL)] or rows
    prior = priors(rows)
    best = set(heapq.nsmallest(search.k, prior, key=lambda id: (-prior[id] * like, id)))
    bearers = [Bearer(*row) for row in rows if row[0] in best]
    bearers.sort(key=lambda bearer: (bearer.alias != search.text, -bearer.count, bearer.alias))
    # Of what has the same id, the last would stay.
    shown = {bearer.id: bearer for bearer in reversed(bearers)}
    return [Candidate(one.id, prior[one.id], like, one.alias, match, one.type) for one in shown.values()]


def _parts(search: _Search) -> list[Candidate]:
    """Entities whose names share words with the name, each by the name that is most like it."""
    likes = part_keys(search.db, search.text)
    rows = list(select(search.db, _ROWS_OF_NUMBERS, likes))
    if search.lang:
        rows = [row for row in rows if row[4] in (search.lang, *NEUTRAL)] or rows
    prior = priors([row[:-1] for row in rows])
    shown: dict[str, tuple[tuple[float, float, str], Candidate]] = {}
    for id, type, _, alias, _, count, number in rows:
        order = (-likes[number], -count, alias)
        if id not in shown or order < shown[id][0]:
            shown[id] = order, Candidate(id, prior[id], likes[number], alias, "part", type)
    return [candidate for _, candidate in shown.values()]


def _add(found: dict[str, Candidate], more: Iterable[Candidate]) -> None:
    """Keep the best of what an entity is found by."""
    for candidate in more:
        if candidate.id not in found or _rank(candidate) < _rank(found[candidate.id]):
            found[candidate.id] = candidate


def _rank(candidate: Candidate) -> tuple[float | str, ...]:
    kind, prior, like = MATCHES.index(candidate.match), candidate.prior, candidate.similarity
    if candidate.match in ("exact", "clitic"):
        return kind, -prior * like, candidate.id
    # How much of a name is there tells more than how popular its bearer is. Rounded, as both kinds count differently.
    return MATCHES.index("part"), -round(like, 9), kind, -prior, candidate.id
