"""Which entities a name can mean, from the rows of a knowledge base: how likely, how like, and in which order.

What the text around a name says is added to what was found by the name alone, so that this can be remembered.
"""

from __future__ import annotations

import heapq
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .alias_context import NameContext, written_likeness
from .alias_keys import alias_key, clitic_keys
from .alias_parts import MOST_SIMILAR, name_words, part_keys
from .alias_search import similar_keys, similarity
from .kb_entities import LONGEST_NAME
from .sqlite_tools import select

# Names that are like another are looked for when fewer entities than these bear the name itself.
FEW = 3
# Names that are like another, at most.
SIMILAR = 50
# No entity that bears a name is less likely than this beside the likeliest.
LEAST_PRIOR = 1e-6
# Kinds of matches with their place: those of one place are together. Of the last, the most similar come first.
MATCHES = {"exact": 0, "written": 0, "clitic": 1, "part": 2, "fuzzy": 2}
NEUTRAL = ("mul", "")
_ROWS = (
    "SELECT e.id, e.type, e.weight, a.alias, a.lang, a.count FROM keys k CROSS JOIN aliases a ON a.key = k.number "
    "CROSS JOIN entities e ON e.row = a.entity WHERE k.key = ?"
)
_ROWS_OF_NUMBERS = (
    "SELECT e.id, e.type, e.weight, a.alias, a.lang, a.count, a.key FROM aliases a "
    "CROSS JOIN entities e ON e.row = a.entity WHERE a.key IN ({})"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity that a name can mean.

    id (str): The entity.
    prior (float): How likely the alias means it; all entities of the alias have 1 together. Of a "part" or a "written"
        one, all that were found as such have.
    similarity (float): How like the name is to the alias, as keys: 1 for the same key, less for others; of a "part" as
        far as the text around it says so too.
    alias (str): The alias, as it is in the knowledge base.
    match (str): "exact", "written" for one that the text writes out around the name or explains it by, "clitic" for a
        name without the words written as one with it, "part" for one that shares words with it, or "fuzzy" for one
        like it.
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
    """Entities that a name can mean by itself.

    db (sqlite3.Connection): The knowledge base.
    text (str): The name as it stands in a text.
    k (int): How many are looked for, at least.
    lang (Optional[str]): Code of its language; None when it is not known.
    fuzzy (bool): Whether names that share words with it or, when few entities bear it, are like it count.
    RETURNS (list[Candidate]): The best first, see `KnowledgeBase.candidates`, and what was found beside k; none for
        more than `LONGEST_NAME` characters.
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
        _add(found, _of_numbers(search, part_keys(db, text), "part"))
    if key and fuzzy and few:
        for other, like in similar_keys(db, key)[:SIMILAR]:
            _add(found, _of_key(search, other, like, "fuzzy"))
    return sorted(found.values(), key=_rank)


def candidates_in_text(
    db: sqlite3.Connection, name: str, found: Sequence[Candidate], context: NameContext, k: int, lang: str | None
) -> list[Candidate]:
    """Entities that a name can mean where it stands.

    db (sqlite3.Connection): The knowledge base.
    name (str): The name.
    found (Sequence[Candidate]): What it can mean by itself.
    context (NameContext): The text.
    k (int): How many are looked for, at least.
    lang (Optional[str]): Code of its language; None when it is not known.
    RETURNS (list[Candidate]): They, with what the text writes out or explains, and parts as like as the text has them.
    """
    words = set(name_words(name))
    best = {each.id: _as_in_text(each, words, context) for each in found}
    own = alias_key(name)
    written = select(db, "SELECT number, key FROM keys WHERE key IN ({})", context.written_keys(name))
    numbers = {number: written_likeness(own, key) for number, key in written}
    search = _Search(db, name, lang, max(k, FEW))
    _add(best, _of_numbers(search, numbers, "written"))
    if form := context.long_form(name):
        _add(best, map(_as_written, find_candidates(db, form, k, lang, fuzzy=True)))
    return sorted(best.values(), key=_rank)


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


def _of_numbers(search: _Search, likes: Mapping[int, float], match: str) -> list[Candidate]:
    """Entities of keys that are so like the name, each by the alias that is most like it."""
    rows = list(select(search.db, _ROWS_OF_NUMBERS, likes))
    if search.lang:
        rows = [row for row in rows if row[4] in (search.lang, *NEUTRAL)] or rows
    prior = priors([row[:-1] for row in rows])
    shown: dict[str, tuple[tuple[float, float, str], Candidate]] = {}
    for id, type, _, alias, _, count, number in rows:
        order = (-likes[number], -count, alias)
        if id not in shown or order < shown[id][0]:
            shown[id] = order, Candidate(id, prior[id], likes[number], alias, match, type)
    return [candidate for _, candidate in shown.values()]


def _as_in_text(candidate: Candidate, words: set[str], context: NameContext) -> Candidate:
    if candidate.match != "part":
        return candidate
    like = context.likeness(candidate.similarity, words, candidate.alias)
    return candidate if like == candidate.similarity else replace(candidate, similarity=like)


def _as_written(candidate: Candidate) -> Candidate:
    """What a long form means, as what its short form means."""
    if candidate.match != "exact":
        return candidate
    return replace(candidate, similarity=MOST_SIMILAR, match="written")


def _add(found: dict[str, Candidate], more: Iterable[Candidate]) -> None:
    """Keep the best of what an entity is found by."""
    for candidate in more:
        if candidate.id not in found or _rank(candidate) < _rank(found[candidate.id]):
            found[candidate.id] = candidate


def _rank(candidate: Candidate) -> tuple[float | str, ...]:
    place, prior, like = MATCHES[candidate.match], candidate.prior, candidate.similarity
    if place < MATCHES["part"]:
        return place, -prior * like, candidate.id
    # How much of a name is there tells more than how popular its bearer is. Rounded, as both kinds count differently.
    return place, -round(like, 9), candidate.match == "fuzzy", -prior, candidate.id
