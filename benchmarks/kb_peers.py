"""spaCy's `InMemoryLookupKB` in the benchmark of large knowledge bases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from samarkand.models.knowledge_base import Entity
from spacy.kb import InMemoryLookupKB
from spacy.vocab import Vocab

# The shortest vectors: what a linker of spaCy's compares is much longer.
VECTOR = 1


def save_spacy(path: Path, made: Callable[..., Iterable[Entity]], *arguments: Any) -> float:
    """Make a knowledge base of spaCy's with the names of entities, and write it.

    path (Path): The folder.
    made (Callable): Gives the entities, each time the same; arguments (Any): what it takes.
    RETURNS (float): Seconds.
    """
    began = time.perf_counter()
    kb = InMemoryLookupKB(Vocab(), entity_vector_length=VECTOR)
    bearers: dict[str, dict[str, float]] = {}
    ids, weights = [], []
    for entity in made(*arguments):
        ids.append(entity.id)
        weights.append(entity.weight)
        for name in entity.names.values():
            bearers.setdefault(name, {})[entity.id] = entity.weight
    kb.set_entities(ids, weights, [[0.0] * VECTOR] * len(ids))
    for name, own in bearers.items():
        total = 1.001 * sum(own.values())
        kb.add_alias(name, list(own), [weight / total for weight in own.values()])
    path.mkdir(parents=True)
    kb.vocab.to_disk(path / "vocab")
    kb.to_disk(path / "kb")
    return time.perf_counter() - began


def open_spacy(path: Path) -> InMemoryLookupKB:
    """Read what `save_spacy` wrote.

    path (Path): The folder.
    RETURNS (InMemoryLookupKB): The knowledge base.
    """
    kb = InMemoryLookupKB(Vocab().from_disk(path / "vocab"), entity_vector_length=VECTOR)
    kb.from_disk(path / "kb")
    return kb
