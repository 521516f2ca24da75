"""Planners: against brute force, against each other, and against the replay."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute_reference import least_seconds, tiny_stages
from samarkand.engine.gpt_costs import HARDWARE, gpt_stage
from samarkand.engine.recompute_policy import KEEP, StagePlan, keep_all, peak_size, rebuild_all
from samarkand.engine.recompute_simulator import simulate_stage
from samarkand.engine.recompute_solver import (
    PLANNERS,
    frontier,
    plan_checkmate,
    plan_full,
    plan_heu,
    plan_mix,
    plan_none,
    plan_opt,
    plan_selective,
)
from samarkand.engine.stage_costs import LAYER_INPUT, LayerCosts, Operator, StageCosts

# Seconds that programs may be off by, where layers take up to some tens of them.
CLOSE = 1e-4
SHARES = st.floats(0, 1)


def _bounds(stage: StageCosts) -> tuple[int, int]:
    """The least that a plan needs, and what keeping all takes."""
    plans = [[policy(layer) for layer in stage.layers] for policy in (rebuild_all, keep_all)]
    return peak_size(stage, plans[0]), peak_size(stage, plans[1])


def _budget(stage: StageCosts, share: float) -> int:
    least, most = _bounds(stage)
    return least + round(share * (most - least))


def _checked(stage: StageCosts, plan: StagePlan, budget: int) -> float:
    """Seconds of a plan that the replay confirms."""
    run = simulate_stage(stage, plan)
    assert run.peak_size <= plan.peak_size <= budget
    added = run.seconds - sum(layer.backward_seconds for layer in stage.layers)
    assert added == pytest.approx(plan.recompute_seconds, abs=1e-6)
    return plan.recompute_seconds


def _gpt(name: str = "1.3b", hardware: str = "a100-nvlink", stage: int = 0) -> StageCosts:
    sizes = {"micro_batch": 4, "micro_batches": 16, "tensor": 4}
    return gpt_stage(name, HARDWARE[hardware], stage=stage, stages=4, **sizes)


@settings(max_examples=30, deadline=None)
@given(tiny_stages(), SHARES)
def test_opt_and_mix_find_what_brute_force_finds(stage, share):
    budget = _budget(stage, share)
    expected = least_seconds(stage, budget)
    assert _checked(stage, plan_opt(stage, budget), budget) == pytest.approx(expected, abs=CLOSE)
    assert _checked(stage, plan_mix(stage, budget), budget) == pytest.approx(expected, abs=CLOSE)


@settings(max_examples=15, deadline=None)
@given(tiny_stages(most=7, kinds=3, layers=6), SHARES)
def test_planners_in_their_order(stage, share):
    budget = _budget(stage, share)
    seconds = {
        name: _checked(stage, PLANNERS[name](stage, budget), budget) for name in ("full", "checkmate", "heu", "mix")
    }
    assert seconds["mix"] <= seconds["heu"] + CLOSE
    assert seconds["mix"] <= seconds["checkmate"] + CLOSE
    assert max(seconds["heu"], seconds["checkmate"]) <= seconds["full"] + CLOSE


@settings(max_examples=10, deadline=None)
@given(tiny_stages(most=6, layers=4), SHARES, SHARES)
def test_more_memory_never_costs_time(stage, a, b):
    less, more = sorted((_budget(stage, a), _budget(stage, b)))
    for planner in (plan_checkmate, plan_heu, plan_mix):
        assert planner(stage, more).recompute_seconds <= planner(stage, less).recompute_seconds + CLOSE


@settings(max_examples=10, deadline=None)
@given(tiny_stages(most=6, layers=4), SHARES, st.integers(1, 5))
def test_longer_windows_never_cost_time(stage, share, longer):
    layers = [
        replace(
            layer,
            windows=tuple(length + longer for length in layer.windows),
            backward_seconds=layer.backward_seconds + longer * len(layer.windows),
        )
        for layer in stage.layers
    ]
    idle, budget = replace(stage, layers=tuple(layers)), _budget(stage, share)
    for planner in (plan_heu, plan_mix):
        assert planner(idle, budget).recompute_seconds <= planner(stage, budget).recompute_seconds + CLOSE


@settings(max_examples=10, deadline=None)
@given(tiny_stages(windows=0), SHARES)
def test_without_windows_it_is_checkmate(stage, share):
    budget = _budget(stage, share)
    plans = [planner(stage, budget) for planner in (plan_checkmate, plan_opt, plan_mix)]
    assert {round(plan.recompute_seconds, 3) for plan in plans} == {round(least_seconds(stage, budget), 3)}


@settings(max_examples=10, deadline=None)
@given(tiny_stages(most=6))
def test_windows_of_no_length_are_no_windows(stage):
    layers = [replace(layer, windows=tuple(0.0 for _ in layer.windows)) for layer in stage.layers]
    budget = _budget(stage, 0.5)
    plan = plan_mix(replace(stage, layers=tuple(layers)), budget)
    assert plan.recompute_seconds == pytest.approx(plan_checkmate(stage, budget).recompute_seconds, abs=CLOSE)


@pytest.mark.parametrize("name", PLANNERS)
def test_nothing_is_rebuilt_when_everything_fits(name):
    stage = _gpt()
    plan = PLANNERS[name](stage, _bounds(stage)[1])
    assert plan.planner == name
    if name not in ("full", "selective"):
        assert plan.recompute_seconds == 0
        assert {choice for policy in plan.policies for choice in policy.choices} == {KEEP}


@pytest.mark.parametrize("name", PLANNERS)
def test_a_budget_below_the_least_is_refused(name):
    stage = _gpt()
    with pytest.raises(ValueError, match="S710"):
        PLANNERS[name](stage, _bounds(stage)[0] - 1)


@pytest.mark.parametrize("name", ["full", "checkmate", "heu", "opt", "mix"])
def test_the_least_is_enough(name):
    stage = _gpt(stage=2)
    budget = _bounds(stage)[0]
    assert _checked(stage, PLANNERS[name](stage, budget), budget) <= plan_full(stage, budget).recompute_seconds + 1e-9


@pytest.mark.parametrize("planner", [plan_none, plan_selective])
def test_fixed_plans_are_refused_when_they_do_not_fit(planner):
    stage = _gpt()
    with pytest.raises(ValueError, match=r"S710.*choose another planner"):
        planner(stage, _budget(stage, 0.1))


def test_selective_rebuilds_the_core_of_the_attention():
    stage = _gpt()
    plan = plan_selective(stage, _bounds(stage)[1])
    layer, policy = stage.layers[1], plan.policies[1]
    rebuilt = [operator.name for operator, choice in zip(layer.operators, policy.choices) if choice != KEEP]
    assert rebuilt == ["scores", "softmax", "attention dropout"]
    assert plan_selective(stage, _bounds(stage)[1], names=["gelu"]).recompute_seconds < plan.recompute_seconds


@pytest.mark.parametrize(("hardware", "share"), [("a100-nvlink", 0.2), ("a100-pcie", 0.05)])
def test_mix_is_opt_on_a_gpt(hardware, share):
    stage = _gpt(hardware=hardware)
    budget = _budget(stage, share)
    mix, opt = (_checked(stage, planner(stage, budget), budget) for planner in (plan_mix, plan_opt))
    assert 0 < mix == pytest.approx(opt, rel=1e-3)
    assert mix < plan_checkmate(stage, budget).recompute_seconds < plan_full(stage, budget).recompute_seconds


def test_opt_out_of_time_is_no_worse_than_heu():
    stage = _gpt()
    budget = _budget(stage, 0.2)
    assert plan_opt(stage, budget, seconds=1e-3).recompute_seconds <= plan_heu(stage, budget).recompute_seconds


def test_equal_layers_are_solved_once_whatever_their_backward_pass_takes():
    stage = _gpt()
    frontier.cache_clear()
    plan_mix(stage, _budget(stage, 0.3))
    # The embedding, the layers with a window before their backward pass, and the last one, which has none.
    assert frontier.cache_info().misses == 3
    plan_mix(_gpt(stage=1), _budget(_gpt(stage=1), 0.3))
    assert frontier.cache_info().misses == 3


def test_frontiers_trade_memory_for_time():
    layer = _gpt().layers[-1]
    entries = frontier(layer, 1.15)
    assert entries[0].seconds == 0
    assert entries[-1].kept == 0
    for a, b in itertools.pairwise(entries):
        assert a.seconds < b.seconds
        assert a.kept > b.kept
        assert a.kept + a.transient == b.kept + b.transient


def test_a_share_of_a_byte_is_no_byte():
    layer = LayerCosts((Operator("all", 1.0, 1, (LAYER_INPUT,)),), 0, 2.0)
    stage = StageCosts((layer,) * 2, in_flight=3)
    assert _checked(stage, plan_heu(stage, 5), 5) == 2
    assert _checked(stage, plan_mix(stage, 5), 5) == 1


def test_layers_without_memory_or_time():
    layer = LayerCosts((Operator("view", 0.0, 0, (LAYER_INPUT,)),), 8, 0.0, (1.0,))
    stage = StageCosts((layer,) * 2)
    for name in PLANNERS:
        assert PLANNERS[name](stage, 16).recompute_seconds == 0
