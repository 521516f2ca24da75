"""Links in texts that nobody annotated: names that the bundled recognizer confirms and that facts decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ..models.alias_keys import alias_key
from ..models.knowledge_base import Entity
from .fact_links import RIVAL, FactGraph, FactLink, link_by_facts
from .name_finder import FoundName, NameFinder
from .records import Record
from .silver_texts import SilverText

if TYPE_CHECKING:
    from spacy.language import Language

__all__ = ["SilverLinker", "is_named"]

# Codes of the names that are looked for in a language.
CODES = {"ar": ("ar",), "en": ("en", "mul"), "zh": ("zh", "zh-hant")}
# Texts that are recognized together.
BATCH = 256
# Mentions of one entity that a text is asked about.
REPEATED = 2
UNKNOWN = "MISC"
# Chinese name of a country with one of these means its people or its language.
OF_PEOPLE = "族人語语裔籍"
# A Chinese name of two characters often means something else than a place that is no weightier than this, and that
# the country is named too does not tell: "the Great Wall" is a district somewhere.
SHORT, LITTLE = 2, 3.0


class SilverLinker:
    """Finds links in texts.

    entities (Mapping[str, Entity]): The knowledge base by id, with facts whose keys are in English.
    nlp (Optional[Language]): A pipeline that finds PER, LOC and ORG. A name counts when it is one of its entities, of
        the type of what it may mean: many names are words of the language too. None to take every name.
    """

    def __init__(self, entities: Mapping[str, Entity], nlp: Language | None) -> None:
        self._entities = entities
        self._nlp = nlp
        self._graph = FactGraph(entities.values())
        self._finders: dict[str, NameFinder] = {}
        self._titles: dict[str, set[str]] = defaultdict(set)
        for entity in entities.values():
            if is_named(entity):
                for lang in CODES:
                    for name in _names(entity, lang):
                        self._titles[alias_key(name)].add(entity.id)

    def link(self, texts: Iterable[SilverText]) -> Iterator[Record]:
        """Find links.

        texts (Iterable[SilverText]): The texts.
        YIELDS (Dict[str, Any]): Records of those with links: "text", "lang", "group", and "spans" with "kb_id" and
            "bearers", the number of entities that the name was looked up for.
        """
        hopeful = filter(None, map(self._with_names, texts))
        while batch := list(islice(hopeful, BATCH)):
            for text, links in zip((text for text, _, _ in batch), self._confirmed(batch)):
                spans = self._spans(text, links)
                if spans:
                    yield {"text": text.text, "lang": text.lang, "group": text.group, "spans": spans}

    def _with_names(self, text: SilverText) -> tuple[SilverText, list[FoundName], str | None] | None:
        """The text with its names and title, if there is anything to link before they are confirmed."""
        if text.known:
            return text, [], None
        names = list(self._finder(text.lang).find(text.text))
        title = self._title(text.title)
        return (text, names, title) if link_by_facts(names, self._graph, title) else None

    def _confirmed(
        self, batch: list[tuple[SilverText, list[FoundName], str | None]]
    ) -> Iterator[list[tuple[FactLink, str]]]:
        """For each text the links with their labels."""
        for (text, names, title), labels in zip(batch, self._labels([text for text, _, _ in batch])):
            if text.known:
                yield [(FactLink(*span, frozenset(), 1), self._label(span[2])) for span in text.known]
                continue
            kept = names
            if labels is not None:
                confirmed = (self._of_label(name, labels) for name in names)
                kept = [name for name in confirmed if name is not None]
            links = link_by_facts(kept, self._graph, title)
            yield [(link, (labels or {}).get((link.start, link.end)) or self._label(link.id)) for link in links]

    def _labels(self, texts: list[SilverText]) -> Iterator[dict[tuple[int, int], str] | None]:
        """Labels by place: those that people have set, else those of the pipeline; None when there is neither."""
        asked = (text.text for text in texts if text.marked is None)
        found = self._nlp.pipe(asked) if self._nlp is not None else None
        for text in texts:
            if text.marked is not None:
                yield {(start, end): label for start, end, label in text.marked}
            else:
                doc = next(found) if found is not None else None
                yield None if doc is None else {(ent.start_char, ent.end_char): ent.label_ for ent in doc.ents}

    def _of_label(self, name: FoundName, labels: Mapping[tuple[int, int], str]) -> FoundName | None:
        """The name with what it can mean as an entity of that label; None when it is not one."""
        label = labels.get((name.start, name.end))
        ids = frozenset(id for id in name.ids if label and self._entities[id].type in (label, ""))
        return FoundName(name.start, name.end, ids) if ids else None

    def _label(self, id: str) -> str:
        return self._entities[id].type or UNKNOWN

    def _spans(self, text: SilverText, links: list[tuple[FactLink, str]]) -> list[Record]:
        seen: dict[str, int] = defaultdict(int)
        spans: list[Record] = []
        for link, label in links:
            if text.lang == "zh" and self._is_doubtful(text.text, link):
                continue
            seen[link.id] += 1
            if seen[link.id] <= REPEATED:
                place = {"start": link.start, "end": link.end, "label": label}
                spans.append({**place, "kb_id": link.id, "bearers": self._bearers(text, link)})
        return spans

    def _is_doubtful(self, text: str, link: FactLink) -> bool:
        is_little = self._entities[link.id].weight < LITTLE and link.end - link.start <= SHORT
        return text[link.end : link.end + 1] in tuple(OF_PEOPLE) or (
            is_little and bool(link.evidence) and all(map(self._graph.is_hub, link.evidence))
        )

    def _bearers(self, text: SilverText, link: FactLink) -> int:
        return max(len(self._titles[alias_key(text.text[link.start : link.end])]), link.candidates)

    def _finder(self, lang: str) -> NameFinder:
        if lang not in self._finders:
            # Those without facts too: one that bears the name as well makes a link uncertain.
            known = (each for each in self._entities.values() if is_named(each))
            names = ((name, each.id) for each in known for name in _names(each, lang))
            self._finders[lang] = NameFinder(names, han=lang == "zh", clitics=lang == "ar")
        return self._finders[lang]

    def _title(self, title: str | None) -> str | None:
        """The entity of a title: itself when it is an id, else the one that is called so, by far the weightiest."""
        if title is None or title in self._entities:
            return title
        ids = sorted(self._titles.get(alias_key(title), ()), key=lambda id: -self._entities[id].weight)
        weights = [self._entities[id].weight for id in ids[:2]]
        return ids[0] if weights and (len(weights) == 1 or weights[0] > weights[1] * RIVAL) else None


def is_named(entity: Entity) -> bool:
    """Whether an entity has a name of its own, not a word for its kind: English writes it with a capital.

    entity (Entity): The entity.
    RETURNS (bool): Whether it has; False without an English name.
    """
    first = entity.names.get("en", "")[:1]
    return first.isupper() or first.isdigit()


def _names(entity: Entity, lang: str) -> Iterator[str]:
    for code in CODES[lang]:
        if code in entity.names:
            yield entity.names[code]
        yield from entity.aliases.get(code, ())
