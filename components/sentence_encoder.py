"""`sentence_encoder`: vectors of documents, sentences and spans."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from thinc.api import Config, Optimizer, chain

from ..errors import Errors
from ..models.sentence_transformer_units import prepare_whitening, unit_fingerprint, without_scaling
from ..models.sentence_units import UnitEncoder, spread
from ..models.shared_encoder import listeners
from ..models.token_pooling import ask_shared, count_words
from ..models.unit_whitening import build_whitening_layer, set_affine
from ..models.whitening import VectorStatistics, Whitening, check_whitening, load_whitening
from .sentence_vectors import store_vectors

DEFAULT_CONFIG = """
[model]
@architectures = "samarkand.TokenPooling.v1"
pooling = "mean"

[model.tok2vec]
@architectures = "samarkand.SubwordEncoder.v1"
"""
DEFAULT_MODEL = Config().from_str(DEFAULT_CONFIG)["model"]
SENTENCES, ENTITIES = "sents", "ents"

DocVectors = tuple[np.ndarray, np.ndarray]


@Language.factory(
    "sentence_encoder",
    assigns=["doc.vector", "doc.has_vector"],
    default_config={"model": DEFAULT_MODEL, "units": []},
    default_score_weights={},
)
def make_sentence_encoder(nlp: Language, name: str, model: UnitEncoder, units: list[str]) -> SentenceEncoder:
    """Make a `sentence_encoder` pipe.

    model (Model): `samarkand.TokenPooling.v1` over any Tok2Vec encoder, or `samarkand.SentenceTransformer.v1`.
    units (list[str]): What gets a vector beside the document: "sents", "ents", or groups of `doc.spans`.
    RETURNS (SentenceEncoder): The pipe.
    """
    return SentenceEncoder(nlp, model, name, units=units)


class SentenceEncoder(TrainablePipe):
    """Vectors for `doc.vector`, `doc.similarity`, and the same of sentences, entities and spans.

    A blank document has a vector of zeros, and `doc.has_vector` is False. Settings as in `make_sentence_encoder`.
    """

    def __init__(
        self, nlp: Language, model: UnitEncoder, name: str = "sentence_encoder", *, units: Sequence[str] = ()
    ) -> None:
        self.vocab = nlp.vocab
        self._encoder = model
        self._whitening = build_whitening_layer()
        self.model = chain(model, self._whitening)
        self.name = name
        self.units = list(units)
        self.cfg: dict[str, object] = {}
        # A shared encoder stands before its listeners, so it is there already, in a loaded pipeline as in a new one.
        ask_shared(model, nlp.components)

    @property
    def fingerprint(self) -> str:
        """RETURNS (str): Tells encoders apart whose vectors cannot be compared. A shared encoder has no part in it.

        A model of `sentence-transformers` has the same one in a pipeline and by itself.
        """
        own = unit_fingerprint(self._encoder)
        if not self._whitening.has_param("W"):
            return own
        return hashlib.sha256(own.encode() + self._whitening.to_bytes()).hexdigest()[:16]

    def predict(self, docs: Iterable[Doc]) -> list[DocVectors]:
        """Vectors, without setting them.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[DocVectors]): Of each document, the tokens of its units, shape (units, 2), the document first,
            and their vectors, shape (units, width).
        """
        docs = list(docs)
        if not docs:
            return []
        places = [self._places(doc) for doc in docs]
        vectors = self.model.ops.to_numpy(self.model.predict((docs, places)))
        return list(zip(places, spread(vectors, [len(rows) for rows in places])))

    def document_vectors(self, docs: Sequence[Doc]) -> np.ndarray:
        """Vectors of documents alone, whatever the units are, without setting them.

        docs (Sequence[Doc]): The documents, one or more.
        RETURNS (np.ndarray): Shape (len(docs), width), float32.
        """
        return self.model.ops.to_numpy(self.model.predict((docs, [_whole(doc) for doc in docs])))

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[DocVectors]) -> None:
        """Set the vectors.

        docs (Iterable[Doc]): The documents.
        scores (Sequence[DocVectors]): What `predict` returned for them.
        """
        for doc, (places, vectors) in zip(docs, scores):
            store_vectors(doc, places, vectors)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn nothing, but let a shared encoder go on: it waits for a gradient from the last of its listeners.

        examples (Iterable[Example]): The batch.
        drop (float): Not used.
        sgd (Optional[Optimizer]): Not used.
        losses (Optional[dict[str, float]]): Losses by pipe; this one's is 0.
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "SentenceEncoder.update")
        docs = [eg.predicted for eg in examples]
        for listener in listeners(self.model):
            vectors, backprop = listener.begin_update(docs)
            backprop([self.model.ops.alloc2f(*rows.shape) for rows in vectors])
        return losses

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        whitening: str | None = None,
    ) -> None:
        """Load or build the encoder, and count words where it weighs them.

        get_examples (Callable): Gives examples of the text.
        nlp (Optional[Language]): The pipeline; its shared encoder is asked for the first layer where that is pooled.
        whitening (Optional[str]): File of `samarkand whiten`, fitted on vectors of this very encoder.
        RAISES (ValueError): S815 if the file is no map, S818 as `ask_shared`, and as `set_whitening`.
        """
        validate_get_examples(get_examples, "SentenceEncoder.initialize")
        if nlp is not None:
            ask_shared(self._encoder, nlp.components)
        if self._encoder.attrs.get("pooling") == "weighted":
            count_words(self._encoder, (eg.reference for eg in get_examples()))
        docs = [eg.predicted for eg in islice(get_examples(), 10)]
        self._encoder.initialize(X=docs)
        if whitening is not None:
            self.set_whitening(load_whitening(whitening))

    def set_whitening(self, whitening: Whitening) -> None:
        """Whiten vectors from now on; kept when the pipeline is saved.

        A `Normalize` at the end of a model of `sentence-transformers` goes when the map was fitted without it, as
        `samarkand whiten` does.

        whitening (Whitening): Fitted on vectors of this pipe.
        RAISES (ValueError): S816 if it was fitted for another encoder, S810 for a model of another width.
        """
        prepare_whitening(self._encoder, whitening)
        matrix, offset = whitening.affine()
        set_affine(self._whitening, matrix, offset, whitening.normalize)

    def fit_whitening(
        self,
        docs: Iterable[Doc],
        dim: int | str | None = "auto",
        batch_size: int = 256,
        *,
        retained: float = 0.95,
        shrinkage: float | str = 0.0,
        exponent: float = 1.0,
    ) -> Whitening:
        """Fit a whitening map on the units of documents, and set it.

        It is the map that `samarkand whiten` fits on their texts: a `Normalize` at the end of a model of
        `sentence-transformers` goes, as in `set_whitening`.

        docs (Iterable[Doc]): Documents of the pipeline, annotated by the pipes before this one.
        dim (Optional[int | str]): Width to keep; "auto" by the variance that is retained, None for all.
        batch_size (int): Documents encoded at once.
        retained (float): Share of the variance that "auto" keeps.
        shrinkage (float | str): Weight of the round covariance, 0 to 1, or "oas"; for few documents.
        exponent (float): 1 whitens, 0 only rotates.
        RETURNS (Whitening): The map.
        RAISES (ValueError): S808 if the pipe whitens already, S732 for a bad value, S811 to S814 for the vectors.
        """
        if self._whitening.has_param("W"):
            raise ValueError(Errors.S808)
        check_whitening(dim, retained, shrinkage, exponent, 0.0)
        encoder, statistics, stream = without_scaling(self._encoder), VectorStatistics(), iter(docs)
        while batch := list(islice(stream, batch_size)):
            rows = encoder.ops.to_numpy(encoder.predict((batch, [self._places(doc) for doc in batch])))
            statistics.update(rows[rows.any(axis=1)].astype(np.float64))
        settings = {"retained": retained, "shrinkage": shrinkage, "exponent": exponent}
        whitening = statistics.whitening(dim, **settings, fingerprint=unit_fingerprint(encoder))
        self.set_whitening(whitening)
        return whitening

    def _places(self, doc: Doc) -> np.ndarray:
        """Tokens of the units of a document, the document itself first."""
        spans = {(0, len(doc)): None}
        if len(doc):
            spans.update({(span.start, span.end): None for unit in self.units for span in self._spans(doc, unit)})
        return np.array(list(spans), dtype=np.int64)

    def _spans(self, doc: Doc, unit: str) -> Iterable[Span]:
        if unit == SENTENCES:
            if not doc.has_annotation("SENT_START"):
                raise ValueError(Errors.S802.format(name=self.name))
            return doc.sents
        return doc.ents if unit == ENTITIES else doc.spans.get(unit, ())


def _whole(doc: Doc) -> np.ndarray:
    return np.array([[0, len(doc)]], dtype=np.int64)
