"""Facts of items of Wikidata, from lines of a dump."""

from __future__ import annotations

import json

import pytest
from samarkand.corpora.entity_readers import read_entities
from samarkand.corpora.wikidata_facts import MOST_FACTS, MOST_VALUES
from samarkand.models.knowledge_base import Entity

NAMED = '"type": "item", "id": "Q42", "labels": {"en": {"language": "en", "value": "Ada"}}'


def snak(value: object, rank: str = "normal") -> dict:
    return {"rank": rank, "mainsnak": {"snaktype": "value", "datavalue": {"value": value}}}


def about(id: str, rank: str = "normal") -> dict:
    return snak({"entity-type": "item", "id": id}, rank)


def read(path, claims: object) -> Entity | str:
    """The entity of a dump of one line, or why it is none."""
    path.write_text(f'[\n{{{NAMED}, "claims": {json.dumps(claims)}}},\n]\n', encoding="utf-8")
    ((_, found),) = read_entities(path)
    return found if isinstance(found, Entity) else found.code


def test_a_line_as_it_is_in_a_dump(tmp_path):
    path = tmp_path / "dump.json"
    path.write_text(
        '[\n{"type":"item","id":"Q85","labels":{"en":{"language":"en","value":"Cairo"}},"claims":{'
        '"P6000":[{"mainsnak":{"snaktype":"value","property":"P6000","datavalue":{"value":{"entity-type":"item",'
        '"numeric-id":7,"id":"Q7"},"type":"wikibase-entityid"},"datatype":"wikibase-item"},"type":"statement","rank":'
        '"normal"}],"P17":[{"mainsnak":{"snaktype":"value","property":"P17","datavalue":{"value":{"entity-type":"item",'
        '"numeric-id":79,"id":"Q79"},"type":"wikibase-entityid"},"datatype":"wikibase-item"},"type":"statement","rank":'
        '"normal"}],"P1082":[{"mainsnak":{"snaktype":"value","property":"P1082","datavalue":{"value":{"amount":"+9",'
        '"unit":"1"},"type":"quantity"},"datatype":"quantity"},"type":"statement","rank":"normal"}]}}\n]\n',
        encoding="utf-8",
    )
    ((_, entity),) = read_entities(path)
    assert entity.facts == (("country", "Q79"), ("P6000", "Q7"))


@pytest.mark.parametrize(
    ("claims", "facts"),
    [
        # What tells most comes first, then what has no name, the oldest property first.
        ({"P9999": [about("Q1")], "P999": [about("Q2")], "P36": [about("Q3")], "P31": [about("Q4")]}, "Q4 Q3 Q2 Q1"),
        ({"P36": [about("Q1"), about("Q2", "preferred"), about("Q3", "deprecated")]}, "Q2"),
        ({"P36": [about("Q1", "deprecated")]}, ""),
        ({"P36": [about("Q1"), about("Q1")]}, "Q1"),
        ({"P36": [{"rank": "normal", "mainsnak": {"snaktype": "somevalue"}}]}, ""),
        ({"P36": [snak("text"), snak({"amount": "+1"}), snak({"time": "+2000"}), snak(7)]}, ""),
        ({"P36": [snak({"entity-type": "property", "id": "P36"}), snak({"entity-type": "lexeme", "id": "L1"})]}, ""),
        ({"P36": []}, ""),
        ([], ""),
    ],
)
def test_what_is_a_fact(tmp_path, claims, facts):
    assert " ".join(value for _, value in read(tmp_path / "dump.json", claims).facts) == facts


def test_no_more_facts_than_an_item_may_have(tmp_path):
    many = [about(f"Q{n}") for n in range(100)]
    assert len(read(tmp_path / "dump.json", {"P47": many}).facts) == MOST_VALUES
    facts = read(tmp_path / "dump.json", {f"P{n}": many for n in range(5000, 5100)}).facts
    assert len(facts) == MOST_FACTS
    assert facts[::MOST_VALUES] == tuple((f"P{n}", "Q0") for n in range(5000, 5000 + MOST_FACTS // MOST_VALUES))


@pytest.mark.parametrize(
    "claims",
    [
        {"P36": 7},
        {"P36": ["Q1"]},
        {"P36": {"0": about("Q1")}},
        {"P36": [{"rank": "normal"}]},
        {"P36": [{"rank": "normal", "mainsnak": {"datavalue": {}}}]},
        {"P36": [{"rank": "normal", "mainsnak": {"datavalue": None}}]},
        {"P36": [snak({"id": ["Q1"]})]},
        {"P36": [snak({"id": 1})]},
    ],
)
def test_claims_that_are_none(tmp_path, claims):
    assert read(tmp_path / "dump.json", claims) == "S922"
