"""What a knowledge base knows of one thing in the world, and the bytes it is kept as."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from ..errors import Errors
from .alias_keys import alias_key
from .kb_store import Damaged
from .nil import NIL

# Characters of a name or an id, at most: an index of longer ones is slow for all.
LONGEST_NAME = 1000
# Characters of a bad value that a message shows.
_SHOWN = 80


@dataclass(frozen=True)
class Entity:
    """One entity.

    id (str): Its name in the knowledge base and in links to it, such as "Q64".
    type (str): Such as PER, LOC or ORG; "" when it is not known.
    names (Mapping[str, str]): What it is called, by code of the language; "mul" or "" for none in particular.
    aliases (Mapping[str, Sequence[str]]): What else it is called, by code of the language.
    descriptions (Mapping[str, str]): What it is, by code of the language.
    facts (Sequence[tuple[str, str]]): Keys and values; a value is plain text, or the id of another entity.
    weight (float): How popular it is beside others; above 0.
    counts (Mapping[str, float]): How often a name, as written, means this entity, where that is known. A name that is
        only here is one as well.
    RAISES (ValueError): S903 for an entity that cannot be kept, such as one whose id or a name has more than
        `LONGEST_NAME` characters.
    """

    id: str
    type: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    weight: float = 1.0
    counts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            values = dict(_checked(self))
        except _Unfit as error:
            raise ValueError(Errors.S903.format(id=_shown(self.id), reason=error)) from None
        for name, value in values.items():
            object.__setattr__(self, name, value)


class _Unfit(Exception):
    """Why an entity cannot be kept."""


def is_storable(text: str) -> bool:
    """Whether a string can be written to a file: halves of surrogate pairs cannot.

    text (str): The string.
    RETURNS (bool): Whether it can.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def entity_to_bytes(entity: Entity) -> bytes:
    """An entity as bytes: the same for equal entities.

    entity (Entity): The entity.
    RETURNS (bytes): JSON.
    """
    values = {each.name: getattr(entity, each.name) for each in fields(entity)}
    kept = {name: value for name, value in values.items() if value}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def entity_from_bytes(data: bytes) -> Entity:
    """The entity that was written as bytes.

    data (bytes): What `entity_to_bytes` gave.
    RETURNS (Entity): The entity.
    RAISES (Damaged): When they are something else.
    """
    try:
        return Entity(**json.loads(data))
    except (TypeError, ValueError) as error:
        raise Damaged("an entity in it cannot be read") from error


def pack(data: bytes) -> bytes:
    """Bytes of an entity as they are kept.

    data (bytes): What `entity_to_bytes` gave.
    RETURNS (bytes): They, compressed.
    """
    return zlib.compress(data)


def unpack(packed: bytes) -> bytes:
    """Bytes of an entity that were kept.

    packed (bytes): What `pack` gave.
    RETURNS (bytes): What `entity_to_bytes` gave.
    RAISES (Damaged): When they are something else.
    """
    try:
        return zlib.decompress(packed)
    except (TypeError, zlib.error) as error:
        raise Damaged("an entity in it cannot be read") from error


def entity_digest(data: bytes) -> int:
    """What an entity adds to the checksum of its knowledge base.

    data (bytes): What `entity_to_bytes` gave.
    RETURNS (int): SHA-256, as a number.
    """
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


def entity_languages(entity: Entity) -> set[str]:
    """Languages of the names of an entity.

    entity (Entity): The entity.
    RETURNS (set[str]): Their codes, without those that stand for no language.
    """
    return {lang for lang, aliases in (*entity.names.items(), *entity.aliases.items()) if aliases} - {"", "mul"}


def entity_aliases(entity: Entity) -> set[tuple[str, str, str, float]]:
    """All that an entity is called.

    entity (Entity): The entity.
    RETURNS (set[tuple[str, str, str, float]]): Key, name as written, language, and the count, 0 where none is given.
        Names that nobody can see have no key, and are left out.
    """
    named = {(name, lang) for lang, name in entity.names.items()}
    named.update((alias, lang) for lang, aliases in entity.aliases.items() for alias in aliases)
    written = {alias for alias, _ in named}
    named.update((alias, "") for alias in entity.counts if alias not in written)
    keyed = ((alias_key(alias), alias, lang, entity.counts.get(alias, 0.0)) for alias, lang in named)
    return {alias for alias in keyed if alias[0]}


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:
        # Whole numbers can be too long to be written out.
        return "a number too large"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _checked(entity: Entity) -> Iterator[tuple[str, Any]]:
    """The fields of an entity as they are kept."""
    yield "id", _checked_id(entity.id)
    yield "type", _text("its type", entity.type)
    names = _texts("names", entity.names, _name)
    yield "names", names
    aliases = {
        _text("a language of its aliases", lang): _strings(f"aliases[{lang!r}]", values, _name)
        for lang, values in _mapping("aliases", entity.aliases).items()
    }
    yield "aliases", aliases
    yield "descriptions", _texts("descriptions", entity.descriptions, _text)
    yield "facts", tuple(_fact(fact) for fact in _items("its facts", entity.facts))
    yield "weight", _number("its weight", entity.weight, least=math.ulp(0.0), expected="a finite number above 0")
    counts = {
        _name("a name in its counts", alias): _number(
            f"its count of {_shown(alias)}", count, 0, "a finite number, 0 or more"
        )
        for alias, count in _mapping("counts", entity.counts).items()
    }
    yield "counts", counts
    called = (*names.values(), *(alias for values in aliases.values() for alias in values))
    if not any(alias_key(name) for name in called):
        raise _Unfit("it has neither a name nor an alias that is not blank")


def _checked_id(value: Any) -> str:
    id = _name("its id", value)
    if not id.strip():
        raise _Unfit("its id is blank")
    if id == NIL:
        raise _Unfit(f"its id is {NIL}, which is said of names that mean no entity")
    if any(unicodedata.category(char) == "Cc" for char in id):
        raise _Unfit("its id has control characters")
    return id


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit(f"{what} must be a string, not {type(value).__name__}")
    if not is_storable(value):
        raise _Unfit(f"{what} has half of a surrogate pair")
    # Of a subclass, a plain string is kept.
    return str.__str__(value)


def _name(what: str, value: Any) -> str:
    name = _text(what, value)
    if len(name) > LONGEST_NAME:
        raise _Unfit(f"{what} has {len(name):,} characters, more than {LONGEST_NAME:,}")
    return name


def _mapping(what: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _Unfit(f"its {what} must be a mapping, not {type(value).__name__}")
    return value


def _texts(what: str, value: Any, check: Callable[[str, Any], str]) -> dict[str, str]:
    found = _mapping(what, value).items()
    return {_text(f"a language of its {what}", lang): check(f"{what}[{lang!r}]", text) for lang, text in found}


def _items(what: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise _Unfit(f"{what} must be a list, not {type(values).__name__}")
    return values


def _strings(what: str, values: Any, check: Callable[[str, Any], str]) -> tuple[str, ...]:
    return tuple(check(f"one of {what}", value) for value in _items(what, values))


def _fact(fact: Any) -> tuple[str, str]:
    pair = _strings("one of its facts", fact, _text)
    if len(pair) != 2:
        raise _Unfit(f"one of its facts must be a key and a value, not {len(pair)} strings")
    return pair


def _number(what: str, value: Any, least: float, expected: str) -> float:
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        number = math.inf
    if not least <= number < math.inf:
        raise _Unfit(f"{what} must be {expected}, not {_shown(value)}")
    return number
