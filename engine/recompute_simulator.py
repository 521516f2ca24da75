"""A replay of plans on two timelines, of computation and of the link, which shares nothing with the planners.

`simulate_stage` walks the backward pass of a micro-batch while the activations of all others are held; a layer's
windows stand at the beginning of its backward pass. `simulate_pipeline` plays the schedule 1F1B on several stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Errors
from .recompute_policy import DEMAND, KEEP, LayerPolicy, StagePlan
from .schedule_simulator import StageTimes, simulate
from .schedules import BACKWARD, FORWARD, build_schedule
from .stage_costs import LAYER_INPUT, LayerCosts, StageCosts

COMPUTE, LINK = "compute", "link"
_PASSES = {FORWARD: "forward", BACKWARD: "backward"}


@dataclass(frozen=True)
class Event:
    """Something that takes time.

    kind (str): "forward", "backward", "recompute", "hidden" (recomputed in a window) or "communication".
    name (str): What it is.
    start, end (float): Seconds.
    row (str): `COMPUTE` or `LINK`.
    stage (int): Stage of the pipeline.
    """

    kind: str
    name: str
    start: float
    end: float
    row: str = COMPUTE
    stage: int = 0


@dataclass(frozen=True)
class StageRun:
    """The backward pass of a micro-batch.

    seconds (float): How long it takes.
    peak_size (int): Bytes that the stage holds at most.
    events (tuple[Event, ...]): In the order in which they begin on their rows.
    """

    seconds: float
    peak_size: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class PipelineRun:
    """A training step.

    seconds (float): How long it takes.
    busy, idle (tuple[float, ...]): Seconds of each stage.
    events (tuple[Event, ...]): Forward and backward passes of all stages.
    """

    seconds: float
    busy: tuple[float, ...]
    idle: tuple[float, ...]
    events: tuple[Event, ...]


def simulate_stage(stage: StageCosts, plan: StagePlan) -> StageRun:
    """Replay the backward pass of a micro-batch.

    stage (StageCosts): The stage.
    plan (StagePlan): Its plan.
    RETURNS (StageRun): Time, memory and events.
    RAISES (ValueError): S714 for a plan of another stage, S715 when something is not there when it is needed.
    """
    if len(plan.policies) != len(stage.layers):
        raise ValueError(Errors.S714.format(plans=len(plan.policies), layers=len(stage.layers)))
    replay = _Replay(stage, plan)
    for place in reversed(range(len(stage.layers))):
        replay.layer(place, stage.layers[place], plan.policies[place])
    return StageRun(replay.now, replay.peak, tuple(replay.events))


def simulate_pipeline(stages: Sequence[StageCosts], plans: Sequence[StagePlan], micro_batches: int) -> PipelineRun:
    """Replay a step of the schedule 1F1B; sending from stage to stage takes no time.

    stages (Sequence[StageCosts]): The stages in order.
    plans (Sequence[StagePlan]): A plan for each.
    micro_batches (int): Micro-batches of a step, at least as many as there are stages.
    RETURNS (PipelineRun): Time and events.
    RAISES (ValueError): S714 and S715 as `simulate_stage`, S727 for too few micro-batches.
    """
    times = tuple(
        StageTimes(sum(layer.forward_seconds for layer in stage.layers), simulate_stage(stage, plan).seconds)
        for stage, plan in zip(stages, plans)
    )
    run = simulate(build_schedule("1f1b", len(stages), micro_batches), times)
    events = []
    for (stage, action), end in run.ends.items():
        kind, length = _PASSES[action.kind], getattr(times[stage], _PASSES[action.kind])
        events.append(Event(kind, str(action.micro_batch), end - length, end, stage=stage))
    return PipelineRun(run.makespan, run.busy, tuple(run.makespan - time for time in run.busy), tuple(events))


class _Replay:
    """Clock and memory of a stage in its backward pass.

    stage (StageCosts): The stage.
    plan (StagePlan): Its plan.
    """

    def __init__(self, stage: StageCosts, plan: StagePlan) -> None:
        self.now, self.events = 0.0, []
        self.slowdown = stage.slowdown
        kept = [_left(layer, _chosen(policy, KEEP)) for layer, policy in zip(stage.layers, plan.policies)]
        self.held = stage.static_size
        for layer, places in zip(stage.layers, kept):
            self.held += stage.in_flight * (layer.input_size + sum(layer.operators[j].size for j in places))
        self.peak = self.held

    def layer(self, place: int, layer: LayerCosts, policy: LayerPolicy) -> None:
        """Go back through a layer, and let go of all that it held."""
        there = {LAYER_INPUT, *_left(layer, _chosen(policy, KEEP))}
        for window, length in enumerate(layer.windows):
            start = self.now
            self._event("communication", f"layer {place}", start + length, LINK)
            for j in _chosen(policy, window):
                self._run(place, layer, j, there, self.slowdown, "hidden")
            self.now = max(self.now, start + length)
        for j in _chosen(policy, DEMAND):
            self._run(place, layer, j, there, 1.0, "recompute")
        self._check(place, layer, {j for j, operator in enumerate(layer.operators) if operator.size} - there)
        self._hold(layer.working_size)
        end = self.now + max(0.0, layer.backward_seconds - sum(layer.windows))
        self._event("backward", f"layer {place}", end, COMPUTE)
        self.now = end
        self._hold(-layer.working_size - layer.activation_size)

    def _run(self, place: int, layer: LayerCosts, j: int, there: set[int], slowdown: float, kind: str) -> None:
        operator = layer.operators[j]
        self._check(place, layer, set(operator.inputs) - there)
        end = self.now + slowdown * operator.seconds
        self._event(kind, f"layer {place}: {operator.name}", end, LINK if operator.collective else COMPUTE)
        self._hold(operator.size)
        there.add(j)
        self.now = end

    def _check(self, place: int, layer: LayerCosts, missing: set[int]) -> None:
        if missing:
            names = ", ".join(layer.operators[j].name for j in sorted(missing))
            raise ValueError(Errors.S715.format(layer=place, names=names))

    def _hold(self, size: int) -> None:
        self.held += size
        self.peak = max(self.peak, self.held)

    def _event(self, kind: str, name: str, end: float, row: str) -> None:
        self.events.append(Event(kind, name, self.now, end, row))


def _chosen(policy: LayerPolicy, choice: int) -> list[int]:
    return [j for j, other in enumerate(policy.choices) if other == choice]


def _left(layer: LayerCosts, places: list[int]) -> list[int]:
    """Those of some operators that leave something behind."""
    return [j for j in places if layer.operators[j].size]
