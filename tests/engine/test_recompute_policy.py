"""Policies: what they cost and hold, and which of them can be carried out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute_reference import outcomes, sound, tiny_layers
from samarkand.engine.recompute_policy import (
    DEMAND,
    KEEP,
    LayerPolicy,
    keep_all,
    peak_size,
    policy_cost,
    policy_sizes,
    rebuild_all,
    rebuild_named,
    stage_plan,
    validate_policy,
)
from samarkand.engine.stage_costs import LAYER_INPUT, LayerCosts, Operator, StageCosts

LAYER = LayerCosts(
    (
        Operator("norm", 1.0, 10, (LAYER_INPUT,)),
        Operator("product", 4.0, 0, (0,)),
        Operator("reduce", 2.0, 20, (1,), collective=True),
        Operator("gelu", 3.0, 40, (2,)),
    ),
    input_size=5,
    backward_seconds=25.0,
    windows=(4.0, 1.0),
    working_size=7,
)


def _policies(layer: LayerCosts) -> list[LayerPolicy]:
    choices = (KEEP, DEMAND, *range(len(layer.windows)))
    return [LayerPolicy(policy) for policy in itertools.product(choices, repeat=len(layer.operators))]


def test_cost_is_work_on_demand_and_what_windows_do_not_hold():
    assert policy_cost(LAYER, keep_all(LAYER), 1.5) == 0
    assert policy_cost(LAYER, rebuild_all(LAYER), 1.5) == 10
    assert policy_cost(LAYER, LayerPolicy((0, KEEP, KEEP, KEEP)), 1.5) == 0
    assert policy_cost(LAYER, LayerPolicy((0, DEMAND, KEEP, 1)), 1.5) == 4 + (1.5 * 3 - 1)


def test_sizes_are_kept_or_rebuilt():
    assert policy_sizes(LAYER, keep_all(LAYER)) == (70, 0)
    assert policy_sizes(LAYER, rebuild_all(LAYER)) == (0, 70)
    assert policy_sizes(LAYER, LayerPolicy((0, KEEP, KEEP, DEMAND))) == (20, 50)


def test_peak_counts_what_is_kept_for_every_micro_batch_and_what_is_rebuilt_once():
    stage = StageCosts((LAYER, LAYER), in_flight=3, static_size=1000)
    policies = [LayerPolicy((0, KEEP, KEEP, DEMAND)), keep_all(LAYER)]
    assert peak_size(stage, policies) == 1000 + 3 * (5 + 20 + 5 + 70) + (50 + 7)


@settings(max_examples=60, deadline=None)
@given(tiny_layers(most=3))
def test_exactly_the_sound_policies_are_valid(layer):
    found = []
    for policy in _policies(layer):
        if sound(layer, policy.choices):
            validate_policy(layer, policy)
            found.append((*policy_sizes(layer, policy), policy_cost(layer, policy, 1.25)))
        else:
            with pytest.raises(ValueError, match=r"S71[23]"):
                validate_policy(layer, policy)
    expected = [(kept, held - layer.working_size, seconds) for kept, held, seconds in outcomes(layer, 1.25)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ((KEEP, KEEP, KEEP), "S711"),
        ((DEMAND, KEEP, KEEP, KEEP, KEEP), "S711"),
        # What the product leaves behind is nothing, so that it has to run again.
        ((KEEP, KEEP, DEMAND, KEEP), "S712"),
        ((DEMAND, 0, KEEP, KEEP), "S712"),
        ((1, 0, KEEP, KEEP), "S712"),
        ((KEEP, 0, 1, KEEP), "S713"),
        ((2, KEEP, KEEP, KEEP), "S713"),
        ((-3, KEEP, KEEP, KEEP), "S713"),
    ],
)
def test_policies_that_cannot_be_carried_out(choices, code):
    with pytest.raises(ValueError, match=code):
        validate_policy(LAYER, LayerPolicy(choices))
    with pytest.raises(ValueError, match=code):
        stage_plan(StageCosts((LAYER,)), [LayerPolicy(choices)], "mine", 10**9)


def test_inputs_are_ready_in_the_same_window_or_an_earlier_one():
    for choices in ((0, 0, KEEP, KEEP), (0, 1, KEEP, KEEP), (0, DEMAND, KEEP, KEEP), (KEEP, 1, KEEP, 0)):
        validate_policy(LAYER, LayerPolicy(choices))


@settings(max_examples=40, deadline=None)
@given(tiny_layers(), st.integers(0, 15))
def test_named_operators_are_rebuilt_with_what_left_nothing_behind(layer, chosen):
    names = [operator.name for j, operator in enumerate(layer.operators) if chosen >> j & 1]
    policy = rebuild_named(layer, names)
    validate_policy(layer, policy)
    for operator, choice in zip(layer.operators, policy.choices):
        if operator.name in names:
            assert choice == DEMAND
        elif operator.size:
            assert choice == KEEP


def test_a_budget_that_is_too_small_is_told_in_gibibytes():
    layer = LayerCosts((Operator("a", 1.0, 2**30, (LAYER_INPUT,)),), 2**29, 2.0, working_size=2**20)
    stage = StageCosts((layer,) * 2, in_flight=2, static_size=3 * 2**30)
    with pytest.raises(ValueError, match=r"S710.*needs 9\.00 GiB .* budget is 7\.00 GiB.*at least 6\.00 GiB.*planner"):
        stage_plan(stage, [keep_all(layer)] * 2, "none", 7 * 2**30)
    with pytest.raises(ValueError, match=r"3\.00 GiB of weights and states, 2\.00 GiB of layer inputs, 1\.00 GiB for"):
        stage_plan(stage, [rebuild_all(layer)] * 2, "full", 5 * 2**30)
