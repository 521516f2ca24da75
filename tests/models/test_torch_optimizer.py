"""Optimizers of spaCy: torch networks as torch would step them, thinc's as thinc would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samarkand.engine import Adapprox
from samarkand.models import torch_optimizer
from samarkand.models.torch_optimizer import create_adamw, create_adapprox
from samarkand.models.torch_shim import KEY_PREFIX, TorchShim
from spacy import registry
from thinc.api import Linear


def _network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))


def _set_gradients(network: torch.nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for p in network.parameters():
        p.grad = torch.randn_like(p)


def test_steps_as_torch_does_with_clipping_and_decay_on_matrices_only():
    ours, theirs = _network(), _network()
    optimizer = create_adamw(0.01, L2=0.1, grad_clip=1.0, average_decay=0.0)
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim <= 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.01
    )
    shim = TorchShim(ours)
    for step in range(5):
        _set_gradients(ours, step)
        _set_gradients(theirs, step)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        shim.finish_update(optimizer)
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
        assert a.grad is None


def test_averages_follow_the_weights_and_can_be_put_in_place():
    network = _network()
    shim, optimizer = TorchShim(network), create_adamw(0.1, average_decay=0.9)
    history = []
    for step in range(30):
        _set_gradients(network, step)
        shim.finish_update(optimizer)
        history.append(network[0].weight.detach().clone())
    average = history[0]
    for step, weight in enumerate(history, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(
        torch.tensor(optimizer.averages[shim.id, KEY_PREFIX + "0.weight"]), average, atol=1e-5, rtol=1e-4
    )
    with shim.use_params(optimizer.averages):
        torch.testing.assert_close(network[0].weight, average, atol=1e-5, rtol=1e-4)
    assert torch.equal(network[0].weight, history[-1])


def test_pretrained_networks_have_a_rate_of_their_own():
    fresh, pretrained = _network(), _network()
    pretrained.pretrained = True
    optimizer = create_adamw(0.1, pretrained_learn_rate=0.001, L2=0.0)
    start = fresh[0].weight.detach().clone()
    for network in (fresh, pretrained):
        _set_gradients(network, 0)
        TorchShim(network).finish_update(optimizer)
    moved = [(network[0].weight - start).abs().mean().item() for network in (fresh, pretrained)]
    assert moved[0] == pytest.approx(100 * moved[1], rel=0.05)


def test_schedules_are_stepped():
    optimizer = create_adamw([0.1, 0.2, 0.3])
    assert optimizer.learn_rate == 0.1
    optimizer.step_schedules()
    assert optimizer.learn_rate == 0.2


def test_frozen_parameters_stay():
    network = _network()
    network[0].weight.requires_grad_(False)
    before = network[0].weight.clone()
    network(torch.randn(2, 4)).sum().backward()
    TorchShim(network).finish_update(create_adamw(0.1))
    assert torch.equal(network[0].weight, before)


def test_networks_of_thinc_are_stepped_too():
    model = Linear(2, 3).initialize()
    before = model.get_param("W").copy()
    _, backprop = model.begin_update(np.ones((1, 3), dtype="f"))
    backprop(np.ones((1, 2), dtype="f"))
    model.finish_update(create_adamw(0.1))
    assert not np.array_equal(before, model.get_param("W"))


def test_adapprox_steps_as_the_engine_does():
    ours, theirs = _network(), _network()
    optimizer, shim = create_adapprox(0.01, L2=0.1, grad_clip=0.0, tolerance=0.5), TorchShim(ours)
    groups = [{"params": [p for p in theirs.parameters() if (p.ndim > 1) == matrices]} for matrices in (True, False)]
    reference = Adapprox(
        [{**groups[0], "weight_decay": 0.1}, {**groups[1], "weight_decay": 0.0}], lr=0.01, tolerance=0.5
    )
    for step in range(3):
        _set_gradients(ours, step)
        _set_gradients(theirs, step)
        shim.finish_update(optimizer)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))
    assert optimizer.averages is None


@pytest.mark.parametrize("create", [create_adamw, create_adapprox])
def test_is_registered(create):
    name = {"create_adamw": "AdamW", "create_adapprox": "Adapprox"}[create.__name__]
    assert registry.optimizers.get(f"samarkand.{name}.v1") is create


def test_averages_move_where_arrays_and_tensors_share_no_memory(monkeypatch):
    monkeypatch.setattr(torch_optimizer, "torch2xp", lambda tensor: tensor.detach().numpy().copy())
    monkeypatch.setattr(torch, "as_tensor", lambda array, device: torch.tensor(array, device=device))
    network = _network()
    shim, optimizer = TorchShim(network), create_adamw(0.1, average_decay=0.5)
    for step in range(20):
        _set_gradients(network, step)
        shim.finish_update(optimizer)
    average = torch.tensor(optimizer.averages[shim.id, KEY_PREFIX + "0.weight"])
    assert (average - network[0].weight).abs().max() < 0.2


def test_network_that_was_built_anew_is_stepped_and_averaged_anew():
    shim, optimizer = TorchShim(_network()), create_adamw(0.1)
    for network in (shim.module, torch.nn.Sequential(torch.nn.Linear(4, 5))):
        shim.set_module(network, {})
        before = network[0].weight.detach().clone()
        _set_gradients(network, 0)
        shim.finish_update(optimizer)
        assert not torch.equal(network[0].weight, before)
        average = optimizer.averages[shim.id, KEY_PREFIX + "0.weight"]
        torch.testing.assert_close(torch.tensor(average), network[0].weight.detach())
    assert (shim.id, KEY_PREFIX + "1.weight") not in optimizer.averages
