"""Building and changing knowledge bases from files and recipes: every line is in it, or accounted for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..corpora.entity_readers import FORMATS, Read, RejectedLine, distinct, read_entities
from ..corpora.files import create_text
from ..corpora.kb_recipes import recipe_entities, recipe_terms
from ..errors import Errors
from ..models.kb_entities import entity_to_bytes
from ..models.kb_store import FORMAT
from ..models.knowledge_base import Entity, KnowledgeBase, build_knowledge_base
from ..replacing import replace_file
from .files import write_errors
from .option_checks import Check, check_options, one_of
from .quarantine import Quarantine
from .records import Rejected
from .sources import Source, UsageError

AUTO = "auto"
RECIPE = "recipe:"
REJECTED = ".rejected.jsonl"
EXPORTS = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst")


@dataclass
class _Counts:
    """What became of the lines: entities, and lines that are none by code, with the first of these."""

    entities: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first: str = ""


def build_kb(
    inputs: Iterable[str | Path],
    output: str | Path,
    *,
    format: str = AUTO,
    langs: Sequence[str] = (),
    strict: bool = False,
    force: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Build a knowledge base from files and recipes.

    Lines that are no entity go to `OUTPUT.rejected.jsonl` with their place and reason, and the rest goes on. The
    knowledge base appears when it is complete.

    inputs (Iterable[str | Path]): Files as `read_entities` takes them, and such as "recipe:multilingual".
    output (str | Path): File of the knowledge base.
    format (str): "jsonl", "csv", "wikidata", or "auto" for what the endings name.
    langs (Sequence[str]): As `read_entities` and `recipe_entities` take them.
    strict (bool): Stop at the first line that is no entity, and write nothing.
    force (bool): Replace a knowledge base that is there.
    progress (bool): Show the progress on standard error when that is a terminal.
    RETURNS (dict): The summary: counts, seconds, checksum.
    RAISES (UsageError): S505, S507, S512, S905, S916, S917, S919, S920, S923 before anything is written.
    RAISES (ValueError): S910 for a line when `strict`, S918 when there is no entity, S208 for a damaged file.
    """
    started = time.perf_counter()
    inputs, output = [str(item) for item in inputs], Path(output)
    sources = _open_sources(inputs, output, format, langs)
    quarantine = Quarantine(output.with_name(output.name + REJECTED))
    counts = _Counts()
    try:
        # A bar that is neither asked for nor refused shows itself on a terminal only.
        with tqdm(unit=" entities", disable=None if progress else True, leave=False) as bar:
            entities = _entities(distinct(sources), inputs, counts, None if strict else quarantine, bar)
            build_knowledge_base(output, entities, force=force, meta=_about(inputs)).close()
        quarantine.keep()
        quarantine.commit()
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    finally:
        quarantine.discard()
    return {
        **kb_info(output),
        "rejected": counts.rejected.total(),
        "reasons": dict(sorted(counts.rejected.items())),
        "seconds": round(time.perf_counter() - started, 3),
        "inputs": inputs,
    }


def kb_info(path: str | Path) -> dict[str, Any]:
    """What a knowledge base is.

    path (str | Path): The knowledge base.
    RETURNS (dict): Counts of entities and of their names, languages, checksum, version of the format, bytes on disk,
        what its maker said.
    """
    with KnowledgeBase(path) as kb:
        return {
            "path": str(path),
            "entities": len(kb),
            "aliases": kb.aliases,
            "languages": list(kb.languages),
            "checksum": kb.checksum,
            "format": FORMAT,
            "bytes": kb.path.stat().st_size,
            **kb.meta,
        }


