"""Mentions for the linking benchmark: the same flat mentions, candidates and knowledge base for every system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import samarkand
from samarkand.corpora.linking_scores import Judged, LinkingScores, judge, score_links
from samarkand.corpora.linking_sets import UNTYPED, LinkingSet, linking_sets, resolve_titles
from samarkand.corpora.records import read_records, write_records
from samarkand.corpora.seeded import share_of
from samarkand.models.knowledge_base import Entity, KnowledgeBase, build_knowledge_base
from samarkand.pipeline.linking_evaluation import load_linking_sets, title_finder

# Ids of the mentions of each text, None for NIL.
Answers = Sequence[Sequence[str | None]]
K = 30
GOLD_DEV = ("wiki-fair/dev", "news-fair/dev")
# Share of silver texts whose mentions have no type, as those of the gold sets: what has types says too much by them.
UNTYPED_SHARE = 0.5


@dataclass(frozen=True)
class Task:
    """What a system learns from and is judged by.

    kb (Path): The knowledge base.
    train (list[Path]), dev (list[Path]): Linked texts.
    sets (list[LinkingSet]): Sets to answer; each mention has a gold answer, and none overlaps another.
    """

    kb: Path
    train: list[Path]
    dev: list[Path]
    sets: list[LinkingSet]


def real_task(
    data: str, silver: Path, names: Sequence[str] | None, *, templates: int, gold: bool, folder: Path
) -> Task:
    """The task on the corpora at hand.

    data (str): Folder of corpora.
    silver (Path): A folder that `corpora.silver_recipe` wrote.
    names (Optional[Sequence[str]]): Sets; None for all.
    templates (int): Texts of each file of templates to learn from.
    gold (bool): Whether to learn from the train part of OKE 2016 too, and to choose by the dev parts of `GOLD_DEV` too,
        whole and sentence by sentence.
    folder (Path): Where texts are written to.
    RETURNS (Task): The task.
    """
    train = [_partly_untyped(path, folder) for path in sorted(silver.glob("*/train.jsonl"))]
    if templates:
        train += [_partly_untyped(path, folder, templates) for path in sorted(silver.glob("*/*.train.jsonl"))]
    if gold:
        (oke,) = linking_sets(data, ["oke-2016/train"])
        train.append(folder / "oke-train.jsonl")
        write_records(train[-1], flat(oke).records)
    kb, dev = silver / "linking.kb", [_partly_untyped(path, folder) for path in sorted(silver.glob("*/dev.jsonl"))]
    with KnowledgeBase(kb) as opened:
        for number, each in enumerate(linking_sets(data, GOLD_DEV) if gold else ()):
            dev.append(folder / f"dev-{number}.jsonl")
            records = _resolved(each, opened).records
            write_records(dev[-1], [*records, *_sentences(records)])
        sets = [_resolved(each, opened) for each in load_linking_sets(data, names, silver) if each.split == "test"]
    return Task(kb, train, dev, sets)


def _partly_untyped(path: Path, folder: Path, most: int | None = None) -> Path:
    """A copy of silver text, or of so many of its texts, in which some have no types."""
    copy = folder / f"{path.parent.name}-{path.name}"
    records = list(read_records(path))
    if most is not None:
        records = sorted(records, key=lambda record: share_of("drawn", record["text"]))[:most]
    write_records(copy, map(_untyped, records))
    return copy


def _untyped(record: dict[str, Any]) -> dict[str, Any]:
    if share_of("untyped", record["text"]) >= UNTYPED_SHARE:
        return record
    return {**record, "spans": [{**span, "label": UNTYPED} for span in record["spans"]]}


def _sentences(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sentences of texts, with the mentions that lie in one."""
    nlp = samarkand.blank("xx")
    nlp.add_pipe("sentencizer")
    for record in records:
        for sentence in nlp(record["text"]).sents:
            first, last = sentence.start_char, sentence.end_char
            spans = [
                {**span, "start": span["start"] - first, "end": span["end"] - first}
                for span in record["spans"]
                if first <= span["start"] and span["end"] <= last
            ]
            if spans:
                yield {**record, "text": sentence.text, "spans": spans}


def quick_task(folder: Path) -> Task:
    """RETURNS (Task): A made-up task: two towns of each name, told apart by their country."""
    kb, places = [], ("Alder", "Birch", "Cedar", "Dogwood")
    countries = ("Norland", "Sudland")
    kb += [Entity(country, type="LOC", names={"en": country}, weight=5.0) for country in countries]
    for place in places:
        for weight, country in enumerate(countries, start=1):
            facts = (("country", country),)
            texts = {"en": f"town in {country}"}
            made = Entity(f"{place}-{country}", type="LOC", names={"en": place}, descriptions=texts, facts=facts)
            kb.append(replace(made, weight=float(weight)))
    build_knowledge_base(folder / "quick.kb", kb).close()
    records = []
    for place in (*places, "Nowhere"):
        for country in countries:
            text = f"They live in {place} , a town of {country} ."
            id = None if place == "Nowhere" else f"{place}-{country}"
            spans = [_span(text, place, id), _span(text, country, country)]
            records.append({"text": text, "lang": "en", "spans": spans})
    write_records(folder / "quick.jsonl", records)
    files = [folder / "quick.jsonl"]
    return Task(
        folder / "quick.kb", files, files, [LinkingSet("made-up", "en", "test", "", list(read_records(*files)))]
    )


def _span(text: str, name: str, id: str | None) -> dict[str, Any]:
    start = text.index(name)
    return {"start": start, "end": start + len(name), "label": "LOC", "kb_id": id}


def flat(linked: LinkingSet) -> LinkingSet:
    """The set without mentions inside others, which not every system takes.

    linked (LinkingSet): A set.
    RETURNS (LinkingSet): The longest of mentions that overlap, those that have a gold answer.
    """
    return replace(linked, records=[{**record, "spans": _longest(record["spans"])} for record in linked.records])


def _longest(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for span in sorted(spans, key=lambda span: (span["start"] - span["end"], span["start"])):
        if "kb_id" in span and all(span["end"] <= other["start"] or other["end"] <= span["start"] for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span["start"])


def _resolved(linked: LinkingSet, kb: KnowledgeBase) -> LinkingSet:
    found = resolve_titles(linked.records, title_finder(kb, linked.lang))
    records = [record for record in flat(replace(linked, records=found)).records if record["spans"]]
    return replace(linked, records=records)


def judge_sets(task: Task, answer: Callable[[list[dict[str, Any]]], Answers]) -> dict[str, LinkingScores]:
    """Score a system.

    task (Task): The task.
    answer (Callable): Answers the mentions of records.
    RETURNS (dict[str, LinkingScores]): Scores by set.
    """
    scores = {}
    with KnowledgeBase(task.kb) as kb:
        for each in task.sets:
            answers = answer(each.records)
            scores[each.name] = score_links(
                [_judged(kb, record, given) for record, given in zip(each.records, answers)], ks=(10, K)
            )
    return scores


def _judged(kb: KnowledgeBase, record: dict[str, Any], given: Sequence[str | None]) -> list[Judged]:
    surfaces = [record["text"][span["start"] : span["end"]].strip() for span in record["spans"]]
    golds = [[span["kb_id"], *span.get("alternatives", ())] for span in record["spans"]]
    known = kb.entities({id for gold in golds for id in gold if id is not None})
    found = kb.candidates_batch(surfaces, K, text=record["text"])
    return [
        judge(gold, answer, known, [candidate.id for candidate in candidates])
        for gold, answer, candidates in zip(golds, given, found)
    ]
