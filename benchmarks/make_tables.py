"""Tables of the README, of the docs and of the model cards, made from the measured rows.

    python benchmarks/make_tables.py [--check]

A document asks for a table by `<!-- table:NAME -->`, NAME being a key of `TABLES`; all from there to the next
`<!-- /table -->` is replaced. With --check nothing is written, and the exit status is 1 when a document is stale.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from results_file import RESULTS

ROOT = Path(__file__).parent.parent
Row = dict[str, Any]

_ASKED = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
_OPENING = "<!-- table:"


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


@dataclass(frozen=True)
class Table:
    """How rows become a table.

    script (str): Script that measures the rows.
    caption (str): What the figures are.
    select (Callable): Takes the rows of the table, in the order of its columns.
    line (Callable): Heading of a row's line.
    column (Callable): Heading of a row's column.
    compare (bool): Systems are compared: show how many seeds a mean is of, and the best of a line in bold.
    """

    script: str
    caption: str
    select: Callable[[list[Row]], list[Row]]
    line: Callable[[Row], str]
    column: Callable[[Row], str]
    compare: bool = False


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
    heads = [head + footnotes.mark(f"weights from: {train}" if several else "") for head, train in columns]
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
    digits = {"%": 1, "M": 1, "ms": 1, "x": 2, "nats/byte": 3, "nats/piece": 2}.get(unit, 0)
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


def _ours_first(rows: Iterable[Row]) -> list[Row]:
    """RICON, then other systems of this project, then peers."""
    prefixes = ("samarkand/", "samarkand")
    return sorted(
        rows, key=lambda row: (*(not row["system"].startswith(p) for p in prefixes), row["system"], row["train"])
    )


def _by_metrics(rows: list[Row], *, metrics: tuple[str, ...]) -> list[Row]:
    """Rows of some metrics, in their order."""
    return sorted((row for row in _ours_first(rows) if row["metric"] in metrics), key=_position(metrics))


def _position(metrics: tuple[str, ...]) -> Callable[[Row], int]:
    return lambda row: metrics.index(row["metric"])


def _shares(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["metric"].startswith("share: ")]


def _is_ablation(row: Row) -> bool:
    return ", no " in row["system"]


def _peers(rows: list[Row], *, metric: str) -> list[Row]:
    """The systems on one metric, without ablations."""
    return _ours_first(row for row in rows if row["metric"] == metric and not _is_ablation(row))


def _ablations(rows: list[Row]) -> list[Row]:
    """The ablations on F, and what they are compared with: the same training on the same corpora."""
    rows = [row for row in rows if row["metric"] == "ents_f"]
    cut = {(row["system"].split(", no ")[0], row["dataset"], row["train"]) for row in rows if _is_ablation(row)}
    return _ours_first(row for row in rows if (row["system"].split(", no ")[0], row["dataset"], row["train"]) in cut)


def _system(row: Row) -> str:
    return row["system"]


def _dataset(row: Row) -> str:
    return row["dataset"] if row["split"] in ("", "test") else f"{row['dataset']} ({row['split']})"


def _metric(row: Row) -> str:
    return f"{row['metric']}, {row['unit']}" if row["unit"] not in ("", "x") else row["metric"]


def _share(row: Row) -> str:
    return row["metric"].removeprefix("share: ") + ", %"


def _system_metric(row: Row) -> str:
    return f"{row['system']}: {_metric(row)}"


def _dataset_metric(row: Row) -> str:
    return f"{row['dataset']}: {_metric(row)}"


def _dataset_split(row: Row) -> str:
    return f"{row['dataset']}, {row['split']}"


def _optimizers(rows: list[Row]) -> list[Row]:
    """What optimizers keep and take, model by model."""
    metrics = ("state", "state saved", "step ratio")
    return sorted(_by_metrics(rows, metrics=metrics), key=lambda row: row["dataset"])


def _planners(rows: list[Row]) -> list[Row]:
    """What the default planner gains over the baselines, and how long planners search and recompute."""
    gains = [("samarkand/mix", f"throughput over {other}") for other in ("full", "selective", "checkmate")]
    times = [("samarkand/heu", "search")]
    times += [(f"samarkand/{planner}", "recompute") for planner in ("heu", "mix", "opt", "checkmate")]
    columns = [*gains, *times]
    models = ("gpt-1.3b", "gpt-7b", "gpt-20b")
    found = [row for row in rows if (row["system"], row["metric"]) in columns and row["dataset"] in models]
    return sorted(found, key=lambda row: columns.index((row["system"], row["metric"])))


def _stages(rows: list[Row]) -> list[Row]:
    """Balance and throughput of stages, ours beside naive ones."""
    metrics = ("balance", "throughput, 1f1b, unlimited", "throughput, last-without-recompute, 6 GB")
    return [{**row, "note": ""} for row in _by_metrics(rows, metrics=metrics)]


NER = "exact-match micro F over character spans, mean of (seeds)."
SPEED = ("speed ratio", "speed", "speed, first pass", "speed, own tokens")
MEMORY = ("RSS loaded", "RSS start", "RSS middle", "RSS end", "RSS growth", "vocabulary", "speed")
TABLES = {
    "ner": Table("ner", f"Test split, {NER}", partial(_peers, metric="ents_f"), _dataset, _system, compare=True),
    "ner-unseen": Table(
        "ner",
        f"Entities whose words are no entity in the training split, {NER}",
        partial(_peers, metric="ents_f_unseen"),
        _dataset,
        _system,
        compare=True,
    ),
    "ablations": Table("ner", f"Test split, {NER}", _ablations, _dataset, _system, compare=True),
    "bundled": Table(
        "bundled",
        "Exact-match micro F1 over PER, LOC and ORG.",
        partial(_by_metrics, metrics=("ents_p", "ents_r", "ents_f", "ents_f PER", "ents_f LOC", "ents_f ORG")),
        _dataset,
        _metric,
    ),
    "speed": Table(
        "speed",
        "Both on the same text, each with its own tokenizer (spaCy's for mixed text does not cut Chinese clauses); "
        "the ratio is of characters/s.",
        partial(_by_metrics, metrics=SPEED),
        _dataset,
        _system_metric,
    ),
    "speed-parts": Table("speed", "Share of the time that each part takes.", _shares, _dataset, _share),
    "memory": Table("memory", "Memory of the process.", partial(_by_metrics, metrics=MEMORY), _system, _metric),
    "offsets": Table(
        "offsets",
        "A failure is an offset that does not slice to its text.",
        partial(_by_metrics, metrics=("documents", "entities", "failures")),
        _dataset,
        _metric,
    ),
    "optimizers": Table(
        "optimizers",
        "Bytes that an optimizer keeps, what is saved of AdamW's, and the time of a step over AdamW's.",
        _optimizers,
        _system,
        _dataset_metric,
    ),
    "convergence": Table(
        "convergence",
        "Loss on test bytes in nats a byte, and the optimizer's state, mean over seeds.",
        partial(_by_metrics, metrics=("loss", "state")),
        _system,
        _metric,
    ),
    "recompute": Table(
        "recompute",
        "Throughput of the default planner (mix) over other plans in a simulated pipeline, empty where these do not "
        "fit; time of the processor to search; and what the first stage recomputes for a micro-batch.",
        _planners,
        _dataset_split,
        _system_metric,
    ),
    "stages": Table(
        "parallel",
        "Balance is the slowest stage over the mean; throughput is simulated, and over that of equal layers on each "
        "stage under plain 1F1B with as much memory (6 GB, or unlimited).",
        _stages,
        _dataset,
        _system_metric,
    ),
    "losses": Table(
        "parallel",
        "Training on processes against plain training in one.",
        partial(_by_metrics, metrics=("loss difference",)),
        _dataset,
        _metric,
    ),
    "pretraining": Table(
        "pretraining",
        "Loss of held-out text by language, in nats a hidden piece.",
        partial(_by_metrics, metrics=("loss",)),
        _dataset,
        lambda row: row["train"],
    ),
    "pretraining-ner": Table(
        "pretraining",
        "RICON on the encoder, exact-match micro F over character spans.",
        partial(_by_metrics, metrics=("ents_f", "ents_f_unseen")),
        lambda row: row["train"],
        _dataset_metric,
    ),
    "encoder-choice": Table(
        "encoder_choice",
        "Development split, one seed.",
        partial(_by_metrics, metrics=("ents_f", "weights")),
        _system,
        _dataset_metric,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
