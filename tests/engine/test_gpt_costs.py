"""Costs of a GPT: memory as the paper counts it, arithmetic as everybody does, and windows in their place."""

from __future__ import annotations

import pytest
from samarkand.engine.gpt_costs import GPT_SIZES, HARDWARE, VOCABULARY, gpt_layer, gpt_stage
from samarkand.engine.recompute_policy import KEEP, rebuild_named
from samarkand.engine.recompute_solver import ATTENTION_CORE

NVLINK = HARDWARE["a100-nvlink"]
SIZES = {"micro_batch": 2, "micro_batches": 8, "tensor": 4}


@pytest.mark.parametrize("name", GPT_SIZES)
@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_activations_are_those_of_korthikanti(name, tensor):
    s, b, size = 2048, 2, GPT_SIZES[name]
    layer = gpt_layer(size, NVLINK, micro_batch=b, tensor=tensor)
    h, a, t = size.width, size.heads, tensor
    assert layer.activation_size == pytest.approx(s * b * h * (10 + 24 / t + 5 * a * s / (h * t)), rel=1e-9)
    policy = rebuild_named(layer, ATTENTION_CORE)
    kept = sum(operator.size for operator, choice in zip(layer.operators, policy.choices) if choice == KEEP)
    assert layer.input_size + kept == pytest.approx(s * b * h * (10 + 24 / t), rel=1e-9)


@pytest.mark.parametrize("name", GPT_SIZES)
def test_sizes_are_what_their_names_say(name):
    size = GPT_SIZES[name]
    parameters = size.layers * size.layer_parameters + VOCABULARY * size.width
    assert parameters == pytest.approx(float(name[:-1]) * 1e9, rel=0.07)


def test_arithmetic_is_that_of_the_parameters_and_the_attention():
    size = GPT_SIZES["7b"]
    layer = gpt_layer(size, NVLINK, micro_batch=1, tensor=1, length=512)
    names = ("qkv", "scores", "context", "projection", "fc 1", "fc 2")
    seconds = sum(operator.seconds for operator in layer.operators if operator.name in names)
    operations = 2 * 512 * 12 * size.width**2 + 4 * 512 * 512 * size.width
    assert seconds * NVLINK.flops * NVLINK.product_share == pytest.approx(operations)


def test_collectives_come_with_tensor_parallelism():
    size = GPT_SIZES["1.3b"]
    alone, split = (gpt_layer(size, NVLINK, micro_batch=1, tensor=t) for t in (1, 4))
    assert alone.windows == ()
    assert not any(operator.collective for operator in alone.operators)
    reduce = [operator.seconds for operator in split.operators if operator.collective]
    assert split.windows == tuple(reduce) == (NVLINK.all_reduce(2 * 2048 * size.width, 4),) * 2
    assert [o.name for o in alone.operators] == [o.name for o in split.operators if not o.collective]
    for layer in (alone, split):
        assert all(i < j for j, operator in enumerate(layer.operators) for i in operator.inputs)


def test_slower_links_make_longer_windows():
    windows = [sum(gpt_layer(GPT_SIZES["7b"], HARDWARE[name], micro_batch=1, tensor=4).windows) for name in HARDWARE]
    links = [HARDWARE[name].link for name in HARDWARE]
    assert sorted(windows, reverse=True) == [window for _, window in sorted(zip(links, windows))]


def test_stages_share_the_layers_and_hold_fewer_micro_batches_towards_the_end():
    stages = [gpt_stage("20b", NVLINK, stage=i, stages=8, **SIZES) for i in range(8)]
    names = [[layer.operators[0].name for layer in stage.layers] for stage in stages]
    assert sum(row.count("norm 1") for row in names) == 44
    assert names[0][0] == "embedding"
    assert names[-1][-1] == "norm"
    assert [stage.in_flight for stage in stages] == [8, 7, 6, 5, 4, 3, 2, 1]
    parameters = 44 * GPT_SIZES["20b"].layer_parameters + (2 * VOCABULARY + 2048) * 6144
    assert sum(stage.static_size for stage in stages) == pytest.approx(16 * parameters / 4)


def test_in_flight_is_at_most_the_micro_batches():
    assert gpt_stage("7b", NVLINK, stage=0, stages=8, micro_batch=1, micro_batches=3, tensor=1).in_flight == 3


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_windows_are_the_collectives_of_the_layer_after(stage):
    layers = gpt_stage("7b", NVLINK, stage=stage, stages=4, **SIZES).layers
    middle = gpt_layer(GPT_SIZES["7b"], NVLINK, micro_batch=2, tensor=4)
    assert layers[-1].windows == ()
    assert layers[1].windows == middle.windows
    if stage == 3:
        assert len(layers[-2].windows) == 1
    collectives = sum(middle.windows) * sum(layer.operators[0].name == "norm 1" for layer in layers)
    if stage == 3:
        collectives += middle.windows[0]
    compute = sum(o.seconds for layer in layers for o in layer.operators if not o.collective)
    assert sum(layer.backward_seconds for layer in layers) == pytest.approx(2 * compute + collectives)
    assert all(layer.backward_seconds >= sum(layer.windows) for layer in layers)


def test_what_there_is_not():
    with pytest.raises(ValueError, match=r"S716.*'175b'.*1\.3b, 4\.7b"):
        gpt_stage("175b", NVLINK, stage=0, stages=1, **SIZES)
    for stage, stages in ((1, 1), (-1, 4), (0, 100)):
        with pytest.raises(ValueError, match="S717"):
            gpt_stage("1.3b", NVLINK, stage=stage, stages=stages, **SIZES)
