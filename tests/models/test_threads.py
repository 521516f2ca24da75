"""Batches side by side on threads."""

from __future__ import annotations

import threading

import pytest
import torch
from samarkand.models.threads import map_batches

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_batches(threads):
    weight = torch.randn(4, 4, requires_grad=True)
    batches = [torch.randn(n, 4) for n in range(1, 20)]
    results = map_batches(lambda x: x @ weight, batches, CPU, training=False)
    for x, result in zip(batches, results):
        torch.testing.assert_close(result, x @ weight)
        assert not result.requires_grad


def test_each_batch_has_one_thread_and_the_setting_stays(threads):
    together = threading.Barrier(threads, timeout=20)

    def count(_: int) -> int:
        together.wait()
        return torch.get_num_threads()

    assert map_batches(count, range(3), CPU, training=False) == [1, 1, 1]
    assert torch.get_num_threads() == threads


def test_no_batches_give_no_results(threads):
    assert map_batches(torch.relu, [], CPU, training=False) == []


def test_a_failure_reaches_the_caller(threads):
    with pytest.raises(ZeroDivisionError):
        map_batches(lambda n: 1 // n, [1, 0, 2], CPU, training=False)
    assert torch.get_num_threads() == threads


def test_training_records_gradients(threads):
    weight = torch.ones(2, requires_grad=True)
    results = map_batches(lambda x: (x * weight).sum(), [torch.ones(2)] * 3, CPU, training=True)
    sum(results).backward()
    assert torch.equal(weight.grad, torch.full((2,), 3.0))
