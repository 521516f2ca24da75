"""The systems of the linking benchmark, each as a function from records to answers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import spacy
from linking_data import Answers, Task
from samarkand.models.knowledge_base import KnowledgeBase
from samarkand.models.nil import NIL
from samarkand.pipeline.given_mentions import GROUP, load_linker, mention_doc, prepare_linker, told_links
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

CONFIG = Path(__file__).parent.parent / "configs" / "m3_linker.cfg"
BATCH = 64
OWN_NAME = ("exact", "clitic")


@dataclass(frozen=True)
class System:
    """A system.

    label (str): Name in the rows.
    settings (dict): Config values that differ from the recipe.
    learns (bool): Whether it is trained.
    told (bool): Whether it is told the right answers of other mentions of a text when it is tested.
    note (str): What the rows say of it.
    """

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    learns: bool = True
    told: bool = False
    note: str = ""


PIPE = "components.m3_linker"
MODEL = f"{PIPE}.model"
SYSTEMS = {
    "prior": System("prior only", learns=False, note="the likeliest bearer of just this name, else NIL"),
    "no-training": System("samarkand/m3_linker, no training", learns=False),
    "m3": System("samarkand/m3_linker"),
    "m3-no-history": System("samarkand/m3_linker, no history", {f"{MODEL}.history": "none"}),
    "m3-no-attention": System("samarkand/m3_linker, no option attention", {f"{MODEL}.attention": False}),
    "m3-no-prior": System("samarkand/m3_linker, no prior", {f"{MODEL}.prior": False}),
    "m3-no-verifier": System("samarkand/m3_linker, no verifier", {f"{MODEL}.verifier": "none"}),
    "m3-stage-1": System("samarkand/m3_linker, stage 1 only", {f"{MODEL}.verifier": "first"}),
    "m3-stage-2": System("samarkand/m3_linker, stage 2 only", {f"{MODEL}.verifier": "second"}),
    "m3-random-order": System("samarkand/m3_linker, random order", {f"{PIPE}.order": "random"}),
    "m3-natural-order": System("samarkand/m3_linker, natural order", {f"{PIPE}.order": "natural"}),
    "m3-gold-history": System(
        "samarkand/m3_linker, learnt on gold history", {f"{PIPE}.own_history": 0.0}, note="tested on its own history"
    ),
    "m3-told": System(
        "samarkand/m3_linker, gold history",
        {f"{PIPE}.own_history": 0.0},
        told=True,
        note="learnt and tested on gold history: the most that history can do",
    ),
    "bi": System("bi-encoder", note="two projections of frozen vectors of the same encoder"),
    "spacy": System("spacy/entity_linker", note="entity vectors from the same encoder"),
}


def make_system(name: str, task: Task, *, seed: int, steps: int) -> Callable[[list[dict[str, Any]]], Answers]:
    """Train a system, if it learns.

    name (str): Key of `SYSTEMS`.
    task (Task): What to learn from.
    seed (int): Seed of weights and order.
    steps (int): Most steps.
    RETURNS (Callable): Answers the mentions of records.
    """
    if name == "prior":
        return partial(answer_by_prior, task.kb)
    if name == "spacy":
        from spacy_linker import train_spacy_linker

        return train_spacy_linker(task, seed=seed, steps=steps)
    if name == "bi":
        from bi_encoder import train_bi_encoder

        return train_bi_encoder(task, seed=seed, steps=steps)
    nlp = train_m3(name, task, seed, steps) if SYSTEMS[name].learns else load_linker(None, task.kb)
    return partial(answer_told if SYSTEMS[name].told else answer_given, nlp)


def answer_by_prior(path: Path, records: list[dict[str, Any]]) -> Answers:
    """RETURNS (Answers): The likeliest entity of each name, particles aside; NIL where nothing bears just this name."""
    answers = []
    with KnowledgeBase(path) as kb:
        for record in records:
            surfaces = [record["text"][span["start"] : span["end"]].strip() for span in record["spans"]]
            found = [own[0] if own else None for own in kb.candidates_batch(surfaces, 1)]
            answers.append([best.id if best is not None and best.match in OWN_NAME else None for best in found])
    return answers


def train_m3(name: str, task: Task, seed: int, steps: int) -> Language:
    """RETURNS (Language): The trained pipeline at its best step on dev."""
    overrides = {"paths.kb": str(task.kb), "training.max_steps": steps, "training.patience": 0}
    config = load_config(CONFIG, {**overrides, **SYSTEMS[name].settings}, interpolate=False)
    for split, paths in (("train", task.train), ("dev", task.dev)):
        config["corpora"][split]["path"] = [str(path) for path in paths]
    config["training"]["seed"] = config["system"]["seed"] = seed
    config["training"]["eval_frequency"] = max(10, steps // 8)
    config["training"]["optimizer"]["learn_rate"]["warmup_steps"] = max(1, steps // 20)
    config["components"]["m3_linker"].update(store_kb=False, own_history_steps=steps)
    nlp = init_nlp(config.interpolate())
    with tempfile.TemporaryDirectory() as folder:
        train(nlp, Path(folder), stdout=sys.stderr, stderr=sys.stderr)
        best = spacy.load(Path(folder) / "model-best")
    prepare_linker(best)
    return best


def answer_given(nlp: Language, records: list[dict[str, Any]]) -> Answers:
    """RETURNS (Answers): What a linker of ours says of the mentions of records."""
    docs = nlp.pipe((mention_doc(nlp, record["text"], record["spans"]) for record in records), batch_size=BATCH)
    return [[link["kb_id"] for link in told_links(doc)] for doc in docs]


def answer_told(nlp: Language, records: list[dict[str, Any]]) -> Answers:
    """RETURNS (Answers): What a linker of ours says when it is told the right answers of the mentions before."""
    linker = prepare_linker(nlp)
    answers: list[list[str | None]] = []
    for start in range(0, len(records), BATCH):
        found = linker.answer_with_gold(_example(nlp, record) for record in records[start : start + BATCH])
        answers += [[None if id == NIL else id for id in of_record] for of_record in found]
    return answers


def _example(nlp: Language, record: dict[str, Any]) -> Example:
    doc = mention_doc(nlp, record["text"], record["spans"])
    linked = doc.copy()
    linked.spans[GROUP] = [
        Span(linked, span.start, span.end, label=span.label, kb_id=gold["kb_id"] or NIL)
        for span, gold in zip(doc.spans[GROUP], record["spans"])
    ]
    return Example(doc, linked)
