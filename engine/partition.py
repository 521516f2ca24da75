"""Cutting a row of units into pipeline stages of equal time, recomputation included.

The cost of a stage is forward + backward + what its memory makes it recompute, which depends on its place: early
stages hold more micro-batches. Over contiguous stages,
    best(p, i) = min over j of max(cost(p, units i..j), best(p + 1, j))
where cost only grows with j, so that a search ends once it is over the best. The best few are timed by the simulator,
since a step takes more than M times its slowest stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise, product

from .graph_costs import Machine, Unit
from .schedule_simulator import Simulation, StageTimes, simulate
from .schedules import RECOMPUTE, Schedule
from .stage_recompute import GrowingStage, Room


@dataclass(frozen=True)
class Memory:
    """What a process holds beside activations, in bytes for each byte of weights.

    budget (float): Bytes that a process may hold.
    whole (float): Copies of the weights that a process holds whole: weights and gradients.
    sharded (float): Copies that are spread over the data degree: weights, gradients and two moments.
    data (int): That degree.
    early (bool): As in `Room`.
    """

    budget: float = float("inf")
    whole: float = 0.0
    sharded: float = 4.0
    data: int = 1
    early: bool = False

    @property
    def copies(self) -> float:
        """RETURNS (float): Bytes of a process for each byte of weights."""
        return self.whole + self.sharded / self.data

    def static(self, units: Sequence[Unit]) -> float:
        """Bytes for weights, gradients and optimizer.

        units (Sequence[Unit]): A stage.
        RETURNS (float): Bytes; a parameter that several units share counts once.
        """
        parameters = {name: size for unit in units for name, size in unit.parameters.items()}
        return self.copies * sum(parameters.values())


@dataclass(frozen=True)
class Partition:
    """Stages.

    bounds (tuple[int, ...]): Stage s is units bounds[s] to bounds[s + 1].
    times (tuple[StageTimes, ...]): Of each stage.
    recomputed (tuple[int, ...]): Last blocks of each stage that are recomputed.
    blocks (tuple[int, ...]): Blocks of each stage.
    simulation (Simulation): A step, without the optimizer.
    fits (bool): No stage holds more than the budget.
    """

    bounds: tuple[int, ...]
    times: tuple[StageTimes, ...]
    recomputed: tuple[int, ...]
    blocks: tuple[int, ...]
    simulation: Simulation
    fits: bool

    @property
    def balance(self) -> float:
        """RETURNS (float): Time of the slowest stage over the mean; 1 is perfect."""
        seconds = [stage.forward + stage.backward + stage.recompute for stage in self.times]
        return max(seconds) * len(seconds) / sum(seconds)


def partition(units: Sequence[Unit], schedule: Schedule, memory: Memory, machine: Machine) -> Partition:
    """The fastest partition that fits; the one of least memory when none does.

    units (Sequence[Unit]): At least as many as there are stages.
    schedule (Schedule): It says how many stages.
    memory (Memory): What there is.
    machine (Machine): The link between stages.
    RETURNS (Partition): It.
    """
    best = split(units, balanced_bounds(units, schedule, memory), schedule, memory, machine)
    candidates = [split(units, bounds, schedule, memory, machine) for bounds in _neighbours(best.bounds)]
    naive = split(units, naive_bounds(units, len(schedule.stages)), schedule, memory, machine)
    return min((best, *candidates, naive), key=_rank)


def split(
    units: Sequence[Unit], bounds: tuple[int, ...], schedule: Schedule, memory: Memory, machine: Machine
) -> Partition:
    """The partition at given bounds.

    units (Sequence[Unit]): The units.
    bounds (tuple[int, ...]): As in `Partition`.
    schedule, memory, machine (Schedule, Memory, Machine): As for `partition`.
    RETURNS (Partition): It.
    """
    times, counts = [], []
    for place, (i, j) in enumerate(pairwise(bounds)):
        stage = GrowingStage(_room(place, schedule, memory))
        for unit in units[i:j]:
            stage.add(unit)
        link = machine.latency + units[j].sends / machine.link_rate if j < len(units) else 0.0
        times.append(replace(stage.times(), send=link))
        counts.append(stage.count)
    simulation = simulate(schedule, tuple(times))
    blocks = tuple(sum(unit.block for unit in units[i:j]) for i, j in pairwise(bounds))
    return Partition(bounds, tuple(times), tuple(counts), blocks, simulation, max(simulation.peak) <= memory.budget)


def balanced_bounds(units: Sequence[Unit], schedule: Schedule, memory: Memory) -> tuple[int, ...]:
    """Bounds of the stages whose slowest is fastest, by dynamic programming.

    units (Sequence[Unit]): The units.
    schedule (Schedule): The schedule.
    memory (Memory): What there is; stages that do not fit come last.
    RETURNS (tuple[int, ...]): As in `Partition`.
    """
    stages, count = len(schedule.stages), len(units)
    rooms = [_room(place, schedule, memory) for place in range(stages)]
    row = cache(partial(_Row, units))

    @cache
    def best(place: int, i: int) -> tuple[tuple[float, float], tuple[int, ...]]:
        costs = row(rooms[place], i)
        if place == stages - 1:
            return costs.until(count), (i, count)
        found = best(place + 1, i + 1)
        found = max(costs.until(i + 1), found[0]), (i, *found[1])
        for j in range(i + 2, count - (stages - place - 1) + 1):
            cost = costs.until(j)
            if cost >= found[0]:
                break
            rest, bounds = best(place + 1, j)
            if max(cost, rest) < found[0]:
                found = max(cost, rest), (i, *bounds)
        return found

    return best(0, 0)[1]


class _Row:
    """Costs of the stages that begin with one unit: bytes over the budget and seconds, both of which only grow."""

    def __init__(self, units: Sequence[Unit], room: Room, first: int) -> None:
        self._units, self._first = units, first
        self._stage = GrowingStage(room)
        self._costs: list[tuple[float, float]] = []

    def until(self, after: int) -> tuple[float, float]:
        """The cost of the units before another one."""
        while len(self._costs) < after - self._first:
            self._stage.add(self._units[self._first + len(self._costs)])
            self._costs.append((self._stage.over, self._stage.seconds))
        return self._costs[after - self._first - 1]


def naive_bounds(units: Sequence[Unit], stages: int) -> tuple[int, ...]:
    """Bounds of stages of equal numbers of blocks, the rest with the first and the last.

    units (Sequence[Unit]): The units.
    stages (int): How many stages.
    RETURNS (tuple[int, ...]): As in `Partition`.
    """
    blocks = [i for i, unit in enumerate(units) if unit.block]
    if len(blocks) < stages:
        blocks = list(range(len(units)))
    share = len(blocks) / stages
    return (0, *(blocks[round(share * stage)] for stage in range(1, stages)), len(units))


def _room(place: int, schedule: Schedule, memory: Memory) -> Room:
    ahead = any(action.kind == RECOMPUTE for action in schedule.stages[place])
    recomputes = schedule.recomputes[place]
    return Room(schedule.in_flight(place), memory.copies, memory.budget, recomputes, ahead, memory.early)


def _neighbours(bounds: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Partitions with bounds moved by one unit: each alone, and all of them when they are few."""
    inner = range(1, len(bounds) - 1)
    moves = product((-1, 0, 1), repeat=len(inner)) if len(inner) <= 3 else _single_moves(len(inner))
    for move in moves:
        moved = (0, *(bounds[i] + d for i, d in zip(inner, move)), bounds[-1])
        if all(a < b for a, b in pairwise(moved)):
            yield moved


def _single_moves(count: int) -> Iterator[tuple[int, ...]]:
    for i, step in product(range(count), (-1, 1)):
        yield tuple(step if j == i else 0 for j in range(count))


def _rank(candidate: Partition) -> tuple[float, float, float]:
    """What fits comes first, then what is fast; of what does not fit, what holds least."""
    if candidate.fits:
        return 0.0, candidate.simulation.makespan, candidate.balance
    return 1.0, max(candidate.simulation.peak), candidate.simulation.makespan
