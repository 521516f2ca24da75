"""From mentions and their candidates to what a linker is asked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc

from ..models.kb_candidates import Candidate
from ..models.link_questions import LinkQuestions
from ..models.m3 import FEATURES
from ..models.m3_turns import order_mentions
from .linker_texts import EntityTexts, TextKey

# Names of types that different annotations give to the same thing.
TYPES = {
    **dict.fromkeys(("PER", "PERS", "PERSON", "PEOPLE", "HUMAN"), "PER"),
    **dict.fromkeys(("LOC", "LOCATION", "GPE", "GPE-LOC", "FAC", "FACILITY", "PLACE", "CITY", "COUNTRY"), "LOC"),
    **dict.fromkeys(("ORG", "ORGANIZATION", "ORGANISATION", "COMPANY", "CORPORATION", "INSTITUTION"), "ORG"),
}
UNKNOWN_AGREEMENT = 0.5


@dataclass(frozen=True)
class Mention:
    """A mention, and what it can mean.

    document (int): Number of its document.
    start, end (int): Its tokens, end exclusive.
    label (str): Its type; "" when it has none.
    lang (str): Language that it is likely to be in.
    candidates (Sequence[Candidate]): What it can mean, the best first.
    count (int): How many candidates a mention like it has when it is linked; of those to learn from there may be fewer.
    gold (Optional[str]): Id of what it means, `NIL`, or None when nobody has said.
    """

    document: int
    start: int
    end: int
    label: str
    lang: str
    candidates: Sequence[Candidate]
    count: int
    gold: str | None = None


def type_agreement(label: str, type: str, types: Mapping[str, str]) -> float:
    """Whether a mention's type is that of an entity.

    label (str): Of the mention; type (str): of the entity.
    types (Mapping[str, str]): Names of types that stand for others, in capital letters.
    RETURNS (float): 1 or 0; 0.5 when one is not known, or is of a kind that the other side may not tell apart.
    """
    label, type = label.upper(), type.upper()
    label, type = types.get(label, label), types.get(type, type)
    if label == type:
        return 1.0 if label else UNKNOWN_AGREEMENT
    known = set(types.values())
    return 0.0 if label in known and type in known else UNKNOWN_AGREEMENT


def text_keys(mention: Mention, checksum: str) -> list[TextKey]:
    """What tells the texts of a mention's candidates apart.

    mention (Mention): The mention.
    checksum (str): Of the knowledge base.
    RETURNS (list[TextKey]): Of each candidate.
    """
    return [(checksum, mention.lang, candidate.id) for candidate in mention.candidates]


def make_questions(
    docs: list[Doc],
    mentions: Sequence[Mention],
    *,
    checksum: str,
    order: str,
    types: Mapping[str, str],
    read: EntityTexts | Callable,
    beta: float,
    theta: float,
) -> LinkQuestions:
    """What is asked of some documents.

    docs (list[Doc]): The documents.
    mentions (Sequence[Mention]): Their mentions.
    checksum (str): Of the knowledge base.
    order (str): One of `m3_turns.ORDERS`.
    types (Mapping[str, str]): As in `type_agreement`.
    read (Callable): Gives texts of entities.
    beta, theta (float): What decides.
    RETURNS (LinkQuestions): The questions.
    """
    shape = len(mentions), max((len(mention.candidates) for mention in mentions), default=0)
    options, ids = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    features = np.zeros((*shape, len(FEATURES)), dtype=np.float32)
    places: dict[TextKey, int] = {}
    for row, mention in enumerate(mentions):
        count = len(mention.candidates)
        if count:
            keys = text_keys(mention, checksum)
            options[row, :count] = [places.setdefault(key, len(places)) for key in keys]
            ids[row, :count] = np.argsort(np.argsort([candidate.id for candidate in mention.candidates]))
            features[row, :count] = _features(mention, types)
    spans = np.array([(m.document, m.start, m.end) for m in mentions], dtype=np.int64).reshape(-1, 3)
    turns = _turns(docs, mentions, order)
    return LinkQuestions(docs, spans, turns, options, ids, features, list(places), read, beta, theta)


def _features(mention: Mention, types: Mapping[str, str]) -> list[tuple[float, ...]]:
    many = float(np.log1p(mention.count))
    return [
        (np.log(each.prior), each.similarity, type_agreement(mention.label, each.type, types), many)
        for each in mention.candidates
    ]


def _turns(docs: list[Doc], mentions: Sequence[Mention], order: str) -> np.ndarray:
    """Turn of each mention within its document; a random order depends on the text alone."""
    turns = np.zeros(len(mentions), dtype=np.int64)
    rows: dict[int, list[int]] = {}
    for row, mention in enumerate(mentions):
        rows.setdefault(mention.document, []).append(row)
    for document, of_document in rows.items():
        own = [mentions[row] for row in of_document]
        counts, margins = [mention.count for mention in own], [_margin(mention) for mention in own]
        seed = zlib.crc32(docs[document].text.encode("utf-8", "surrogatepass")) if order == "random" else 0
        turns[of_document] = order_mentions(order, counts, margins, [mention.start for mention in own], seed=seed)
    return turns


def _margin(mention: Mention) -> float:
    """Best prior less second best."""
    best = sorted((candidate.prior for candidate in mention.candidates), reverse=True)
    return best[0] - (best[1] if len(best) > 1 else 0.0) if best else 0.0
