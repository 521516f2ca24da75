"""The head-room rule: workers fit with a CPU to spare, also when the largest node is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.pipeline.cluster_room import check_room, most_workers
from samarkand.pipeline.sources import UsageError

CPU = {"CPU": 1.0}
GPU = {"CPU": 1.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "each", "most"),
    [
        ([{"CPU": 3}], CPU, 2),
        ([{"CPU": 1}], CPU, 0),
        ([], CPU, 0),
        ([{"CPU": 2}, {"CPU": 2}], CPU, 1),
        ([{"CPU": 16}, {"CPU": 4}, {"CPU": 4}], CPU, 7),
        # Another node that can have no worker is no loss, and its CPUs are to spare.
        ([{"CPU": 0}, {"CPU": 3}], CPU, 2),
        ([{"CPU": 1}, {"CPU": 8, "GPU": 2}], GPU, 2),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 4}, {"CPU": 8}], GPU, 2),
        ([{"CPU": 2, "memory": 10.0}], {"CPU": 1, "memory": 6.0}, 1),
    ],
)
def test_workers_that_fit(nodes, each, most):
    assert most_workers(nodes, each) == most


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(0, 5))
def test_any_node_may_be_lost(cpus, lost):
    most = most_workers([{"CPU": count} for count in cpus], CPU)
    left = [count for place, count in enumerate(cpus) if place != lost % len(cpus)]
    hosts = sum(count > 0 for count in cpus)
    assert most + 1 <= (sum(left) if hosts > 1 else sum(cpus)) or most == 0


def test_more_workers_are_refused_with_numbers():
    nodes = [{"CPU": 2.0, "node:1": 1.0}] * 5
    assert check_room(7, nodes, CPU) == check_room(-1, nodes, CPU) == 7
    with pytest.raises(
        UsageError, match=r"\[S548\] .* for 8 workers, but for 7\. Each takes 1 CPU, and 5 nodes have 2"
    ):
        check_room(8, nodes, CPU)
    with pytest.raises(
        UsageError, match=r"\[S548\] .* for 1 workers, but for 0\. .* have 2 CPU and 0 GPU; .*; and 2 more;"
    ):
        check_room(-1, nodes, GPU)
