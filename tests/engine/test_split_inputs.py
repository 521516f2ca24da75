"""Recomputation while a real sum over two processes is under way: before the sum is done, and with equal gradients."""

from __future__ import annotations

import copy
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from parallel_model import batches, make_trainer, reference_losses, run_processes
from samarkand.engine.graph_costs import Machine
from samarkand.engine.recompute_region import RegionPlan, run_region
from samarkand.engine.tensor_rules import matching_rules, split_block
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

# Seconds that process 1 keeps process 0 waiting for what is not to come, and for what is.
SHORT, LONG = 2, 50


class Block(nn.Module):
    """The second half of a transformer layer."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        return x + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm(x))))


class Delay:
    """Process 1 takes no part in the sums of a layer's backward pass until process 0 has recomputed the layer below.

    So a sum is done before that only if process 1 has run out of patience.

    mark (Path): A file by which process 0 says so.
    below (Module): The last layer in the one below.
    above (Module): The last layer in the one above.
    patience (int): Seconds that process 1 waits.
    """

    def __init__(self, mark: Path, below: nn.Module, above: nn.Module, patience: int) -> None:
        self.came: list[bool] = []
        self._mark, self._patience, self._calls = mark, patience, 0
        if dist.get_rank() == 0:
            below.register_forward_pre_hook(self._runs)
        else:
            above.register_forward_hook(self._ran)

    def _runs(self, *_: Any) -> None:
        """All that is recomputed of the layer below has run when its last layer is called again."""
        self._calls += 1
        if self._calls == 2:
            self._mark.touch()

    def _ran(self, layer: nn.Module, args: Any, result: Tensor) -> None:
        result.register_hook(self._hold)

    def _hold(self, grad: Tensor) -> None:
        end = time.monotonic() + self._patience
        while not self._mark.exists() and time.monotonic() < end:
            time.sleep(0.01)
        self.came.append(self._mark.exists())


def _gradients(mark: Path, plan: RegionPlan | None, patience: int) -> tuple[list[Tensor], list[bool]]:
    """Gradients of two split blocks: of their input and of whole weights; and whether recomputation came in time."""
    torch.manual_seed(0)
    blocks, x = nn.ModuleList([Block(), Block()]), torch.randn(8, 16, requires_grad=True)
    whole = copy.deepcopy(blocks)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in blocks:
        split_block(block, mesh, matching_rules(block, mesh.size()))
    delay = Delay(mark, blocks[0].fc2, blocks[1].fc2, patience) if plan else None
    h = x
    for block in blocks:
        h = run_region(block, plan, h) if plan else block(h)
    h.square().sum().backward()
    gradients = [x.grad, *(p.grad for p in blocks.parameters())]
    gradients = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in gradients]
    x.grad = None
    whole[1](whole[0](x)).square().sum().backward()
    for gradient, expected in zip(gradients, [x.grad, *(p.grad for p in whole.parameters())]):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)
    return gradients, delay.came if delay else []


def _work(folder: Path) -> None:
    plain, _ = _gradients(folder / "plain", None, 0)
    on_demand, late = _gradients(folder / "on demand", RegionPlan(), SHORT)
    early, in_time = _gradients(folder / "early", RegionPlan(early=True), LONG)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, on_demand, early))
    if dist.get_rank() == 1:
        (folder / "came.json").write_text(json.dumps({"on demand": late, "early": in_time}), encoding="utf-8")


def test_the_layer_below_is_recomputed_before_a_sum_of_the_layer_above_is_done(tmp_path):
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _work, folder) == [0, 0]
    came = json.loads((folder / "came.json").read_text(encoding="utf-8"))
    assert came == {"on demand": [False], "early": [True]}


def _train(folder: Path) -> None:
    """Steps of a trainer that recomputes early; the order is looked at in the first."""
    # A sum takes as long as a block.
    machine = Machine(latency=1e-7, link_rate=1e15)
    trainer = make_trainer(micro_batches=1, degrees=(1, 2, 1), budget=8e5, machine=machine)
    assert trainer.plan.early
    assert trainer.plan.recomputed == (4,)
    below, above = (trainer.module.get_submodule(f"encoder.layers.{i}.linear2") for i in (2, 3))
    delay = Delay(folder / "trainer", below, above, LONG)
    losses = [trainer.step(*batch) for batch in batches()[:3]]
    if dist.get_rank() == 1:
        found = {"losses": losses, "came": delay.came}
        (folder / "trained.json").write_text(json.dumps(found), encoding="utf-8")


def test_the_trainer_recomputes_a_block_before_a_sum_of_the_block_above_is_done(tmp_path):
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _train, folder) == [0, 0]
    found = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    assert found["came"][0]
    assert found["losses"] == pytest.approx(reference_losses()[:3], abs=1e-5, rel=0)


def test_early_regions_recompute_once_in_each_backward_pass():
    runs: list[int] = []

    def function(number: int, x: Tensor) -> Tensor:
        runs.append(number)
        return x.exp().sin()

    x = torch.rand(4, requires_grad=True)
    h = x
    for number in range(3):
        h = run_region(partial(function, number), RegionPlan(early=True), h)
    expected = torch.autograd.grad(h.sum(), x, retain_graph=True)
    assert runs == [0, 1, 2, 2, 1, 0]
    assert torch.equal(*torch.autograd.grad(h.sum(), x), *expected)
    assert runs == [0, 1, 2, 2, 1, 0, 2, 1, 0]
