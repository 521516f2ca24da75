"""Schedules and frontiers as SVG pictures, written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from ..replacing import replace_file
from .recompute_simulator import COMPUTE, Event

WIDTH, LEFT, ROW, AXIS = 960, 110, 22, 44
COLORS = {
    "forward": "#7aa6d6",
    "backward": "#31689b",
    "recompute": "#d9583b",
    "hidden": "#eeb04c",
    "communication": "#a3b18a",
}
LINES = ("#d9583b", "#31689b", "#8a6db1", "#3f8f5f", "#eeb04c", "#555555")


def plot_timeline(events: Sequence[Event], path: Path) -> None:
    """Draw events: for each stage a row of computation and, where there is one, a row of the link.

    events (Sequence[Event]): The events, one or more.
    path (Path): File to write.
    """
    rows = sorted({(event.stage, event.row != COMPUTE, event.row) for event in events})
    end = max(event.end for event in events)
    height, scale = ROW * (len(rows) + 1), (WIDTH - LEFT - 20) / (end or 1.0)
    parts = []
    for i, (stage, _, name) in enumerate(rows):
        top = ROW * (i + 1)
        parts.append(_text(LEFT - 8, top + 14, f"stage {stage} {name}", "end"))
        for event in events:
            if (event.stage, event.row) == (stage, name):
                place = f'x="{LEFT + scale * event.start:.2f}" y="{top + 2}"'
                size = f'width="{scale * (event.end - event.start):.2f}" height="{ROW - 4}"'
                title = escape(f"{event.kind} {event.name}: {1e3 * (event.end - event.start):.3f} ms")
                color = COLORS.get(event.kind, "#cccccc")
                parts.append(f'<rect {place} {size} fill="{color}" stroke="white"><title>{title}</title></rect>')
    parts += _axis([(LEFT + scale * end * k / 5, f"{1e3 * end * k / 5:.4g}") for k in range(6)], height, "ms")
    kinds = [kind for kind in COLORS if any(event.kind == kind for event in events)]
    parts += _legend({kind: COLORS[kind] for kind in kinds})
    _write(parts, height + AXIS, path)


def plot_frontier(curves: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Draw what planners add to a step against the memory that they may take.

    curves (Mapping[str, Sequence[tuple[int, float]]]): By planner, points of bytes and seconds.
    path (Path): File to write.
    """
    points = [point for curve in curves.values() for point in curve]
    least, most = min(size for size, _ in points), max(size for size, _ in points)
    top, height = max(seconds for _, seconds in points) or 1.0, 360
    across, up = (WIDTH - LEFT - 20) / ((most - least) or 1), (height - 2 * ROW) / top
    parts, colors = [], {name: LINES[i % len(LINES)] for i, name in enumerate(curves)}
    for name, curve in curves.items():
        places = [(LEFT + across * (size - least), height - up * seconds) for size, seconds in sorted(curve)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colors[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colors[name]}"/>' for x, y in places]
    for k in range(6):
        parts.append(_text(LEFT - 8, height - up * top * k / 5 + 4, f"{1e3 * top * k / 5:.3g} ms", "end"))
    ticks = [least + (most - least) * k / 5 for k in range(6)]
    parts += _axis([(LEFT + across * (size - least), f"{size / 2**30:.3g}") for size in ticks], height, "GiB")
    _write([*parts, *_legend(colors)], height + AXIS, path)


def _axis(ticks: Sequence[tuple[float, str]], top: float, unit: str) -> list[str]:
    line = f'<path d="M{LEFT} {top}H{WIDTH - 20}" stroke="#444444"/>'
    marks = [f'<path d="M{x:.1f} {top}v5" stroke="#444444"/>' for x, _ in ticks]
    return [line, *marks, *(_text(x, top + 18, label) for x, label in ticks), _text(LEFT - 8, top + 18, unit, "end")]


def _legend(colors: Mapping[str, str]) -> list[str]:
    parts = []
    for i, (name, color) in enumerate(colors.items()):
        parts.append(f'<rect x="{LEFT + 120 * i}" y="5" width="10" height="10" fill="{color}"/>')
        parts.append(_text(LEFT + 120 * i + 15, 14, name, "start"))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _write(parts: Sequence[str], height: int, path: Path) -> None:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    text = "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
    with replace_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
