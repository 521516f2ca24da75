"""Pictures: every event in its place and to scale, and the same file each time."""

from __future__ import annotations

from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from samarkand.engine import schedule_plot
from samarkand.engine.recompute_simulator import LINK, Event
from samarkand.engine.schedule_plot import COLORS, plot_frontier, plot_timeline

EVENTS = [
    Event("communication", "layer 1", 0.0, 0.002, LINK),
    Event("hidden", "layer 1", 0.0, 0.001),
    Event("backward", "layer 1", 0.002, 0.008),
    Event("forward", "0", 0.0, 0.004, stage=1),
]


@pytest.fixture
def drawn(monkeypatch) -> list[Axes]:
    """Axes of what is drawn in a test."""
    found: list[Axes] = []
    real = schedule_plot._picture

    @contextmanager
    def kept(path, *, height):
        with real(path, height=height) as axes:
            yield axes
            found.append(axes)

    monkeypatch.setattr(schedule_plot, "_picture", kept)
    return found


def test_a_timeline_has_a_row_for_each_stage_and_for_its_link(tmp_path, drawn):
    path = tmp_path / "new" / "timeline.svg"
    plot_timeline(EVENTS, path)
    rows = [label.get_text() for label in drawn[0].get_yticklabels()]
    assert rows == ["stage 0 compute", "stage 0 link", "stage 1 compute"]
    boxes = {}
    for bars in drawn[0].containers:
        (box,) = bars
        boxes[bars.get_label()] = (box.get_x(), box.get_width(), round(box.get_y() + box.get_height() / 2))
        assert to_hex(box.get_facecolor()) == COLORS[bars.get_label()]
    assert boxes["communication"] == pytest.approx((0, 2, 1))
    assert boxes["hidden"] == pytest.approx((0, 1, 0))
    assert boxes["backward"] == pytest.approx((2, 6, 0))
    assert boxes["forward"] == pytest.approx((0, 4, 2))
    assert [file.name for file in path.parent.iterdir()] == ["timeline.svg"]


def test_a_frontier_has_a_line_for_each_planner(tmp_path, drawn):
    path = tmp_path / "frontier.svg"
    plot_frontier({"mix": [(2 * 2**30, 0.0), (2**30, 0.2)], "full": [(2**30, 1.0), (2 * 2**30, 1.0)]}, path)
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn[0].get_lines()}
    assert lines == {"mix": [[1, 200], [2, 0]], "full": [[1, 1000], [2, 1000]]}


def test_the_same_drawing_is_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_timeline(EVENTS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    plot_timeline(EVENTS, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
