"""A large knowledge base: building, opening, memory, lookups of every kind, changes; and spaCy's beside it.

    python benchmarks/knowledge_base.py

Entities are made: each has an English, an Arabic and a Chinese name, put together by a seeded generator from the
beginning of one real name and the end of another (of `kb/multikb.jsonl.xz` in SAMARKAND_DATA). What is opened is opened
in a process of its own; memory is what the process has resident, with the pages of the file that it shares with others.
Of each kind 1,000 names are looked up.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kb_peers import open_spacy, save_spacy
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.kb_recipes import MULTIKB, read_multikb
from samarkand.models.alias_parts import name_words
from samarkand.models.knowledge_base import Entity, KnowledgeBase, build_knowledge_base

LANGS = ("en", "ar", "zh")
LOOKUPS = 1000
MADE_UP = {
    "en": ["Anna Alder", "Bruno Birch", "North Cedar College", "Dogwood Hall", "Elm Street"],
    "ar": ["علي السمرقندي", "مدينة النور", "جامعة القلم", "نهر الذهب", "سوق الكتب"],
    "zh": ["河边大学", "北山·林", "东湖公园", "南门书店", "西城·白"],
}
SEED = 5
# Value and unit by metric.
Figures = dict[str, tuple[float, str]]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--entities", type=int, default=1_000_000, help="how many are made, with three names each")
    options = parser.parse_args(arguments)
    if options.quick:
        options.entities = 300
    names = MADE_UP if options.quick else real_names(Path(os.environ.get("SAMARKAND_DATA", "")) / MULTIKB)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for measure in (measure_ours, measure_spacy):
            rows += measure(Path(folder), names, options.entities)
            write_rows("knowledge_base", rows, options.results)
    show(rows, "Knowledge bases")


def real_names(path: Path) -> dict[str, list[str]]:
    """RETURNS (dict[str, list[str]]): Names by language, in the order of the file."""
    found: dict[str, list[str]] = {lang: [] for lang in LANGS}
    for entity in read_multikb(path):
        for lang in LANGS:
            if lang in entity.names:
                found[lang].append(entity.names[lang])
    return found


def made_entities(names: dict[str, list[str]], count: int) -> Iterator[Entity]:
    """Entities with a name in each language, and weights with a long tail.

    names (dict[str, list[str]]): Real names by language.
    count (int): How many.
    YIELDS (Entity): The entities, the same each time.
    """
    rng = random.Random(SEED)
    for number in range(count):
        called = {lang: _crossed(rng.choice(names[lang]), rng.choice(names[lang])) for lang in LANGS}
        yield Entity(f"E{number}", "", names=called, weight=rng.paretovariate(1.0))


def _crossed(one: str, other: str) -> str:
    """The first half of one name and the second of another, by words where there are some."""
    blank = " " if " " in one else ""
    first, second = (name.split() if blank else list(name) for name in (one, other))
    return blank.join([*first[: -(-len(first) // 2)], *second[len(second) // 2 :]]).strip() or one


def measure_ours(folder: Path, names: dict[str, list[str]], count: int) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): Rows of our knowledge base."""
    path = folder / "large.kb"
    began, cpu = time.perf_counter(), time.process_time()
    build_knowledge_base(path, made_entities(names, count)).close()
    figures = {"build": (time.perf_counter() - began, "s"), "build, processor": (time.process_time() - cpu, "s")}
    figures["file"] = path.stat().st_size / 1e6, "MB"
    figures |= _in_process(_ours, path, _asked(names, count))
    return _rows("samarkand", count, figures)


def measure_spacy(folder: Path, names: dict[str, list[str]], count: int) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): Rows of spaCy's knowledge base, which finds names as they are written."""
    path = folder / "spacy"
    figures: Figures = {"build": (_in_process(save_spacy, path, made_entities, names, count), "s")}
    figures["file"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6, "MB"
    figures |= _in_process(_spacy, path, [name for kind, name in _asked(names, count) if kind == "exact"])
    return _rows("spacy/InMemoryLookupKB", count, figures)


def _rows(system: str, count: int, figures: Figures) -> list[dict[str, Any]]:
    command = f"python benchmarks/knowledge_base.py --entities {count}"
    dataset = f"{count:,} entities, {len(LANGS) * count:,} names"
    return [
        row(system, dataset, metric, value, unit=unit, seed=SEED, command=command)
        for metric, (value, unit) in figures.items()
    ]


def _asked(names: dict[str, list[str]], count: int) -> list[tuple[str, str]]:
    """Kinds of lookups, and names: of entities that are there; with particles; a word of them; with a slip."""
    rng = random.Random(SEED + 1)
    drawn = [entity for entity in made_entities(names, count) if rng.random() < 3 * LOOKUPS / count][:LOOKUPS]
    asked = [("exact", entity.names[rng.choice(LANGS)]) for entity in drawn]
    asked += [("clitic", f"و{entity.names['ar']}") for entity in drawn]
    asked += [("part", rng.choice(name_words(entity.names["en"]) or [entity.names["en"]])) for entity in drawn]
    return asked + [("fuzzy", _slipped(entity.names["en"], rng)) for entity in drawn]


def _slipped(name: str, rng: random.Random) -> str:
    at = rng.randrange(len(name))
    return f"{name[:at]}{rng.choice('aeiou')}{name[at + 1 :]}"


def _in_process(function: Callable, *arguments: Any) -> Any:
    """What a function returns in a new process, which has imported what it needs by then."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _ours(path: Path, asked: Sequence[tuple[str, str]]) -> Figures:
    exact = [name for kind, name in asked if kind == "exact"]
    # What the first look-up of any knowledge base loads is not of this one.
    with build_knowledge_base(path.with_name("small.kb"), made_entities(MADE_UP, 10)) as small:
        for name in exact:
            small.candidates(name)
    before, began = _resident(), time.perf_counter()
    kb = KnowledgeBase(path)
    figures = {"open": (1e3 * (time.perf_counter() - began), "ms"), "RSS growth, open": (_resident() - before, "MB")}
    for kind in dict.fromkeys(kind for kind, _ in asked):
        names = [name for other, name in asked if other == kind]
        figures |= _percentiles(kind, names, partial(kb.candidates, fuzzy=kind in ("part", "fuzzy")))
        figures[f"RSS growth, {kind}"] = _resident() - before, "MB"
    made = Entity("new", names={lang: f"{lang} {exact[0]}" for lang in LANGS}, weight=2.0)
    steps = {
        "add": partial(kb.put, [made]),
        "change": partial(kb.put, [replace(made, names={"en": exact[-1]})]),
        "remove": partial(kb.remove, ["new"]),
    }
    for step, change in steps.items():
        began = time.perf_counter()
        change()
        figures[step] = 1e3 * (time.perf_counter() - began), "ms"
    kb.close()
    return figures


def _spacy(path: Path, exact: Sequence[str]) -> Figures:
    before, began = _resident(), time.perf_counter()
    kb = open_spacy(path)
    figures = {"open": (1e3 * (time.perf_counter() - began), "ms"), "RSS growth, open": (_resident() - before, "MB")}
    figures |= _percentiles("exact", exact, kb.get_alias_candidates)
    figures["RSS growth, exact"] = _resident() - before, "MB"
    return figures


def _percentiles(kind: str, names: Sequence[str], find: Callable[[str], Any]) -> Figures:
    times = []
    for name in names:
        began = time.perf_counter()
        find(name)
        times.append(1e3 * (time.perf_counter() - began))
    return {f"{kind}, p{share}": (float(np.percentile(times, share)), "ms") for share in (50, 99)}


def _resident() -> float:
    """Resident memory of the process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
