"""The commands `samarkand kb build`, `info`, `lookup`, `put`, `remove`, `export` and `check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_tools import QUARANTINED, JsonOption, echo_summary, reported

if TYPE_CHECKING:
    from ..models.knowledge_base import Entity

kb_app = typer.Typer(help="Knowledge bases: build, look up, change and check them.", no_args_is_help=True)
UNCHANGED = "nothing was changed"


class EntityFormat(str, Enum):
    """Values of `--format`."""

    auto = "auto"
    jsonl = "jsonl"
    csv = "csv"
    wikidata = "wikidata"


KbArgument = Annotated[Path, typer.Argument(help="File of the knowledge base.", show_default=False)]
FormatOption = Annotated[EntityFormat, typer.Option("--format", "-f", help="Format; auto goes by the ending.")]
LangsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lang",
        "-l",
        help="Language of names without one; of relations, for a recipe; to keep, for Wikidata (may be repeated).",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", "-F", help="Replace a file that exists.")]


@kb_app.command("build")
def build_cli(
    entities: Annotated[
        list[str],
        typer.Argument(
            help="JSONL, CSV, TSV or Wikidata's JSON, plain or gz, xz, zst; recipe:multilingual, "
            "recipe:multilingual-open or recipe:bundled from the folder in SAMARKAND_DATA.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the knowledge base.", show_default=False)],
    format: FormatOption = EntityFormat.auto,
    langs: LangsOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line, and write nothing.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a knowledge base.

    Exit status: 0 every line is in it; 1 failed; 2 refused, nothing was changed; 3 done, but some lines are in
    OUTPUT.rejected.jsonl; 130 interrupted.
    """
    with reported("nothing was written"):
        from .kb_build import REJECTED, build_kb

        about = {"format": format.value, "langs": langs or (), "strict": strict, "force": force}
        summary = build_kb(entities, output, progress=True, **about)
    echo_summary(summary, _built(summary, f"{output}{REJECTED}"), as_json)
    if summary["rejected"]:
        raise typer.Exit(QUARANTINED)


@kb_app.command("info")
def info_cli(path: KbArgument, as_json: JsonOption = False) -> None:
    """Show what a knowledge base is."""
    with reported(UNCHANGED):
        from .kb_build import kb_info

        info = kb_info(path)
    echo_summary(info, _described(info), as_json)


@kb_app.command("lookup")
def lookup_cli(
    path: KbArgument,
    text: Annotated[str, typer.Argument(help="A name as it stands in a text.", show_default=False)],
    lang: Annotated[str | None, typer.Option("--lang", "-l", help="Its language; all of them by default.")] = None,
    k: Annotated[int, typer.Option("-k", help="Candidates to show.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show which entities a name can mean, the best first. With --json one line a candidate."""
    with reported(UNCHANGED):
        from ..models.knowledge_base import KnowledgeBase

        with KnowledgeBase(path) as kb:
            candidates = kb.candidates(text, k, lang=lang)
            entities = kb.entities(candidate.id for candidate in candidates)
    rows = [{**asdict(candidate), "name": _name(entities[candidate.id], lang)} for candidate in candidates]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        typer.echo(_table(rows) if rows else f"Nothing is called {text!r}.")


@kb_app.command("put")
def put_cli(
    path: KbArgument,
    file: Annotated[str, typer.Argument(help="Entities, as build reads them.", show_default=False)],
    format: FormatOption = EntityFormat.auto,
    langs: LangsOption = None,
) -> None:
    """Add the entities of a file, or change those that are there. A bad line leaves all as it was."""
    with reported(UNCHANGED):
        from .kb_build import put_entities

        done = put_entities(path, file, format=format.value, langs=langs or ())
    typer.echo(f"{done['added']:,} added, {done['changed']:,} changed; {done['entities']:,} in {path}")


@kb_app.command("remove")
def remove_cli(
    path: KbArgument, ids: Annotated[list[str], typer.Argument(help="Ids of entities.", show_default=False)]
) -> None:
    """Take entities out. Ids that are not there are counted."""
    with reported(UNCHANGED):
        from ..models.knowledge_base import KnowledgeBase

        with KnowledgeBase(path) as kb:
            removed = kb.remove(ids)
            left = len(kb)
    typer.echo(f"{removed:,} removed, {len(set(ids)) - removed:,} were not there; {left:,} in {path}")


@kb_app.command("export")
def export_cli(
    path: KbArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .jsonl file, or .jsonl.gz, .xz or .zst.", show_default=False)
    ],
    force: ForceOption = False,
) -> None:
    """Write the entities as JSON lines, from which build makes the same again."""
    with reported("nothing was written"):
        from .kb_build import export_kb

        written = export_kb(path, output, force=force)
    typer.echo(f"{written:,} entities in {output}")


@kb_app.command("check")
def check_cli(path: KbArgument) -> None:
    """Read all of a knowledge base, and compare it with its checksum."""
    with reported(UNCHANGED):
        from ..models.knowledge_base import KnowledgeBase

        with KnowledgeBase(path) as kb:
            kb.check()
            checksum = kb.checksum
    typer.echo(f"{path} is whole: {checksum}")


def _built(summary: dict[str, Any], rejected: str) -> str:
    lines = [f"{summary['path']} in {summary['seconds']:.1f} s", _described(summary)]
    if summary["rejected"]:
        reasons = ", ".join(f"{code} {count:,}" for code, count in summary["reasons"].items())
        lines.append(f"{summary['rejected']:,} lines in {rejected}: {reasons}")
    return "\n".join(lines)


def _described(info: dict[str, Any]) -> str:
    shown = {
        "entities": f"{info['entities']:,}",
        "aliases": f"{info['aliases']:,}",
        "languages": f"{len(info['languages'])}: {' '.join(info['languages'])}",
        "checksum": info["checksum"],
        "format": info["format"],
        "size": f"{info['bytes'] / 1e6:,.1f} MB",
    }
    shown |= {f"from {source}": licence for source, licence in info.get("terms", {}).items()}
    return "\n".join(f"  {name:16} {value}" for name, value in shown.items())


def _table(rows: list[dict[str, Any]]) -> str:
    """Candidates in columns; names come last, as their width on a screen is not their length."""
    width = max(len("id"), *(len(row["id"]) for row in rows))
    lines = [f"{'id':{width}}  {'prior':>6}  {'similar':>7}  {'match':6}  name"]
    lines += [
        f"{row['id']:{width}}  {row['prior']:6.3f}  {row['similarity']:7.2f}  {row['match']:6}  {row['name']}"
        for row in rows
    ]
    return "\n".join(lines)


def _name(entity: Entity, lang: str | None) -> str:
    """What to show of an entity: its name in the language asked for, else in English, else its first one."""
    names = [entity.names.get(lang or "en"), entity.names.get("en"), *entity.names.values()]
    names += [alias for aliases in entity.aliases.values() for alias in aliases]
    return next(name for name in names if name)
