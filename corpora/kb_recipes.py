"""Recipes of knowledge bases: entities from the files in SAMARKAND_DATA, with their terms.

`multilingual` is all of `kb/`: entities with names in many languages and facts, and the names of languages,
territories, scripts and currencies. `multilingual-open` leaves out what came through a source that states no terms.
`bundled` is a small choice of facts alone, for the package: countries, capitals, large cities, languages, well-known
organisations.

Countries, states and continents bear what English calls their people and things too, see `place_words`.

The weight of an entity is `sqrt((1 + n) (1 + d) (1 + p / 100,000))`: its logarithm is half the sum of the logarithms of
n, the languages that Wikidata names it in, d, the facts it takes part in, and p, its inhabitants.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..models.knowledge_base import Entity
from .files import numbered_lines
from .place_words import PlaceWords, place_words
from .sentence_files import json_rows, tsv_rows
from .wikidata import CLASSES

__all__ = [
    "RECIPES",
    "SOURCES",
    "bundled_entities",
    "multilingual_entities",
    "read_multikb",
    "recipe_entities",
    "recipe_terms",
    "with_place_words",
]

MULTIKB = "kb/multikb.jsonl.xz"
FACTS = "kb/facts.tsv.xz"
RELATIONS = "kb/relations.json"
CLDR = "kb/cldr-names.jsonl.xz"
FILES = (MULTIKB, FACTS, RELATIONS, CLDR)
COUNTRY, CAPITAL = "P17", "P36"
# What a place is called by those who live there; the source does not say in which language.
NATIVE, NEUTRAL = "native", "mul"


@dataclass(frozen=True)
class Terms:
    """Where entities came from.

    licence (str): Terms, as stated.
    open (bool): Whether they are stated, and those of open data.
    """

    licence: str
    open: bool = True


# By the names in `src`, and that of the package behind `place_words`. Labels and statements of Wikidata are CC0
# whatever they came through, which is why the bundled knowledge base may hold those of mpararel; its repository states
# no terms, which is why `multilingual-open` does not.
SOURCES = {
    "mpararel": Terms("not stated; labels and statements of Wikidata are CC0 1.0", open=False),
    "codex-types": Terms("MIT; Wikidata CC0 1.0, extracts of Wikipedia CC BY-SA"),
    "csc": Terms("ODbL 1.0"),
    "elevant": Terms("Apache 2.0"),
    "cldr": Terms("Unicode 3.0"),
    "countryinfo": Terms("MIT"),
}
_TYPE_OF = {"person": "PER", "loc": "LOC", "org": "ORG"}
_TYPE_OF_CLASS = {name: type for type, classes in CLASSES.items() for name in classes.values()}
# Codes of CLDR that stand for no language, place, script or currency; some are metals.
_NOTHING = frozenset(
    {"und", "mul", "zxx", "XA", "XB", "ZZ", "Zinh", "Zxxx", "Zyyy", "Zzzz", "XAG", "XAU", "XPD", "XPT", "XTS", "XXX"}
)
# What an entry of CLDR is called in its id, and which entities may be the same thing.
_CLDR_KINDS = {"territory": "loc", "language": "language", "currencie": None}

# The bundled knowledge base: least inhabitants of a city, least languages that Wikidata names another entity in.
BUNDLED_LANGUAGES = ("en", "ar", "zh", "zh-hant")
LEAST_INHABITANTS = 300_000
LEAST_LANGUAGES = {"LOC": 60, "ORG": 20}
# Relations whose object is an organisation: manufacturer, developer, broadcaster, employer, label, membership.
_OF_ORGANISATIONS = frozenset({"P176", "P178", "P449", "P108", "P264", "P463"})


@dataclass
class _Index:
    """What a first reading of multikb finds: ids, countries by code, states by code of their country and English name,
    and the heaviest of each type and English name.
    """

    ids: Collection[str] = ()
    countries: dict[str, str] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    heaviest: dict[tuple[str | None, str], str] = field(default_factory=dict)


@dataclass
class _Statements:
    """The facts file: objects by subject, and the relations that an entity is the object of."""

    of: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    to: dict[str, set[str]] = field(default_factory=dict)


def recipe_entities(name: str, *, lang: str | None = None) -> Iterator[Entity]:
    """The entities of a recipe, from the folder in SAMARKAND_DATA.

    name (str): A name in `RECIPES`.
    lang (Optional[str]): Language of the names of relations: en, ar or zh; English by default.
    RETURNS (Iterator[Entity]): The entities, each id once.
    RAISES (ValueError): S920 for an unknown name, S923 for another language.
    RAISES (OSError): S919 when the data are not there.
    """
    if name not in RECIPES:
        raise ValueError(Errors.S920.format(name=name, known=", ".join(RECIPES)))
    folder = os.environ.get("SAMARKAND_DATA", "")
    for file in FILES:
        if not folder or not Path(folder, file).is_file():
            raise FileNotFoundError(Errors.S919.format(name=name, path=Path(folder or "$SAMARKAND_DATA", file)))
    relations = _relations(Path(folder))
    known = sorted(set.intersection(*(set(names) for names in relations.values())))
    if lang is not None and lang not in known:
        expected = f"one of {', '.join(known)}"
        raise ValueError(Errors.S923.format(what=f"The recipe {name}", expected=expected, langs=lang))
    return RECIPES[name](Path(folder), lang=lang or "en")


def recipe_terms(name: str) -> dict[str, str]:
    """The terms of what a recipe gives.

    name (str): A name in `RECIPES`.
    RETURNS (Dict[str, str]): Licence by source.
    """
    return {source: terms.licence for source, terms in SOURCES.items() if terms.open or not name.endswith("-open")}


def multilingual_entities(
    folder: Path, *, lang: str = "en", open_only: bool = False, extracts: bool = True, words: bool = True
) -> Iterator[Entity]:
    """The multilingual knowledge base: multikb with its facts, and the names of CLDR.

    An entry of CLDR that multikb has too (a country of that code, or the heaviest entity of its English name and kind)
    adds its names to that entity; the others are entities of their own.

    folder (Path): The folder of corpora.
    lang (str): Language of the names of relations, which are the keys of facts; their values are ids.
    open_only (bool): Leave out entities with a source that states no open terms, and the facts, which come through one.
    extracts (bool): Describe by extracts of articles where there are some; texts made of them need a knowledge base
        that does not hold them.
    words (bool): Let places bear what English calls their people and things. Whoever looks for names in texts does
        without, for many are names of languages first; see `with_place_words`.
    YIELDS (Entity): The entities.
    RAISES (OSError | ValueError): S841 and S842 for a file that is missing or broken.
    """
    index = _index(folder, open_only)
    statements = _Statements() if open_only else _statements(folder, index.ids)
    for row, entity in _described(folder, index, statements, lang, open_only, words):
        yield entity if extracts else replace(entity, descriptions=_descriptions(row.get("desc", {})))


def with_place_words(folder: Path, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Let places bear what English calls their people and things, where they were read without.

    folder (Path): The folder of corpora.
    entities (Iterable[Entity]): The entities.
    YIELDS (Entity): They.
    """
    called = _called(_index(folder))
    return (_with_words(entity, called) for entity in entities)


