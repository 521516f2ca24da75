"""Planners: what a stage keeps and when it rebuilds the rest, within a budget of memory.

Lynx (arXiv 2406.08756) fills the windows in which computation would wait; its OPT solves a stage as one program and its
HEU one layer for all that are equal. Equal layers meet in the sum of their memory alone, so that OPT falls apart: `mix`
finds the frontier of memory against time of one layer, then how many layers follow which of its policies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from .recompute_milp import Entry, solve_counts, solve_layer, solve_stage
from .recompute_policy import (
    LayerPolicy,
    StagePlan,
    keep_all,
    peak_size,
    policy_cost,
    policy_sizes,
    rebuild_all,
    rebuild_named,
    stage_plan,
)
from .stage_costs import LayerCosts, StageCosts

Planner = Callable[[StageCosts, int], StagePlan]

# What Megatron-LM recomputes when it is selective; the result of the attention, which is kept, is not computed anew.
ATTENTION_CORE = ("scores", "softmax", "attention dropout")
# Policies of a frontier are at least this share of a layer's activations apart.
FRONTIER_STEP = 1 / 128


def plan_none(stage: StageCosts, budget: int) -> StagePlan:
    """Rebuild nothing.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when it takes more.
    """
    return stage_plan(stage, [keep_all(layer) for layer in stage.layers], "none", budget)


def plan_full(stage: StageCosts, budget: int) -> StagePlan:
    """Keep the inputs of the layers alone and run each layer again, to its end, before its backward pass.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when it takes more, as any plan would.
    """
    return stage_plan(stage, [rebuild_all(layer) for layer in stage.layers], "full", budget)


def plan_selective(stage: StageCosts, budget: int, *, names: Collection[str] = ATTENTION_CORE) -> StagePlan:
    """Rebuild named operators on demand and keep all others, as Megatron-LM does.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    names (Collection[str]): The operators.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when it takes more.
    """
    return stage_plan(stage, [rebuild_named(layer, names) for layer in stage.layers], "selective", budget)


def plan_checkmate(stage: StageCosts, budget: int) -> StagePlan:
    """The fastest plan that leaves the windows alone (Checkmate, arXiv 1910.02653).

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when no plan fits.
    """
    plain = replace(stage, layers=tuple(replace(layer, windows=()) for layer in stage.layers))
    return _search(plain, budget, "checkmate", _mixed)


def plan_heu(stage: StageCosts, budget: int) -> StagePlan:
    """One policy for all layers that are equal; every layer may keep the same share of its activations.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when no plan fits.
    """
    return _search(stage, budget, "heu", _equal_shares)


def plan_opt(stage: StageCosts, budget: int, *, seconds: float = 10.0) -> StagePlan:
    """The fastest plan, searched for all layers at once; for small stages, and to measure the others by.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    seconds (float): Time for the search; the best plan so far is taken when it ends.
    RETURNS (StagePlan): The plan, never slower than that of `plan_heu`.
    RAISES (ValueError): S710 when no plan fits.
    """
    return _search(stage, budget, "opt", partial(_whole, seconds=seconds))


def plan_mix(stage: StageCosts, budget: int) -> StagePlan:
    """The fastest plan, found from the frontier of each kind of layer.

    stage (StageCosts): The stage.
    budget (int): Bytes that it may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when no plan fits.
    """
    return _search(stage, budget, "mix", _mixed)


PLANNERS: dict[str, Planner] = {
    "none": plan_none,
    "full": plan_full,
    "selective": plan_selective,
    "checkmate": plan_checkmate,
    "heu": plan_heu,
    "opt": plan_opt,
    "mix": plan_mix,
}


@lru_cache(maxsize=256)
def frontier(layer: LayerCosts, slowdown: float) -> tuple[Entry, ...]:
    """The policies of a layer of which none is both faster and smaller, the fastest first.

    layer (LayerCosts): The layer.
    slowdown (float): How much longer an operator takes in a window.
    RETURNS (tuple[Entry, ...]): The policies.
    """
    total = sum(operator.size for operator in layer.operators)
    step, most = max(1, int(FRONTIER_STEP * total)), total
    entries: list[Entry] = []
    while most >= 0:
        policy = solve_layer(layer, slowdown, most)
        if policy is None:
            break
        kept, rebuilt = policy_sizes(layer, policy)
        entries.append(Entry(policy, kept, rebuilt + layer.working_size, policy_cost(layer, policy, slowdown)))
        most = kept - step
    return tuple(a for a, b in zip(entries, [*entries[1:], None]) if b is None or a.seconds < b.seconds)


@lru_cache(maxsize=1024)
def fastest(layer: LayerCosts, slowdown: float, most: float) -> LayerPolicy | None:
    """The fastest policy of a layer that keeps at most some bytes; equal layers are solved once.

    layer (LayerCosts): The layer.
    slowdown (float): How much longer an operator takes in a window.
    most (float): Bytes, the layer's input apart.
    RETURNS (Optional[LayerPolicy]): The policy; None when there is none.
    """
    return solve_layer(layer, slowdown, most)


def _search(
    stage: StageCosts,
    budget: int,
    planner: str,
    search: Callable[[StageCosts, int], Sequence[LayerPolicy] | None],
) -> StagePlan:
    """Search where there is something to find: between keeping all and rebuilding all."""
    everything = [keep_all(layer) for layer in stage.layers]
    nothing = [rebuild_all(layer) for layer in stage.layers]
    if peak_size(stage, everything) <= budget:
        return stage_plan(stage, everything, planner, budget)
    plan = stage_plan(stage, nothing, planner, budget)
    inputs = sum(layer.input_size for layer in stage.layers)
    policies = search(stage, budget - stage.static_size - stage.in_flight * inputs)
    # Nothing is found when the solver's tolerance leaves no room, as when only rebuilding all fits.
    return plan if policies is None else stage_plan(stage, policies, planner, budget)


def _equal_shares(stage: StageCosts, room: int) -> list[LayerPolicy] | None:
    sizes = [sum(operator.size for operator in layer.operators) for layer in stage.layers]
    transient = max(size + layer.working_size for size, layer in zip(sizes, stage.layers))
    share = (room - transient) / (stage.in_flight * sum(sizes))
    policies = [fastest(_kind(layer), stage.slowdown, share * size) for layer, size in zip(stage.layers, sizes)]
    return None if None in policies else policies


def _whole(stage: StageCosts, room: int, *, seconds: float) -> list[LayerPolicy] | None:
    found = [solve_stage(stage, room, seconds), _equal_shares(stage, room)]

    def cost(policies: list[LayerPolicy]) -> float:
        return sum(policy_cost(layer, policy, stage.slowdown) for layer, policy in zip(stage.layers, policies))

    return min((policies for policies in found if policies), key=cost, default=None)


def _mixed(stage: StageCosts, room: int) -> list[LayerPolicy] | None:
    places: defaultdict[LayerCosts, list[int]] = defaultdict(list)
    for place, layer in enumerate(stage.layers):
        places[_kind(layer)].append(place)
    groups = [(len(where), frontier(kind, stage.slowdown)) for kind, where in places.items()]
    chosen = solve_counts(groups, stage.in_flight, room)
    if chosen is None:
        return None
    policies = {i: policy for where, group in zip(places.values(), chosen) for i, policy in zip(where, group)}
    return [policies[i] for i in range(len(stage.layers))]


def _kind(layer: LayerCosts) -> LayerCosts:
    """A layer without what makes no difference to its policy, so that more layers are equal."""
    return replace(layer, input_size=0, backward_seconds=0.0)
