"""Facts of an item of Wikidata: the statements whose value is another item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["MOST_FACTS", "MOST_VALUES", "PROPERTIES", "item_facts", "item_values"]

# Facts of an item, and values of one property: well-known items have thousands.
MOST_FACTS, MOST_VALUES = 32, 4
# What properties are called, those first that tell most: a linker reads the first few facts.
PROPERTIES = {
    "P31": "is a",
    "P279": "kind of",
    "P106": "occupation",
    "P27": "citizenship",
    "P17": "country",
    "P131": "located in",
    "P361": "part of",
    "P39": "position held",
    "P102": "party",
    "P54": "member of sports team",
    "P641": "sport",
    "P413": "playing position",
    "P108": "employer",
    "P69": "educated at",
    "P101": "field of work",
    "P136": "genre",
    "P50": "author",
    "P57": "director",
    "P175": "performer",
    "P170": "creator",
    "P161": "cast member",
    "P495": "country of origin",
    "P452": "industry",
    "P159": "headquarters",
    "P749": "parent organization",
    "P127": "owned by",
    "P112": "founded by",
    "P176": "manufacturer",
    "P178": "developer",
    "P123": "publisher",
    "P264": "record label",
    "P449": "original broadcaster",
    "P463": "member of",
    "P276": "location",
    "P30": "continent",
    "P36": "capital",
    "P1376": "capital of",
    "P37": "official language",
    "P407": "language",
    "P364": "original language",
    "P19": "born in",
    "P20": "died in",
    "P937": "work location",
    "P740": "formed in",
    "P26": "spouse",
    "P22": "father",
    "P25": "mother",
    "P40": "child",
    "P140": "religion",
    "P103": "native language",
    "P1412": "languages spoken",
    "P1303": "instrument",
    "P138": "named after",
    "P527": "has part",
    "P1001": "applies to",
    "P171": "parent taxon",
    "P47": "borders",
    "P190": "twin city",
    "P530": "diplomatic relation",
}
_PLACE = {property: place for place, property in enumerate(PROPERTIES)}


def item_facts(claims: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts of an item.

    claims (Mapping[str, Any]): Its statements by property.
    RETURNS (list[tuple[str, str]]): Property, by its name or else its id, and the id of the value, each pair once:
        `MOST_VALUES` of a property, `MOST_FACTS` together. Those of `PROPERTIES` come first, in that order. Where a
        property has a preferred statement, the others do not count.
    RAISES (AttributeError | KeyError | TypeError): When the statements are none of Wikidata's.
    """
    facts: list[tuple[str, str]] = []
    for property in sorted(claims, key=lambda id: (_PLACE.get(id, len(_PLACE)), len(id), id)):
        preferred, normal = (list(item_values(claims[property], [rank])) for rank in ("preferred", "normal"))
        values = list(dict.fromkeys(preferred or normal))
        facts += [(PROPERTIES.get(property, property), value) for value in values[:MOST_VALUES]]
    return facts[:MOST_FACTS]


def item_values(statements: Sequence[Mapping[str, Any]], ranks: Sequence[str]) -> Iterator[str]:
    """Values of a property that are items.

    statements (Sequence[Mapping[str, Any]]): Its statements.
    ranks (Sequence[str]): Ranks to take, one after the other.
    YIELDS (str): Ids.
    RAISES (AttributeError | KeyError | TypeError): When the statements are none of Wikidata's.
    """
    for rank in ranks:
        for statement in statements or ():
            # A value that is not known, or not there, has no data.
            if statement.get("rank", "normal") == rank and "datavalue" in statement["mainsnak"]:
                value = statement["mainsnak"]["datavalue"]["value"]
                # Properties and lexemes are entities of Wikidata too; quantities, dates and texts are none.
                if isinstance(value, dict) and "id" in value and value.get("entity-type", "item") == "item":
                    if not isinstance(value["id"], str):
                        raise TypeError(f"an id is {type(value['id']).__name__}")
                    yield value["id"]