def read_multikb(path: Path) -> Iterator[Entity]:
    """The entities of a file in the shape of multikb.jsonl.xz, without their facts.

    path (Path): The file.
    YIELDS (Entity): The entities.
    RAISES (OSError | ValueError): S841 and S842 when it is missing or broken.
    """
    for _, row in json_rows(path, id=str, labels=dict, src=list):
        yield _entity(row)


def bundled_entities(folder: Path, *, lang: str = "en") -> Iterator[Entity]:
    """A small knowledge base of facts alone: names in Arabic, Chinese and English, types, statements; no texts.

    folder (Path): The folder of corpora.
    lang (str): As `multilingual_entities`.
    YIELDS (Entity): Countries, capitals, large cities and well-known places, languages, well-known organisations.
    RAISES (OSError | ValueError): As `multilingual_entities`.
    """
    index = _index(folder)
    statements = _statements(folder, index.ids)
    capitals = {
        object
        for country in index.countries.values()
        for relation, object in statements.of.get(country, ())
        if relation == CAPITAL
    }
    chosen = {
        entity.id: entity
        for row, entity in _described(folder, index, statements, lang)
        if _is_named(entity) and (entity.id in capitals or _is_well_known(row, statements))
    }
    for entity in chosen.values():
        yield replace(
            entity,
            names=_of_languages(entity.names),
            aliases=_of_languages(entity.aliases),
            descriptions={},
            facts=tuple(fact for fact in entity.facts if fact[1] in chosen),
        )


