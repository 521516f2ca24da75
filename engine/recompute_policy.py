"""What a stage keeps of its forward pass, and when the rest is computed again (Lynx, arXiv 2406.08756).

Every operator is kept, rebuilt on demand, or rebuilt in a window in which computation would wait. An operator without
size leaves nothing behind, so that keeping it means not to run it again: free, but only where nothing that is rebuilt
reads it. The memory of a stage is at most
    static + in_flight * sum over layers (input + kept) + max over layers (rebuilt + working).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import Errors
from .byte_sizes import format_size
from .stage_costs import LAYER_INPUT, LayerCosts, StageCosts

# Choices for an operator; 0 or more is the window in which it is rebuilt.
KEEP, DEMAND = -1, -2


@dataclass(frozen=True)
class LayerPolicy:
    """What becomes of the operators of a layer.

    choices (tuple[int, ...]): For each operator, `KEEP`, `DEMAND` or the number of a window.
    """

    choices: tuple[int, ...]

    def on_demand(self) -> LayerPolicy:
        """RETURNS (LayerPolicy): One that keeps the same, and rebuilds nothing in windows."""
        return LayerPolicy(tuple(choice if choice == KEEP else DEMAND for choice in self.choices))


@dataclass(frozen=True)
class StagePlan:
    """A plan for a stage.

    policies (tuple[LayerPolicy, ...]): One for each layer.
    planner (str): Who made it.
    recompute_seconds (float): What it adds to the backward pass: work on demand and what does not fit its window.
    peak_size (int): Bytes that the stage takes at most.
    """

    policies: tuple[LayerPolicy, ...]
    planner: str
    recompute_seconds: float
    peak_size: int


def keep_all(layer: LayerCosts) -> LayerPolicy:
    """The policy that rebuilds nothing."""
    return LayerPolicy((KEEP,) * len(layer.operators))


def rebuild_all(layer: LayerCosts) -> LayerPolicy:
    """The policy that runs the whole layer again on demand."""
    return LayerPolicy((DEMAND,) * len(layer.operators))


def rebuild_named(layer: LayerCosts, names: Collection[str]) -> LayerPolicy:
    """Rebuild some operators on demand, and what they read that leaves nothing behind.

    layer (LayerCosts): The layer.
    names (Collection[str]): Names of the operators.
    RETURNS (LayerPolicy): The policy; it keeps all others.
    """
    rebuilt: set[int] = set()
    for j, operator in reversed(list(enumerate(layer.operators))):
        if operator.name in names or j in rebuilt:
            rebuilt |= {j, *(i for i in operator.inputs if i != LAYER_INPUT and not layer.operators[i].size)}
    return LayerPolicy(tuple(DEMAND if j in rebuilt else KEEP for j in range(len(layer.operators))))


def policy_cost(layer: LayerCosts, policy: LayerPolicy, slowdown: float) -> float:
    """Seconds that a policy adds to the backward pass of a layer.

    layer (LayerCosts): The layer.
    policy (LayerPolicy): The policy.
    slowdown (float): How much longer an operator takes in a window.
    RETURNS (float): Work on demand, and the work of each window beyond its length.
    """
    work = dict.fromkeys((DEMAND, KEEP, *range(len(layer.windows))), 0.0)
    for operator, choice in zip(layer.operators, policy.choices):
        work[choice] += operator.seconds
    overflow = (max(0.0, slowdown * work[w] - length) for w, length in enumerate(layer.windows))
    return work[DEMAND] + sum(overflow)


def policy_sizes(layer: LayerCosts, policy: LayerPolicy) -> tuple[int, int]:
    """Bytes that a policy holds, the layer's input apart.

    layer (LayerCosts): The layer.
    policy (LayerPolicy): The policy.
    RETURNS (tuple[int, int]): Bytes kept from forward to backward pass; bytes rebuilt, held while the layer's backward
        pass runs.
    """
    sizes = [0, 0]
    for operator, choice in zip(layer.operators, policy.choices):
        sizes[choice != KEEP] += operator.size
    return sizes[0], sizes[1]


def validate_policy(layer: LayerCosts, policy: LayerPolicy) -> None:
    """Check that a policy can be carried out.

    layer (LayerCosts): The layer.
    policy (LayerPolicy): The policy.
    RAISES (ValueError): S711 for a policy of another layer, S712 for an operator that is rebuilt before its inputs are
        there, S713 for a collective in a window or a window that the layer does not have.
    """
    operators, choices = layer.operators, policy.choices
    if len(choices) != len(operators):
        raise ValueError(Errors.S711.format(choices=len(choices), operators=len(operators)))
    for operator, choice in zip(operators, choices):
        if choice == KEEP:
            continue
        if choice != DEMAND and (operator.collective or not 0 <= choice < len(layer.windows)):
            reason = "it is a communication itself" if operator.collective else f"there are {len(layer.windows)}"
            raise ValueError(Errors.S713.format(name=operator.name, window=choice, reason=reason))
        for i in operator.inputs:
            if i != LAYER_INPUT and not _in_time(choices[i], choice, operators[i].size):
                raise ValueError(Errors.S712.format(name=operator.name, missing=operators[i].name))


def peak_size(stage: StageCosts, policies: Sequence[LayerPolicy]) -> int:
    """Bytes that a stage takes at most.

    stage (StageCosts): The stage.
    policies (Sequence[LayerPolicy]): One for each layer.
    RETURNS (int): Bytes, static ones included.
    """
    sizes = [policy_sizes(layer, policy) for layer, policy in zip(stage.layers, policies)]
    held = sum(layer.input_size + kept for layer, (kept, _) in zip(stage.layers, sizes))
    transient = max(rebuilt + layer.working_size for layer, (_, rebuilt) in zip(stage.layers, sizes))
    return stage.static_size + stage.in_flight * held + transient


def stage_plan(stage: StageCosts, policies: Sequence[LayerPolicy], planner: str, budget: int) -> StagePlan:
    """Policies as a plan that is known to be sound.

    stage (StageCosts): The stage.
    policies (Sequence[LayerPolicy]): One for each layer.
    planner (str): Who made them.
    budget (int): Bytes that the stage may take.
    RETURNS (StagePlan): The plan.
    RAISES (ValueError): S710 when it takes more than the budget, S711 to S713 for a policy that cannot be carried out.
    """
    for layer, policy in dict.fromkeys(zip(stage.layers, policies)):
        validate_policy(layer, policy)
    peak = peak_size(stage, policies)
    if peak > budget:
        raise ValueError(_too_much(stage, peak, planner, budget))
    seconds = sum(policy_cost(layer, policy, stage.slowdown) for layer, policy in zip(stage.layers, policies))
    return StagePlan(tuple(policies), planner, seconds, peak)


def _in_time(source: int, choice: int, size: int) -> bool:
    """Whether an input is there when what reads it is rebuilt."""
    if source == KEEP:
        return size > 0
    return choice == DEMAND or 0 <= source <= choice


def _too_much(stage: StageCosts, needed: int, planner: str, budget: int) -> str:
    # Rebuilding everything takes the least: what is kept counts for every micro-batch, what is rebuilt once.
    least = peak_size(stage, [rebuild_all(layer) for layer in stage.layers])
    inputs = stage.in_flight * sum(layer.input_size for layer in stage.layers)
    return Errors.S710.format(
        planner=planner,
        needed=format_size(needed),
        budget=format_size(budget),
        least=format_size(least),
        static=format_size(stage.static_size),
        inputs=format_size(inputs),
        transient=format_size(least - stage.static_size - inputs),
        other=", choose another planner" if least <= budget else "",
    )
