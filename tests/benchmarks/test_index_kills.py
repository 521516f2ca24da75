"""A process that is killed while it adds loses nothing of what it committed, and doubles nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from samarkand.models.search_index import SearchIndex

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kills(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import index_kills

    yield index_kills
    sys.modules.pop("index_kills")


def test_killed_while_adding(tmp_path, kills):
    counts = kills.kill_often(tmp_path / "i", 2, longest=0.3)
    assert (counts["kills"], counts["lost"], counts["doubled"]) == (2, 0, 0)
    assert counts["batches"] >= 2


@pytest.mark.slow
def test_killed_twenty_times(tmp_path, kills):
    counts = kills.kill_often(tmp_path / "i", 20, seed=1)
    assert (counts["kills"], counts["lost"], counts["doubled"]) == (20, 0, 0)


def test_what_is_lost_or_doubled_is_counted(tmp_path, kills):
    with SearchIndex.create(tmp_path / "i", kills.WIDTH) as index:
        index.add(kills.names_of(0), kills.vectors_of(0))
        index.add(kills.names_of(1), kills.vectors_of(1))
    half = kills.BATCH // 2
    assert not +kills._damage(tmp_path / "i", {0: "added"}, {1})
    assert +kills._damage(tmp_path / "i", {0: "removed"}, {1}) == {"doubled": half}
    assert +kills._damage(tmp_path / "i", {0: "added", 2: "added"}, {1}) == {"lost": half}
    with SearchIndex.open(tmp_path / "i") as index:
        index.remove(kills.names_of(1)[:3])
    assert +kills._damage(tmp_path / "i", {0: "added"}, {1}) == {"doubled": 1}
