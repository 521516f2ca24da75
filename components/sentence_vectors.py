"""Where vectors of a document and its spans are kept, and how spaCy's own attributes find them.

They are kept in `doc.user_data`, which travels with bytes, pickles and a DocBin with `store_user_data`.
spaCy's `vector`, `similarity` and their like are hooks of one document in one process: `attach_vectors` sets them
again where a document comes from elsewhere, such as `nlp.pipe(n_process=2)`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from spacy.tokens import Doc, Span
from thinc.util import to_numpy

from ..errors import Errors, SamarkandWarning, Warnings

KEY = "samarkand.sentence_vectors"


def store_vectors(doc: Doc, places: np.ndarray, vectors: np.ndarray) -> None:
    """Keep vectors with a document, and set the hooks.

    doc (Doc): The document.
    places (np.ndarray): Shape (1 + spans, 2): first token and last exclusive; the first row is the document.
    vectors (np.ndarray): Shape (1 + spans, width).
    """
    doc.user_data[KEY] = {"places": places.astype(np.int32), "vectors": to_numpy(vectors)}
    attach_vectors(doc)


def attach_vectors(doc: Doc) -> None:
    """Set the hooks of a document from elsewhere: `vector`, `has_vector`, `similarity`, and those of its spans.

    doc (Doc): The document.
    RAISES (ValueError): S803 if no `sentence_encoder` annotated it.
    """
    if KEY not in doc.user_data:
        raise ValueError(Errors.S803.format(text=doc.text[:40]))
    doc.user_hooks.update(vector=_doc_vector, has_vector=_has_vector, similarity=_similarity)
    doc.user_span_hooks.update(vector=_span_vector, has_vector=_has_vector, similarity=_similarity)


def _doc_vector(doc: Doc) -> np.ndarray:
    return doc.user_data[KEY]["vectors"][0]


def _span_vector(span: Span) -> np.ndarray:
    stored = span.doc.user_data[KEY]
    if stored["places"][0, 1] != len(span.doc):
        raise ValueError(Errors.S847.format(text=span.text[:40]))
    rows = np.flatnonzero((stored["places"] == (span.start, span.end)).all(axis=1))
    if not len(rows):
        raise ValueError(Errors.S804.format(text=span.text[:40]))
    return stored["vectors"][rows[0]]


def _has_vector(unit: Doc | Span) -> bool:
    return bool(unit.vector.any())


def _similarity(unit: Doc | Span, other: Any) -> float:
    first, second = to_numpy(unit.vector), to_numpy(other.vector)
    if first.shape != second.shape:
        raise ValueError(Errors.S807.format(first=len(first), second=len(second)))
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    if not norms:
        warnings.warn(Warnings.SW802, SamarkandWarning, stacklevel=3)
        return 0.0
    return float(first @ second / norms)
