"""What an evaluation of a linker found, as tables and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..replacing import replace_file

if TYPE_CHECKING:
    from rich.table import Table

Results = dict[str, Any]
# Heading of a column by name of a score.
SCORES = {
    "linkable_accuracy": "linkable",
    "nil_f1": "NIL",
    "micro_f1": "micro",
    "macro_f1": "macro",
    "inkb_micro_f1": "InKB micro",
    "inkb_macro_f1": "InKB macro",
}
COUNTS = {"mentions": "mentions", "linkable": "in KB", "outside": "outside"}


def linking_tables(results: Results) -> Iterator[Table]:
    """The results as tables for a terminal, shares in percent.

    results (dict): What `evaluate_linker` returned.
    YIELDS (Table): Scores by set and by language, then the recall of candidates.
    """
    from rich.table import Table

    named = [(row["name"], row) for row in results["sets"]]
    named += [(f"all {lang}", row) for lang, row in results["languages"].items()]
    table = Table(title="Linking: accuracy of linkable mentions, then F1")
    for heading in ("set", *SCORES.values()):
        table.add_column(heading, no_wrap=True)
    means = [("mean of short text", results["short_text"])] if results["short_text"] else []
    for name, row in [*named, *means]:
        table.add_row(name, *(_percent(row, score) for score in SCORES))
    yield table
    ks = list(named[0][1]["recall_at"])
    table = Table(title="Mentions, and recall of candidates")
    for heading in ("set", *COUNTS.values(), *(f"@{k}" for k in ks)):
        table.add_column(heading, no_wrap=True)
    for name, row in named:
        table.add_row(name, *(f"{row[count]:,}" for count in COUNTS), *(_percent(row["recall_at"], k) for k in ks))
    yield table


def write_linking_results(results: Results, path: str | Path) -> None:
    """Write the results as JSON; the file is replaced whole.

    results (dict): What `evaluate_linker` returned.
    path (str | Path): The file; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _percent(row: Results, name: str) -> str:
    return f"{100 * row[name]:.1f}"
