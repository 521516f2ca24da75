"""Small rule pipelines for the annotation tests; worker processes import this module too."""

from __future__ import annotations

import ctypes
import io
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import spacy
from samarkand.pipeline.worker import memory_of
from spacy.language import Language
from spacy.tokens import Doc, Span

if TYPE_CHECKING:
    import pytest

PATTERNS = [
    {"label": "LOC", "pattern": "Cairo", "id": "Q85"},
    {"label": "PER", "pattern": "Ada"},
    {"label": "LOC", "pattern": "القاهرة"},
    {"label": "ORG", "pattern": [{"TEXT": "Bank"}, {"TEXT": "of"}, {"TEXT": "Cairo"}]},
]

if not Span.has_extension("score"):
    Span.set_extension("score", default=None)


def give_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let standard input be a text."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@Language.component("test_picky")
def picky(doc: Doc) -> Doc:
    """Fail, die or stop at certain words."""
    if "POISON" in doc.text:
        raise ValueError("cannot stand\nthis document")
    if "DEATH" in doc.text:
        os._exit(7)
    if "STOP" in doc.text:
        raise KeyboardInterrupt
    return doc


@Language.component("test_slow")
def slow(doc: Doc) -> Doc:
    """Take some time."""
    time.sleep(0.02)
    return doc


@Language.component("test_poison")
def poison(doc: Doc) -> Doc:
    """Take the process down at certain words, in every way that there is."""
    if "EXIT" in doc.text:
        os._exit(7)
    if "CRASH" in doc.text:
        ctypes.string_at(0)
    if "HOG" in doc.text:
        # Asked for and not touched: at most 6.25 GiB, should nothing refuse it.
        doc.user_data["held"] = [numpy.empty(2**25, dtype=numpy.uint8) for _ in range(200)]
    while "LOOP" in doc.text:
        pass
    return doc


HELD: list[numpy.ndarray] = []


@Language.component("test_grower")
def grower(doc: Doc) -> Doc:
    """Let the process grow to half a gibibyte, and stay so."""
    while memory_of(None) < 2**29:
        HELD.append(numpy.ones(2**20))
    return doc


@Language.component("test_forgetful")
def forgetful(doc: Doc) -> Doc | None:
    """Give nothing back for certain documents."""
    return None if "VANISH" in doc.text else doc


class Sieve:
    """A component whose `pipe` silently leaves documents out."""

    def __call__(self, doc: Doc) -> Doc | None:
        return None if "VANISH" in doc.text else doc

    def pipe(self, docs: Iterable[Doc], batch_size: int = 1) -> Iterator[Doc]:
        for doc in docs:
            if "VANISH" not in doc.text:
                yield doc


@Language.factory("test_sieve")
def make_sieve(nlp: Language, name: str) -> Sieve:
    return Sieve()


@Language.component("test_grouper")
def grouper(doc: Doc) -> Doc:
    """Put nested spans in a group, with scores and identifiers."""
    spans = []
    for ent in doc.ents:
        spans.append(Span(doc, ent.start, ent.end, label=ent.label_, kb_id="Q85" if ent.text == "Cairo" else ""))
        if len(ent) > 1:
            spans.append(Span(doc, ent.end - 1, ent.end, label="LOC"))
        ent._.score = 0.875
    doc.spans["nested"] = spans
    return doc


@Language.component("test_untidy")
def untidy(doc: Doc) -> Doc:
    """Leave something in the document that no file can hold."""
    if "UNTIDY" in doc.text:
        doc.user_data["thing"] = object()
    return doc


def make_nlp(*components: str) -> Language:
    """A pipeline with rules for a few names, and the components named."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_ruler").add_patterns(PATTERNS)
    for component in components:
        nlp.add_pipe(component)
    return nlp


def files_in(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
