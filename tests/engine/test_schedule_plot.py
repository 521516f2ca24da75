"""Pictures: well-formed, with every event in its place and to scale."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from samarkand.engine.recompute_simulator import LINK, Event
from samarkand.engine.schedule_plot import COLORS, plot_frontier, plot_timeline

SVG = "{http://www.w3.org/2000/svg}"
EVENTS = [
    Event("communication", "layer 1", 0.0, 0.002, LINK),
    Event("hidden", "layer 1: a < b & c", 0.0, 0.001),
    Event("backward", "layer 1", 0.002, 0.008),
    Event("forward", "0", 0.0, 0.004, stage=1),
]


def test_a_timeline_has_a_row_for_each_stage_and_for_its_link(tmp_path):
    path = tmp_path / "new" / "timeline.svg"
    plot_timeline(EVENTS, path)
    root = ElementTree.parse(path).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text.startswith("stage")] == [
        "stage 0 compute",
        "stage 0 link",
        "stage 1 compute",
    ]
    assert {"hidden", "backward", "forward", "communication", "ms", "8"} <= set(texts)
    assert "recompute" not in texts
    boxes = {box.find(f"{SVG}title").text: box for box in root.iter(f"{SVG}rect") if len(box)}
    assert len(boxes) == len(EVENTS)
    widths = {title.split()[0]: float(box.get("width")) for title, box in boxes.items()}
    assert widths["backward"] == pytest.approx(6 * widths["hidden"], rel=1e-3)
    assert boxes["hidden layer 1: a < b & c: 1.000 ms"].get("fill") == COLORS["hidden"]
    assert [file.name for file in path.parent.iterdir()] == ["timeline.svg"]


def test_a_frontier_has_a_line_for_each_planner(tmp_path):
    path = tmp_path / "frontier.svg"
    plot_frontier({"mix": [(2 * 2**30, 0.0), (2**30, 0.2)], "full": [(2**30, 1.0), (2 * 2**30, 1.0)]}, path)
    root = ElementTree.parse(path).getroot()
    lines = [line.get("points").split() for line in root.iter(f"{SVG}polyline")]
    mix, full = ([tuple(map(float, point.split(","))) for point in line] for line in lines)
    assert mix[0][0] < mix[1][0]
    assert full[0][1] < mix[0][1] < mix[1][1]
    assert len(list(root.iter(f"{SVG}circle"))) == 4
    assert {"mix", "full", "GiB"} <= {text.text for text in root.iter(f"{SVG}text")}
