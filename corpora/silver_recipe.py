"""A corpus of linked text in Arabic, Chinese and English without annotators, with a knowledge base for it.

`python -m samarkand.corpora.silver_recipe corpus/silver` reads the folder in SAMARKAND_DATA and writes
`LANG/SPLIT.jsonl`, the sentences of templates apart as `LANG/patterns.SPLIT.jsonl` and `LANG/places.SPLIT.jsonl`,
`held_out.txt`, `report.json` and `linking.kb`. The last holds neither the entities that are held out, whose mentions
are NIL for it, nor the extracts, some of which are texts of the corpus.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import DEFAULT_PIPELINE, load
from ..errors import Errors
from ..models.knowledge_base import build_knowledge_base
from ..replacing import replace_file
from .kb_recipes import multilingual_entities, recipe_terms, with_place_words
from .records import Record, write_records
from .seeded import share_of
from .sentence_files import check_folder, check_known
from .silver_links import SilverLinker
from .silver_texts import SOURCES, TEMPLATES, silver_texts

__all__ = ["arrange", "write_silver"]

SPLITS = ("train", "dev", "test")
# Share of groups of texts that go to a split; the rest is train.
SHARES = {"test": 0.15, "dev": 0.08}
# Links to one entity in a language: without a limit, a few countries would be most of it.
MOST = {"train": 100, "dev": 20, "test": 20}
# Share of entities that are held out, of those in texts with so many links at most: few miss a country in a knowledge
# base.
HELD_OUT, HELD_OUT_MOST = 0.35, 60


def write_silver(
    output: Path,
    *,
    sources: Collection[str] = tuple(SOURCES),
    seed: int = 13,
    model: str = DEFAULT_PIPELINE,
    kb: bool = True,
    force: bool = False,
) -> dict[str, Any]:
    """Make the corpus from the folder in SAMARKAND_DATA.

    output (Path): Folder for it.
    sources (Collection[str]): Where the texts come from: names in `SOURCES`.
    seed (int): Decides the splits and what is held out.
    model (str): Pipeline that confirms names.
    kb (bool): Whether to build the knowledge base, which takes a minute or two.
    force (bool): Replace files that exist.
    RETURNS (Dict[str, Any]): What `report.json` holds: numbers of texts and links by language, split and source.
    RAISES (OSError): S840 without a folder of corpora, S841 when a file of the knowledge base is missing, S217 when
        the corpus exists.
    RAISES (ValueError): S843 for an unknown source.
    """
    folder = Path(os.environ.get("SAMARKAND_DATA") or "$SAMARKAND_DATA")
    check_known(sources, tuple(SOURCES))
    check_folder(folder)
    report_file = output / "report.json"
    if report_file.exists() and not force:
        raise FileExistsError(Errors.S217.format(path=report_file))
    entities = {entity.id: entity for entity in multilingual_entities(folder, extracts=False, words=False)}
    linker = SilverLinker(entities, load(model))
    found = {name: list(linker.link(silver_texts(folder, name, entities))) for name in SOURCES if name in sources}
    splits, held = arrange(found, seed)
    for (lang, part, split), records in splits.items():
        name = f"{part}.{split}.jsonl" if part else f"{split}.jsonl"
        (output / lang).mkdir(parents=True, exist_ok=True)
        write_records(output / lang / name, records)
    report = {"seed": seed, "model": model, "sources": [*found], "held_out": len(held), "texts": _counted(splits, held)}
    _write_text(output / "held_out.txt", "".join(f"{id}\n" for id in sorted(held)))
    if kb:
        kept = with_place_words(folder, (entity for entity in entities.values() if entity.id not in held))
        about = {"recipe": "silver", "terms": recipe_terms("multilingual"), "held_out": len(held)}
        build_knowledge_base(output / "linking.kb", kept, force=force, meta=about).close()
    _write_text(report_file, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return report


def arrange(
    found: Mapping[str, Iterable[Record]], seed: int
) -> tuple[dict[tuple[str, str, str], list[Record]], set[str]]:
    """Put texts into splits, thin out what is frequent, and choose what is held out.

    All texts of a group go to one split. An entity that is held out is met in train, or in dev and test, not in both:
    a linker cannot learn which names are NIL.

    found (Mapping[str, Iterable[Record]]): Records by source, with "lang" and "group"; texts that repeat are dropped.
    seed (int): Decides.
    RETURNS (tuple[dict, set[str]]): Records by language, part (a source of templates, or "" for all others) and split,
        each with "id" and "source"; and the ids that are held out.
    """
    texts: dict[tuple[str, str], Record] = {}
    for source, records in found.items():
        for record in records:
            texts.setdefault((record["lang"], record["text"]), {**record, "source": source})
    held = _held_out(texts.values(), seed)
    splits: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    met: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for record in sorted(texts.values(), key=lambda each: (share_of(seed, "order", each["text"]), each["lang"])):
        split = _split(record["group"], seed)
        part = record["source"] if record["source"] in TEMPLATES else ""
        key = record["lang"], part, split
        spans = []
        for span in record["spans"]:
            if span["kb_id"] in held and (_is_for_train(span["kb_id"], seed) != (split == "train")):
                continue
            met[key][span["kb_id"]] += 1
            if met[key][span["kb_id"]] <= MOST[split]:
                spans.append(span)
        if spans:
            id = f"{record['source']}-{record['lang']}-{len(splits[key]):05}"
            splits[key].append({"id": id, **record, "spans": spans})
    return dict(sorted(splits.items())), held


def _split(group: str, seed: int) -> str:
    share = share_of(seed, "split", group)
    for split, size in SHARES.items():
        if share < size:
            return split
        share -= size
    return "train"


def _held_out(records: Iterable[Record], seed: int) -> set[str]:
    texts = [record for record in records if record["source"] not in TEMPLATES]
    links = Counter(span["kb_id"] for record in texts for span in record["spans"])
    return {id for id, count in links.items() if count <= HELD_OUT_MOST and share_of(seed, "held", id) < HELD_OUT}


def _is_for_train(id: str, seed: int) -> bool:
    return share_of(seed, "side", id) < 0.5


def _counted(splits: Mapping[tuple[str, str, str], list[Record]], held: Collection[str]) -> list[dict[str, Any]]:
    rows = []
    for (lang, part, split), records in splits.items():
        spans = [span for record in records for span in record["spans"]]
        rows.append(
            {
                "lang": lang,
                "part": part or "texts",
                "split": split,
                "texts": len(records),
                "sources": dict(Counter(record["source"] for record in records)),
                "links": len(spans),
                "entities": len({span["kb_id"] for span in spans}),
                "ambiguous": sum(span["bearers"] > 1 for span in spans),
                "nil": sum(span["kb_id"] in held for span in spans),
            }
        )
    return rows


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _described(report: Mapping[str, Any]) -> Iterator[str]:
    for row in report["texts"]:
        yield (
            f"{row['lang']} {row['part']:8} {row['split']:5} {row['texts']:7,} texts, {row['links']:7,} links to "
            f"{row['entities']:6,} entities, {row['ambiguous']:6,} ambiguous, {row['nil']:6,} NIL"
        )
    yield f"{report['held_out']:,} entities held out"


def main() -> None:
    """Run the command line."""
    typer.run(_command)


def _command(
    output: Annotated[Path, typer.Argument(help="Folder of the corpus.", show_default=False)],
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", help=f"{', '.join(SOURCES)}; may be repeated. All by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the splits and what is held out.")] = 13,
    model: Annotated[str, typer.Option(help="Pipeline that confirms names.")] = DEFAULT_PIPELINE,
    kb: Annotated[bool, typer.Option(help="Build linking.kb too.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Make a corpus of linked text without annotators."""
    try:
        report = write_silver(output, sources=sources or tuple(SOURCES), seed=seed, model=model, kb=kb, force=force)
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        sys.exit(1)
    print("\n".join(_described(report)))


if __name__ == "__main__":
    main()