def _is_named(entity: Entity) -> bool:
    """Whether it has its names. The source leaves out names that are as in English, as those of brands are."""
    return sum(code in entity.names for code in ("en", "ar", "zh")) >= (2 if entity.type == "ORG" else 3)


def _is_well_known(row: dict[str, Any], statements: _Statements) -> bool:
    languages = _languages(row)
    if row.get("type") == "language" or row.get("place") == "country":
        return True
    type = _type(row)
    if type == "LOC":
        return row.get("pop", 0) >= LEAST_INHABITANTS or languages >= LEAST_LANGUAGES["LOC"]
    # Towns are typed as organisations by some of the sources; facts about an organisation tell it apart.
    is_organisation = row["id"] in statements.of or statements.to.get(row["id"], set()) & _OF_ORGANISATIONS
    return type == "ORG" and bool(is_organisation) and languages >= LEAST_LANGUAGES["ORG"]


def _of_languages(values: Any) -> dict[str, Any]:
    return {code: value for code, value in values.items() if code in BUNDLED_LANGUAGES}


def _described(
    folder: Path, index: _Index, statements: _Statements, lang: str, open_only: bool = False, words: bool = True
) -> Iterator[tuple[dict[str, Any], Entity]]:
    """Entries with their entities: those of multikb with facts and the names of CLDR, then what CLDR has alone."""
    relations = {relation: names[lang] for relation, names in _relations(folder).items()}
    added: dict[str, list[dict[str, Any]]] = {}
    alone: list[dict[str, Any]] = []
    for row in _cldr_rows(folder):
        _, kind, code = row["id"].split(":")
        country = index.countries.get(code) if kind == "territory" else None
        match = country or index.heaviest.get((_CLDR_KINDS.get(kind, kind), row["labels"]["en"].casefold()))
        if match:
            added.setdefault(match, []).append(row)
        else:
            alone.append(row)
    called = _called(index) if words else {}
    for row in _rows(folder, open_only):
        entity = _entity(row, tuple(_facts(row, statements, index.countries, relations)))
        for other in added.get(entity.id, ()):
            entity = _with_names(entity, _entity(other))
        yield row, _with_words(entity, called)
    for row in alone:
        yield row, _entity(row)


def _called(index: _Index) -> dict[str, tuple[str, ...]]:
    """Words for places, by id."""
    return {id: place.words for place in place_words() if (id := _place(place, index))}


def _with_words(entity: Entity, called: Mapping[str, tuple[str, ...]]) -> Entity:
    if entity.id not in called:
        return entity
    return _with_names(entity, replace(entity, names={}, aliases={"en": called[entity.id]}))


def _place(place: PlaceWords, index: _Index) -> str | None:
    if not place.name:
        return index.countries.get(place.country)
    if place.country:
        return index.states.get((place.country, place.name))
    found = (index.heaviest.get((type, place.name.casefold())) for type in ("loc", "org"))
    return next(filter(None, found), None)


def _rows(folder: Path, open_only: bool = False) -> Iterator[dict[str, Any]]:
    for _, row in json_rows(folder / MULTIKB, id=str, labels=dict, src=list):
        if not open_only or all(SOURCES[source].open for source in row["src"]):
            yield row


def _cldr_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for _, row in json_rows(folder / CLDR, id=str, labels=dict):
        if row["id"].rpartition(":")[2] not in _NOTHING:
            yield {**row, "src": ["cldr"]}


def _relations(folder: Path) -> dict[str, dict[str, str]]:
    return json.loads("\n".join(line for _, line in numbered_lines(folder / RELATIONS)))


