"""The replay: time and memory of plans by hand, what it refuses, and the schedule 1F1B."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recompute_reference import sound, tiny_layers, tiny_stages
from samarkand.engine.recompute_policy import (
    DEMAND,
    KEEP,
    LayerPolicy,
    StagePlan,
    keep_all,
    peak_size,
    policy_cost,
    rebuild_all,
)
from samarkand.engine.recompute_simulator import LINK, simulate_pipeline, simulate_stage
from samarkand.engine.stage_costs import LAYER_INPUT, LayerCosts, Operator, StageCosts

LAYER = LayerCosts(
    (
        Operator("norm", 1.0, 10, (LAYER_INPUT,)),
        Operator("reduce", 2.0, 20, (0,), collective=True),
        Operator("gelu", 3.0, 40, (1,)),
    ),
    input_size=5,
    backward_seconds=16.0,
    windows=(4.0,),
    working_size=7,
)


def _plan(*policies: LayerPolicy) -> StagePlan:
    return StagePlan(policies, "mine", 0.0, 0)


def test_a_window_hides_what_fits_into_it():
    stage = StageCosts((LAYER,), in_flight=2, static_size=100, slowdown=1.5)
    run = simulate_stage(stage, _plan(LayerPolicy((0, KEEP, DEMAND))))
    assert run.seconds == 16 + 3
    assert run.peak_size == 100 + 2 * (5 + 20) + (10 + 40) + 7
    spans = [(event.kind, event.row, event.start, event.end) for event in run.events]
    assert spans == [
        ("communication", LINK, 0, 4),
        ("hidden", "compute", 0, 1.5),
        ("recompute", "compute", 4, 7),
        ("backward", "compute", 7, 19),
    ]


def test_what_does_not_fit_into_a_window_delays_the_backward_pass():
    run = simulate_stage(StageCosts((LAYER,), slowdown=1.5), _plan(LayerPolicy((0, KEEP, 0))))
    assert run.seconds == 16 + (1.5 * 4 - 4)


def test_collectives_are_done_again_on_the_link():
    run = simulate_stage(StageCosts((LAYER,)), _plan(rebuild_all(LAYER)))
    assert [event.name for event in run.events if event.row == LINK] == ["layer 0", "layer 0: reduce"]


def test_layers_let_go_of_their_memory_from_the_last_to_the_first():
    stage = StageCosts((LAYER, LAYER, LAYER))
    run = simulate_stage(stage, _plan(*[rebuild_all(LAYER)] * 3))
    assert run.peak_size == 3 * 5 + 70 + 7
    backward = [event.name for event in run.events if event.kind == "backward"]
    assert backward == ["layer 2", "layer 1", "layer 0"]


@settings(max_examples=40, deadline=None)
@given(tiny_stages(), st.data())
def test_time_and_memory_are_as_predicted(stage, data):
    policies = []
    for layer in stage.layers:
        choices = st.tuples(*[st.integers(-2, len(layer.windows) - 1)] * len(layer.operators))
        drawn = data.draw(choices)
        policies.append(
            LayerPolicy(drawn) if sound(layer, drawn) else data.draw(st.sampled_from([keep_all, rebuild_all]))(layer)
        )
    run = simulate_stage(stage, _plan(*policies))
    cost = sum(policy_cost(layer, policy, stage.slowdown) for layer, policy in zip(stage.layers, policies))
    assert run.seconds == pytest.approx(sum(layer.backward_seconds for layer in stage.layers) + cost)
    assert run.peak_size <= peak_size(stage, policies)
    for row in ("compute", LINK):
        events = [event for event in run.events if event.row == row]
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(events))


@settings(max_examples=60, deadline=None)
@given(tiny_layers(most=3), st.data())
def test_what_is_missing_is_found(layer, data):
    choices = data.draw(st.tuples(*[st.integers(-2, len(layer.windows) - 1)] * len(layer.operators)))
    in_window = any(operator.collective and choice >= 0 for operator, choice in zip(layer.operators, choices))
    if sound(layer, choices) or in_window:
        return
    with pytest.raises(ValueError, match="S715"):
        simulate_stage(StageCosts((layer,)), _plan(LayerPolicy(choices)))


def test_a_window_that_never_comes_leaves_its_operators_missing():
    with pytest.raises(ValueError, match=r"S715.*layer 0 misses what norm"):
        simulate_stage(StageCosts((LAYER,)), _plan(LayerPolicy((3, KEEP, KEEP))))


def test_a_plan_of_another_stage_is_refused():
    with pytest.raises(ValueError, match="S714"):
        simulate_stage(StageCosts((LAYER,)), _plan(keep_all(LAYER), keep_all(LAYER)))


def _stages(seconds: list[float]) -> list[StageCosts]:
    layers = [LayerCosts((Operator("all", t, 1, (LAYER_INPUT,)),), 1, 2 * t) for t in seconds]
    return [StageCosts((layer,)) for layer in layers]


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 1), (1, 5), (2, 2), (4, 4), (4, 8), (3, 7)])
def test_equal_stages_take_as_long_as_the_schedule_says(stages, micro_batches):
    costs = _stages([1.0] * stages)
    run = simulate_pipeline(costs, [_plan(keep_all(stage.layers[0])) for stage in costs], micro_batches)
    assert run.seconds == 3 * (micro_batches + stages - 1)
    assert run.busy == (3 * micro_batches,) * stages
    assert run.idle == (3 * (stages - 1),) * stages


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(4, 8))
def test_pipelines_keep_their_order(seconds, micro_batches):
    costs = _stages([float(t) for t in seconds])
    run = simulate_pipeline(costs, [_plan(rebuild_all(stage.layers[0])) for stage in costs], micro_batches)
    ends = {(event.kind, event.stage, event.name): event.end for event in run.events}
    assert len(ends) == len(run.events) == 2 * len(costs) * micro_batches
    in_flight = [0] * len(costs)
    for event in sorted(run.events, key=lambda event: event.start):
        step = -1 if event.kind == "forward" else 1
        assert event.start >= ends.get((event.kind, event.stage + step, event.name), 0)
        in_flight[event.stage] -= step
        assert in_flight[event.stage] <= min(len(costs) - event.stage, micro_batches)
    for stage in range(len(costs)):
        own = sorted((event.start, event.end) for event in run.events if event.stage == stage)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(own))
        assert run.busy[stage] == pytest.approx(sum(end - start for start, end in own))
        assert run.busy[stage] + run.idle[stage] == pytest.approx(run.seconds)
