"""Pictures of schedules and of frontiers. They need matplotlib, which the rest of the engine does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..replacing import replace_file
from .recompute_simulator import COMPUTE, Event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "forward": "#7aa6d6",
    "backward": "#31689b",
    "recompute": "#d9583b",
    "hidden": "#eeb04c",
    "communication": "#a3b18a",
}


def plot_timeline(events: Sequence[Event], path: Path) -> None:
    """Draw events: for each stage a row of computation and, where there is one, a row of the link.

    events (Sequence[Event]): The events, one or more.
    path (Path): File to write, .svg, .png or .pdf; it is replaced whole.
    """
    rows = sorted({(event.stage, event.row != COMPUTE, event.row) for event in events})
    places = {(stage, name): i for i, (stage, _, name) in enumerate(rows)}
    with _picture(path, height=1.2 + 0.3 * len(rows)) as axes:
        for kind in [kind for kind in COLORS if any(event.kind == kind for event in events)]:
            own = [event for event in events if event.kind == kind]
            axes.barh(
                [places[event.stage, event.row] for event in own],
                [1e3 * (event.end - event.start) for event in own],
                left=[1e3 * event.start for event in own],
                color=COLORS[kind],
                edgecolor="white",
                linewidth=0.4,
                label=kind,
            )
        axes.set_yticks(range(len(rows)), [f"stage {stage} {name}" for stage, _, name in rows])
        axes.invert_yaxis()
        axes.set_xlabel("ms")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(COLORS), frameon=False)


def plot_frontier(curves: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Draw what planners add to a step against the memory that they may take.

    curves (Mapping[str, Sequence[tuple[int, float]]]): By planner, points of bytes and seconds.
    path (Path): File to write, .svg, .png or .pdf; it is replaced whole.
    """
    with _picture(path, height=4.2) as axes:
        for name, curve in curves.items():
            points = sorted(curve)
            axes.plot([size / 2**30 for size, _ in points], [1e3 * seconds for _, seconds in points], ".-", label=name)
        axes.set(xlabel="GiB", ylabel="ms added to a micro-batch", ylim=(0, None))
        axes.legend(frameon=False)


@contextmanager
def _picture(path: Path, *, height: float) -> Iterator[Axes]:
    """Axes to draw on, saved at the end: the same drawing makes the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text, and neither names nor the date change from one drawing to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "samarkand"}):
        figure = Figure(figsize=(9.6, height), layout="constrained")
        yield figure.subplots()
        metadata = {"Date": None} if path.suffix == ".svg" else None
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as aside:
            figure.savefig(aside, format=path.suffix.removeprefix("."), metadata=metadata)
