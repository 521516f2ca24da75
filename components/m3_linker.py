"""`m3_linker`: entities of a knowledge base for mentions in `doc.ents` or `doc.spans[key]`, with all scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from thinc.api import Config, Model, Optimizer, set_dropout_rate

from ..errors import Errors, SamarkandWarning, Warnings
from ..models.knowledge_base import DEFAULT_K
from ..models.link_questions import LinkQuestions
from ..models.m3 import M3Batch
from ..models.m3_linker_model import linker_loss
from ..models.m3_loss import tune_decision
from ..models.m3_turns import ORDERS, M3Answers
from ..models.nil import NIL
from .knowledge_pipe import KnowledgePipe
from .linker_annotations import NOT_ASKED, Link, annotate_links, register_links
from .linker_examples import check_links, gold_mentions, gold_place, training_candidates, with_gold_mentions
from .linker_links import make_link, row_of
from .linker_mentions import find_mentions, mention_spans
from .linker_scorer import score_linker
from .linker_table import TYPES, Mention, make_questions, text_keys
from .linker_texts import EntityTexts

DEFAULT_CONFIG = """
[model]
@architectures = "samarkand.PriorLinker.v1"
"""
DEFAULT_MODEL = Config().from_str(DEFAULT_CONFIG)["model"]
# Mentions are answered in groups of whole documents of about this many, so that memory does not grow with the batch.
GROUP_MENTIONS = 2048


@Language.factory(
    "m3_linker",
    assigns=["token.ent_kb_id", "doc.ents", "span._.candidates", "span._.nil_reason", "span._.link_scores"],
    requires=["doc.ents"],
    default_config={
        "model": DEFAULT_MODEL,
        "knowledge_base": None,
        "spans_key": None,
        "k": 10,
        "k_train": 8,
        "order": "easiest",
        "labels_discard": [],
        "types": {},
        "beta": None,
        "theta": None,
        "own_history": 0.5,
        "own_history_steps": 2000,
        "overwrite": True,
        "use_gold_ents": True,
        "store_kb": True,
        "scorer": {"@scorers": "samarkand.linker_scorer.v1"},
    },
    default_score_weights={
        "nel_overall_f": 1.0,
        "nel_micro_f": 0.0,
        "nel_micro_p": 0.0,
        "nel_micro_r": 0.0,
        "nel_linkable_acc": 0.0,
        "nel_nil_f": 0.0,
    },
)
def make_m3_linker(
    nlp: Language,
    name: str,
    model: Model[LinkQuestions, M3Answers],
    knowledge_base: str | None,
    spans_key: str | None,
    k: int,
    k_train: int,
    order: str,
    labels_discard: list[str],
    types: dict[str, str],
    beta: float | None,
    theta: float | None,
    own_history: float,
    own_history_steps: int,
    overwrite: bool,
    use_gold_ents: bool,
    store_kb: bool,
    scorer: Callable | None,
) -> M3Linker:
    """Make an `m3_linker` pipe.

    model (Model): `samarkand.PriorLinker.v1`, which needs no training, or `samarkand.M3Linker.v1`.
    knowledge_base (Optional[str]): File of `samarkand kb build`; None to set it by `set_knowledge_base`.
    spans_key (Optional[str]): Group of `doc.spans` whose spans are linked; None for `doc.ents`.
    k (int): Candidates of a mention.
    k_train (int): Candidates to learn from, the gold entity among them.
    order (str): Which mentions of a text come first: "easiest", "natural", "reverse" or "random".
    labels_discard (list[str]): Types of mentions that are not linked, such as DATE.
    types (dict[str, str]): What types of mentions or entities stand for, beside the usual ones: `{"TEAM": "ORG"}`.
    beta (Optional[float]): Weight of the first stage beside the second, 0 to 1; None for what `tune` found.
    theta (Optional[float]): Least score that links: 0 links whatever has a candidate; None for what `tune` found.
    own_history (float): Share of answers that the network learns to go on from its own, in the end.
    own_history_steps (int): Updates until then; it learns from gold answers at first.
    overwrite (bool): Whether ids that are there already are replaced.
    use_gold_ents (bool): Score on the mentions of the reference; False: on those that the pipeline finds.
    store_kb (bool): Save the knowledge base with the pipe; False: its path.
    scorer (Optional[Callable]): Scoring function.
    RETURNS (M3Linker): The pipe.
    """
    return M3Linker(
        nlp,
        model,
        name,
        knowledge_base=knowledge_base,
        spans_key=spans_key,
        k=k,
        k_train=k_train,
        order=order,
        labels_discard=labels_discard,
        types=types,
        beta=beta,
        theta=theta,
        own_history=own_history,
        own_history_steps=own_history_steps,
        overwrite=overwrite,
        use_gold_ents=use_gold_ents,
        store_kb=store_kb,
        scorer=scorer,
    )


class M3Linker(KnowledgePipe):
    """Entity linking as multiple choice, see `models.m3`; or, with another model, without training.

    Settings as in `make_m3_linker`.
    """

    def __init__(
        self,
        nlp: Language,
        model: Model[LinkQuestions, M3Answers],
        name: str = "m3_linker",
        *,
        knowledge_base: str | Path | None = None,
        spans_key: str | None = None,
        k: int = 10,
        k_train: int = 8,
        order: str = "easiest",
        labels_discard: Iterable[str] = (),
        types: Mapping[str, str] | None = None,
        beta: float | None = None,
        theta: float | None = None,
        own_history: float = 0.5,
        own_history_steps: int = 2000,
        overwrite: bool = True,
        use_gold_ents: bool = True,
        store_kb: bool = True,
        scorer: Callable | None = score_linker,
    ) -> None:
        _check(order in ORDERS, "order", order, f"one of {', '.join(ORDERS)}")
        _check(k >= 1, "k", k, "1 or more")
        _check(k_train >= 2, "k_train", k_train, "2 or more")
        _check(beta is None or 0 <= beta <= 1, "beta", beta, "a number from 0 to 1")
        _check(0 <= own_history <= 1, "own_history", own_history, "a share from 0 to 1")
        _check(own_history_steps >= 1, "own_history_steps", own_history_steps, "1 or more")
        super().__init__(
            nlp.vocab, model, name, knowledge_base=knowledge_base, beta=beta, theta=theta, store_kb=store_kb
        )
        self.spans_key, self.k, self.k_train, self.order = spans_key, k, k_train, order
        self.labels_discard = frozenset(labels_discard)
        self.types = {**TYPES, **{label.upper(): type.upper() for label, type in (types or {}).items()}}
        self.own_history, self.own_history_steps = own_history, own_history_steps
        self.overwrite, self.use_gold_ents = overwrite, use_gold_ents
        self.scorer = scorer
        self._lang = nlp.lang
        self._warned = False
        self._texts = EntityTexts(nlp.tokenizer, self._knowledge.open)
        register_links()

    def predict(self, docs: Iterable[Doc]) -> list[list[Link]]:
        """Answer mentions without setting anything.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[list[Link]]): The answers for each document.
        RAISES (ValueError): S932 without knowledge base, S933 for a document with groups of spans and not the one that
            is linked, S934 for a network that has not been trained.
        WARNS: SW931 for a document without any group.
        """
        found: list[list[Link]] = []
        group: list[tuple[Doc, list[Span]]] = []
        for doc in docs:
            spans = self._spans(doc)
            if group and sum(len(others) for _, others in group) + len(spans) > GROUP_MENTIONS:
                found += self._answer(group)
                group = []
            group.append((doc, spans))
        return found + self._answer(group)

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[list[Link]]) -> None:
        """Set links, candidates, scores and reasons.

        docs (Iterable[Doc]): The documents.
        scores (Sequence[list[Link]]): What `predict` returned for them.
        """
        for doc, links in zip(docs, scores):
            annotate_links(doc, links, self.spans_key)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from the mentions of a batch that have an id, or NIL. A model without weights learns nothing.

        examples (Iterable[Example]): The batch.
        drop (float): Dropout of thinc encoders below; torch networks have dropout settings of their own.
        sgd (Optional[Optimizer]): The optimizer; without one, gradients are left for `finish_update`.
        losses (Optional[dict[str, float]]): Losses by pipe, added to.
        RETURNS (dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "M3Linker.update")
        if not self.model.attrs["learns"] or not examples:
            return losses
        set_dropout_rate(self.model, drop)
        # A shared encoder waits for its listeners, so that a batch without mentions passes through too.
        questions = self._questions([eg.predicted for eg in examples], self._gold(examples, self.k_train))
        scores, backprop = self.model.begin_update(questions)
        loss, gradient = self.get_loss(examples, scores)
        backprop(gradient)
        if sgd is not None:
            self.finish_update(sgd)
        self.cfg["updates"] += 1
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: M3Batch) -> tuple[float, Any]:
        """The objective. An entity that is not among the candidates is learnt as NIL.

        examples (Iterable[Example]): The batch.
        scores (M3Batch): What the model read for it, while training.
        RETURNS (tuple[float, Tensor]): The loss, as a number and as what the model's callback takes.
        """
        gold = [gold_place(mention.candidates, mention.gold) for mention in self._gold(examples, self.k_train)]
        epsilon = self.own_history * min(1.0, self.cfg["updates"] / self.own_history_steps)
        seed = self.cfg["seed"] + self.cfg["updates"]
        loss = linker_loss(self.model, scores, np.array(gold, dtype=np.int64), epsilon=epsilon, seed=seed)
        return float(loss.total.detach()), loss.total

    def initialize(self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None) -> None:
        """Check the data against the knowledge base, and build the network or load its encoders.

        get_examples (Callable): Gives the training examples.
        nlp (Optional[Language]): The pipeline.
        RAISES (ValueError): S932 without knowledge base, S937 when there is nothing to learn from.
        WARNS: SW930 when links lead to entities that the knowledge base does not have.
        """
        validate_get_examples(get_examples, "M3Linker.initialize")
        if self.model.attrs["learns"]:
            check_links(get_examples(), self.kb, spans_key=self.spans_key, name=self.name)
        self.start_anew(int(np.random.randint(2**31)))
        self.model.initialize(X=[eg.predicted for eg in islice(get_examples(), 10)])

    def tune(self, examples: Iterable[Example], *, nlp: Language | None = None) -> tuple[float, float]:
        """Choose beta and theta that answer most of the annotated mentions right; they are saved with the pipe.

        examples (Iterable[Example]): Examples that were neither learnt from nor are tested on.
        nlp (Optional[Language]): The pipeline, when the pipe shares an encoder that has to run first.
        RETURNS (tuple[float, float]): beta and theta.
        RAISES (ValueError): S937 when no mention is annotated.
        """
        examples = [Example(eg.predicted.copy(), eg.reference) for eg in examples]
        before = [] if nlp is None else nlp.pipe_names[: nlp.pipe_names.index(self.name)]
        if before:
            with nlp.select_pipes(enable=before):
                for eg, doc in zip(examples, nlp.pipe([eg.predicted for eg in examples])):
                    eg.predicted = doc
        mentions = self._gold(examples, self.k, training=False)
        if not mentions:
            raise ValueError(Errors.S937.format(name=self.name))
        answers = self.model.predict(self._questions([eg.predicted for eg in examples], mentions))
        gold = [gold_place(mention.candidates, mention.gold) for mention in mentions]
        known = self.kb.entities({mention.gold for mention in mentions})
        beta, theta = tune_decision(answers, gold, [mention.gold in known for mention in mentions])
        self.cfg.update(beta=beta, theta=theta)
        return beta, theta

    def answer_with_gold(self, examples: Iterable[Example]) -> list[list[str]]:
        """What is answered to annotated mentions when all others of a text are remembered right: the most that history
        can do.

        examples (Iterable[Example]): The examples, about as many as are learnt from at once.
        RETURNS (list[list[str]]): For each the ids, or `NIL`, of its annotated mentions, see `gold_mentions`.
        """
        examples = list(examples)
        mentions = self._gold(examples, self.k, training=False)
        ids: list[list[str]] = [[] for _ in examples]
        if mentions:
            gold = np.array([gold_place(mention.candidates, mention.gold) for mention in mentions], dtype=np.int64)
            questions = replace(self._questions([eg.predicted for eg in examples], mentions), told=gold)
            for mention, link in zip(mentions, self._links(mentions, self.model.predict(questions))):
                ids[mention.document].append(link.kb_id)
        return ids

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score predicted against reference documents.

        examples (Iterable[Example]): The documents.
        RETURNS (dict[str, Any]): Scores by name, see `score_linker`.
        """
        if self.scorer is None:
            return {}
        if self.use_gold_ents:
            examples = [with_gold_mentions(eg, self.spans_key) for eg in examples]
            for eg, doc in zip(examples, self.pipe(eg.predicted for eg in examples)):
                eg.predicted = doc
        return self.scorer(examples, spans_key=self.spans_key)

    def _answer(self, group: list[tuple[Doc, list[Span]]]) -> list[list[Link]]:
        """Answers for the mentions of some documents."""
        docs = [doc for doc, _ in group]
        asked = [
            [(span.start, span.end, span.label_, None) for span in spans if span.label_ not in self.labels_discard]
            for _, spans in group
        ]
        mentions = find_mentions(docs, asked, self.kb, k=self.k, lang=self._lang)
        links: list[list[Link]] = [[] for _ in group]
        if mentions:
            answers = self.model.predict(self._questions(docs, mentions))
            for mention, link in zip(mentions, self._links(mentions, answers)):
                links[mention.document].append(link)
        for (_, spans), of_document in zip(group, links):
            left_out = [span for span in spans if span.label_ in self.labels_discard]
            of_document += [Link(s.start, s.end, s.label_, NIL, [], {}, NOT_ASKED) for s in left_out]
        return links

    def _spans(self, doc: Doc) -> list[Span]:
        """Mentions to link. Without their group it is a slip when there are others, else the text may have none."""
        spans = mention_spans(doc, self.spans_key, overwrite=self.overwrite)
        if spans is None and doc.spans:
            known = ", ".join(map(repr, doc.spans))
            message = Errors.S933.format(text=doc.text[:40], key=self.spans_key, known=known, name=self.name)
            raise ValueError(message)
        if spans is None and not self._warned:
            self._warned = True
            message = Warnings.SW931.format(text=doc.text[:40], key=self.spans_key, name=self.name)
            warnings.warn(message, SamarkandWarning, stacklevel=2)
        return spans or []

    def _gold(self, examples: Iterable[Example], k: int, *, training: bool = True) -> list[Mention]:
        """Annotated mentions of examples: as they are met, or with candidates to learn from."""
        examples = list(examples)
        docs, asked = [eg.predicted for eg in examples], [gold_mentions(eg, self.spans_key) for eg in examples]
        asked = [[mention for mention in of_doc if mention[2] not in self.labels_discard] for of_doc in asked]
        most = max(k, DEFAULT_K) if training else k
        mentions = find_mentions(docs, asked, self.kb, k=most, lang=self._lang, linked_k=self.k)
        if not training:
            return mentions
        return [replace(each, candidates=training_candidates(each.candidates, each.gold, k)) for each in mentions]

    def _questions(self, docs: list[Doc], mentions: Sequence[Mention]) -> LinkQuestions:
        return make_questions(
            docs,
            mentions,
            checksum=self.kb.checksum,
            order=self.order,
            types=self.types,
            read=self._texts,
            beta=self.beta,
            theta=self.theta,
        )

    def _links(self, mentions: Sequence[Mention], answers: M3Answers) -> list[Link]:
        checksum = self.kb.checksum
        keys = [text_keys(mention, checksum) for mention in mentions]
        names = self._texts.names(key for of_mention in keys for key in of_mention)
        columns = {name: None if value is None else value.tolist() for name, value in vars(answers).items()}
        return [
            make_link(mention, [names[key] for key in keys[row]], row_of(columns, row), self.theta)
            for row, mention in enumerate(mentions)
        ]


def _check(fits: bool, name: str, value: Any, expected: str) -> None:
    if not fits:
        raise ValueError(Errors.S936.format(name=name, value=value, expected=expected))
