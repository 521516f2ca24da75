"""Batches side by side on threads."""

from __future__ import annotations

import threading

import pytest
import torch
from samarkand.models.threads import predict_batches

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
    results = predict_batches(lambda x: x @ weight, batches, CPU)
    for x, result in zip(batches, results):
        torch.testing.assert_close(result, x @ weight)
        assert not result.requires_grad


def test_each_batch_has_one_thread_and_the_setting_stays(threads):
    together = threading.Barrier(threads, timeout=20)

    def count(_: int) -> int:
        together.wait()
        return torch.get_num_threads()

    assert predict_batches(count, range(3), CPU) == [1, 1, 1]
    assert torch.get_num_threads() == threads


def test_no_batches_give_no_results(threads):
    assert predict_batches(torch.relu, [], CPU) == []


def test_a_failure_reaches_the_caller(threads):
    with pytest.raises(ZeroDivisionError):
        predict_batches(lambda n: 1 // n, [1, 0, 2], CPU)
    assert torch.get_num_threads() == threads
