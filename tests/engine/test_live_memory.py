"""Counting the bytes that are alive."""

from __future__ import annotations

import torch
from samarkand.engine.live_memory import LiveMemory


def test_storage_counts_from_its_allocation_to_its_end():
    given = torch.ones(10)
    with LiveMemory() as memory:
        doubled = given * 2
        view = doubled[2:].view(2, 4)
        assert memory.current == 40
        del doubled
        assert memory.current == 40
        view.add_(1)
        assert memory.current == 40
        del view
        assert memory.current == 0
        assert memory.peak == 40
        memory.start_peak()
        assert memory.peak == 0
    assert given.sum() == 10


def test_what_the_backward_pass_holds_counts():
    x = torch.ones(8, 8, requires_grad=True)
    with LiveMemory() as memory:
        y = (x * 2).exp().sum()
        assert memory.current == 8 * 8 * 4 + 4
        y.backward()
        del y
        assert memory.current == 8 * 8 * 4
    assert x.grad is not None
