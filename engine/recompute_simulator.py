"""A replay of plans on two timelines, of computation and of the link, which shares nothing with the planners.

`simulate_stage` walks the backward pass of a micro-batch while the activations of all others are held; a layer's
windows stand at the beginning of its backward pass. `simulate_pipeline` plays the schedule 1F1B on several stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Errors
from .recompute_policy import DEMAND, KEEP, LayerPolicy, StagePlan
from .stage_costs import LAYER_INPUT, LayerCosts, StageCosts

COMPUTE, LINK = "compute", "link"


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
    micro_batches (int): Micro-batches of a step.
    RETURNS (PipelineRun): Time and events.
    RAISES (ValueError): S714 and S715 as `simulate_stage`.
    """
    forward = [sum(layer.forward_seconds for layer in stage.layers) for stage in stages]
    backward = [simulate_stage(stage, plan).seconds for stage, plan in zip(stages, plans)]
    lengths = {"forward": forward, "backward": backward}
    queues = [_one_forward_one_backward(len(stages) - i, micro_batches) for i in range(len(stages))]
    done: dict[tuple[str, int, int], float] = {}
    events, clocks = [], [0.0] * len(stages)
    while any(queues):
        for i, queue in enumerate(queues):
            while queue and (ready := _ready(done, queue[0], i, len(stages))) is not None:
                kind, number = queue.pop(0)
                start = max(ready, clocks[i])
                clocks[i] = done[kind, i, number] = start + lengths[kind][i]
                events.append(Event(kind, str(number), start, clocks[i], stage=i))
    seconds = max(clocks)
    busy = tuple(micro_batches * (forward[i] + backward[i]) for i in range(len(stages)))
    return PipelineRun(seconds, busy, tuple(seconds - time for time in busy), tuple(events))


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


def _one_forward_one_backward(after: int, micro_batches: int) -> list[tuple[str, int]]:
    """What a stage does in order; `after` counts it and the stages after it."""
    warm_up = min(after - 1, micro_batches)
    forward = [("forward", i) for i in range(micro_batches)]
    backward = [("backward", i) for i in range(micro_batches)]
    steady = [action for pair in zip(forward[warm_up:], backward) for action in pair]
    return [*forward[:warm_up], *steady, *backward[micro_batches - warm_up :]]


def _ready(done: dict[tuple[str, int, int], float], action: tuple[str, int], stage: int, stages: int) -> float | None:
    """When what an action waits for is there; None while that is not known."""
    kind, number = action
    before = stage - 1 if kind == "forward" else stage + 1
    return done.get((kind, before, number)) if 0 <= before < stages else 0.0
