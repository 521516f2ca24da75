"""One call from a model and a budget of memory to a plan of what to recompute, and from the plan to the model."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..errors import Errors
from .byte_sizes import format_size, parse_size
from .layer_profile import LayerProfile
from .live_memory import holder
from .model_probe import Kind, ModelProbe, probe_model
from .recompute_policy import LayerPolicy, keep_all, policy_cost, policy_sizes, rebuild_all, rebuild_named
from .recompute_region import RegionPlan, Regions
from .recompute_solver import PLANNERS
from .repeated_layers import repeated_layers
from .shared_result import shared_result
from .stage_costs import LayerCosts, StageCosts

# Times that a planner is asked.
ATTEMPTS = 4
# In the names of the operators of an attention.
ATTENTION = ("softmax", "bmm", "scaled_dot_product")


@dataclass(frozen=True)
class LayerPlan:
    """What one call of a layer does.

    name (str): The layer.
    region (Optional[RegionPlan]): What it keeps; None when it recomputes nothing.
    kept, rebuilt (int): Bytes held from forward to backward pass beside its input, and bytes recomputed.
    seconds (float): Time that it recomputes for.
    """

    name: str
    region: RegionPlan | None
    kept: int
    rebuilt: int
    seconds: float


@dataclass(frozen=True)
class RecomputePlan:
    """A plan for the layers of a model.

    layers (tuple[LayerPlan, ...]): The layers, in the order in which they are called; one that is called several times
        is there for each call.
    planner (str): Who made it.
    peak_size (int): Bytes of weights, gradients and activations at the worst moment of a step, as predicted.
    budget (int): Bytes that it was made for.
    """

    layers: tuple[LayerPlan, ...]
    planner: str
    peak_size: int
    budget: int

    @property
    def recompute_seconds(self) -> float:
        """RETURNS (float): Time that a step recomputes for."""
        return sum(layer.seconds for layer in self.layers)

    def apply(self, model: nn.Module) -> Regions:
        """Let a model follow the plan. Its weights, their names and its gradients stay what they are.

        model (Module): The model, or another one of the same layers.
        RETURNS (Regions): What was done; `remove()` undoes it.
        """
        regions: defaultdict[str, list[RegionPlan | None]] = defaultdict(list)
        for layer in self.layers:
            regions[layer.name].append(layer.region)
        return Regions(model, regions)

    def __str__(self) -> str:
        recomputing = [layer for layer in self.layers if layer.region is not None]
        rebuilt = format_size(sum(layer.rebuilt for layer in recomputing))
        return (
            f"{len(recomputing)} of {len(self.layers)} layers recompute {rebuilt} in "
            f"{1000 * self.recompute_seconds:.1f} ms a step ({self.planner}); "
            f"at most {format_size(self.peak_size)} of {format_size(self.budget)}"
        )


def plan_recompute(
    model: nn.Module,
    sample: Any,
    budget: float | str,
    *,
    planner: str = "mix",
    loss: Callable[[Any], Tensor] | None = None,
    layers: Sequence[str] | None = None,
    static: int = 0,
) -> RecomputePlan:
    """Measure a model on a sample and plan what its layers recompute (Lynx, arXiv 2406.08756).

    The model is run a few times in both directions, once while it recomputes everything, so that it need not fit
    otherwise. Its weights, gradients, buffers and random state stay as they are. Processes that a model is spread over
    (DTensor) call this together, and all follow the plan of the first: it has the largest shards, and two that did not
    recompute the same sum would wait for each other.

    model (Module): The model, on the device and in the mode (training) in which it will run.
    sample (Any): What it is called with: a tensor, a tuple of arguments, or a mapping of keyword arguments; as large as
        the batches to come.
    budget (Union[float, str]): Bytes for weights, gradients and activations, such as "8GiB".
    planner (str): "none", "full", "selective", "checkmate", "heu", "opt" or "mix".
    loss (Optional[Callable]): Makes a number of what the model returns; the sum of all of it by default.
    layers (Optional[Sequence[str]]): Names of the layers that may recompute; those that repeat by default.
    static (int): Bytes of anything else that is held, such as the state of an optimizer.
    RETURNS (RecomputePlan): The plan.
    RAISES (ValueError): S751 for a size that cannot be read, S752 for an unknown planner, S753 when the model has no
        layers that repeat, S754 when no plan fits, S755 when "none" or "selective" does not.
    """
    size = parse_size(budget)
    if planner not in PLANNERS:
        raise ValueError(Errors.S752.format(planner=planner, known=", ".join(PLANNERS)))
    names = repeated_layers(model) if layers is None else list(layers)
    if not names:
        raise ValueError(Errors.S753.format(model=type(model).__name__))
    probe = probe_model(model, names, sample, loss or _sum)
    profiles = {kind: call.profile() for kind, call in probe.first.items()}
    measured = [profiles[kind] for _, kind in probe.calls]

    def make() -> RecomputePlan:
        policies = _policies(measured, probe, planner, size, static + _weights(model))
        plans = tuple(_layer_plan(probe, *call) for call in zip(probe.calls, measured, policies))
        return RecomputePlan(plans, planner, static + _weights(model) + _peak(measured, policies, probe), size)

    return shared_result(model, make)


def _policies(
    measured: Sequence[LayerProfile], probe: ModelProbe, planner: str, budget: int, static: int
) -> list[LayerPolicy]:
    """Policies whose peak, as predicted from the probe, is within the budget."""
    layers = tuple(profile.costs for profile in measured)

    def slack(policies: Sequence[LayerPolicy]) -> int:
        return budget - static - _peak(measured, policies, probe)

    everything = [rebuild_all(layer) for layer in layers]
    if slack(everything) < 0:
        least = format_size(static + probe.peak())
        raise ValueError(Errors.S754.format(budget=format_size(budget), least=least))
    nothing = [keep_all(layer) for layer in layers]
    if planner in ("none", "full", "selective"):
        fixed = {
            "none": nothing,
            "full": everything,
            "selective": [_without_attention(profile) for profile in measured],
        }
        if slack(fixed[planner]) < 0:
            needed = format_size(budget - slack(fixed[planner]))
            raise ValueError(Errors.S755.format(planner=planner, needed=needed, budget=format_size(budget)))
        return fixed[planner]
    if slack(nothing) >= 0:
        return nothing
    # What is there beside the layers' own activations when these are all recomputed.
    inputs = sum(layer.input_size for layer in layers)
    beside = max(0, probe.peak() - inputs - max(p.held + p.costs.working_size for p in measured))
    stage = StageCosts(layers, static_size=static + beside, slowdown=1.0)
    best, room = _without_need(measured, everything, slack), budget
    for _ in range(ATTEMPTS):
        # A planner adds up tensors that never live at the same time: what it left unused it gets on top.
        room += max(slack(best), 1)
        try:
            plan = PLANNERS[planner](stage, room)
        except ValueError:
            continue
        policies = [profile.carried_out(policy) for profile, policy in zip(measured, plan.policies)]
        if slack(policies) < 0:
            # What is recomputed during a sum is there beside the layer above.
            policies = [policy.on_demand() for policy in policies]
        if slack(policies) < 0:
            break
        best = min(best, _without_need(measured, policies, slack), key=lambda found: _total(layers, found))
    return best


def _without_attention(profile: LayerProfile) -> LayerPolicy:
    """Recompute the attention's scores and weights and what is made of them, as Megatron-LM does."""
    names = {op.name for op in profile.costs.operators if any(word in op.name for word in ATTENTION)}
    return profile.carried_out(rebuild_named(profile.costs, names))


