"""Links by facts: what they decide is linked, what they leave open is not."""

from samarkand.corpora.fact_links import FactGraph, link_by_facts
from samarkand.corpora.name_finder import FoundName
from samarkand.models.knowledge_base import Entity


def entity(id, weight=1.0, **facts):
    keys = {"capital_of": "capital of"}
    return Entity(id, names={"en": id}, weight=weight, facts=tuple((keys.get(k, k), v) for k, v in facts.items()))


GRAPH = FactGraph(
    [
        entity("France", 50),
        entity("Texas", 20),
        entity("Paris", 40, capital_of="France"),
        entity("Paris, Texas", 3, country="Texas"),
        entity("Paris Hilton", 5, citizenship="Texas"),
        entity("Lyon", 10, country="France"),
        entity("French", 30, language="France"),
    ]
)


def names(*options):
    return [FoundName(10 * at, 10 * at + 5, frozenset(ids)) for at, ids in enumerate(options)]


def links(*options, title=None):
    return [(link.start // 10, link.id) for link in link_by_facts(names(*options), GRAPH, title)]


def test_a_fact_decides_between_two_of_a_name():
    both = {"Paris", "Paris, Texas"}
    assert links(both, {"France"}) == [(0, "Paris"), (1, "France")]
    # Paris is weightier, and one fact for the other is not enough.
    assert links(both, {"Texas"}) == []
    assert links(both - {"Paris"}, {"Texas"}) == [(0, "Paris, Texas"), (1, "Texas")]


def test_two_facts_that_disagree_leave_it_open():
    assert links({"Paris, Texas", "Paris Hilton"}, {"Texas"}) == []


def test_without_a_fact_there_is_no_link():
    assert links({"Lyon"}, {"Texas"}) == []
    assert links({"Paris"}) == []
    assert links() == []


def test_the_same_name_twice_is_no_evidence_for_itself():
    graph = FactGraph([entity("A", located=""), entity("B", country="A")])
    assert link_by_facts(names({"A", "B"}, {"A", "B"}), graph) == []


def test_relations_that_any_text_holds_do_not_count():
    assert links({"French"}, {"France"}) == []
    assert "French" not in GRAPH
    assert set(GRAPH.near("France")) == {"Paris", "Lyon"}


def test_evidence_has_to_be_linked_itself():
    # Of the two, only Paris in Texas has a fact with Texas; with France out of the text, it goes, and Texas with it.
    assert links({"Paris", "Paris, Texas"}, {"Texas"}, {"Lyon"}) == []


def test_the_title_is_meant_by_its_name_and_is_evidence():
    assert links({"Paris", "Paris, Texas"}, title="Paris, Texas") == [(0, "Paris, Texas")]
    assert links({"Lyon"}, title="France") == [(0, "Lyon")]
    (link,) = link_by_facts(names({"Lyon"}), GRAPH, "France")
    assert (link.evidence, link.candidates) == (frozenset({"France"}), 1)
