"""Tracing, costs and partitions."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_model import LENGTH, TinyModel, make_model, mean_loss
from samarkand.engine.graph_costs import Machine, Unit, find_units
from samarkand.engine.graph_trace import trace
from samarkand.engine.partition import Memory, balanced_bounds, naive_bounds, partition, split
from samarkand.engine.schedules import RECOMPUTE, SCHEDULES, Schedule, build_schedule
from samarkand.engine.stage_module import StageModule
from samarkand.engine.stage_recompute import GrowingStage, Room, recompute_now, run_recomputed
from samarkand.engine.tied_gradients import shared_parameters
from torch import Tensor, nn

PIECES = torch.randint(0, 50, (2, LENGTH), generator=torch.Generator().manual_seed(0))
MACHINE = Machine(latency=0.0)


def _units(model: nn.Module, inputs: Tensor, inside_blocks: bool = False) -> tuple[Unit, ...]:
    return find_units(model, trace(model, (inputs,), inside_blocks=inside_blocks), MACHINE)


@pytest.mark.parametrize("inside_blocks", [False, True])
@pytest.mark.parametrize(("cuts", "recomputed"), [((), 0), ((2,), 0), ((2,), 2), ((1, 3), 1), ((1, 2, 3, 4), 1)])
def test_stages_in_turn_are_the_model(cuts, recomputed, inside_blocks):
    model = make_model()
    expected = model(PIECES)
    mean_loss(expected, PIECES).backward()
    traced = trace(model, (PIECES,), inside_blocks=inside_blocks)
    units = find_units(model, traced, MACHINE)
    bounds = (0, *cuts, len(units))
    values, grads = (), {}
    stages = [StageModule(model, traced, units, b, recomputed, torch.device("cpu")) for b in pairwise(bounds)]
    for stage in stages:
        values = stage(*values, **({"input_0": PIECES} if stage.inputs else {}))
    assert torch.equal(values[0], expected)
    mean_loss(values[0], PIECES).backward()
    first = {id(p): name for name, p in model.named_parameters()}
    names = {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    for stage in stages:
        for name, parameter in stage.named_parameters():
            grads[names[name]] = grads.get(names[name], 0) + parameter.grad
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(grads.pop(name), parameter.grad, atol=1e-6, rtol=1e-5)
    assert not grads


@pytest.mark.parametrize("inside_blocks", [False, True])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_every_parameter_is_in_one_stage_or_shared(stages, inside_blocks):
    model = TinyModel()
    units = _units(model, PIECES, inside_blocks)
    bounds = partition(units, build_schedule("1f1b", stages, 8), Memory(), MACHINE).bounds
    found = [name for i, j in pairwise(bounds) for name in {n for unit in units[i:j] for n in unit.parameters}]
    assert set(found) == {name for name, _ in model.named_parameters()}
    shared = shared_parameters(units, bounds)
    assert shared == {"embedding.weight": (0, stages - 1)}
    assert sorted(found) == sorted([*{*found}, *shared])


def test_no_weights_are_needed():
    with torch.device("meta"):
        model = TinyModel(layers=3, width=4096, vocabulary=100_000)
    units = _units(model, torch.empty(4, LENGTH, dtype=torch.long, device="meta"))
    assert [unit.name for unit in units] == ["embedding", *(f"encoder.layers.{i}" for i in range(3)), "head"]
    assert units[0].parameters == {"embedding.weight": 4 * 4096 * 100_000, "positions": 4 * 4096 * LENGTH}
    # A multiplication and an addition for each weight: 4 w^2 of attention, 4 w^2 of the network, and the attention.
    rows, width = 4 * LENGTH, 4096
    assert units[1].forward * MACHINE.flops == 2 * rows * 8 * width**2 + 4 * rows * LENGTH * width
    assert units[1].sends == units[1].inputs == 4 * rows * width


class Odd(nn.Module):
    """Blocks that pass a value around, one changed in place, and one that no gradient can cross."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, 4] -> values [rows, 4]."""
        x = self.blocks[0](x)
        if self.kind == "value" and x.sum() > 0:
            return x
        kept = x if self.kind == "in place" else x.argmax(-1, keepdim=True) if self.kind == "integer" else x.relu()
        x = self.blocks[2](self.blocks[1](x))
        kept = kept.mul_(2) if self.kind == "in place" else kept
        return self.blocks[3](x + kept)


