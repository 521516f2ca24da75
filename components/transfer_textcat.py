"""`transfer_textcat`: classes of texts or pairs of texts, trained to carry over to languages without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors
from ..models.textcat_loss import UNKNOWN, probabilities, textcat_loss
from ..models.transfer import TransferWeights, add_terms, check_encoder, transfer_step
from .cats_scorer import score_cats
from .class_labels import ClassLabels
from .word_swaps import WordSwaps, make_character_noise

DEFAULT_CONFIG = """
[model]
@architectures = "samarkand.TransferTextcat.v1"

[model.tok2vec]
@architectures = "samarkand.SubwordEncoder.v1"
"""
DEFAULT_MODEL = Config().from_str(DEFAULT_CONFIG)["model"]
# How far soft labels of exclusive classes may be from a sum of 1.
SUM_TOLERANCE = 1e-3


@Language.factory(
    "transfer_textcat",
    assigns=["doc.cats"],
    default_config={
        "model": DEFAULT_MODEL,
        "exclusive": True,
        "threshold": 0.5,
        "transfer": {"robust": 0.0, "push": 0.0, "pull": 0.0, "block": None, "max_push": 1.0},
        "swaps": {"@misc": "samarkand.CharacterNoise.v1"},
        "scorer": {"@scorers": "samarkand.cats_scorer.v1"},
    },
    default_score_weights={"cats_score": 1.0, "cats_macro_f_langs": 0.0, "cats_macro_f_per_lang": None},
)
def make_transfer_textcat(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Floats2d],
    exclusive: bool,
    threshold: float,
    transfer: dict[str, Any],
    swaps: WordSwaps,
    scorer: Callable | None,
) -> TransferTextcat:
    """Make a `transfer_textcat` pipe.

    model (Model): `samarkand.TransferTextcat.v1` over any Tok2Vec encoder; its setting `pair` is for pairs of texts.
    exclusive (bool): Whether a text has exactly one class.
    threshold (float): Score from which a class counts as given: without exclusive classes, or with a positive label.
    transfer (dict): Weights of transfer training, see `TransferWeights`: "robust", "push" and "pull", 0 for off, and
        "block" and "max_push".
    swaps (WordSwaps): Makes the perturbed copies: `samarkand.NeighbourSwaps.v1`, `samarkand.VectorSwaps.v1` or
        `samarkand.CharacterNoise.v1`.
    scorer (Optional[Callable]): Scoring function.
    RETURNS (TransferTextcat): The pipe.
    """
    return TransferTextcat(
        nlp,
        model,
        name,
        exclusive=exclusive,
        threshold=threshold,
        transfer=TransferWeights.from_settings(transfer),
        swaps=swaps,
        scorer=scorer,
    )


class TransferTextcat(ClassLabels, TrainablePipe):
    """Text classification in `doc.cats`, with embedding-push, attention-pull and robust targets as switches.

    A document without tokens has 0 for every class. Labels may be soft: any values from 0 to 1. Settings as in
    `make_transfer_textcat`.
    """

    def __init__(
        self,
        nlp: Language,
        model: Model[list[Doc], Floats2d],
        name: str = "transfer_textcat",
        *,
        exclusive: bool = True,
        threshold: float = 0.5,
        transfer: TransferWeights | None = None,
        swaps: WordSwaps | None = None,
        scorer: Callable | None = score_cats,
    ) -> None:
        self.vocab = nlp.vocab
        self.model = model
        self.name = name
        self.exclusive = exclusive
        self.transfer = transfer or TransferWeights()
        self.swaps = swaps or make_character_noise()
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "labels": [],
            "threshold": threshold,
            "positive_label": None,
            "recall_thresholds": None,
        }
        self._has_learnt = False

    def predict(self, docs: Iterable[Doc]) -> np.ndarray:
        """Score classes without setting them.

        docs (Iterable[Doc]): The documents.
        RETURNS (np.ndarray): Scores from 0 to 1. (documents, classes)
        """
        docs = list(docs)
        scores = np.zeros((len(docs), len(self.labels)), dtype="f")
        if rows := [i for i, doc in enumerate(docs) if len(doc)]:
            logits = self.model.predict([docs[i] for i in rows])
            scores[rows] = probabilities(logits, exclusive=self.exclusive)
        return scores

    def set_annotations(self, docs: Iterable[Doc], scores: np.ndarray) -> None:
        """Set `doc.cats`.

        docs (Iterable[Doc]): The documents.
        scores (np.ndarray): What `predict` returned for them.
        """
        for doc, row in zip(docs, scores.tolist()):
            doc.cats.update(zip(self.labels, row))

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch of examples.

        examples (Iterable[Example]): The batch. Documents without labels are passed over, and labels that are missing
            where classes are not exclusive.
        drop (float): Dropout of thinc encoders below; torch networks have dropout settings of their own.
        sgd (Optional[Optimizer]): The optimizer; without one, gradients are left for `finish_update`.
        losses (Optional[dict[str, float]]): Losses by pipe, added to; the terms of transfer training that are switched
            on have entries such as "transfer_textcat_push".
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "TransferTextcat.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        targets = self._targets(examples)
        self._has_learnt = True
        set_dropout_rate(self.model, drop)
        docs = [eg.predicted for eg in examples]
        copies = self.swaps(docs) if self.transfer.is_on else docs

        def get_loss(scores: Floats2d, weight: float) -> tuple[float, Floats2d]:
            return textcat_loss(scores, targets, exclusive=self.exclusive, weight=weight)

        terms = transfer_step(self.model, docs, copies, self.transfer, get_loss)
        if sgd is not None:
            self.finish_update(sgd)
        add_terms(losses, self.name, terms)
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """The task's loss and its gradient.

        examples (Iterable[Example]): The batch.
        scores (Floats2d): The network's logits for it.
        RETURNS (tuple[float, Floats2d]): The loss, and the gradient of the logits.
        """
        return textcat_loss(scores, self._targets(list(examples)), exclusive=self.exclusive)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
        positive_label: str | None = None,
    ) -> None:
        """Read classes from the data, build the network, and see whether it can be trained as it is to be.

        get_examples (Callable): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[list[str]]): The classes, when known.
        positive_label (Optional[str]): Of two exclusive classes, the one that precision and recall are about.
        RAISES (ValueError): S621 when there is nothing to tell apart, S622 for labels that cannot be learnt, S623 for a
            positive label that does not fit, S602 to S606 when the encoder does not allow what `transfer` asks for, and
            S611 or S612 when there is nothing to make copies of.
        """
        validate_get_examples(get_examples, "TransferTextcat.initialize")
        if self.transfer.is_on:
            self.swaps.prepare(self.vocab)
        for label in labels or ():
            self.add_label(label)
        for eg in get_examples():
            self._check_cats(eg)
            if labels is None:
                for label in eg.reference.cats:
                    self.add_label(label)
        least = 2 if self.exclusive else 1
        if len(self.labels) < least:
            found = ", ".join(self.labels) or "none"
            raise ValueError(Errors.S621.format(name=self.name, least=least, labels=found))
        if positive_label is not None and (positive_label not in self.labels or len(self.labels) != 2):
            raise ValueError(Errors.S623.format(label=positive_label, labels=", ".join(self.labels)))
        self.cfg["positive_label"] = positive_label
        self._has_learnt = True
        self.model.set_dim("nO", len(self.labels))
        sample = [eg.predicted for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample)
        check_encoder(self.model, sample, self.transfer)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score predicted against reference documents.

        examples (Iterable[Example]): The documents. The first that are scored after an update, in training those of
            the development set, are what thresholds of recall are chosen on; later ones are judged by them.
        RETURNS (dict[str, Any]): Scores by name, see `score_cats`.
        """
        if self.scorer is None:
            return {}
        kept = {} if self._has_learnt else self.cfg["recall_thresholds"]
        scores = self.scorer(
            examples,
            labels=self.labels,
            multi_label=not self.exclusive,
            positive_label=self.cfg["positive_label"],
            threshold=self.cfg["threshold"],
            recall_thresholds=kept,
        )
        # A scorer that knows nothing of thresholds leaves none.
        self.cfg["recall_thresholds"] = kept or None
        self._has_learnt = False
        return scores

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> TransferTextcat:
        """Load the pipe; what it learnt before is gone, and thresholds of recall are those that were saved.

        bytes_data (bytes): What `to_bytes` returned.
        exclude (Iterable[str]): Parts to leave out.
        RETURNS (TransferTextcat): The pipe itself.
        """
        self._has_learnt = False
        return super().from_bytes(bytes_data, exclude=exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> TransferTextcat:
        """Load the pipe; what it learnt before is gone, and thresholds of recall are those that were saved.

        path (Union[str, Path]): The folder.
        exclude (Iterable[str]): Parts to leave out.
        RETURNS (TransferTextcat): The pipe itself.
        """
        self._has_learnt = False
        return super().from_disk(path, exclude=exclude)

    def _targets(self, examples: list[Example]) -> np.ndarray:
        """Gold scores, `UNKNOWN` where nothing is known. (examples, classes)"""
        targets = np.full((len(examples), len(self.labels)), UNKNOWN, dtype="f")
        for row, eg in zip(targets, examples):
            self._check_cats(eg)
            cats = eg.reference.cats
            if cats and len(eg.predicted):
                missing = 0.0 if self.exclusive else UNKNOWN
                row[:] = [cats.get(label, missing) for label in self.labels]
        return targets

    def _check_cats(self, eg: Example) -> None:
        values = list(eg.reference.cats.values())
        fits = all(0 <= value <= 1 for value in values)
        if values and self.exclusive:
            fits &= abs(sum(values) - 1) <= SUM_TOLERANCE
        if not fits:
            raise ValueError(Errors.S622.format(text=eg.reference.text[:40], cats=dict(eg.reference.cats)))
