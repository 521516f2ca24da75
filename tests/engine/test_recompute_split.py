"""Plans of recomputation for layers that are split over two processes: one plan, and the gradients of none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from parallel_model import run_processes
from samarkand.engine import plan_recompute
from samarkand.engine.layer_profile import LayerProfile, profile_layer
from samarkand.engine.live_memory import LiveMemory, holder
from samarkand.engine.tensor_rules import matching_rules, split_block
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

SHARES = (0.15, 0.4, 0.7)
# Bytes of what is summed over the processes.
TENSOR = 8 * 32 * 32 * 4


def _step(model: nn.Module, sample: Tensor) -> tuple[int, list[Tensor]]:
    """Bytes at the worst moment of a step, and its gradients."""
    torch.manual_seed(3)
    model.zero_grad()
    parameters = list(model.parameters())
    memory = LiveMemory()
    memory.ignore((parameters, sample))
    with memory:
        result = model(sample)
        result.sum().backward()
    gradients = [holder(p.grad).clone() for p in parameters]
    return memory.peak + sum(holder(p).numel() * p.element_size() for p in parameters), gradients


def _with_long_sums(*args: Any) -> LayerProfile:
    """A measured layer whose sums take so long that all of it could be recomputed meanwhile."""
    profile = profile_layer(*args)
    return replace(profile, costs=replace(profile.costs, windows=(1.0,) * len(profile.costs.windows)))


def _work(folder: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True, norm_first=True)
    model, sample = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), torch.randn(8, 32, 32)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model.layers:
        split_block(block, mesh, matching_rules(block, mesh.size()))
    most, expected = _step(model, sample)
    least = plan_recompute(model, sample, most, planner="full").peak_size
    found = []
    for share in SHARES:
        with patch("samarkand.engine.model_probe.profile_layer", _with_long_sums):
            plan = plan_recompute(model, sample, int(least + share * (most - least)))
        regions = plan.apply(model)
        peak, gradients = _step(model, sample)
        regions.remove()
        assert all(map(torch.equal, gradients, expected))
        kept = [[*layer.region.kept, *layer.region.skipped] for layer in plan.layers if layer.region]
        early = any(layer.region.early for layer in plan.layers if layer.region)
        found.append({"kept": kept, "early": early, "peak": peak, "predicted": plan.peak_size, "budget": plan.budget})
    with pytest.raises(ValueError, match=r"\[S754\]"):
        plan_recompute(model, sample, least // 2)
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")


def test_split_layers_follow_one_plan_within_the_budget(tmp_path):
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _work, folder) == [0, 0]
    first, second = (json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    # How long the tensors of a sum live depends on when it is done, in this run and in the one that was measured.
    peaks = [[plan.pop("peak") for plan in plans] for plans in (first, second)]
    assert first == second
    for plan, *measured in zip(first, *peaks):
        for peak in measured:
            assert peak == pytest.approx(plan["predicted"], abs=2 * TENSOR)
            assert peak <= plan["budget"] + TENSOR
        assert plan["kept"]
    # Sums over the processes are windows, in which something is recomputed.
    assert any(plan["early"] for plan in first)
