"""`retriever`: the nearest records of a search index, for documents or sentences."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import ensure_path, minibatch, raise_error
from thinc.util import to_numpy

from ..errors import Errors, first_line
from ..models.index_changes import checked_count
from ..models.record_filter import Filter
from ..models.search_index import Hit, SearchIndex

DEFAULT_K = 10
UNITS = ("doc", "sent")
SETTINGS = ("index", "k", "filter", "min_score", "unit")
_FILE = "retriever.json"


@Language.factory(
    "retriever",
    assigns=["doc._.neighbours", "span._.neighbours"],
    default_config={"index": None, "k": DEFAULT_K, "filter": None, "min_score": None, "unit": "doc"},
)
def make_retriever(
    nlp: Language,
    name: str,
    index: str | None,
    k: int,
    filter: dict[str, Any] | None,
    min_score: float | None,
    unit: str,
) -> Retriever:
    """Make a `retriever` pipe.

    index (Optional[str]): Folder of the index, made by `samarkand index`; None to set it by `load_index`.
    k (int): Neighbours to find.
    filter (Optional[dict]): Conditions on the metadata of records, see `record_filter.filter_sql`.
    min_score (Optional[float]): Least score of a neighbour that is kept.
    unit (str): What is looked for: "doc" sets `doc._.neighbours`, "sent" sets `sent._.neighbours` of each sentence.
    RETURNS (Retriever): The pipe.
    """
    return Retriever(nlp, name, index=index, k=k, filter=filter, min_score=min_score, unit=unit)


class Retriever:
    """Looks vectors that an earlier pipe has set, such as `sentence_encoder`, up in an index.

    Neighbours are dictionaries of "id", "score", "text" and "metadata", the nearest first, and travel with the
    document (a DocBin makes tuples of lists); None where nothing was looked for. Settings as in `make_retriever`.
    """

    def __init__(
        self,
        nlp: Language,
        name: str = "retriever",
        *,
        index: str | None = None,
        k: int = DEFAULT_K,
        filter: Filter | None = None,
        min_score: float | None = None,
        unit: str = "doc",
    ) -> None:
        if unit not in UNITS:
            raise ValueError(Errors.S835.format(name="unit", value=unit, expected=" or ".join(UNITS)))
        k = checked_count("k", k)
        self.vocab = nlp.vocab
        self.name = name
        self.index, self.k, self.filter, self.min_score, self.unit = index, k, filter, min_score, unit
        self._configured = self._settings()
        self._nlp: Language | None = nlp
        self._error_handler: Callable = raise_error
        self._fingerprint = ""
        # An index is open in the process that opened it: another must not touch what it has inherited.
        self._opened: dict[int, SearchIndex] = {}
        for owner in (Doc, Span):
            if not owner.has_extension("neighbours"):
                owner.set_extension("neighbours", default=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_nlp": None, "_fingerprint": self._encoder_fingerprint(), "_opened": {}}

    def __call__(self, doc: Doc) -> Doc:
        """Look up one document.

        doc (Doc): The document.
        RETURNS (Doc): The document.
        """
        try:
            self.set_annotations([doc], self.predict([doc]))
        except Exception as error:
            self._error_handler(self.name, self, [doc], error)
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Look up documents.

        stream (Iterable[Doc]): The documents.
        batch_size (int): Documents looked up at once.
        YIELDS (Doc): The documents.
        """
        for docs in minibatch(stream, size=batch_size):
            try:
                self.set_annotations(docs, self.predict(docs))
                yield from docs
            except Exception as error:
                self._error_handler(self.name, self, docs, error)

    def predict(self, docs: Iterable[Doc]) -> list[list[list[Hit]]]:
        """Find neighbours without setting them.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[list[list[Hit]]]): For each document the neighbours of its units.
        RAISES (ValueError): S833 without an index, S824 and S834 for vectors that do not fit, S831 for those of
            another encoder.
        """
        units = [self._units(doc) for doc in docs]
        index = self._open_index()
        vectors = [self._vector(unit, index.state.width) for of_doc in units for unit in of_doc]
        found = index.search(np.array(vectors), self.k, filter=self.filter) if vectors else []
        least = -np.inf if self.min_score is None else self.min_score
        hits = iter([[hit for hit in of_unit if hit.score >= least] for of_unit in found])
        return [[next(hits) for _ in of_doc] for of_doc in units]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[list[list[Hit]]]) -> None:
        """Set neighbours.

        docs (Iterable[Doc]): The documents.
        scores (Sequence[list[list[Hit]]]): What `predict` returned for them.
        """
        for doc, found in zip(docs, scores):
            for unit, hits in zip(self._units(doc), found):
                unit._.neighbours = [asdict(hit) for hit in hits]

    def set_error_handler(self, error_handler: Callable) -> None:
        """Say what becomes of documents that cannot be looked up, as in spaCy's pipes.

        error_handler (Callable): Takes the pipe's name, the pipe, the documents and the error.
        """
        self._error_handler = error_handler

    def get_error_handler(self) -> Callable:
        """RETURNS (Callable): What becomes of documents that cannot be looked up; by default the error is raised."""
        return self._error_handler

    def load_index(self, folder: str | Path) -> None:
        """Use an index from now on.

        folder (str | Path): Its folder.
        RAISES (ValueError): As `SearchIndex.open`.
        """
        index = SearchIndex.open(folder, fingerprint=self._encoder_fingerprint() or None)
        opened = self._opened.pop(os.getpid(), None)
        if opened is not None:
            opened.close()
        self.index = str(folder)
        self._opened[os.getpid()] = index

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the settings; the index stays where it is.

        path (str | Path): Folder; it is made.
        exclude (Iterable[str]): Not used.
        """
        folder = ensure_path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_bytes(self.to_bytes())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Retriever:
        """Load the settings.

        path (str | Path): Folder.
        exclude (Iterable[str]): Not used.
        RETURNS (Retriever): The pipe.
        RAISES (ValueError): S849 when they are missing or damaged.
        """
        file = ensure_path(path) / _FILE
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ValueError(Errors.S849.format(name=self.name, reason=first_line(error))) from error
        return self.from_bytes(data)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The settings as bytes.

        exclude (Iterable[str]): Not used.
        RETURNS (bytes): They.
        """
        return json.dumps({"configured": self._configured, "set": self._settings()}, ensure_ascii=False).encode()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> Retriever:
        """Load the settings. One that the config has changed since they were saved is the config's.

        data (bytes): What `to_bytes` gave.
        exclude (Iterable[str]): Not used.
        RETURNS (Retriever): The pipe.
        RAISES (ValueError): S849 when they are damaged.
        """
        try:
            saved = json.loads(data)
            configured, own = ({name: saved[part][name] for name in SETTINGS} for part in ("configured", "set"))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{_FILE}: {first_line(error)}"
            raise ValueError(Errors.S849.format(name=self.name, reason=reason)) from error
        for name in SETTINGS:
            if self._configured[name] == configured[name]:
                setattr(self, name, own[name])
        self._opened = {}
        return self

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def _units(self, doc: Doc) -> list[Doc | Span]:
        return [doc] if self.unit == "doc" else list(doc.sents) if len(doc) else []

    def _vector(self, unit: Doc | Span, width: int) -> np.ndarray:
        vector = to_numpy(unit.vector) if len(unit) else np.zeros(width, dtype=np.float32)
        if not vector.size:
            raise ValueError(Errors.S834.format(name=self.name, text=unit.text[:40]))
        if vector.shape != (width,):
            raise ValueError(Errors.S824.format(found=vector.shape, width=width))
        return vector

    def _open_index(self) -> SearchIndex:
        if self.index is None:
            raise ValueError(Errors.S833.format(name=self.name))
        if os.getpid() not in self._opened:
            self.load_index(self.index)
        return self._opened[os.getpid()]

    def _encoder_fingerprint(self) -> str:
        """Fingerprint of the last pipe before this one that has one; what it was where that is out of sight."""
        if self._nlp is None:
            return self._fingerprint
        for name, pipe in self._nlp.pipeline:
            if name == self.name or pipe is self:
                break
            self._fingerprint = getattr(pipe, "fingerprint", self._fingerprint)
        return self._fingerprint
