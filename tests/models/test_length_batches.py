"""Batches of like length: each row once, little padding, the same order from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from samarkand.models.length_batches import LengthBatchSampler

LENGTHS = np.random.default_rng(0).integers(1, 60, size=1003)


def make(seed: int = 0) -> LengthBatchSampler:
    return LengthBatchSampler(range(len(LENGTHS)), lengths=LENGTHS, batch_size=8, drop_last=True, seed=seed)


def test_each_row_comes_once_and_batches_are_full():
    batches = list(make())
    rows = [row for batch in batches for row in batch]
    assert {len(batch) for batch in batches} == {8}
    assert len(batches) == len(make()) == 1003 // 8
    assert len(set(rows)) == len(rows)


def test_batches_need_little_padding_and_come_in_no_order_of_length():
    batches = [LENGTHS[batch] for batch in make()]
    padded = sum(len(batch) * batch.max() for batch in batches)
    assert padded < 1.1 * sum(map(sum, batches))
    means = [batch.mean() for batch in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_seed_and_an_epoch_decide_the_order(epoch):
    samplers = make(), make(), make(seed=7)
    for sampler in samplers:
        sampler.set_epoch(epoch)
    first, again, other = map(list, samplers)
    assert first == again != other
    assert (first == list(make())) == (epoch == 0)
