"""Tests of linear layers that multiply integers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.engine.int8_products import Int8Product, multiply_in_int8
from torch import Tensor, nn

SIZES = {
    "rows": st.integers(1, 9),
    "inputs": st.integers(2, 33),
    "outputs": st.integers(1, 17),
    "bias": st.booleans(),
    "seed": st.integers(0, 99),
}


def on_grid(rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, at least one of the largest in each row, and a scale of each row."""
    numbers = torch.randint(-127, 128, (rows, width), dtype=torch.float64)
    numbers[torch.arange(rows), torch.randint(0, width, (rows,))] = 127
    return numbers, torch.tensor([2.0]).pow(torch.randint(-9, 9, (rows, 1))).double()


@settings(deadline=None)
@given(**SIZES)
def test_numbers_that_need_no_rounding_are_multiplied_exactly(rows, inputs, outputs, bias, seed):
    torch.manual_seed(seed)
    (left, left_scale), (right, right_scale) = on_grid(rows, inputs), on_grid(outputs, inputs)
    left[0] = 0
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(right * right_scale)
    expected = (left @ right.T) * left_scale * right_scale.T + (layer.bias.double() if bias else 0)
    found = Int8Product(layer)((left * left_scale).float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(**SIZES)
def test_others_are_off_by_half_a_step_of_each_factor(rows, inputs, outputs, bias, seed):
    torch.manual_seed(seed)
    layer, values = nn.Linear(inputs, outputs, bias=bias), torch.randn(rows, inputs)
    with torch.no_grad():
        error = (Int8Product(layer)(values) - layer(values)).abs()
    most, weights = values.abs().amax(1, keepdim=True), layer.weight.abs().amax(1)
    # (x + s/2) (w + t/2) - x w with steps s = most / 127 and t = weights / 127, of each input.
    bound = inputs * most * weights * (1 / 127 + 0.25 / 127**2)
    assert (error <= bound + 1e-5).all()


def test_blocks_make_no_difference(monkeypatch):
    torch.manual_seed(0)
    layer, values = nn.Linear(24, 12), torch.randn(3, 11, 24)
    whole = Int8Product(layer)(values)
    assert whole.shape == (3, 11, 12)
    monkeypatch.setattr("samarkand.engine.int8_products.BLOCK", 4)
    assert torch.equal(Int8Product(layer)(values), whole)


def test_one_large_row_costs_the_others_nothing():
    torch.manual_seed(0)
    layer, values = nn.Linear(64, 64), torch.randn(4, 64)
    values[3] *= 1e6
    with torch.no_grad():
        errors = (Int8Product(layer)(values) - layer(values)).abs().amax(1)
    assert errors[:3].max() < 0.05 < errors[3]


def test_weights_stay_as_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8, bias=False))
    before, values = deepcopy(network.state_dict()), torch.randn(5, 16)
    with torch.no_grad():
        expected = network(values)
        multiply_in_int8(network)
        found = network(values)
        assert torch.equal(deepcopy(network)(values), found)
    assert 0 < (found - expected).abs().max() < 0.05
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_no_rows_are_no_products():
    assert Int8Product(nn.Linear(8, 4))(torch.zeros(2, 0, 8)).shape == (2, 0, 4)


def test_a_layer_of_one_input_multiplies_itself():
    layer, values = nn.Linear(1, 3), torch.randn(4, 1)
    expected = layer(values)
    multiply_in_int8(layer)
    assert torch.equal(layer(values), expected)


@pytest.mark.gpu
def test_a_layer_that_moved_to_a_gpu_multiplies_itself():
    layer = nn.Linear(16, 16)
    multiply_in_int8(layer)
    layer.cuda()
    values = torch.randn(3, 16, device="cuda")
    torch.testing.assert_close(layer(values), nn.functional.linear(values, layer.weight, layer.bias))
