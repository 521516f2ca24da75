"""Vectors of entities and of mentions with their context, by the bundled encoder as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import samarkand
from samarkand.models.knowledge_base import Entity
from samarkand.models.subword_tok2vec import build_subword_encoder
from samarkand.pipeline.given_mentions import GROUP, mention_doc

WINDOW = 24
BATCH = 256
LANGUAGES = ("en", "ar", "zh")


class Vectors:
    """Encodes texts; an entity is read in three languages at once."""

    def __init__(self) -> None:
        self._nlp = samarkand.blank("xx")
        self._encoder = build_subword_encoder(pretrained="subword_base")
        self._encoder.initialize(X=[self._nlp("a")])

    def entities(self, entities: Sequence[Entity]) -> np.ndarray:
        """RETURNS (np.ndarray): Mean vectors of names, types and descriptions, shape (n, width)."""
        docs = [self._nlp.make_doc(_text(entity)) for entity in entities]
        return np.stack([matrix.mean(axis=0) for matrix in self._encoded(docs)])

    def mentions(self, records: Iterable[dict[str, Any]]) -> list[np.ndarray]:
        """RETURNS (list[np.ndarray]): For each record mean vectors of mention and window, (mentions, 2 width)."""
        docs = [mention_doc(self._nlp, record["text"], record["spans"]) for record in records]
        return [
            np.stack(
                [
                    np.concatenate(
                        [
                            matrix[span.start : span.end].mean(axis=0),
                            matrix[max(0, span.start - WINDOW) : span.end + WINDOW].mean(axis=0),
                        ]
                    )
                    for span in doc.spans[GROUP]
                ]
            )
            for doc, matrix in zip(docs, self._encoded(docs))
        ]

    def _encoded(self, docs: list[Any]) -> Iterable[np.ndarray]:
        for start in range(0, len(docs), BATCH):
            yield from self._encoder.predict(docs[start : start + BATCH])


def _text(entity: Entity) -> str:
    names = list(dict.fromkeys(name for code, name in entity.names.items() if code in ("en", "ar", "zh"))) or [
        entity.id
    ]
    descriptions = [text[:200] for code, text in entity.descriptions.items() if code in ("en", "ar", "zh")]
    return " ; ".join([*names, entity.type, *descriptions])