def _statements(folder: Path, ids: Collection[str]) -> _Statements:
    """The facts between entities that are there."""
    statements = _Statements()
    for _, (subject, relation, object, *_) in tsv_rows(folder / FACTS, 3):
        if subject in ids and object in ids:
            statements.of.setdefault(subject, []).append((relation, object))
            statements.to.setdefault(object, set()).add(relation)
    return statements


def _index(folder: Path, open_only: bool = False) -> _Index:
    index = _Index()
    weights: dict[str, float] = {}
    for row in _rows(folder, open_only):
        id, weight = row["id"], _weight(row)
        weights[id] = weight
        if row.get("place") == "country":
            index.countries[row["cc"]] = id
        if row.get("place") == "state":
            index.states[row["cc"], row["labels"].get("en", "")] = id
        key = row.get("type"), row["labels"].get("en", "").casefold()
        if key not in index.heaviest or weight > weights[index.heaviest[key]]:
            index.heaviest[key] = id
    index.ids = weights.keys()
    return index


def _entity(row: dict[str, Any], facts: tuple[tuple[str, str], ...] = ()) -> Entity:
    names = {_code(code): name.strip() for code, name in row["labels"].items() if name.strip()}
    aliases: dict[str, tuple[str, ...]] = {}
    for code, listed in row.get("aliases", {}).items():
        kept = dict.fromkeys(
            alias.strip() for alias in listed if alias.strip() and alias.strip() != names.get(_code(code))
        )
        if kept:
            aliases[_code(code)] = tuple(kept)
    # An extract says more than the description that it begins with.
    descriptions = _descriptions({**row.get("desc", {}), **row.get("extract", {})})
    return Entity(
        id=row["id"],
        type=_type(row),
        names=names,
        aliases=aliases,
        descriptions=descriptions,
        facts=facts,
        weight=_weight(row),
    )


def _descriptions(texts: dict[str, str]) -> dict[str, str]:
    return {_code(code): text.strip() for code, text in texts.items() if text.strip()}


def _with_names(entity: Entity, other: Entity) -> Entity:
    """The entity with the names of another: those of new languages as names, the others as aliases."""
    names = {**other.names, **entity.names}
    aliases = {}
    for code in names:
        every = (*entity.aliases.get(code, ()), *((other.names[code],) if code in other.names else ()))
        every = dict.fromkeys((*every, *other.aliases.get(code, ())))
        every.pop(names[code], None)
        if every:
            aliases[code] = tuple(every)
    return replace(entity, names=names, aliases={**entity.aliases, **aliases})


@lru_cache(maxsize=256)
def _code(code: str) -> str:
    return NEUTRAL if code == NATIVE else code.lower()


def _type(row: dict[str, Any]) -> str:
    """PER, LOC, ORG or MISC; empty where no source says."""
    classes = row.get("wdtypes", ())
    for name in classes:
        if name in _TYPE_OF_CLASS:
            return _TYPE_OF_CLASS[name]
    # Places are organisations too in one of the sources, and so are brands.
    if "org" in classes and "loc" not in classes:
        return "ORG"
    return _TYPE_OF.get(row["type"], "MISC") if "type" in row else ""


def _languages(row: dict[str, Any]) -> int:
    """Languages that Wikidata names it in, where that was counted."""
    return row.get("nlang", 0) if "mpararel" in row["src"] else 0


def _weight(row: dict[str, Any]) -> float:
    return math.sqrt((1 + _languages(row)) * (1 + row.get("deg", 0)) * (1 + row.get("pop", 0) / 100_000))


def _facts(
    row: dict[str, Any], statements: _Statements, countries: dict[str, str], relations: dict[str, str]
) -> Iterator[tuple[str, str]]:
    stated = dict.fromkeys(statements.of.get(row["id"], ()))
    country = countries.get(row.get("cc", ""), row["id"])
    if country != row["id"] and not any(relation == COUNTRY for relation, _ in stated):
        stated[COUNTRY, country] = None
    for relation, object in stated:
        yield relations.get(relation, relation), object


RECIPES: dict[str, Callable[..., Iterator[Entity]]] = {
    "multilingual": multilingual_entities,
    "multilingual-open": partial(multilingual_entities, open_only=True),
    "bundled": bundled_entities,
}