@pytest.mark.parametrize(("kind", "cuts"), [("skip", [1, 3]), ("in place", [3]), ("integer", [3])])
def test_cuts_go_where_they_may(kind, cuts):
    units = _units(Odd(kind), torch.ones(2, 4))
    starts = [unit.name for unit in units[1:]]
    assert starts == [f"blocks.{i}" for i in cuts]


def test_values_that_steer_are_refused():
    with pytest.raises(ValueError, match=r"\[S723\].*reads the value of blocks_0"):
        trace(Odd("value"), (torch.ones(2, 4),))


def _rows(seconds: list[float], saved: int = 0, inputs: int = 0) -> list[Unit]:
    return [Unit(f"block.{i}", s, 2 * s, {f"{i}": 4}, inputs, saved) for i, s in enumerate(seconds)]


def _slow_cost(units: list[Unit], place: int, schedule: Schedule, memory: Memory) -> tuple[float, float, float]:
    """Bytes over the budget, seconds and peak of a stage that recomputes as few of its last blocks as it can."""
    blocks = [unit for unit in units if unit.block]
    ahead = RECOMPUTE in {action.kind for action in schedule.stages[place]}
    forward, backward = sum(unit.forward for unit in units), sum(unit.backward for unit in units)
    for count in range(len(blocks) + 1 if schedule.recomputes[place] else 1):
        again = blocks[len(blocks) - count :]
        saved = [unit.saved for unit in again]
        held = sum(unit.inputs + unit.saved for unit in units) - sum(saved)
        rebuilt = sum(saved) if ahead else max(saved, default=0)
        peak = schedule.in_flight(place) * held + rebuilt + memory.static(units)
        if peak <= memory.budget:
            break
    return max(0.0, peak - memory.budget), forward + backward + sum(unit.forward for unit in again), peak


_UNIT = st.tuples(
    st.integers(1, 9), st.integers(0, 9), st.integers(0, 30), st.booleans(), st.sampled_from(["own", "tied"])
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_UNIT, min_size=4, max_size=8), st.integers(2, 4), st.sampled_from(SCHEDULES),
    st.sampled_from([1e9, 300.0, 150.0, 60.0]),
)  # fmt: skip
def test_dynamic_programming_finds_what_brute_force_finds(rows, stages, name, budget):
    units = [
        Unit(f"{i}", s, 2 * s, {f"{i}": 1, "tied" if kind == "tied" else f"{i}.own": 3}, inputs, saved, inputs, block)
        for i, (s, inputs, saved, block, kind) in enumerate(rows)
    ]
    memory, schedule = Memory(budget), build_schedule(name, stages, 8)

    def worst(bounds: tuple[int, ...]) -> tuple[float, float]:
        return max(_slow_cost(units[i:j], p, schedule, memory)[:2] for p, (i, j) in enumerate(pairwise(bounds)))

    every = [(0, *inner, len(units)) for inner in combinations(range(1, len(units)), stages - 1)]
    found = balanced_bounds(units, schedule, memory)
    assert worst(found) == min(map(worst, every))
    times = split(units, found, schedule, memory, MACHINE).times
    for place, (i, j) in enumerate(pairwise(found)):
        stage = times[place]
        assert stage.forward + stage.backward + stage.recompute == _slow_cost(units[i:j], place, schedule, memory)[1]
        peak = schedule.in_flight(place) * stage.held + stage.rebuilt + stage.static
        assert peak == _slow_cost(units[i:j], place, schedule, memory)[2]


def test_many_units_are_planned_in_little_time():
    units = _rows([1.0 + i % 7 / 10 for i in range(200)], saved=500, inputs=50)
    start = time.process_time()
    found = partition(units, build_schedule("1f1b", 8, 32), Memory(8e4), MACHINE)
    assert time.process_time() - start < 2
    assert found.fits
    assert found.recomputed[0] > 0


def test_the_simulator_and_the_plan_see_the_same_peak():
    units = _rows([1.0] * 12, saved=30, inputs=2)
    for name in SCHEDULES:
        schedule = build_schedule(name, 3, 8)
        found = split(units, (0, 4, 8, 12), schedule, Memory(300.0), MACHINE)
        expected = (_slow_cost(units[4 * p : 4 * p + 4], p, schedule, Memory(300.0))[2] for p in range(3))
        assert found.simulation.peak == tuple(expected)


