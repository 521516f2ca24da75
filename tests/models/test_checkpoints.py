"""Checkpoints: what is read is what was written, bit for bit, and only what was written whole."""

from __future__ import annotations

import pytest
import torch
from samarkand.engine import Adapprox
from samarkand.models.checkpoints import checkpoints, load_checkpoint, read_state, save_checkpoint


def make(kind, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.LayerNorm(30))
    return model, kind(model.parameters(), lr=0.1)


def train(model, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        model(torch.randn(8, 40, generator=generator)).pow(3).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, Adapprox])
def test_training_goes_on_bit_for_bit(kind, tmp_path):
    model, optimizer = make(kind)
    train(model, optimizer, 3, seed=1)
    path = save_checkpoint(tmp_path, 3, model, optimizer, {"a": [1.5]}, keep=1)
    expected = train(model, optimizer, 3, seed=2)
    other, resumed = make(kind, seed=9)
    load_checkpoint(path, other, resumed)
    assert read_state(path, ["a"]) == {"a": [1.5]}
    with pytest.raises(ValueError, match=r"S738.*b"):
        read_state(path, ["b"])
    assert all(torch.equal(a, b) for a, b in zip(train(other, resumed, 3, seed=2), expected))


def test_the_oldest_go_and_leftovers_do_not_count(tmp_path):
    model, optimizer = make(torch.optim.AdamW)
    (tmp_path / ".step-00000001.partial").mkdir()
    for step in (5, 10, 15, 15):
        save_checkpoint(tmp_path, step, model, optimizer, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000010", "step-00000015"]
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoints(tmp_path / "none") == []


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_damaged_checkpoints(file, tmp_path):
    model, optimizer = make(torch.optim.AdamW)
    path = save_checkpoint(tmp_path, 1, model, optimizer, {}, keep=1)
    (path / file).write_bytes((path / file).read_bytes()[:5])
    with pytest.raises(ValueError, match="S738"):
        load_checkpoint(path, model, optimizer)
    (path / file).unlink()
    with pytest.raises(ValueError, match="S738"):
        load_checkpoint(path, model, optimizer)
    if file == "state.json":
        with pytest.raises(ValueError, match="S738"):
            read_state(path, ())


@pytest.mark.parametrize("other", [torch.nn.Linear(40, 30), torch.nn.Sequential(torch.nn.Linear(40, 31))])
def test_weights_that_do_not_fit(other, tmp_path):
    model, optimizer = make(torch.optim.AdamW)
    path = save_checkpoint(tmp_path, 1, model, optimizer, {}, keep=1)
    with pytest.raises(ValueError, match="S738"):
        load_checkpoint(path, other, torch.optim.AdamW(other.parameters()))
