"""From plain values, such as a line of JSON holds, to entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields as dataclass_fields
from typing import Any

from ..errors import Errors
from ..models.knowledge_base import Entity

__all__ = ["FIELDS", "entity_from_fields"]

FIELDS = tuple(field.name for field in dataclass_fields(Entity))
_BY_LANGUAGE = ("names", "aliases", "descriptions")


def entity_from_fields(fields: Mapping[str, Any], *, lang: str | None = None) -> Entity:
    """An entity from plain values.

    fields (Mapping[str, Any]): By the names of `Entity`; None is as if it were not there. Names, aliases and
        descriptions are maps by language; with `lang` they may be what a map would hold. A list of aliases may be a
        string. Facts are pairs or a map, and their values may be numbers.
    lang (Optional[str]): Language of names, aliases and descriptions that are given without one.
    RETURNS (Entity): The entity, with every string as it was.
    RAISES (ValueError): S912 for a field that is not known or holds something else, S903 as `Entity`.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in FIELDS:
            raise ValueError(Errors.S912.format(field=name, problem=f"is not known; known are {', '.join(FIELDS)}"))
    if "id" not in given:
        raise ValueError(Errors.S912.format(field="id", problem="is missing"))
    for name in _BY_LANGUAGE:
        if name in given:
            given[name] = _by_language(name, given[name], lang)
    if "aliases" in given:
        given["aliases"] = {code: [a] if isinstance(a, str) else a for code, a in given["aliases"].items()}
    if "facts" in given:
        given["facts"] = list(_facts(given["facts"]))
    return Entity(**given)


def _by_language(name: str, value: Any, lang: str | None) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if lang is not None:
        return {lang: value}
    problem = f"must be a map by language, not {type(value).__name__}; or name its language with --lang"
    raise ValueError(Errors.S912.format(field=name, problem=problem))


def _facts(value: Any) -> Iterator[Any]:
    """Facts as pairs of strings, as far as they are: years and populations are often written as numbers."""
    if not isinstance(value, (Mapping, list, tuple)):
        raise ValueError(Errors.S912.format(field="facts", problem="must be a map or a list of pairs"))
    for fact in value.items() if isinstance(value, Mapping) else value:
        is_number = isinstance(fact, (list, tuple)) and len(fact) == 2 and type(fact[1]) in (int, float)
        yield (fact[0], str(fact[1])) if is_number else fact
