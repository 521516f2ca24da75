"""A small knowledge base in three languages, and linked texts in all of them mixed."""

from __future__ import annotations

from pathlib import Path

import samarkand
from samarkand.models.kb_entities import Entity
from samarkand.models.knowledge_base import KnowledgeBase, build_knowledge_base
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

SMALL_ENCODER = {
    "@architectures": "samarkand.SubwordEncoder.v1",
    "width": 32,
    "embed_width": 24,
    "word_rows": 500,
    "piece_rows": 500,
    "bigram_rows": 0,
    "dropout": 0.0,
    "token_dropout": 0.0,
}
SMALL_MODEL = {
    "@architectures": "samarkand.M3Linker.v1",
    "width": 16,
    "heads": 2,
    "hidden": 16,
    "dropout": 0.0,
    "window": 8,
    "mention_tokens": 6,
    "option_tokens": 16,
    "tok2vec": SMALL_ENCODER,
    "option_encoder": SMALL_ENCODER,
}
ENTITIES = [
    Entity("Q90", "LOC", {"en": "Paris", "ar": "باريس", "zh": "巴黎"}, facts=(("country", "Q142"),), weight=180),
    Entity("Q830149", "LOC", {"en": "Paris"}, {"en": ["Paris, Texas"]}, {"en": "city in Texas"}, weight=4),
    Entity("Q47899", "PER", {"en": "Paris Hilton"}, {"en": ["Paris"]}, {"en": "singer and heiress"}, weight=3),
    Entity("Q142", "LOC", {"en": "France", "ar": "فرنسا", "zh": "法国"}, weight=90),
    Entity("Q85", "LOC", {"en": "Cairo", "ar": "القاهرة", "zh": "开罗"}, weight=50),
    Entity(
        "Q312",
        "ORG",
        {"en": "Apple", "zh": "苹果"},
        descriptions={"en": "maker of phones", "zh": "手机公司"},
        weight=60,
    ),
    Entity("Q89", "", {"en": "apple", "zh": "苹果"}, descriptions={"en": "fruit", "zh": "水果"}, weight=20),
]
# Text, and (words, label, id) of each mention.
LINKED = [
    ("Paris is the capital of France .", [("Paris", "GPE", "Q90"), ("France", "GPE", "Q142")]),
    ("Cowboys of Paris in Texas ride .", [("Paris", "GPE", "Q830149")]),
    ("The singer Paris released a song .", [("Paris", "PERSON", "Q47899")]),
    ("سافر من باريس إلى القاهرة .", [("باريس", "LOC", "Q90"), ("القاهرة", "LOC", "Q85")]),
    ("我买了苹果手机。", [("苹果", "ORG", "Q312")]),
    ("我吃了苹果水果。", [("苹果", "FOOD", "Q89")]),
    ("Paris , my dog , barks .", [("Paris", "PET", "NIL")]),
    ("شركة Apple في 巴黎 .", [("Apple", "ORG", "Q312"), ("巴黎", "LOC", "Q90")]),
    ("Zanzibarland is nowhere .", [("Zanzibarland", "LOC", "NIL")]),
]


def make_kb(folder: Path) -> KnowledgeBase:
    """The knowledge base, in a folder."""
    return build_knowledge_base(folder / "small.kb", ENTITIES)


def make_nlp(kb: KnowledgeBase | None, model: dict | None = None, **settings: object) -> Language:
    """A pipeline of a linker."""
    nlp = samarkand.blank("xx")
    config = {"knowledge_base": None if kb is None else str(kb.path), "own_history_steps": 50, **settings}
    nlp.add_pipe("m3_linker", config=config if model is None else {**config, "model": model})
    return nlp


def make_doc(nlp: Language, text: str, mentions: list, key: str | None = None, *, linked: bool = True) -> Doc:
    """A document with its mentions in `doc.ents`, or in a group; the first place of each word."""
    doc = nlp.make_doc(text)
    spans = []
    for words, label, kb_id in mentions:
        start = text.index(words)
        spans.append(doc.char_span(start, start + len(words), label=label, kb_id=kb_id if linked else ""))
    if key is None:
        doc.set_ents(spans)
    else:
        doc.spans[key] = spans
    return doc


def make_examples(nlp: Language, data: list = LINKED, key: str | None = None) -> list[Example]:
    """Examples whose predicted documents have no mentions."""
    return [Example(nlp.make_doc(text), make_doc(nlp, text, mentions, key)) for text, mentions in data]


def link(nlp: Language, text: str, mentions: list, key: str | None = None) -> Doc:
    """A document with given mentions, linked."""
    return nlp.get_pipe("m3_linker")(make_doc(nlp, text, mentions, key, linked=False))


def told(doc: Doc, key: str | None = None) -> list[tuple]:
    """All that is told of the mentions of a document, numbers to four places."""
    spans = doc.ents if key is None else doc.spans[key]
    found = []
    for span in spans:
        ranked = [(c["id"], c["name"], c["match"], round(c["probability"], 4)) for c in span._.candidates]
        scores = {name: None if value is None else round(value, 4) for name, value in span._.link_scores.items()}
        found.append((span.start, span.end, span.kb_id_, span._.nil_reason, ranked, scores))
    return found