def _peak(measured: Sequence[LayerProfile], policies: Sequence[LayerPolicy], probe: ModelProbe) -> int:
    """Bytes of gradients and activations at the worst moment, from what was alive when everything was recomputed.

    When the backward pass of a layer runs, all of that layer is there, kept or rebuilt, and of the layers before it
    what they keep; beside its sum over processes, also what the layer below rebuilds meanwhile.
    """
    sizes = [_sizes(profile, policy) for profile, policy in zip(measured, policies)]
    before = [0, *itertools.accumulate(kept for kept, _ in sizes)]
    peaks = [probe.head_peak + before[-1]]
    regions = [profile.region(policy) for profile, policy in zip(measured, policies)]
    for i, (profile, peak) in enumerate(zip(measured, probe.layer_peaks)):
        peaks.append(peak + before[i])
        below = regions[i - 1] if i else None
        if profile.after_sum is not None and regions[i] and below and below.early:
            peaks.append(peaks[-1] - profile.costs.working_size + profile.after_sum + sizes[i - 1][1])
    return max(peaks)


def _without_need(
    measured: Sequence[LayerProfile], policies: list[LayerPolicy], slack: Callable[[list[LayerPolicy]], int]
) -> list[LayerPolicy]:
    """Let layers keep everything after all where there is room, those first that recompute longest for their bytes.

    A planner counts whole outputs; a layer that recomputes nothing keeps only those parts that its backward pass reads.
    """

    def gain(i: int) -> float:
        room = measured[i].held - _sizes(measured[i], policies[i])[0]
        return _seconds(measured[i].costs, policies[i]) / max(room, 1)

    for i in sorted(range(len(policies)), key=gain, reverse=True):
        more = [*policies[:i], keep_all(measured[i].costs), *policies[i + 1 :]]
        policies = more if slack(more) >= 0 else policies
    return policies


def _sizes(profile: LayerProfile, policy: LayerPolicy) -> tuple[int, int]:
    """Bytes that a layer keeps beside its input, and that it rebuilds."""
    return (profile.held, 0) if profile.region(policy) is None else policy_sizes(profile.costs, policy)


def _layer_plan(probe: ModelProbe, call: tuple[str, Kind], profile: LayerProfile, policy: LayerPolicy) -> LayerPlan:
    (name, kind), region = call, profile.region(policy)
    if region is not None:
        region = replace(region, operators=probe.first[kind].operators)
    return LayerPlan(name, region, *_sizes(profile, policy), _seconds(profile.costs, policy))


def _total(layers: Sequence[LayerCosts], policies: Sequence[LayerPolicy]) -> float:
    return sum(map(_seconds, layers, policies))


def _seconds(costs: LayerCosts, policy: LayerPolicy) -> float:
    return policy_cost(costs, policy, 1.0)


def _weights(model: nn.Module) -> int:
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(holder(t).numel() * t.element_size() for t in tensors.values())


def _sum(result: Any) -> Tensor:
    values = result.values() if isinstance(result, Mapping) else tree_leaves(result)
    return sum(t.float().sum() for t in values if isinstance(t, Tensor) and t.requires_grad)
