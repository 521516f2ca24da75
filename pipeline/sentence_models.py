"""Sentence encoders by name: pipelines with a `sentence_encoder`, and models of `sentence-transformers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import path as bundled_path
from ..errors import Errors
from ..models.sentence_model import SentenceModel, load_sentence_model
from .loading import PipelineSpec
from .text_zone import text_zone

if TYPE_CHECKING:
    from spacy.language import Language

ENCODER = "sentence_encoder"


class PipelineSentenceModel:
    """The document vectors of a pipeline as a `SentenceModel`.

    Pipes that the encoder does not listen to are left out, and so are its other units, which may need them.

    nlp (Language): The pipeline.
    """

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        self._encoder = nlp.get_pipe(ENCODER)
        before = nlp.pipeline[: nlp.pipe_names.index(ENCODER)]
        needed = {name for name, pipe in before if _is_shared(pipe)}
        self._unused = [name for name in nlp.pipe_names if name not in needed]
        self._width: int | None = None
        self._fingerprint: str | None = None

    @property
    def width(self) -> int:
        """Width of a vector."""
        if self._width is None:
            self._width = self._vectors(["."], 1).shape[1]
        return self._width

    @property
    def fingerprint(self) -> str:
        """Of the pipe."""
        if self._fingerprint is None:
            self._fingerprint = self._encoder.fingerprint
        return self._fingerprint

    def encode(self, texts: Sequence[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Vectors of texts.

        texts (Sequence[str]): The texts; a blank one has a vector of zeros.
        batch_size (int): Texts encoded at once.
        progress (bool): Show a bar.
        RETURNS (np.ndarray): Shape (len(texts), width), float32.
        """
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        filled = [i for i, text in enumerate(texts) if text.strip()]
        if progress:
            from tqdm import tqdm

            batches = tqdm(range(0, len(filled), batch_size), desc="batches")
        else:
            batches = range(0, len(filled), batch_size)
        for start in batches:
            rows = filled[start : start + batch_size]
            vectors[rows] = self._vectors([texts[i] for i in rows], batch_size)
        return vectors

    def _vectors(self, texts: list[str], batch_size: int) -> np.ndarray:
        # Strings of the texts would otherwise stay in the vocabulary for ever.
        with text_zone(self._nlp):
            docs = list(self._nlp.pipe(texts, batch_size=batch_size, disable=self._unused))
            return self._encoder.document_vectors(docs)


def load_encoder(name: str | Path) -> SentenceModel:
    """Load a sentence encoder.

    name (str | Path): Folder, installed package or bundled name of a pipeline with a `sentence_encoder`; else folder
        or hub name of a model of `sentence-transformers` or `transformers`.
    RETURNS (SentenceModel): The encoder.
    RAISES (OSError): S508 when the pipeline does not load.
    RAISES (ValueError): S836 when the pipeline has no `sentence_encoder`, S800 when nothing can be loaded.
    """
    if not _is_pipeline(str(name)):
        return load_sentence_model(name)
    nlp = PipelineSpec(str(name)).load()
    if ENCODER in nlp.disabled:
        nlp.enable_pipe(ENCODER)
    if ENCODER not in nlp.pipe_names:
        pipes = ", ".join(nlp.pipe_names) or "none"
        raise ValueError(Errors.S836.format(name=name, pipes=pipes))
    return PipelineSentenceModel(nlp)


def _is_pipeline(name: str) -> bool:
    import spacy

    if Path(name).exists():
        return (Path(name) / "config.cfg").is_file()
    if spacy.util.is_package(name):
        return (spacy.util.get_package_path(name) / "meta.json").is_file()
    try:
        return bundled_path(name).exists()
    except OSError:
        return False


def _is_shared(pipe: object) -> bool:
    """Whether other pipes listen to one, as they do to `tok2vec`."""
    return bool(getattr(pipe, "listening_components", None))
