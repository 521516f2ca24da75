"""Knowledge bases to and from spaCy's own `InMemoryLookupKB`, which its `entity_linker` takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import Errors
from ..models.knowledge_base import Entity, KnowledgeBase

if TYPE_CHECKING:
    from spacy.kb import InMemoryLookupKB
    from spacy.vocab import Vocab

# Aliases looked up at once.
BATCH = 4096
# A probability of spaCy's is this share of as many mentions, beside which weights count for next to nothing.
MENTIONS = 10_000
# Code of names in no language in particular.
NEUTRAL = "mul"


def to_spacy_kb(kb: KnowledgeBase, vocab: Vocab, vector_length: int) -> InMemoryLookupKB:
    """A spaCy knowledge base with the same entities and, under every name as it is written, the same priors.

    spaCy keeps no languages, descriptions, types or facts, and looks names up letter by letter. The vectors are zeros:
    set them from an encoder before a linker of spaCy's is trained.

    kb (KnowledgeBase): The knowledge base.
    vocab (Vocab): Where spaCy keeps the strings; that of the pipeline.
    vector_length (int): Dimensions of the entities' vectors.
    RETURNS (InMemoryLookupKB): All of it, in memory.
    """
    from spacy.kb import InMemoryLookupKB

    result = InMemoryLookupKB(vocab, entity_vector_length=vector_length)
    weights: dict[str, float] = {}
    names: dict[str, None] = {}
    for entity in kb:
        weights[entity.id] = entity.weight
        names.update(dict.fromkeys(_names(entity)))
    result.set_entities([*weights], [*weights.values()], [[0.0] * vector_length] * len(weights))
    waiting = iter(names)
    while batch := list(islice(waiting, BATCH)):
        for name, candidates in zip(batch, kb.candidates_batch(batch, k=len(weights), fuzzy=False)):
            exact = [candidate for candidate in candidates if candidate.match == "exact"]
            # Names that nobody can see find nothing.
            if exact:
                result.add_alias(name, [candidate.id for candidate in exact], [candidate.prior for candidate in exact])
    return result


def from_spacy_kb(kb: InMemoryLookupKB) -> Iterator[Entity]:
    """The entities of a spaCy knowledge base, for `build_knowledge_base`.

    An entity is named by its most probable alias, in the language of the vocab. Probabilities become counts of aliases,
    and the frequency the weight, 1 where there is none. An entity that no alias means is left out: nothing finds it.

    kb (InMemoryLookupKB): The spaCy knowledge base.
    YIELDS (Entity): The entities.
    RAISES (ValueError): S921 when the vocab does not know its strings.
    """
    lang = kb.vocab.lang or NEUTRAL
    counts: dict[str, dict[str, float]] = {}
    weights: dict[str, float] = {}
    try:
        for alias in kb.get_alias_strings():
            for candidate in kb.get_alias_candidates(alias):
                counts.setdefault(candidate.entity_, {})[alias] = candidate.prior_prob * MENTIONS
                weights[candidate.entity_] = candidate.entity_freq
    except KeyError:
        raise ValueError(Errors.S921) from None
    for id, own in counts.items():
        name, *others = sorted(own, key=own.__getitem__, reverse=True)
        aliases = {lang: others} if others else {}
        weight = weights[id] if weights[id] > 0 else 1.0
        yield Entity(id, names={lang: name}, aliases=aliases, weight=weight, counts=own)


def _names(entity: Entity) -> Iterator[str]:
    yield from entity.names.values()
    for aliases in entity.aliases.values():
        yield from aliases
    yield from entity.counts
