"""Tables of the README, of the docs and of the model cards, made from the measured rows.

    python benchmarks/make_tables.py [--check]

A document asks for a table by `<!-- table:NAME -->`, NAME being a key of `tables.TABLES`; all from there to the next
`<!-- /table -->` is replaced. With --check nothing is written, and the exit status is 1 when a document is stale.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from results_file import RESULTS
from tables import TABLES, Row, Table

ROOT = Path(__file__).parent.parent

_ASKED = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
_OPENING = "<!-- table:"
_DIGITS = {"%": 1, "M": 1, "ms": 1, "x": 2, "nats/byte": 3, "nats/piece": 2, "x100": 1, "s": 1, "log10": 1}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*", type=Path, help="the README, docs and model cards by default")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a document is stale")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    options = parser.parse_args(arguments)
    documents = options.documents or [
        path
        for pattern in ("README.md", "docs/*.md", "models/packages/*/README.md")
        for path in sorted(ROOT.glob(pattern))
    ]
    try:
        stale = update(documents, options.results, check=options.check)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for path in stale:
        print(f"{path}: {'stale, run `make tables`' if options.check else 'written'}", file=sys.stderr)
    return int(options.check and bool(stale))


def update(documents: Iterable[Path], results: Path, *, check: bool = False) -> list[Path]:
    """Put the tables into documents.

    documents (Iterable[Path]): The documents.
    results (Path): Folder of the rows.
    check (bool): Write nothing.
    RETURNS (list[Path]): The documents whose tables were not those of the rows.
    RAISES (ValueError): For an unknown table, or one that is not closed.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in documents}
    new = {path: _filled(path, text, results) for path, text in texts.items()}
    stale = [path for path in texts if new[path] != texts[path]]
    for path in () if check else stale:
        path.write_text(new[path], encoding="utf-8")
    return stale


def make_table(name: str, results: Path) -> str:
    """One table as Markdown.

    name (str): Key of `TABLES`.
    results (Path): Folder of the rows.
    RETURNS (str): The table and a line on how it was measured; or that it was not measured yet.
    RAISES (ValueError): For an unknown name.
    """
    if name not in TABLES:
        raise ValueError(f"There is no table {name!r}. Known: {', '.join(TABLES)}.")
    table = TABLES[name]
    path = results / f"{table.script}.json"
    rows = table.select(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
    if not rows:
        return f"Not measured yet: `python benchmarks/{table.script}.py`.\n"
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    about = f"{table.caption} Measured by `python benchmarks/{table.script}.py` on {machines}"
    notes = () if table.compare else sorted({row["note"] for row in rows} - {""})
    weights = {row["train"] for row in rows}
    one = [f"weights from: {train}" for train in weights if train and len(weights) == 1]
    return f"{render(rows, table)}\n\n{'; '.join([about, *notes, *one])}.\n"


class Footnotes:
    """Numbered remarks below a table."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        """RETURNS (str): The mark of a remark, nothing for an empty one."""
        if not text:
            return ""
        if text not in self._texts:
            self._texts.append(text)
        return f" <sup>{self._texts.index(text) + 1}</sup>"

    def lines(self) -> list[str]:
        """RETURNS (list[str]): Each mark with its remark."""
        return [f"<sup>{number}</sup> {text}.  " for number, text in enumerate(self._texts, start=1)]


def render(rows: list[Row], table: Table) -> str:
    """Rows as a Markdown table, with footnotes on where the weights of a column come from when these differ, and on
    what is special in a cell.

    rows (list[dict]): The rows. Those of one cell differ in their seed; their mean is shown.
    table (Table): How to lay them out.
    RETURNS (str): The table.
    """
    lines = sorted(set(map(table.line, rows)))
    columns = list(dict.fromkeys((table.column(row), row["train"]) for row in rows))
    cells: dict[tuple[str, tuple[str, str]], list[Row]] = {}
    for row in rows:
        cells.setdefault((table.line(row), (table.column(row), row["train"])), []).append(row)
    footnotes = Footnotes()
    several = len({train for _, train in columns}) > 1
    heads = [head + footnotes.mark(f"weights from: {train}" if several and train else "") for head, train in columns]
    text = [_joined(["", *heads]), _joined(["---", *["---:"] * len(columns)])]
    for line in lines:
        means = {c: statistics.fmean(r["value"] for r in cells[line, c]) for c in columns if (line, c) in cells}
        best = max(means.values()) if table.compare and len(means) > 1 else None
        shown = [_cell(cells.get((line, c), []), means.get(c), best, table, footnotes) for c in columns]
        text.append(_joined([line, *shown]))
    remarks = footnotes.lines()
    return "\n".join([*text, "", *remarks] if remarks else text)


def _cell(rows: list[Row], mean: float | None, best: float | None, table: Table, footnotes: Footnotes) -> str:
    if mean is None:
        return ""
    number = _number(mean, rows[0]["unit"])
    if not table.compare:
        return number
    number = f"**{number}**" if mean == best else number
    return f"{number} ({len(rows)}){footnotes.mark('; '.join(sorted({row['note'] for row in rows} - {''})))}"


def _number(value: float, unit: str) -> str:
    digits = _DIGITS.get(unit, 0)
    # Adding zero turns -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def _joined(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _filled(path: Path, text: str, results: Path) -> str:
    """A document with its tables renewed."""
    found = _ASKED.findall(text)
    if text.count(_OPENING) != len(found) or any(_OPENING in body for _, _, body, _ in found):
        raise ValueError(f"{path}: a table is asked for but not closed. End it with <!-- /table --> on its own line.")
    return _ASKED.sub(lambda match: f"{match[1]}{make_table(match[2], results)}{match[4]}", text)


if __name__ == "__main__":
    sys.exit(main())
