"""spaCy's `entity_linker` on the candidates and priors of names, and the same training texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import spacy
from linking_data import Answers, Task
from linking_vectors import Vectors
from samarkand.corpora.records import NIL, read_records
from samarkand.models.knowledge_base import KnowledgeBase
from samarkand.pipeline.given_mentions import GROUP, mention_doc
from spacy.kb import InMemoryLookupKB
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import minibatch

VECTOR, CANDIDATES, BATCH = 64, 10, 16


def train_spacy_linker(task: Task, *, seed: int, steps: int) -> Callable[[list[dict[str, Any]]], Answers]:
    """Train spaCy's linker by its own defaults.

    task (Task): The task.
    seed (int): Seed of weights and order.
    steps (int): Batches of 16 texts.
    RETURNS (Callable): Answers the mentions of records.
    """
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("xx", config={"nlp": {"tokenizer": {"@tokenizers": "samarkand.ScriptTokenizer.v1"}}})
    nlp.add_pipe("sentencizer")
    linker = nlp.add_pipe("entity_linker", config={"entity_vector_length": VECTOR, "use_gold_ents": True})
    records = [record for path in task.train for record in read_records(path) if record["spans"]]
    every = [*records, *(record for each in task.sets for record in each.records)]
    linker.set_kb(lambda vocab: _knowledge(vocab, task, every))
    examples = [_example(nlp, record) for record in records]
    nlp.initialize(lambda: examples[:100])
    linker.set_kb(lambda vocab: _knowledge(vocab, task, every))
    order = random.Random(seed)
    done = 0
    while done < steps:
        order.shuffle(examples)
        for batch in minibatch(examples, BATCH):
            nlp.update(batch)
            done += 1
            if done == steps:
                break
    return partial(_answer, nlp)


def _knowledge(vocab: Any, task: Task, records: Iterable[dict[str, Any]]) -> InMemoryLookupKB:
    """The candidates of all mentions, under the words of each. spaCy takes priors that are 1 together at most."""
    result = InMemoryLookupKB(vocab, entity_vector_length=VECTOR)
    surfaces = list({record["text"][s["start"] : s["end"]].strip() for record in records for s in record["spans"]})
    with KnowledgeBase(task.kb) as kb:
        found = kb.candidates_batch(surfaces, CANDIDATES)
        entities = list(kb.entities({candidate.id for own in found for candidate in own}).values())
    vectors = Vectors().entities(entities)
    centred = vectors - vectors.mean(axis=0)
    reduced = centred @ np.linalg.svd(centred, full_matrices=False)[2][:VECTOR].T
    reduced = np.pad(reduced, ((0, 0), (0, VECTOR - reduced.shape[1]))).astype(np.float32)
    result.set_entities([e.id for e in entities], [e.weight for e in entities], [row.tolist() for row in reduced])
    for surface, own in zip(surfaces, found):
        total = sum(candidate.prior for candidate in own) * (1 + 1e-6)
        if own:
            result.add_alias(surface, [c.id for c in own], [c.prior / max(total, 1.0) for c in own])
    return result


def _example(nlp: Language, record: dict[str, Any]) -> Example:
    doc = _doc(nlp, record, gold=True)
    sentences = nlp.get_pipe("sentencizer")(_doc(nlp, record))
    return Example(sentences, nlp.get_pipe("sentencizer")(doc))


def _doc(nlp: Language, record: dict[str, Any], *, gold: bool = False) -> Doc:
    doc = mention_doc(nlp, record["text"], record["spans"])
    ids = [span.get("kb_id") or NIL if gold else "" for span in record["spans"]]
    spans = [Span(doc, s.start, s.end, label=s.label_, kb_id=id) for s, id in zip(doc.spans.pop(GROUP), ids)]
    doc.set_ents(spans)
    return doc


def _answer(nlp: Language, records: list[dict[str, Any]]) -> Answers:
    docs = list(nlp.pipe((_doc(nlp, record) for record in records), batch_size=BATCH))
    return [[None if ent.kb_id_ in ("", NIL) else ent.kb_id_ for ent in doc.ents] for doc in docs]