def put_entities(
    path: str | Path, file: str | Path, *, format: str = AUTO, langs: Sequence[str] = ()
) -> dict[str, int]:
    """Add the entities of a file to a knowledge base, or change those that are there; all of them, or none.

    path (str | Path): The knowledge base.
    file (str | Path): A file or recipe, as `build_kb` takes it.
    format (str): As `build_kb`.
    langs (Sequence[str]): As `build_kb`.
    RETURNS (dict): How many were added and changed, and how many there are now.
    RAISES (UsageError): As `build_kb`.
    RAISES (ValueError): S910 for a line that is no entity.
    """
    inputs, counts = [str(file)], _Counts()
    with KnowledgeBase(path) as kb:
        sources = _open_sources(inputs, Path(path), format, langs)
        before = len(kb)
        with tqdm(disable=True) as bar:
            kb.put(_entities(distinct(sources), inputs, counts, None, bar))
        added = len(kb) - before
        return {"added": added, "changed": counts.entities - added, "entities": len(kb)}


def export_kb(path: str | Path, output: str | Path, *, force: bool = False) -> int:
    """Write a knowledge base as JSON lines; what is built from them has the same checksum.

    path (str | Path): The knowledge base.
    output (str | Path): The file; its ending names the compression.
    force (bool): Replace a file that is there.
    RETURNS (int): Entities written.
    RAISES (UsageError): S504, S507 before anything is written.
    RAISES (OSError): S511 when it cannot be written.
    """
    output = Path(output)
    check_options(output=Check(output, output.name.endswith(EXPORTS), f"a name that ends in {', '.join(EXPORTS)}"))
    if output.exists() and not force:
        raise UsageError(Errors.S504.format(paths=output))
    with KnowledgeBase(path) as kb, write_errors(output), replace_file(output) as aside, create_text(aside) as file:
        for entity in kb:
            file.write(f"{entity_to_bytes(entity).decode()}\n")
        return len(kb)


def _open_sources(
    inputs: list[str], output: Path, format: str, langs: Sequence[str]
) -> list[tuple[str, Iterable[Read]]]:
    """Names of the inputs and what they give; what cannot be used is refused here, before anything is written."""
    check_options(format=one_of(format, (AUTO, *FORMATS)))
    return [(name, _open_source(name, output, format, langs)) for name in inputs]


def _open_source(name: str, output: Path, format: str, langs: Sequence[str]) -> Iterable[Read]:
    try:
        if name.startswith(RECIPE):
            lang = ",".join(langs) or None
            return enumerate(recipe_entities(name.removeprefix(RECIPE), lang=lang), start=1)
        with open(name, "rb"):
            pass
        if output.exists() and output.samefile(name):
            raise UsageError(Errors.S505.format(source=name, path=name))
        return read_entities(Path(name), format=None if format == AUTO else format, langs=langs)
    except FileNotFoundError as error:
        raise UsageError(str(error) if name.startswith(RECIPE) else _unreadable(name, error)) from error
    except OSError as error:
        raise UsageError(_unreadable(name, error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def _unreadable(name: str, error: OSError) -> str:
    return Errors.S512.format(path=name, reason=error.strerror)


def _entities(
    read: Iterable[Entity | RejectedLine], inputs: list[str], counts: _Counts, quarantine: Quarantine | None, bar: tqdm
) -> Iterator[Entity]:
    """The entities, counted; without a quarantine the first line that is none ends them with an error."""
    for item in read:
        if isinstance(item, Entity):
            counts.entities += 1
            bar.update()
            yield item
        elif quarantine is None:
            raise ValueError(Errors.S910.format(path=item.path, line=item.line, reason=item.reason))
        else:
            if not counts.rejected:
                counts.first = f"{item.path}, line {item.line}: {item.reason}"
            counts.rejected[item.code] += 1
            source = Source(item.path, "jsonl", item.path, item.path)
            quarantine.add(source, Rejected(item.line, item.code, item.reason, item.raw))
    if not counts.entities:
        rejected = f"{counts.rejected.total():,}, first {counts.first.rstrip('.')}" if counts.first else "none"
        raise ValueError(Errors.S918.format(inputs=", ".join(inputs), rejected=rejected))


def _about(inputs: list[str]) -> dict[str, Any]:
    """What a knowledge base says of its inputs: for recipes, the terms of their sources."""
    recipes = [name.removeprefix(RECIPE) for name in inputs if name.startswith(RECIPE)]
    terms = {source: licence for recipe in recipes for source, licence in recipe_terms(recipe).items()}
    return {"terms": terms} if terms else {}