def test_one_micro_batch_is_recomputed_block_after_block():
    units = _rows([1.0] * 8, saved=30, inputs=2)
    schedule = build_schedule("1f1b", 1, 4)
    whole = split(units, (0, 8), schedule, Memory(), MACHINE)
    tight = split(units, (0, 8), schedule, Memory(whole.simulation.peak[0] - 60), MACHINE)
    assert tight.recomputed == (3,)
    assert tight.times[0].rebuilt == 30
    assert tight.fits


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 9), min_size=8, max_size=16), st.integers(2, 6), st.sampled_from(SCHEDULES))
def test_never_slower_than_naive_stages(seconds, stages, name):
    units, schedule = _rows(seconds), build_schedule(name, stages, 8)
    naive = split(units, naive_bounds(units, stages), schedule, Memory(), MACHINE)
    assert partition(units, schedule, Memory(), MACHINE).simulation.makespan <= naive.simulation.makespan


@pytest.fixture(scope="module")
def units_of_24_layers() -> tuple[Unit, ...]:
    """Half blocks of a transformer."""
    with torch.device("meta"):
        model = TinyModel(layers=24, width=1024, vocabulary=20_000)
    return _units(model, torch.empty(64, LENGTH, dtype=torch.long, device="meta"), inside_blocks=True)


@pytest.mark.parametrize("stages", [2, 4, 6, 8])
def test_stages_of_a_transformer_of_24_layers_are_balanced(stages, units_of_24_layers):
    units, schedule = units_of_24_layers, build_schedule("1f1b", stages, 2 * stages)
    found = partition(units, schedule, Memory(), MACHINE)
    naive = split(units, naive_bounds(units, stages), schedule, Memory(), MACHINE)
    assert found.balance <= 1.1
    assert found.balance <= naive.balance


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sampled_from(SCHEDULES), st.integers(100, 2000))
def test_early_stages_recompute_more(stages, name, budget):
    units, schedule = _rows([1.0] * 4 * stages, saved=30, inputs=2), build_schedule(name, stages, 12)
    found = split(units, naive_bounds(units, stages), schedule, Memory(budget), MACHINE)
    ratios = [count / 4 for count in found.recomputed]
    assert all(a >= b for a, b in pairwise(ratios))
    for stage, (ratio, times) in enumerate(zip(ratios, found.times)):
        held, kept, count = schedule.in_flight(stage), 8, 4
        least = (held * 128 + times.static - budget) / (held * (128 - kept))
        if 0 < ratio < 1:
            assert ratio >= least
            # One block fewer would not fit, with what is rebuilt at once counted in.
            fewer = ratio * count - 1
            ahead = RECOMPUTE in {action.kind for action in schedule.stages[stage]}
            assert held * (128 - fewer * 30) + min(fewer, fewer if ahead else 1) * 30 + times.static > budget


@pytest.mark.parametrize(
    ("room", "rebuilt", "seconds"),
    [
        (Room(2, 0.0, 0.0), 50, 4.0),
        # Two blocks at once, and all but the last of them beside a sum.
        (Room(2, 0.0, 0.0, early=True), 50 + 40, 4.0 - 3 * 0.25),
        (Room(2, 0.0, 0.0, ahead=True, early=True), 20 + 30 + 40 + 50, 4.0 - 3 * 0.25),
    ],
)
def test_recomputing_early_takes_more_memory_and_less_time(room, rebuilt, seconds):
    stage = GrowingStage(room)
    for unit, saved in zip(_rows([1.0] * 4), (20, 50, 30, 40)):
        stage.add(replace(unit, saved=saved, hidden=0.25))
    times = stage.times()
    assert (stage.count, times.rebuilt, times.recompute) == (4, rebuilt, seconds)


def test_what_is_recomputed_ahead_is_not_done_again():
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(1)
        return x.sin().exp().sin()

    x = torch.randn(5, requires_grad=True)
    result, entrance = run_recomputed(function, x)
    with recompute_now([entrance]):
        assert len(calls) == 2
        result.sum().backward()
    assert len(calls) == 2
    grad = x.grad.clone()
    function(y := x.detach().requires_grad_()).sum().backward()
    assert torch.equal(grad, y.grad)
