"""Rows of measured figures: one JSON file a script, replaced row by row, and a table on the screen."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
# A new measurement replaces the row that agrees with it in these.
KEY = ("system", "dataset", "split", "metric", "seed", "train")


def machine() -> str:
    """Cores and instruction set, as rows state them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vector = next((name for name in ("avx512", "avx2") if name in flags), platform.machine())
    return f"{cores} core{'s' if cores != 1 else ''}, {vector.upper()}, no GPU"


def row(system: str, dataset: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    """A row with all its keys, see docs in DESIGN: split, unit, seed, train, command, note are optional."""
    blank = {"split": "test", "unit": "%", "seed": 0, "train": "", "command": "", "note": ""}
    return {
        "system": system,
        "dataset": dataset,
        "metric": metric,
        "value": round(float(value), 4),
        **blank,
        "machine": machine(),
        **more,
    }


def read_rows(script: str) -> list[dict[str, Any]]:
    """Rows that a script has written so far."""
    path = RESULTS / f"{script}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_rows(script: str, rows: list[dict[str, Any]], folder: Path = RESULTS) -> None:
    """Merge rows into a script's file.

    script (str): Name of the script, without ending.
    rows (list[dict]): The new rows.
    folder (Path): Where the file lies.
    """
    path = folder / f"{script}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    merged = {tuple(str(r.get(k)) for k in KEY): r for r in [*old, *rows]}
    folder.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(merged[key], ensure_ascii=False) for key in sorted(merged))
    aside = path.with_suffix(".tmp")
    aside.write_text(f"[\n{text}\n]\n", encoding="utf-8")
    aside.replace(path)


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for name in ("system", "dataset", "metric", "value", "unit", "seed", "note"):
        table.add_column(name)
    for r in rows:
        table.add_row(*(str(r[name]) for name in ("system", "dataset", "metric", "value", "unit", "seed", "note")))
    Console().print(table)
