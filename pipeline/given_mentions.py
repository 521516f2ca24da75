"""Documents whose mentions are given: tokens end where mentions end, and mentions may overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.records import NIL
from ..corpora.strict_parsing import SURROGATE
from ..errors import Errors
from .sources import UsageError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token

    from ..components.m3_linker import M3Linker

__all__ = ["load_linker", "mention_doc", "prepare_linker", "read_mentions", "told_links"]

# Group of `doc.spans` that given mentions are put into.
GROUP = "given"
FACTORY = "m3_linker"
UNTYPED = "ENTITY"


def load_linker(model: str | None, kb: str | Path | None) -> Language:
    """A pipeline that links given mentions.

    model (Optional[str]): Pipeline with an m3_linker: folder, package or bundled name.
    kb (Optional[str | Path]): A knowledge base: in place of the pipeline's own, or alone, to link without training.
    RETURNS (Language): The pipeline, prepared.
    RAISES (UsageError): S950 for neither, S951 for a pipeline without an m3_linker.
    RAISES (OSError | ValueError): As `PipelineSpec.load`, and as `KnowledgeBase`.
    """
    from .. import blank
    from .loading import PipelineSpec

    if model is None and kb is None:
        raise UsageError(Errors.S950)
    if model is None:
        nlp = blank("xx")
        nlp.add_pipe(FACTORY)
    else:
        nlp = PipelineSpec(model).load()
    linker = prepare_linker(nlp)
    if kb is not None:
        linker.set_knowledge_base(kb)
    return nlp


def prepare_linker(nlp: Language) -> M3Linker:
    """Make the linker of a pipeline answer given mentions, disabled or not, and leave out what would find some itself.

    nlp (Language): The pipeline.
    RETURNS (M3Linker): Its linker.
    RAISES (UsageError): S951 when it has none.
    """
    names = (*nlp.pipe_names, *nlp.disabled)
    name = next((name for name in names if nlp.get_pipe_meta(name).factory == FACTORY), None)
    if name is None:
        raise UsageError(Errors.S951.format(pipes=", ".join(nlp.pipe_names) or "none"))
    if name in nlp.disabled:
        nlp.enable_pipe(name)
    finders = [
        other for other in nlp.pipe_names if other != name and "doc.ents" in (nlp.get_pipe_meta(other).assigns or ())
    ]
    nlp.select_pipes(disable=finders)
    linker = nlp.get_pipe(name)
    linker.spans_key = GROUP
    return linker


def read_mentions(text: str, value: Any, where: str = "") -> list[dict[str, Any]]:
    """The mentions of a record, checked.

    text (str): The text.
    value (Any): What the record holds as its mentions.
    where (str): Where the record is, for messages that are not told of beside it.
    RETURNS (list[dict[str, Any]]): They, each with "start" and "end".
    RAISES (ValueError): S952 when they are no mentions of the text.
    """
    place = f"{where}, " if where else ""
    if not isinstance(value, list):
        raise ValueError(Errors.S952.format(reason=f"{place}{type(value).__name__} instead of a list"))
    for number, mention in enumerate(value, start=1):
        reason = _problem(text, mention)
        if reason:
            raise ValueError(Errors.S952.format(reason=f"{place}number {number} {reason}"))
    return value


def _problem(text: str, mention: Any) -> str:
    if not isinstance(mention, dict):
        return f"is {type(mention).__name__} instead of an object"
    start, end = mention.get("start"), mention.get("end")
    if type(start) is not int or type(end) is not int:
        return "has no start and end in whole numbers"
    if not 0 <= start < end <= len(text):
        return f"is at {start}-{end}, and the text has {len(text)} characters"
    if not text[start:end].strip():
        return f"at {start}-{end} is blank"
    label = mention.get("label", "")
    if not isinstance(label, str):
        return "has a label that is not a string"
    return "has a label with half of a surrogate pair" if SURROGATE.search(label) else ""


def mention_doc(nlp: Language, text: str, mentions: Sequence[dict[str, Any]]) -> Doc:
    """Tokenize a text so that no mention begins or ends within a token.

    nlp (Language): The pipeline.
    text (str): The text.
    mentions (Sequence[dict[str, Any]]): Its mentions, as `read_mentions` gives them.
    RETURNS (Doc): The document, the mentions in their order in `doc.spans["given"]`, without blanks at their edges.
    """
    doc = nlp.make_doc(text)
    bounds = [_trimmed(text, mention["start"], mention["end"]) for mention in mentions]
    _cut_tokens(doc, {edge for bound in bounds for edge in bound})
    labels = [mention.get("label") or UNTYPED for mention in mentions]
    doc.spans[GROUP] = [_span(doc, bound, label) for bound, label in zip(bounds, labels)]
    return doc


def told_links(doc: Doc) -> list[dict[str, Any]]:
    """What a linker said of the given mentions.

    doc (Doc): The document that it has read.
    RETURNS (list[dict[str, Any]]): For each mention "kb_id", null for NIL, "candidates", "nil_reason" and
        "link_scores".
    """
    return [
        {
            "kb_id": None if span.kb_id_ in ("", NIL) else span.kb_id_,
            "candidates": span._.candidates or [],
            "nil_reason": span._.nil_reason,
            "link_scores": span._.link_scores or {},
        }
        for span in doc.spans[GROUP]
    ]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    words = text[start:end]
    return start + len(words) - len(words.lstrip()), end - len(words) + len(words.rstrip())


def _cut_tokens(doc: Doc, edges: set[int]) -> None:
    ordered = sorted(edges)
    with doc.retokenize() as retokenizer:
        for token in doc:
            first = bisect_right(ordered, token.idx)
            last = bisect_left(ordered, token.idx + len(token))
            inside = [edge - token.idx for edge in ordered[first:last]]
            if inside:
                parts = [token.text[left:right] for left, right in zip([0, *inside], [*inside, len(token)])]
                retokenizer.split(token, parts, heads=_own_heads(token, len(parts)))


def _own_heads(token: Token, parts: int) -> list[tuple[Token, int]]:
    return [(token, part) for part in range(parts)]


def _span(doc: Doc, bound: Iterable[int], label: str) -> Span:
    span = doc.char_span(*bound, label=label, alignment_mode="expand")
    assert span is not None  # the bounds lie in the text and hold more than blanks
    return span
