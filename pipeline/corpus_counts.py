"""Counts over an annotated corpus: documents, mentions and links, by language and by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .pages import language_of

ENTITIES = "entities"
LINKED, NIL, UNLINKED = "linked", "nil", "none"


class LabelCount(NamedTuple):
    """Mentions of a label in a layer, and how many of them are linked, or linked to nothing."""

    layer: str
    label: str
    mentions: int
    linked: int
    nil: int


class LanguageCount(NamedTuple):
    """Documents of a language, their entities, and their spans in groups."""

    language: str
    documents: int
    entities: int
    spans: int


def layers_of(record: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The layers of a record.

    record (Mapping): The record.
    YIELDS (tuple[str, list[dict]]): "entities" and its mentions, then each group of spans as "spans/KEY".
    """
    yield ENTITIES, record["entities"]
    for key, spans in (record.get("spans") or {}).items():
        yield f"spans/{key}", spans


def link_of(span: Mapping[str, Any]) -> str:
    """RETURNS (str): "linked", "nil" when a linker found no entity for it, or "none" when no linker has seen it."""
    if "kb_id" not in span:
        return UNLINKED
    return NIL if span["kb_id"] is None else LINKED


class CorpusCounts:
    """What a corpus comes to. It grows with the labels and languages that are met, not with documents.

    documents (int): Records.
    characters (int): Characters of their texts.
    """

    def __init__(self) -> None:
        self.documents = self.characters = 0
        self._labels: Counter[tuple[str, str, str]] = Counter()
        self._languages: Counter[tuple[str, str]] = Counter()

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record.

        record (Mapping): The record.
        """
        language = language_of(record)
        self.documents += 1
        self.characters += len(record["text"])
        self._languages[language, "documents"] += 1
        for layer, spans in layers_of(record):
            kind = layer if layer == ENTITIES else "spans"
            self._languages[language, kind] += len(spans)
            self._labels.update((layer, span["label"], link_of(span)) for span in spans)

    def labels(self) -> list[LabelCount]:
        """RETURNS (list[LabelCount]): Entities before groups of spans, the most frequent label first."""
        totals: Counter[tuple[str, str]] = Counter()
        for (layer, label, _), count in self._labels.items():
            totals[layer, label] += count
        order = sorted(totals, key=lambda key: (key[0] != ENTITIES, key[0], -totals[key], key[1]))
        return [LabelCount(*key, totals[key], *(self._labels[(*key, link)] for link in (LINKED, NIL))) for key in order]

    def languages(self) -> list[LanguageCount]:
        """RETURNS (list[LanguageCount]): The language of the most documents first."""
        kinds = ("documents", ENTITIES, "spans")
        found = {language for language, _ in self._languages}
        rows = [LanguageCount(name, *(self._languages[name, kind] for kind in kinds)) for name in found]
        return sorted(rows, key=lambda row: (-row.documents, row.language))
