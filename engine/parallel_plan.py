"""The choice of data, tensor and pipeline degrees, of a partition and of a schedule, for a budget of memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from torch import Tensor, nn

from ..errors import Errors, SamarkandWarning, Warnings
from .graph_costs import Machine, Unit, find_units
from .graph_trace import Trace, trace
from .partition import Memory, Partition, partition
from .schedules import SCHEDULES, build_schedule
from .tensor_rules import RULES, TensorRule, matching_rules, split_unit

# A partition through blocks has to be faster by this factor to be worth its smaller parts.
_GAIN = 1.02
Degrees = tuple["int | None", "int | None", "int | None"]


@dataclass(frozen=True)
class ParallelPlan:
    """How a model is trained on many processes.

    data, tensor, pipeline (int): Degrees, whose product is the number of processes.
    micro_batches (int): Parts of the batch of a data rank.
    schedule (str): One of `SCHEDULES`.
    inside_blocks (bool): Whether cuts go through blocks.
    early (bool): Whether a block is recomputed while the one above it sums a gradient over the tensor degree.
    bounds (tuple[int, ...]): Stage s is units bounds[s] to bounds[s + 1].
    names (tuple[str, ...]): The first module of each stage.
    recomputed (tuple[int, ...]): Last blocks of each stage that are recomputed.
    blocks (tuple[int, ...]): Blocks of each stage.
    peak (tuple[int, ...]): Bytes that a process of each stage holds at most.
    static (tuple[int, ...]): Bytes of them for weights, gradients and optimizer.
    balance (float): Time of the slowest stage over the mean.
    seconds (float): Estimated time of a step.
    """

    data: int
    tensor: int
    pipeline: int
    micro_batches: int
    schedule: str
    inside_blocks: bool
    early: bool
    bounds: tuple[int, ...]
    names: tuple[str, ...]
    recomputed: tuple[int, ...]
    blocks: tuple[int, ...]
    peak: tuple[int, ...]
    static: tuple[int, ...]
    balance: float
    seconds: float

    @property
    def world(self) -> int:
        """RETURNS (int): The number of processes."""
        return self.data * self.tensor * self.pipeline

    def __str__(self) -> str:
        order = f"{self.schedule}, recomputing early" if self.early else self.schedule
        lines = [
            f"data {self.data} x tensor {self.tensor} x pipeline {self.pipeline}, {self.micro_batches} micro-batches, "
            f"{order}, balance {self.balance:.3f}, {self.seconds:.3g} s a step",
            f"{'stage':>5}  {'units':>9}  {'recomputed':>10}  {'peak MiB':>9}  {'static MiB':>10}  from",
        ]
        for s, name in enumerate(self.names):
            units, share = f"{self.bounds[s]}-{self.bounds[s + 1] - 1}", f"{self.recomputed[s]} of {self.blocks[s]}"
            peak, static = self.peak[s] / 2**20, self.static[s] / 2**20
            lines.append(f"{s:>5}  {units:>9}  {share:>10}  {peak:>9.1f}  {static:>10.1f}  {name}")
        return "\n".join(lines)


class Planner:
    """Plans for one model.

    model (nn.Module): The model, possibly on the meta device.
    inputs (tuple[Tensor, ...]): Of a whole batch, all with its rows first; only shapes and types are read.
    micro_batches (int): Parts of the batch of a data rank.
    budget (float): Bytes that a process may hold.
    machine (Machine): What times are computed for.
    rules (tuple[TensorRule, ...]): Rules of tensor parallelism.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Tensor, ...],
        *,
        micro_batches: int,
        budget: float = float("inf"),
        machine: Machine | None = None,
        rules: tuple[TensorRule, ...] = RULES,
    ) -> None:
        self.model, self.inputs, self.micro_batches = model, inputs, micro_batches
        self.budget, self.machine, self.rules = budget, machine or Machine(), rules
        self._units: dict[tuple[int, bool], tuple[Trace, tuple[Unit, ...]]] = {}

    def choose(self, world: int, degrees: Degrees = (None, None, None), schedule: str | None = None) -> ParallelPlan:
        """The plan of the shortest step among those that fit.

        world (int): The number of processes.
        degrees (tuple): Data, tensor and pipeline degree, None for what may be chosen.
        schedule (Optional[str]): One of `SCHEDULES`; any when None.
        RETURNS (ParallelPlan): The plan.
        RAISES (ValueError): S720 for a world size that does not divide, S721 for a budget that is too small, S722 for a
            batch that does not divide, S723 for a model that cannot be traced, S727 for too few micro-batches, S728
            for a tensor degree without a rule, S729 for too many stages.
        """
        plans, refused = [], []
        for data, tensor, pipeline in _splits(world, degrees):
            reason = self._refusal(data, tensor, pipeline)
            if reason is not None:
                refused.append(reason)
                continue
            plans += self._plans(data, tensor, pipeline, schedule)
        if not plans:
            raise ValueError(refused[0])
        fitting = [plan for plan in plans if max(plan.peak) <= self.budget]
        if not fitting:
            raise ValueError(self._too_small(world, min(plans, key=_peak)))
        best = min(fitting, key=_speed)
        self._warn_of_lost_blocks(best)
        return best

    def units(self, plan: ParallelPlan) -> tuple[Trace, tuple[Unit, ...]]:
        """The trace and the units that the bounds of a plan count.

        plan (ParallelPlan): The plan.
        RETURNS (tuple[Trace, tuple[Unit, ...]]): They.
        """
        return self._traced(plan.data, plan.inside_blocks)

    def _plans(self, data: int, tensor: int, pipeline: int, schedule: str | None) -> Iterator[ParallelPlan]:
        names = [schedule] if schedule else SCHEDULES if pipeline > 1 else SCHEDULES[:1]
        for name in names:
            if name == "shifted" and schedule is None and self.micro_batches < max(pipeline, 4):
                continue
            whole = self._plan(data, tensor, pipeline, name, inside_blocks=False)
            # Rules of tensor parallelism are for whole blocks, and a single stage is not cut.
            inside = self._plan(data, tensor, pipeline, name, inside_blocks=True) if tensor == 1 < pipeline else None
            if whole is not None:
                yield whole
            if inside is not None and (whole is None or self._better(inside, whole)):
                yield inside
            # The blocks of a lone stage are spread over the data degree one by one, and gathered when their turn comes.
            if whole is not None and any(whole.recomputed) and tensor > 1 and (data == 1 or pipeline > 1):
                yield self._plan(data, tensor, pipeline, name, inside_blocks=False, early=True)

    def _better(self, inside: ParallelPlan, whole: ParallelPlan) -> bool:
        fits = max(inside.peak) <= self.budget
        return inside.seconds * _GAIN < whole.seconds if fits == (max(whole.peak) <= self.budget) else fits

    def _plan(
        self, data: int, tensor: int, pipeline: int, name: str, *, inside_blocks: bool, early: bool = False
    ) -> ParallelPlan | None:
        units = self._traced(data, inside_blocks)[1]
        if len(units) < pipeline:
            return None
        if tensor > 1:
            units = tuple(self._split(unit, tensor) for unit in units)
        schedule = build_schedule(name, pipeline, self.micro_batches)
        memory = replace(self._memory(units, data, pipeline), early=early)
        found = partition(units, schedule, memory, self.machine)
        seconds = found.simulation.makespan + self._reduce_seconds(units, found, data)
        starts = found.bounds[:-1]
        return ParallelPlan(
            data, tensor, pipeline, self.micro_batches, name, inside_blocks, early, found.bounds,
            tuple(units[i].name for i in starts), found.recomputed, found.blocks,
            tuple(int(x) for x in found.simulation.peak), tuple(int(stage.static) for stage in found.times),
            found.balance, seconds,
        )  # fmt: skip

    def _memory(self, units: tuple[Unit, ...], data: int, pipeline: int) -> Memory:
        """Stages keep weights and gradients whole throughout a step; a lone stage gathers its blocks one by one."""
        whole = 2.0 if data > 1 else 0.0
        if pipeline == 1:
            sizes = [sum(unit.parameters.values()) for unit in units if unit.block]
            every = Memory(whole=1.0, sharded=0.0).static(units)
            whole *= (every - sum(sizes) + max(sizes, default=0)) / every
        return Memory(self.budget, whole, 4.0, data)

    def _reduce_seconds(self, units: tuple[Unit, ...], found: Partition, data: int) -> float:
        """Gathering weights twice and summing gradients over the data degree."""
        if data == 1:
            return 0.0
        stages = (units[i:j] for i, j in pairwise(found.bounds))
        size = max(Memory(whole=1.0, sharded=0.0).static(stage) for stage in stages)
        return self.machine.latency + 3 * (data - 1) / data * size / self.machine.link_rate

    def _traced(self, data: int, inside_blocks: bool) -> tuple[Trace, tuple[Unit, ...]]:
        rows = len(self.inputs[0]) // (data * self.micro_batches)
        if (rows, inside_blocks) not in self._units:
            traced = trace(self.model, tuple(x[:rows] for x in self.inputs), inside_blocks=inside_blocks)
            self._units[rows, inside_blocks] = traced, find_units(self.model, traced, self.machine)
        return self._units[rows, inside_blocks]

    def _split(self, unit: Unit, tensor: int) -> Unit:
        if not unit.block:
            return unit
        block = self.model.get_submodule(unit.name)
        rules = matching_rules(block, tensor, self.rules)
        return split_unit(unit, block, tensor, rules, self.machine) if rules else unit

    @cached_property
    def _blocks(self) -> dict[str, nn.Module]:
        units = self._traced(1, False)[1]
        return {unit.name: self.model.get_submodule(unit.name) for unit in units if unit.block}

    def _refusal(self, data: int, tensor: int, pipeline: int) -> str | None:
        """Why degrees are impossible, if they are."""
        name, rows = type(self.model).__name__, {len(x) for x in self.inputs}
        multiple = data * self.micro_batches
        if any(count % multiple for count in rows) or len(rows) > 1:
            counts = " and ".join(map(str, sorted(rows)))
            return Errors.S722.format(rows=counts, dp=data, micro_batches=self.micro_batches, multiple=multiple)
        if pipeline > self.micro_batches:
            rule = f"{pipeline} stages need as many micro-batches, not {self.micro_batches}: raise micro_batches"
            return Errors.S727.format(name="1f1b", rule=rule)
        if tensor > 1 and not any(matching_rules(block, tensor, self.rules) for block in self._blocks.values()):
            linears = {
                n for block in self._blocks.values() for n, m in block.named_modules() if isinstance(m, nn.Linear)
            }
            return Errors.S728.format(tp=tensor, model=name, names=", ".join(sorted(linears)) or "none")
        most = len(self._traced(data, tensor == 1)[1])
        return Errors.S729.format(model=name, most=most, pp=pipeline) if most < pipeline else None

    def _warn_of_lost_blocks(self, plan: ParallelPlan) -> None:
        blocks = self.units(plan)[0].blocks
        if blocks and not any(plan.blocks):
            message = Warnings.SW720.format(model=type(self.model).__name__, block=min(blocks))
            warnings.warn(message, SamarkandWarning, stacklevel=3)

    def _too_small(self, world: int, plan: ParallelPlan) -> str:
        stage = max(range(plan.pipeline), key=plan.peak.__getitem__)
        return Errors.S721.format(
            world=world, budget=f"{self.budget:.0f}", dp=plan.data, tp=plan.tensor, pp=plan.pipeline,
            least=plan.peak[stage], stage=stage, static=plan.static[stage],
        )  # fmt: skip


def _splits(world: int, degrees: Degrees) -> list[tuple[int, int, int]]:
    """Degrees whose product is the number of processes, few stages first."""
    divisors = [d for d in range(1, world + 1) if world % d == 0]
    found = [
        (data, tensor, world // (data * tensor)) for data in reversed(divisors) for tensor in divisors
        if world % (data * tensor) == 0
    ]  # fmt: skip
    found = [split for split in found if all(want in (None, have) for want, have in zip(degrees, split))]
    if not found:
        dp, tp, pp = ("any" if degree is None else degree for degree in degrees)
        reason = f"{world} is no product of these"
        raise ValueError(Errors.S720.format(world=world, dp=dp, tp=tp, pp=pp, reason=reason))
    return found


def _peak(plan: ParallelPlan) -> int:
    return max(plan.peak)


def _speed(plan: ParallelPlan) -> tuple[float, int, int]:
    return plan.seconds, plan.pipeline, plan.tensor
