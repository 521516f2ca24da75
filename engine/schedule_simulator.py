"""How long a pipeline schedule takes and what it holds: a simulation, event by event."""

from __future__ import annotations

from dataclasses import dataclass

from .schedules import BACKWARD, FORWARD, RECOMPUTE, Action, Schedule, needs


@dataclass(frozen=True)
class StageTimes:
    """A stage, for one micro-batch.

    forward (float): Seconds of its forward pass.
    backward (float): Seconds of its backward pass.
    recompute (float): Seconds of what it does again before a backward pass.
    send (float): Seconds until its output, or the gradient of it, is at the other end.
    held (float): Bytes that it holds from the forward to the backward pass.
    rebuilt (float): Bytes that a recomputation adds until the end of the backward pass.
    static (float): Bytes that it holds always.
    """

    forward: float
    backward: float
    recompute: float = 0.0
    send: float = 0.0
    held: float = 0.0
    rebuilt: float = 0.0
    static: float = 0.0


@dataclass(frozen=True)
class Simulation:
    """What came of it.

    makespan (float): Seconds from the first action to the end of the last.
    busy (tuple[float, ...]): Seconds in which each stage works.
    peak (tuple[float, ...]): Most bytes that each stage holds.
    ends (dict[tuple[int, Action], float]): When each action of each stage ends, in seconds.
    """

    makespan: float
    busy: tuple[float, ...]
    peak: tuple[float, ...]
    ends: dict[tuple[int, Action], float]

    @property
    def bubble(self) -> float:
        """RETURNS (float): Share of the time in which stages wait, from 0 to 1."""
        return 1 - sum(self.busy) / (len(self.busy) * self.makespan)


def simulate(schedule: Schedule, times: tuple[StageTimes, ...]) -> Simulation:
    """Run a schedule on paper. Communication takes no time of the stages, only delays them.

    schedule (Schedule): One that `check_schedule` accepts.
    times (tuple[StageTimes, ...]): Each stage.
    RETURNS (Simulation): Times and memory.
    """
    ends: dict[tuple[int, Action], float] = {}
    free, busy, places = [0.0] * len(times), [0.0] * len(times), [0] * len(times)
    left = sum(map(len, schedule.stages))
    while left:
        for stage, order in enumerate(schedule.stages):
            while places[stage] < len(order):
                action = order[places[stage]]
                waits = needs(stage, action, len(times))
                if not all(need in ends for need in waits):
                    break
                ready = max([free[stage], *(ends[need] + _delay(stage, need[0], times) for need in waits)])
                seconds = _seconds(schedule, stage, action, times[stage])
                free[stage] = ends[stage, action] = ready + seconds
                busy[stage] += seconds
                places[stage] += 1
                left -= 1
    peak = tuple(_peak(schedule, stage, times[stage]) for stage in range(len(times)))
    return Simulation(max(free), tuple(busy), peak, ends)


def _delay(stage: int, other: int, times: tuple[StageTimes, ...]) -> float:
    return 0.0 if stage == other else times[min(stage, other)].send


def _seconds(schedule: Schedule, stage: int, action: Action, times: StageTimes) -> float:
    recompute = times.recompute if schedule.recomputes[stage] else 0.0
    if action.kind == FORWARD:
        return times.forward
    if action.kind == RECOMPUTE:
        return recompute
    ahead = Action(RECOMPUTE, action.micro_batch) in schedule.stages[stage]
    return times.backward + (0.0 if ahead else recompute)


def _peak(schedule: Schedule, stage: int, times: StageTimes) -> float:
    """Most bytes of a stage. One that must not recompute holds everything from the start."""
    rebuilds = schedule.recomputes[stage]
    held = times.held if rebuilds else times.held + times.rebuilt
    now = most = times.static
    for action in schedule.stages[stage]:
        now += held if action.kind == FORWARD else 0.0
        most = max(most, now + (times.rebuilt if rebuilds and action.kind != FORWARD else 0.0))
        now -= held if action.kind == BACKWARD else 0.0
    return most
