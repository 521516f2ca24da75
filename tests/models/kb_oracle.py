"""Candidates of a knowledge base, found slowly, in plain dictionaries and exact numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from hypothesis import strategies as st
from samarkand.models.alias_keys import alias_key, clitic_keys, has_han
from samarkand.models.knowledge_base import Candidate, Entity

LANGS = ("en", "ar", "zh", "mul", "")
# Few letters, so that names meet, nearly meet, and are part of one another.
NAMES = st.one_of(
    st.text(st.sampled_from("abAB.-, "), max_size=12),
    st.text(st.sampled_from("习近平臺台"), max_size=5),
    st.text(st.sampled_from("والبمصر"), max_size=7),
    st.text(st.sampled_from("12.a"), max_size=4),
)
WEIGHTS = st.sampled_from([1.0, 1.0, 2.0, 0.25, 100.0])


@st.composite
def entities(draw: st.DrawFn, id: str) -> Entity:
    """Entities with names that can be looked up."""
    name = draw(NAMES.filter(alias_key))
    aliases = draw(st.dictionaries(st.sampled_from(LANGS), st.lists(NAMES, max_size=3), max_size=2))
    called = [name, *(alias for values in aliases.values() for alias in values)]
    return Entity(
        id=id,
        type=draw(st.sampled_from(["", "PER"])),
        names={draw(st.sampled_from(LANGS)): name},
        aliases=aliases,
        weight=draw(WEIGHTS),
        counts=draw(st.dictionaries(st.one_of(st.sampled_from(called), NAMES), st.integers(0, 9), max_size=2)),
    )


def candidates(
    known: Iterable[Entity], text: str, lang: str | None = None, fuzzy: bool = True
) -> list[tuple[Candidate, Fraction]]:
    """Candidates, the best first, each with its exact prior."""
    table = _table(known)
    key = alias_key(text)
    found: dict[str, tuple] = {}

    def add(match: str, keys: Iterable[str]) -> None:
        for other in keys:
            like = 1 - Fraction(distance(key, other), max(len(key), len(other)))
            for entity, prior, alias in _bearers(table.get(other, []), text, lang):
                order = (0 if match == "exact" else 1, -prior * like, entity.id)
                if match == "fuzzy":
                    order = 2, -like, 1, -prior, entity.id
                candidate = Candidate(entity.id, float(prior), float(like), alias, match, entity.type)
                if entity.id not in found or order < found[entity.id][0]:
                    found[entity.id] = order, candidate, prior

    if key:
        add("exact", [key])
        add("clitic", clitic_keys(text))
    few = len(found) < 3
    if key and fuzzy:
        for order, candidate, prior in _parts(table, text, lang):
            if candidate.id not in found or order < found[candidate.id][0]:
                found[candidate.id] = order, candidate, prior
    if key and fuzzy and few:
        add("fuzzy", sorted(other for other in table if is_similar(key, other)))
    return [(candidate, prior) for _, candidate, prior in sorted(found.values(), key=lambda value: value[0])]


def _parts(table: dict, text: str, lang: str | None) -> list[tuple[tuple, Candidate, Fraction]]:
    names = {key: [row[1] for row in rows] for key, rows in table.items()}
    frequencies = Counter(word for key, aliases in names.items() for word in _filed(key, aliases))
    likes = {key: like for key in table if (like := part_similarity(text, key, names[key], frequencies))}
    rows = [(*row, key) for key in likes for row in table[key]]
    rows = [row for row in rows if row[2] in (lang, "mul", "")] or rows if lang else rows
    made = []
    for entity, prior, _ in _bearers([row[:3] for row in rows], text, lang):
        own = [(-likes[key], -entity.counts.get(name, 0), name) for other, name, _, key in rows if other is entity]
        like, _, alias = min(own)
        candidate = Candidate(entity.id, float(prior), float(-like), alias, "part", entity.type)
        made.append(((2, like, 0, -prior, entity.id), candidate, prior))
    return made


def part_similarity(text: str, other: str, aliases: list[str], frequencies: Mapping[str, int]) -> Fraction:
    """How like a key is to a name because they share words; 0 when they do not share enough."""
    key, words = alias_key(text), _words(text)
    if other == key:
        return Fraction(0)
    weights = {word: max(1, 15 - frequencies[word].bit_length()) if word[1:] else 1 for word in words}
    total = sum(weights.values())
    filed, likes = _filed(other, aliases), [Fraction(0)]
    common = sum(len(word) for word in filed & set(words))
    weight = sum(weights[word] for word in filed & set(words))
    if common and (5 * weight >= 2 * total or common >= len(other)):
        likes.append(_mean(Fraction(weight, total), Fraction(common, len(other))))
        likes += [_mean(Fraction(1), Fraction(n, len(other))) for n in _initials(words, aliases)]
    for run in (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1) if _is_run(text, i, j)):
        weight = sum(weights[word] for word in set(_words(run)))
        if weight and len(other) > 1 and other in (alias_key(run), "".join(_words(run))):
            likes.append(_mean(Fraction(weight, total), Fraction(1)))
    if len(words) == 1 and len(key) >= 4 and not has_han(key):
        stem = key[: max(4, len(key) - 3)]
        near = [word for word in (*filed, other) if word.startswith(stem) and len(word) <= len(key) + 3]
        shared = [next(n for n in range(len(word), 0, -1) if key.startswith(word[:n])) for word in near]
        likes += [Fraction(9 * 2 * n, 10 * (len(key) + len(other))) for n in shared]
    named = {acronym for alias in aliases if len(_words(alias)) > 1 for acronym in _acronyms(alias)}
    is_short = text.isupper() and _folded(key) in named
    is_cut = len(words) == 1 and len(key) >= 3 and text.rstrip().endswith(".") and other.startswith(key)
    if is_short or is_cut:
        likes.append(Fraction(8, 10))
    if other and (other == _head(text) or key in map(_head, aliases)):
        likes.append(Fraction(9, 10))
    return max(likes)


def _mean(one: Fraction, other: Fraction) -> Fraction:
    other = min(other, Fraction(1))
    return min(2 * one * other / (one + other), Fraction(95, 100))


def _filed(key: str, aliases: list[str]) -> set[str]:
    cut = [_words(alias) for alias in aliases]
    return {word for own in cut if len(own) > 1 or own != [key] for word in own}


def _head(text: str) -> str:
    head = alias_key(re.split(r"[,(]", text)[0])
    return head if len(head) > 1 and head != alias_key(text) else ""


def _initials(words: list[str], aliases: list[str]) -> list[int]:
    """Characters of each alias that a name with initials accounts for, where it accounts for all of itself."""
    letters, spelt = [word for word in words if len(word) == 1], {word for word in words if len(word) > 1}
    found = []
    for own in map(_words, aliases):
        place, matched = 0, []
        rest = [word for word in own if word not in spelt]
        for letter in letters:
            place = next((i for i in range(place, len(rest)) if rest[i][0] == letter), len(rest))
            matched += rest[place : place + 1]
            place += 1
        if letters and spelt and spelt <= set(own) and len(matched) == len(letters):
            found.append(sum(map(len, (*spelt, *matched))))
    return found


def _is_run(text: str, start: int, end: int) -> bool:
    """Whether it is whole words: what begins and ends it is part of one, and what is around it is not."""
    edges = text[start], text[end - 1]
    around = text[start - 1 : start], text[end : end + 1]
    return all(map(str.isalnum, edges)) and not any(map(str.isalnum, around))


def _words(text: str) -> list[str]:
    spaced = "".join(char if char.isalnum() else " " for char in text)
    marked = "".join(f" {b}" if a.islower() and b.isupper() else b for a, b in zip(f" {spaced}", spaced))
    return [word for word in map(_folded, marked.split()) if word]


def _folded(word: str) -> str:
    key = alias_key(word)
    return key[2:] if key.startswith("ال") and len(key) > 3 else key


def _acronyms(alias: str) -> set[str]:
    spaced = "".join(char if char.isalnum() else " " for char in alias).split()
    firsts = [word[0] for word in spaced if word[0].isalpha()]
    capitals = [first for first in firsts if first.isupper()]
    made = {_folded("".join(firsts)), _folded("".join(capitals))} if capitals else set()
    return {acronym for acronym in made if 2 <= len(acronym) <= 8}


def is_similar(key: str, other: str) -> bool:
    """Whether a fuzzy search for a key has to find another."""
    longer, edits = max(len(key), len(other)), distance(key, other)
    least = Fraction(65 if has_han(key) else 75, 100)
    in_reach = min(len(key), len(other)) >= 2 and longer <= 60
    return edits > 0 and in_reach and 1 - Fraction(edits, longer) >= least and (_pairs(key) & _pairs(other)).total() > 1


def distance(one: str, other: str) -> int:
    """Edits from one string to another; neighbours can be exchanged, if nothing else happens to them."""
    table = {(i, -1): i + 1 for i in range(-1, len(one))} | {(-1, j): j + 1 for j in range(-1, len(other))}
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            ways = [table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b)]
            if i and j and a == other[j - 1] and b == one[i - 1]:
                ways.append(table[i - 2, j - 2] + 1)
            table[i, j] = min(ways)
    return table[len(one) - 1, len(other) - 1]


def _pairs(key: str) -> Counter[str]:
    edged = f"\n{key}\n"
    return Counter(edged[i : i + 2] for i in range(len(edged) - 1))


def _table(known: Iterable[Entity]) -> dict[str, list[tuple[Entity, str, str]]]:
    """Entity, name and language by key."""
    table: dict[str, list[tuple[Entity, str, str]]] = {}
    for entity in known:
        named = [(name, lang) for lang, name in entity.names.items()]
        named += [(alias, lang) for lang, aliases in entity.aliases.items() for alias in aliases]
        named += [(alias, "") for alias in entity.counts if alias not in dict(named)]
        for name, lang in named:
            table.setdefault(alias_key(name), []).append((entity, name, lang))
    return table


def _bearers(rows: list[tuple[Entity, str, str]], text: str, lang: str | None) -> list[tuple[Entity, Fraction, str]]:
    rows = [row for row in rows if row[2] in (lang, "mul", "")] or rows if lang else rows
    found = {entity.id: entity for entity, _, _ in rows}
    names = {id: {name for entity, name, _ in rows if entity.id == id} for id in found}
    counts = {id: sum(Fraction(found[id].counts.get(name, 0)) for name in names[id]) for id in found}
    weights, total = sum(Fraction(entity.weight) for entity in found.values()), 1 + sum(counts.values())
    return [
        (
            entity,
            (counts[id] + Fraction(entity.weight) / weights) / total,
            min(names[id], key=lambda name: (name != text, -entity.counts.get(name, 0), name)),
        )
        for id, entity in found.items()
    ]
