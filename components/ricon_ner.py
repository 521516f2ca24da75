"""`ricon_ner`: entities as scored spans, flat (`doc.ents`) or nested (`doc.spans[key]`)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from thinc.api import Config, Model, Optimizer, set_dropout_rate

from ..errors import Errors, SamarkandWarning, Warnings
from ..models.ricon_decode import CANDIDATE_TYPE, Candidates
from ..models.ricon_loss import IGNORED, LossWeights
from ..models.ricon_model import SpanScores
from ..models.transfer import TransferWeights, add_terms, check_encoder, transfer_step
from .class_labels import ClassLabels
from .ricon_annotations import annotate_spans, register_score, take_spans
from .ricon_scorer import MODES, score_ricon
from .ricon_targets import GoldSpans, gold_spans, least_width, reference_spans
from .word_swaps import WordSwaps, make_character_noise

DEFAULT_SPANS_KEY = "ricon"
# Documents are scored in groups of about this many tokens, so that memory does not grow with the batch.
GROUP_TOKENS = 16384

DEFAULT_CONFIG = """
[model]
@architectures = "samarkand.Ricon.v1"

[model.tok2vec]
@architectures = "samarkand.SubwordEncoder.v1"
"""
DEFAULT_MODEL = Config().from_str(DEFAULT_CONFIG)["model"]


@Language.factory(
    "ricon_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config={
        "model": DEFAULT_MODEL,
        "mode": "flat",
        "spans_key": DEFAULT_SPANS_KEY,
        "max_width": None,
        "beta": 1.0,
        "threshold": 0.0,
        "keep_existing": True,
        "loss_weights": {"aware": 1.0, "agnostic": 1.0, "orthogonality": 0.1, "segments": 0.0},
        "negatives": 1.0,
        "transfer": {"robust": 0.0, "push": 0.0, "pull": 0.0, "block": None, "max_push": 1.0},
        "swaps": {"@misc": "samarkand.CharacterNoise.v1"},
        "scorer": {"@scorers": "samarkand.ricon_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_ricon_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[SpanScores]],
    mode: str,
    spans_key: str,
    max_width: int | None,
    beta: float,
    threshold: float,
    keep_existing: bool,
    loss_weights: dict[str, float],
    negatives: float,
    transfer: dict[str, Any],
    swaps: WordSwaps,
    scorer: Callable | None,
) -> RiconNer:
    """Make a `ricon_ner` pipe.

    model (Model): The network, `samarkand.Ricon.v1` over any Tok2Vec encoder.
    mode (str): "flat" writes `doc.ents`; "nested" writes `doc.spans[spans_key]`, where spans may contain one another.
    spans_key (str): Group of spans that nested mode learns from and writes.
    max_width (Optional[int]): Widest span in tokens; None takes it from the training data.
    beta (float): Weight of the agnostic branch in a span's score; 0 leaves the decision to the aware branch.
    threshold (float): Least score of a span that is kept, 0 to 1.
    keep_existing (bool): Entities set before this pipe (an `entity_ruler`) win; False: the model's win.
    loss_weights (dict): Weights of the terms "aware", "agnostic" and "orthogonality", and in flat mode of "segments",
        the likelihood of the whole segmentation of a text.
    negatives (float): Share of the spans clear of any entity that a step learns from, 0 to 1: less than 1 finds more
        entities and errs more often.
    transfer (dict): Weights of transfer training, see `TransferWeights`: "robust", "push" and "pull", 0 for off, and
        "block" and "max_push".
    swaps (WordSwaps): Makes the perturbed copies, as in `transfer_textcat`; words of entities are never swapped.
    scorer (Optional[Callable]): Scoring function.
    RETURNS (RiconNer): The pipe.
    """
    return RiconNer(
        nlp,
        model,
        name,
        mode=mode,
        spans_key=spans_key,
        max_width=max_width,
        beta=beta,
        threshold=threshold,
        keep_existing=keep_existing,
        loss_weights=LossWeights(**loss_weights),
        negatives=negatives,
        transfer=TransferWeights.from_settings(transfer),
        swaps=swaps,
        scorer=scorer,
    )


class RiconNer(ClassLabels, TrainablePipe):
    """Named entity recognition by RICON (Gu et al. 2022): spans scored by their inside and by their ends.

    Settings as in `make_ricon_ner`.
    """

    def __init__(
        self,
        nlp: Language,
        model: Model[list[Doc], list[SpanScores]],
        name: str = "ricon_ner",
        *,
        mode: str = "flat",
        spans_key: str = DEFAULT_SPANS_KEY,
        max_width: int | None = None,
        beta: float = 1.0,
        threshold: float = 0.0,
        keep_existing: bool = True,
        loss_weights: LossWeights | None = None,
        negatives: float = 1.0,
        transfer: TransferWeights | None = None,
        swaps: WordSwaps | None = None,
        scorer: Callable | None = score_ricon,
    ) -> None:
        if mode not in MODES:
            raise ValueError(Errors.S401.format(mode=mode, known=", ".join(MODES)))
        if max_width is not None and max_width < 1:
            raise ValueError(Errors.S403.format(max_width=max_width))
        if not 0 <= negatives <= 1:
            raise ValueError(Errors.S406.format(negatives=negatives))
        loss_weights = loss_weights or LossWeights()
        if mode == "nested" and loss_weights.segments:
            raise ValueError(Errors.S407.format(weight=loss_weights.segments, mode=mode))
        self.vocab = nlp.vocab
        self.model = model
        self.name = name
        self.mode = mode
        self.spans_key = spans_key
        self.beta = beta
        self.threshold = threshold
        self.keep_existing = keep_existing
        self.loss_weights = loss_weights
        self.negatives = negatives
        self.transfer = transfer or TransferWeights()
        self.swaps = swaps or make_character_noise()
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": [], "max_width": max_width}
        register_score()

    @property
    def max_width(self) -> int | None:
        """RETURNS (Optional[int]): Widest span in tokens; None before initialization when left to the data."""
        return self.cfg["max_width"]

    def predict(self, docs: Iterable[Doc]) -> list[Candidates]:
        """Find spans without setting them.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[Candidates]): For each document its taken spans, in token offsets.
        """
        docs = list(docs)
        found: list[list[Candidates]] = [[] for _ in docs]
        if not self.labels or not any(len(doc) for doc in docs):
            return [np.empty(0, dtype=CANDIDATE_TYPE) for _ in docs]
        first = 0
        for group in _groups(docs):
            for scores in self.model.predict(group):
                for document, candidates in _split(*scores.decode(self.beta)):
                    found[first + document].append(candidates)
            first += len(group)
        nested = self.mode == "nested"
        return [take_spans(parts, doc, threshold=self.threshold, nested=nested) for parts, doc in zip(found, docs)]

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[Candidates]) -> None:
        """Set entities or spans, and their scores.

        docs (Iterable[Doc]): The documents.
        scores (Sequence[Candidates]): What `predict` returned for them.
        """
        for doc, candidates in zip(docs, scores):
            annotate_spans(doc, candidates, self.labels, spans_key=self._nested_key, keep_existing=self.keep_existing)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch of examples.

        examples (Iterable[Example]): The batch. Documents without entity annotation are passed over.
        drop (float): Dropout of thinc encoders below; torch networks have dropout settings of their own.
        sgd (Optional[Optimizer]): The optimizer; without one, gradients are left for `finish_update`.
        losses (Optional[dict[str, float]]): Losses by pipe, added to; the terms of transfer training that are switched
            on have entries such as "ricon_ner_push".
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "RiconNer.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        gold = [self._gold_spans(eg) for eg in examples]
        docs = [eg.predicted for eg in examples]
        copies = self.swaps(docs, [_tokens_of(spans) for spans in gold]) if self.transfer.is_on else docs

        def get_loss(scores: list[SpanScores], weight: float) -> tuple[float, list[SpanScores]]:
            return self._loss(gold, scores, weight)

        terms = transfer_step(self.model, docs, copies, self.transfer, get_loss)
        if sgd is not None:
            self.finish_update(sgd)
        add_terms(losses, self.name, terms)
        return losses

    def get_loss(self, examples: Iterable[Example], scores: list[SpanScores]) -> tuple[float, list[SpanScores]]:
        """The objective and its gradients.

        examples (Iterable[Example]): The batch.
        scores (list[SpanScores]): The network's output for it.
        RETURNS (tuple[float, list[SpanScores]]): The loss, and the gradient of each output.
        """
        return self._loss([self._gold_spans(eg) for eg in examples], scores)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: list[str] | None = None,
    ) -> None:
        """Read entity types and span widths from the data, and build the network.

        get_examples (Callable): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[list[str]]): The types, when known.
        RAISES (ValueError): S405 when there is no type to learn, S602 to S606 when the encoder does not allow what
            `transfer` asks for, and S611 or S612 when there is nothing to make copies of.
        WARNS: SW401 when spans are wider than the maximum: they can never be found and count as misses.
        """
        validate_get_examples(get_examples, "RiconNer.initialize")
        if self.transfer.is_on:
            self.swaps.prepare(self.vocab)
        for label in labels or ():
            self.add_label(label)
        widths: Counter[int] = Counter()
        sample: list[Doc] = []
        for eg in get_examples():
            if len(sample) < 10:
                sample.append(eg.predicted)
            for span in reference_spans(eg, self._nested_key):
                widths[len(span)] += 1
                if labels is None:
                    self.add_label(span.label_)
        if not self.labels:
            where = "doc.ents" if self.mode == "flat" else f"doc.spans[{self.spans_key!r}]"
            raise ValueError(Errors.S405.format(name=self.name, where=where))
        self._fit_width(widths)
        self.model.attrs["max_width"] = self.max_width
        self.model.set_dim("nO", len(self.labels))
        self.model.initialize(X=sample)
        check_encoder(self.model, sample, self.transfer)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score predicted against reference documents.

        examples (Iterable[Example]): The documents.
        RETURNS (dict[str, Any]): Scores by name, see `score_ricon`.
        """
        if self.scorer is None:
            return {}
        return self.scorer(examples, mode=self.mode, spans_key=self.spans_key)

    @property
    def _nested_key(self) -> str | None:
        """Group of nested spans; None in flat mode."""
        return self.spans_key if self.mode == "nested" else None

    def _loss(
        self, gold: list[GoldSpans | None], scores: list[SpanScores], weight: float = 1.0
    ) -> tuple[float, list[SpanScores]]:
        sizes = [sum(map(len, batch.windows)) for batch in scores]
        shares = [weight * size / sum(sizes) for size in sizes]
        parts = [batch.loss(gold, self.loss_weights, n, self.negatives) for n, batch in zip(shares, scores)]
        return sum(loss for loss, _ in parts), [gradient for _, gradient in parts]

    def _gold_spans(self, eg: Example) -> GoldSpans | None:
        return gold_spans(eg, self.labels, self._nested_key)

    def _fit_width(self, widths: Counter[int]) -> None:
        if self.max_width is None:
            self.cfg["max_width"] = least_width(widths)
        wide = sum(count for width, count in widths.items() if width > self.max_width)
        if wide:
            total, longest = sum(widths.values()), max(widths)
            message = Warnings.SW401.format(wide=wide, total=total, max_width=self.max_width, longest=longest)
            warnings.warn(message, SamarkandWarning, stacklevel=3)


def _tokens_of(spans: GoldSpans | None) -> set[int]:
    """Tokens of entities."""
    return {i for start, end, label in spans or () if label != IGNORED for i in range(start, end)}


def _groups(docs: list[Doc]) -> Iterator[list[Doc]]:
    group: list[Doc] = []
    tokens = 0
    for doc in docs:
        if group and tokens + len(doc) > GROUP_TOKENS:
            yield group
            group, tokens = [], 0
        group.append(doc)
        tokens += len(doc)
    if group:
        yield group


def _split(documents: np.ndarray, candidates: Candidates) -> Iterator[tuple[int, Candidates]]:
    """Candidates by document."""
    order = np.argsort(documents, kind="stable")
    documents, candidates = documents[order], candidates[order]
    firsts = np.flatnonzero(np.diff(documents, prepend=-1))
    for start, end in zip(firsts, [*firsts[1:], len(documents)]):
        yield int(documents[start]), candidates[start:end]
