"""What is read of an entity: its name, type, description and facts, in the language of the mention."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import regex
from spacy.attrs import IDX
from spacy.tokens import Doc

from ..language_scripts import LANGUAGE_SCRIPTS
from ..models.kb_entities import Entity
from ..models.knowledge_base import KnowledgeBase
from ..models.link_questions import OptionText

# What a text without a better hint is likely to be in, by script.
_LIKELY = {
    "Latn": "en",
    "Arab": "ar",
    "Hani": "zh",
    "Hira": "ja",
    "Kana": "ja",
    "Hang": "ko",
    "Cyrl": "ru",
    "Grek": "el",
    "Hebr": "he",
    "Deva": "hi",
    "Beng": "bn",
    "Taml": "ta",
    "Telu": "te",
    "Thai": "th",
    "Ethi": "am",
    "Khmr": "km",
}
_SCRIPTS = regex.compile("|".join(rf"(?P<{script}>\p{{Script={script}}})" for script in _LIKELY))
# Languages whose texts are read where there is none in the language of the mention.
_FALLBACKS = ("mul", "", "en")
NAME_CHARACTERS, DESCRIPTION_CHARACTERS, FACT_CHARACTERS = 100, 200, 60
FACTS = 5
_NAMES = 32768

# Checksum of the knowledge base, language of the mention, id of the entity.
TextKey = tuple[str, str, str]


def mention_language(text: str, own: str) -> str:
    """Language that a mention is likely to be in.

    text (str): The mention.
    own (str): Language of the pipeline, which comes first for its own scripts.
    RETURNS (str): Code of the language of its first letter; "en" without any.
    """
    found = _SCRIPTS.search(text)
    if found is None:
        return "en"
    return own if found.lastgroup in LANGUAGE_SCRIPTS.get(own, ()) else _LIKELY[found.lastgroup]


def in_language(texts: Mapping[str, str], lang: str) -> str:
    """The text in a language, or the next best.

    texts (Mapping[str, str]): Texts by language.
    lang (str): The language.
    RETURNS (str): The text; "" when there is none.
    """
    for code in (lang, *_FALLBACKS):
        if texts.get(code):
            return texts[code]
    return next((texts[code] for code in sorted(texts) if texts[code]), "")


def entity_name(entity: Entity, lang: str) -> str:
    """What to call an entity.

    entity (Entity): The entity.
    lang (str): Language to call it in.
    RETURNS (str): A name, or an alias when it has none.
    """
    aliases = {code: names[0] for code, names in entity.aliases.items() if names}
    return in_language(entity.names, lang) or in_language(aliases, lang)


class EntityTexts:
    """Texts and names of entities.

    tokenizer (Callable[[str], Doc]): That of the pipeline.
    open (Callable[[], KnowledgeBase]): Gives the knowledge base.
    """

    def __init__(self, tokenizer: Callable[[str], Doc], open: Callable[[], KnowledgeBase]) -> None:
        self._tokenizer = tokenizer
        self._open = open
        self._names: OrderedDict[TextKey, str] = OrderedDict()

    def __call__(self, keys: Sequence[TextKey]) -> list[OptionText]:
        """Texts to read.

        keys (Sequence[TextKey]): Entities.
        RETURNS (list[OptionText]): Of each: name | type | description | facts.
        """
        kb = self._open()
        entities = kb.entities(id for _, _, id in keys)
        values = {value for entity in entities.values() for _, value in entity.facts[:FACTS]}
        linked = kb.entities(sorted(values))
        texts = []
        for _, lang, id in keys:
            # An entity that was removed meanwhile is read as its id.
            parts = _parts(entities[id], linked, lang) if id in entities else [id]
            texts.append(self._text(parts))
        return texts

    def names(self, keys: Iterable[TextKey]) -> dict[TextKey, str]:
        """Names to show.

        keys (Iterable[TextKey]): Entities.
        RETURNS (dict[TextKey, str]): Name of each.
        """
        keys = list(dict.fromkeys(keys))
        missing = [key for key in keys if key not in self._names]
        entities = self._open().entities(id for _, _, id in missing) if missing else {}
        for key in missing:
            self._names[key] = entity_name(entities[key[2]], key[1]) if key[2] in entities else key[2]
        found = {key: self._names[key] for key in keys}
        while len(self._names) > _NAMES:
            self._names.popitem(last=False)
        return found

    def _text(self, parts: list[str]) -> OptionText:
        doc = self._tokenizer(" | ".join(parts))
        ends = np.cumsum([len(part) + len(" | ") for part in parts])
        # The first part is the name, the second the type; what follows is all one.
        segments = np.searchsorted(ends, doc.to_array(IDX).astype(np.int64), side="right")
        return OptionText(doc, np.minimum(segments, 2))


def _parts(entity: Entity, linked: Mapping[str, Entity], lang: str) -> list[str]:
    parts = [entity_name(entity, lang)[:NAME_CHARACTERS], entity.type or "?"]
    description = in_language(entity.descriptions, lang)
    if description:
        parts.append(description[:DESCRIPTION_CHARACTERS])
    for key, value in entity.facts[:FACTS]:
        told = entity_name(linked[value], lang) if value in linked else value
        # Descriptions that were made of facts say them already.
        if told not in description:
            parts.append(f"{key}: {told}"[:FACT_CHARACTERS])
    return parts
