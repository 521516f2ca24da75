"""The mentions of documents: where they stand, and what they can mean."""

from __future__ import annotations

from collections.abc import Sequence

from spacy.tokens import Doc, Span

from ..models.knowledge_base import KnowledgeBase
from .linker_table import Mention
from .linker_texts import mention_language

# First token, last exclusive, label, and the id or NIL, or None when nobody has said.
AskedMention = tuple[int, int, str, str | None]


def mention_spans(doc: Doc, spans_key: str | None, *, overwrite: bool) -> list[Span] | None:
    """Mentions of a document.

    doc (Doc): The document.
    spans_key (Optional[str]): Group of `doc.spans`; None for `doc.ents`.
    overwrite (bool): Whether those that have an id count too.
    RETURNS (Optional[list[Span]]): The mentions; None when there is no such group.
    """
    if spans_key is not None and spans_key not in doc.spans:
        return None
    spans = doc.ents if spans_key is None else doc.spans[spans_key]
    return [span for span in spans if len(span) and (overwrite or not span.kb_id)]


def find_mentions(
    docs: Sequence[Doc],
    asked: Sequence[Sequence[AskedMention]],
    kb: KnowledgeBase,
    *,
    k: int,
    lang: str,
    linked_k: int | None = None,
) -> list[Mention]:
    """Mentions with their candidates.

    docs (Sequence[Doc]): The documents.
    asked (Sequence[Sequence[AskedMention]]): The mentions of each.
    kb (KnowledgeBase): Where they are looked up.
    k (int): Candidates of a mention, at most.
    lang (str): Language of the pipeline.
    linked_k (Optional[int]): Candidates of a mention that is linked, at most, where that is not k.
    RETURNS (list[Mention]): The mentions, document by document.
    """
    mentions = []
    for number, (doc, of_document) in enumerate(zip(docs, asked)):
        names = [doc[start:end].text for start, end, _, _ in of_document]
        found = kb.candidates_batch(names, k, text=doc.text) if names else []
        for (start, end, label, gold), name, candidates in zip(of_document, names, found):
            language, count = mention_language(name, lang), min(len(candidates), linked_k or k)
            mentions.append(Mention(number, start, end, label, language, candidates, count, gold))
    return mentions
