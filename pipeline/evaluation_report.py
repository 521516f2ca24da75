"""What an evaluation found, as tables, as a plot and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.sentence_files import family_of
from ..replacing import replace_file

if TYPE_CHECKING:
    from rich.table import Table

# Families of more sets are one line of a table, and have no names in a plot.
MOST_LINES, MOST_NAMES = 20, 60
Results = dict[str, Any]


def result_tables(results: Results) -> Iterator[Table]:
    """The results as tables for a terminal, in percent.

    results (dict): What `evaluate_encoder` returned.
    YIELDS (Table): A table for each kind of set that was there.
    """
    from rich.table import Table

    if results["sts"]:
        table = Table("set", "language", "pairs", "Spearman", title="Similarity (STS)")
        for row in results["sts"]:
            table.add_row(row["name"], row["lang"], f"{row['pairs']:,}", _percent(row["spearman"]))
        yield table
    if results["bitexts"]:
        columns = ("set", "pairs", "found", "found back", "mining F1", "F1, other half's threshold")
        table = Table(*columns, title="Translations")
        for row in _bitext_rows(results):
            table.add_row(*row)
        yield table
    if results["mpts"]:
        yield from _mpts_tables(results["mpts"])
    yield _isotropy_table(results["isotropy"])


def plot_results(results: Results, path: str | Path) -> None:
    """Draw bars of every set, a panel for each family.

    results (dict): What `evaluate_encoder` returned.
    path (str | Path): Where to; .svg, .png or .pdf. The file is replaced whole.
    """
    import matplotlib
    from matplotlib.figure import Figure

    panels = list(_panels(results))
    path = Path(path)
    with matplotlib.rc_context({"svg.hashsalt": "samarkand"}), replace_file(path) as temporary:
        figure = Figure(figsize=(12, 2.6 * len(panels)), layout="constrained")
        for axes, (title, values) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels):
            names = sorted(values, key=lambda name: -values[name])
            axes.bar(range(len(names)), [100 * values[name] for name in names])
            lowest = min(0.0, 105 * min(values.values()))
            axes.set(title=title, xlim=(-0.6, len(names) - 0.4), ylim=(lowest, 100))
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(range(len(names)) if len(names) <= MOST_NAMES else [])
            if len(names) <= MOST_NAMES:
                axes.set_xticklabels(names, rotation=90 if len(names) > 12 else 0, fontsize=8)
        # A date would make each drawing of the same figures a new file.
        dated = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
        figure.savefig(temporary, format=path.suffix.removeprefix("."), **dated)


def write_results(results: Results, folder: str | Path) -> list[Path]:
    """Write results.svg and results.json; each is replaced whole.

    results (dict): What `evaluate_encoder` returned.
    folder (str | Path): Where to; it is made.
    RETURNS (list[Path]): The files.
    """
    plot, data = Path(folder) / "results.svg", Path(folder) / "results.json"
    plot_results(results, plot)
    with replace_file(data) as temporary:
        temporary.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return [data, plot]


def _bitext_rows(results: Results) -> Iterator[tuple[str, ...]]:
    """A line a set, and a line with the means of each family of several."""
    for family, means in results["means"]["bitexts"].items():
        own = [row for row in results["bitexts"] if family_of(row["name"]) == family]
        for row in own if len(own) <= MOST_LINES else ():
            found = (_percent(row[f"accuracy_{way}"]) for way in ("forward", "backward"))
            yield row["name"], f"{row['pairs']:,}", *found, *_mining(row)
        pairs = f"{sum(row['pairs'] for row in own):,}"
        ways = (_percent(sum(row[f"accuracy_{way}"] for row in own) / len(own)) for way in ("forward", "backward"))
        yield f"{family}: mean of {len(own)}", pairs, *ways, *_mining(means)


def _mining(row: Results) -> tuple[str, str]:
    return _percent(row.get("mining_f1")), _percent(row.get("mining_held_out_f1"))


def _mpts_tables(mpts: Results) -> Iterator[Table]:
    from rich.table import Table

    columns = ("predictor", "W.Avg F1", "W.Avg accuracy", "W.Avg AUC", "macro F1", "macro AUC")
    table = Table(*columns, title=f"Perspectives (MPTS), fitted on {mpts['train']}")
    for name, found in mpts["predictors"].items():
        weighted = (_percent(found["weighted"][metric]) for metric in ("f1", "accuracy", "auc"))
        table.add_row(name, *weighted, *(_percent(found["macro"][metric]) for metric in ("f1", "auc")))
    yield table
    metrics = ("accuracy", "auc", "precision", "recall", "f1")
    table = Table("perspective", "positives", *metrics, title="Each perspective, by the heads")
    for genre, score in mpts["predictors"]["heads"]["perspectives"].items():
        table.add_row(genre, str(score["positives"]), *(_percent(score[metric]) for metric in metrics))
    yield table


def _isotropy_table(isotropy: dict[str, Results | None]) -> Table:
    from rich.table import Table

    columns = ("sentences of", "partition", "mean norm", "mean cosine", "effective rank", "vectors")
    table = Table(*columns, title="Isotropy (1, 0, 0 and the width are isotropic)")
    for kind, found in isotropy.items():
        if found:
            shares = (f"{found[name]:.3f}" for name in ("partition", "mean_norm", "mean_cosine"))
            table.add_row(kind, *shares, f"{found['effective_rank']:.1f}", str(found["vectors"]))
    return table


def _panels(results: Results) -> Iterator[tuple[str, dict[str, float]]]:
    if results["sts"]:
        yield "STS: Spearman x 100", {row["name"]: row["spearman"] for row in results["sts"]}
    for family in results["means"]["bitexts"]:
        own = [row for row in results["bitexts"] if family_of(row["name"]) == family]
        values = {row["name"].partition("/")[2]: row["accuracy"] for row in own}
        yield f"{family}: translations found, %, mean of both ways", values
    for name, found in (results["mpts"] or {"predictors": {}})["predictors"].items():
        if name not in ("always", "cosine"):
            aucs = {genre: score["auc"] or 0.0 for genre, score in found["perspectives"].items()}
            yield f"MPTS, {name}: AUC x 100", aucs


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
