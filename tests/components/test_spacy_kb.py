"""Knowledge bases to and from spaCy's own: the same entities under the same names, as likely as before."""

from __future__ import annotations

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.components.spacy_kb import from_spacy_kb, to_spacy_kb
from samarkand.models.knowledge_base import Entity, build_knowledge_base
from spacy.kb import InMemoryLookupKB
from spacy.vocab import Vocab

ENTITIES = [
    Entity("Q90", "LOC", names={"en": "Paris", "ar": "باريس"}, aliases={"en": ["City of Light"]}, weight=9),
    Entity("Q830149", "LOC", names={"en": "Paris"}, counts={"Paris, Texas": 3}),
    Entity("Q167646", "PER", names={"en": "Paris", "zh": "帕里斯"}, aliases={"mul": ["\u200b"]}, weight=2),
]


@pytest.fixture
def kb(tmp_path):
    with build_knowledge_base(tmp_path / "a.kb", ENTITIES) as kb:
        yield kb


def priors(kb: InMemoryLookupKB, alias: str) -> dict[str, float]:
    return {found.entity_: found.prior_prob for found in kb.get_alias_candidates(alias)}


def test_to_spacy(kb):
    result = to_spacy_kb(kb, Vocab(), 3)
    assert sorted(result.get_entity_strings()) == ["Q167646", "Q830149", "Q90"]
    assert sorted(result.get_alias_strings()) == sorted(["Paris", "باريس", "City of Light", "帕里斯", "Paris, Texas"])
    assert priors(result, "باريس") == {"Q90": 1.0}
    assert priors(result, "Paris, Texas") == {"Q830149": 1.0}
    expected = {found.id: found.prior for found in kb.candidates("Paris", fuzzy=False)}
    assert priors(result, "Paris") == pytest.approx(expected)
    assert {found.entity_: found.entity_freq for found in result.get_alias_candidates("Paris")} == {
        "Q90": 9.0,
        "Q830149": 1.0,
        "Q167646": 2.0,
    }
    assert result.get_vector("Q90") == [0.0, 0.0, 0.0]


def test_a_spacy_linker_takes_it(kb):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "LOC", "pattern": "Paris"}])
    config = {"incl_context": False, "get_candidates": {"@misc": "spacy.CandidateGenerator.v1"}}
    linker = nlp.add_pipe("entity_linker", config=config)
    linker.set_kb(lambda vocab: to_spacy_kb(kb, vocab, 64))
    assert [ent.kb_id_ for ent in nlp("She lives in Paris.").ents] == ["Q90"]


def test_from_spacy(tmp_path):
    nlp = spacy.blank("ar")
    source = InMemoryLookupKB(nlp.vocab, entity_vector_length=1)
    source.set_entities(["A", "B", "C"], [5.0, 0.0, 1.0], [[0.0]] * 3)
    source.add_alias("القاهرة", ["A", "B"], [0.6, 0.2])
    source.add_alias("قاهرة المعز", ["A"], [0.9])
    found = {entity.id: entity for entity in from_spacy_kb(source)}
    assert set(found) == {"A", "B"}
    assert (found["A"].names, found["A"].aliases) == ({"ar": "قاهرة المعز"}, {"ar": ("القاهرة",)})
    assert (found["A"].weight, found["B"].weight) == (5.0, 1.0)
    with build_knowledge_base(tmp_path / "a.kb", found.values()) as kb:
        assert {c.id: c.prior for c in kb.candidates("القاهرة")} == pytest.approx({"A": 0.75, "B": 0.25}, abs=1e-3)


def test_a_vocab_that_lacks_the_strings_is_told(kb, tmp_path):
    to_spacy_kb(kb, Vocab(), 3).to_disk(tmp_path / "spacy")
    other = InMemoryLookupKB(Vocab(), entity_vector_length=3)
    other.from_disk(tmp_path / "spacy", exclude=["strings"])
    with pytest.raises(ValueError, match="S921"):
        list(from_spacy_kb(other))


names = st.text("abcABC 1.", min_size=1, max_size=3).filter(lambda name: name.strip(" ."))


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from("WXYZ"), st.tuples(names, st.lists(names, max_size=3), st.floats(1, 9)), min_size=1)
)
def test_there_and_back(tmp_path_factory, drawn):
    """In spaCy every name means the same entities with the same priors, and after the way back the same entities."""
    folder = tmp_path_factory.mktemp("kb")
    made = [Entity(id, names={"en": n}, aliases={"en": more}, weight=w) for id, (n, more, w) in drawn.items()]
    with build_knowledge_base(folder / "a.kb", made) as kb:
        spacy_kb = to_spacy_kb(kb, Vocab(), 1)
        with build_knowledge_base(folder / "b.kb", from_spacy_kb(spacy_kb)) as back:
            assert len(back) == len(kb) == spacy_kb.get_size_entities()
            for name in {name for n, more, _ in drawn.values() for name in (n, *more)}:
                first, second = ({c.id: c.prior for c in found.candidates(name, fuzzy=False)} for found in (kb, back))
                assert priors(spacy_kb, name) == pytest.approx(first, abs=1e-5)
                assert first.keys() == second.keys()
