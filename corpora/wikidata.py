"""Items of Wikidata, as its JSON dumps hold them, to entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Errors
from ..models.knowledge_base import Entity
from .entity_fields import entity_from_fields
from .wikidata_facts import item_facts, item_values

__all__ = ["CLASSES", "DEFAULT_LANGUAGES", "entity_from_wikidata"]

DEFAULT_LANGUAGES = ("en", "ar", "zh")
# Wikidata keeps names that are the same in all languages of the Latin script once, under this code.
ALL_LANGUAGES = "mul"
INSTANCE_OF = "P31"
# Coarse type by class, with the name of the class in English. Subclasses are not looked up.
CLASSES: dict[str, dict[str, str]] = {
    "PER": {"Q5": "human", "Q15632617": "fictional human", "Q95074": "fictional character"},
    "LOC": {
        "Q515": "city",
        "Q1549591": "big city",
        "Q3957": "town",
        "Q532": "village",
        "Q486972": "human settlement",
        "Q6256": "country",
        "Q3624078": "sovereign state",
        "Q7275": "state",
        "Q35657": "state of the United States",
        "Q5119": "capital",
        "Q5107": "continent",
        "Q56061": "administrative territorial entity",
        "Q10864048": "first-level administrative country subdivision",
        "Q82794": "geographic region",
        "Q4022": "river",
        "Q8502": "mountain",
        "Q46831": "mountain range",
        "Q23442": "island",
        "Q33837": "archipelago",
        "Q23397": "lake",
        "Q165": "sea",
        "Q9430": "ocean",
        "Q8514": "desert",
        "Q1248784": "airport",
        "Q41176": "building",
        "Q12280": "bridge",
        "Q483110": "stadium",
    },
    "ORG": {
        "Q43229": "organization",
        "Q484652": "international organization",
        "Q245065": "intergovernmental organization",
        "Q163740": "nonprofit organization",
        "Q79913": "non-governmental organization",
        "Q4830453": "business",
        "Q6881511": "enterprise",
        "Q783794": "company",
        "Q891723": "public company",
        "Q22687": "bank",
        "Q46970": "airline",
        "Q18127": "record label",
        "Q2085381": "publisher",
        "Q11032": "newspaper",
        "Q1616075": "television station",
        "Q14350": "radio station",
        "Q15265344": "broadcaster",
        "Q7278": "political party",
        "Q327333": "government agency",
        "Q3918": "university",
        "Q189004": "college",
        "Q3914": "school",
        "Q31855": "research institute",
        "Q16917": "hospital",
        "Q215380": "musical group",
        "Q5741069": "rock band",
        "Q847017": "sports club",
        "Q476028": "association football club",
    },
}
_TYPE_OF = {item: type for type, classes in CLASSES.items() for item in classes}


def entity_from_wikidata(item: Mapping[str, Any], langs: Sequence[str] = DEFAULT_LANGUAGES) -> Entity | None:
    """An entity from an item of a dump.

    The type is that of the first class in the table, statements of preferred rank first; facts are statements about
    other items, see `item_facts`; the weight is the number of pages in all wikis, 1 at least.

    item (Mapping[str, Any]): The object of a line.
    langs (Sequence[str]): Languages of the names, aliases and descriptions to keep.
    RETURNS (Optional[Entity]): The entity; None for a property or a lexeme, and for an item without a name in these
        languages.
    RAISES (ValueError): S922 when the object is no entity of Wikidata, S903 when `Entity` does not take it.
    """
    if item.get("type") in ("property", "lexeme"):
        return None
    try:
        codes = dict.fromkeys((*langs, ALL_LANGUAGES))
        labels, aliases, descriptions = (_map(item, key) for key in ("labels", "aliases", "descriptions"))
        claims = _map(item, "claims")
        fields = {
            "id": item["id"],
            "type": _type_of(claims),
            "facts": item_facts(claims),
            "names": {code: labels[code]["value"] for code in codes if code in labels},
            "aliases": {code: [alias["value"] for alias in aliases[code]] for code in codes if code in aliases},
            "descriptions": {code: descriptions[code]["value"] for code in codes if code in descriptions},
            "weight": max(1, len(_map(item, "sitelinks"))),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(Errors.S922.format(reason=f"{type(error).__name__}: {error}")) from None
    return entity_from_fields(fields) if fields["names"] or fields["aliases"] else None


def _map(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A map of an item. The dumps write an empty one as an empty list."""
    value = item.get(key) or {}
    if not isinstance(value, dict):
        raise TypeError(f"{key} is {type(value).__name__}")
    return value


def _type_of(claims: Mapping[str, Any]) -> str:
    classes = item_values(claims.get(INSTANCE_OF) or [], ["preferred", "normal"])
    return next((_TYPE_OF[item] for item in classes if item in _TYPE_OF), "")
