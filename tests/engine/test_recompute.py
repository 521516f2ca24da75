"""Plans of recomputation on real modules: the same gradients, and the memory that was predicted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from recompute_models import Batches, Convolutions, Transformer, step
from samarkand.engine import plan_recompute
from samarkand.engine.layer_profile import profile_layer
from samarkand.engine.live_memory import LiveMemory
from samarkand.engine.recompute_region import RegionPlan, run_region
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture
def transformer() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Transformer(), torch.randint(0, 50, (4, 24))


@pytest.fixture
def convolutions() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Convolutions(), torch.randn(4, 8, 40)


@pytest.mark.parametrize("share", [1.0, 0.8, 0.6, 0.5])
@pytest.mark.parametrize("planner", ["heu", "mix", "checkmate"])
def test_gradients_stay_and_memory_is_as_predicted(transformer, planner, share):
    model, sample = transformer
    most, gradients, random = step(model, sample)
    plan = plan_recompute(model, sample, int(most * share), planner=planner)
    plan.apply(model)
    peak, again, random_again = step(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    assert torch.equal(random, random_again)
    assert peak == pytest.approx(plan.peak_size, rel=0.01)
    assert plan.peak_size <= plan.budget
    assert bool(plan.recompute_seconds) == (share < 1)


def test_full_recomputation_takes_the_least(transformer):
    model, sample = transformer
    most, gradients, _ = step(model, sample)
    regions = plan_recompute(model, sample, most, planner="full").apply(model)
    least, again, _ = step(model, sample)
    assert least < 0.5 * most
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    regions.remove()
    assert step(model, sample)[0] == most


def test_layers_with_buffers_changes_in_place_and_two_results(convolutions):
    model, sample = convolutions
    most, gradients, _ = step(model, sample)
    buffers = [b.clone() for b in model.buffers()]
    plan = plan_recompute(model, sample, int(0.75 * most))
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers()))
    plan.apply(model)
    peak, again, _ = step(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    assert peak <= 0.75 * most * 1.01


def test_measuring_leaves_the_model_as_it_was(transformer):
    model, sample = transformer
    step(model, sample)
    before = copy.deepcopy(model.state_dict()), [p.grad for p in model.parameters()], torch.get_rng_state()
    plan_recompute(model, sample, "1GiB")
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), model.state_dict().values()))
    assert all(a is p.grad for a, p in zip(before[1], model.parameters()))
    assert torch.equal(before[2], torch.get_rng_state())
    assert not any("forward" in vars(layer) for layer in model.layers)


def test_measuring_a_layer_holds_nothing_that_the_layer_itself_lets_go():
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(64))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(16):
                x = x + self.weight
            return x

    def peak(run: Callable[[], Any]) -> int:
        memory = LiveMemory()
        memory.ignore((layer.weight, sample))
        with memory:
            run()
        return memory.peak

    layer, sample = Sums(), torch.ones(100, 64)
    # The backward pass reads none of the sums.
    assert peak(lambda: layer(sample)) == 2 * 100 * 64 * 4
    # Result, two gradients of it, and the weight's.
    assert peak(lambda: profile_layer(layer, (sample,), {})) <= (3 * 100 + 3) * 64 * 4
    profile = profile_layer(layer, (sample,), {})
    assert [operator.inputs for operator in profile.costs.operators] == [(-1,), *((-1, i) for i in range(15))]


def test_plans_hold_for_another_model_of_the_same_layers(transformer):
    model, sample = transformer
    most, gradients, _ = step(model, sample)
    plan = plan_recompute(model, sample, int(0.6 * most))
    other = copy.deepcopy(model)
    plan.apply(other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, step(other, sample)[1]))
    assert list(other.state_dict()) == list(model.state_dict())


def test_no_gradients_no_recomputation(transformer):
    model, sample = transformer
    plan_recompute(model, sample, "1GiB", planner="full").apply(model)
    with torch.no_grad():
        assert not model.eval()(sample).requires_grad


def test_micro_batches_add_up(transformer):
    model, sample = transformer
    losses: list[Callable[[], Tensor]] = [lambda: model(sample[:2]).sum(), lambda: model(sample[2:]).sum()]
    model.eval()
    for loss in losses:
        loss().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    plan_recompute(model, sample, "1GiB", planner="full").apply(model)
    one, two = losses[0](), losses[1]()
    two.backward()
    one.backward()
    for a, b in zip(gradients, (p.grad for p in model.parameters())):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("share", [0.7, 0.5])
def test_layers_that_are_called_several_times_and_whose_results_others_read(dtype, share):
    torch.manual_seed(0)
    model, sample = Batches(dtype=dtype), torch.randint(0, 50, (4, 24))
    most, gradients, random = step(model, sample)
    plan = plan_recompute(model, sample, int(most * share), planner="heu")
    assert len(plan.layers) == 2 * len(model.inner.layers)
    plan.apply(model)
    peak, again, random_again = step(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    assert torch.equal(random, random_again)
    assert 0.95 * plan.peak_size <= peak <= plan.budget


def test_mixed_precision_around_a_whole_step(transformer):
    """Weights that were cast in the forward pass are still at hand when layers run again."""
    model, sample = transformer
    with torch.autocast("cpu", torch.bfloat16):
        most, gradients, _ = step(model, sample)
        plan = plan_recompute(model, sample, int(0.6 * most), planner="heu")
        plan.apply(model)
        peak, again, _ = step(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    assert peak <= plan.budget


def test_calls_with_other_operators_than_those_of_the_plan_recompute_everything(transformer):
    model, sample = transformer
    most = step(model, sample)[0]
    plan = plan_recompute(model, sample, int(0.7 * most), planner="heu")
    assert any(layer.region and layer.region.skipped for layer in plan.layers)
    # No dropout, so other operators.
    model.eval()
    most, gradients, _ = step(model, sample)
    plan.apply(model)
    least, again, _ = step(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))
    assert least < 0.8 * most


def test_an_early_region_recomputes_when_the_gradient_of_its_result_arrives():
    events: list[str] = []

    class Noted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            events.append("run")
            return self.linear(x).tanh()

    class Gate(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            events.append("gradient passes")
            return grad

    layer = Noted()
    for early, expected in ((False, ["gradient passes", "run"]), (True, ["run", "gradient passes"])):
        # The gate stands between the result of the region and what reads it saved tensors.
        out = run_region(lambda x: Gate.apply(layer(x)), RegionPlan(early=early), torch.randn(2, 4, requires_grad=True))
        events.clear()
        out.sum().backward()
        assert events == expected


def test_what_is_not_needed_does_not_run_again():
    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    def function(x: Tensor) -> Tensor:
        return ((x + 1).exp() * 2).sin()

    for kept, again in (({}, {"add", "exp"}), ({3: (True,), 4: (True,)}, set())):
        names: list[str] = []
        x = torch.rand(4, requires_grad=True)
        # The entrance of a region counts two operators.
        plan = RegionPlan(kept, frozenset({2}) if kept else frozenset())
        out = run_region(function, plan, x)
        with Count():
            out.sum().backward()
        expected = torch.autograd.grad(function(y := x.detach().requires_grad_()).sum(), y)[0]
        torch.testing.assert_close(x.grad, expected)
        assert {"add", "exp"} & set(names) == again


def test_S751_sizes(transformer):
    with pytest.raises(ValueError, match="S751"):
        plan_recompute(*transformer, "8 gigs")


def test_S752_unknown_planner(transformer):
    with pytest.raises(ValueError, match="S752"):
        plan_recompute(*transformer, "1GiB", planner="best")


def test_S753_nothing_repeats():
    with pytest.raises(ValueError, match="S753"):
        plan_recompute(nn.Linear(2, 2), torch.randn(1, 2), "1GiB")


def test_S754_no_plan_fits(transformer):
    model, sample = transformer
    plan = plan_recompute(model, sample, "1GiB", planner="full")
    with pytest.raises(ValueError, match="S754"):
        plan_recompute(model, sample, plan.peak_size - 10_000, planner="full")


def test_selective_recomputes_the_attention(transformer):
    model, sample = transformer
    most, gradients, _ = step(model, sample)
    plan = plan_recompute(model, sample, most, planner="selective")
    plan.apply(model)
    peak, again, _ = step(model, sample)
    assert peak == pytest.approx(plan.peak_size, rel=0.01)
    assert peak < 0.95 * most
    assert all(torch.equal(a, b) for a, b in zip(gradients, again))


@pytest.mark.parametrize("planner", ["none", "selective"])
def test_S755_a_plan_without_choice_does_not_fit(transformer, planner):
    least = plan_recompute(*transformer, "1GiB", planner="full").peak_size
    with pytest.raises(ValueError, match="S755"):
        plan_recompute(*transformer, least + 10_000, planner=planner)


def test_a_plan_says_what_it_does(transformer):
    text = str(plan_recompute(*transformer, "1GiB", planner="full"))
    assert text.startswith("4 of 4 layers recompute ")
    assert text.endswith(" of 1.00 GiB")
