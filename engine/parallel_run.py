"""Training on many processes as a plan says, on torch's own engine, without a change to the model.

Stages run on `torch.distributed.pipelining`, the data dimension on `fully_shard`, the tensor dimension on DTensor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import AdamW, Optimizer
from torch.utils._pytree import tree_unflatten

from ..errors import Errors
from .byte_sizes import parse_size
from .graph_costs import Machine, Unit
from .matrix_views import local_part
from .parallel_checkpoint import (
    State,
    in_tensors,
    load_checkpoint,
    named_state,
    optimizer_settings,
    restore_settings,
    save_checkpoint,
)
from .parallel_plan import Degrees, ParallelPlan, Planner
from .pipeline_runtime import build_runtime, run_step
from .stage_module import StageModule
from .tensor_rules import RULES, TensorRule, matching_rules, split_block
from .tied_gradients import TiedGradients

Loss = Callable[[Any, Tensor], Tensor]
_AXES = ("pipeline", "data", "tensor")


def parallelize(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    loss: Loss,
    *,
    micro_batches: int = 4,
    budget: float | str = float("inf"),
    degrees: Degrees = (None, None, None),
    schedule: str | None = None,
    optimizer: Callable[[Iterable[Any]], Optimizer] = AdamW,
    machine: Machine | None = None,
    rules: tuple[TensorRule, ...] = RULES,
    device: str | torch.device | None = None,
    seed: int = 0,
) -> ParallelTrainer:
    """Plan the training of a model on the processes of `torch.distributed`, or on this one alone, and set it up.

    The model is only read: a process copies the weights of its own stage. It has to be the same in all processes.

    model (nn.Module): The model, with its weights.
    inputs (tuple[Tensor, ...]): Of a whole batch, all with its rows first; only shapes and types are read.
    loss (Callable): Of the model's output and the targets of some rows, their mean.
    micro_batches (int): Parts of the batch of a data rank.
    budget (Union[float, str]): Bytes that a process may hold, such as 40e9 or "40GB".
    degrees (tuple): Data, tensor and pipeline degree, None for what may be chosen.
    schedule (Optional[str]): One of `schedules.SCHEDULES`; the fastest when None.
    optimizer (Callable): Makes the optimizer of groups of parameters: `Adapprox`, or one whose state is tensors
        of shapes that stay.
    machine (Optional[Machine]): What times are computed for.
    rules (tuple[TensorRule, ...]): Rules of tensor parallelism.
    device (Optional[Union[str, torch.device]]): Where this process computes; by default its GPU if the processes speak
        by NCCL, else the CPU.
    seed (int): Seed of dropout and the like: with the same degrees, a resumed training has the same.
    RETURNS (ParallelTrainer): What trains it.
    RAISES (ValueError): As `Planner.choose` does, before anything is set up.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    size = parse_size(budget) if isinstance(budget, str) else budget
    planner = Planner(model, inputs, micro_batches=micro_batches, budget=size, machine=machine, rules=rules)
    plan = planner.choose(world, degrees, schedule)
    if device is None:
        by_nccl = dist.is_initialized() and "nccl" in dist.get_backend()
        device = torch.device("cuda", torch.cuda.current_device()) if by_nccl else "cpu"
    return ParallelTrainer(model, planner, plan, loss, optimizer, torch.device(device), seed)


class ParallelTrainer:
    """A process's part of the training of a model.

    Blocks are recomputed whole, each when its own gradient is known; before that where the schedule says so, or while
    the block above sums a gradient over the tensor degree (`ParallelPlan.early`). Plans of `plan_recompute`, which
    choose operators, are not for it.

    plan (ParallelPlan): The plan.
    module (StageModule): The stage of this process, under the model's names.
    optimizer (Optimizer): The optimizer of its parameters.

    model (nn.Module): The model, which is only read.
    planner (Planner): What made the plan.
    plan (ParallelPlan): A plan for as many processes as there are.
    loss (Callable): Of the model's output and the targets of some rows, their mean.
    optimizer (Callable): Makes the optimizer.
    device (torch.device): Where this process computes.
    seed (int): Seed of dropout and the like.
    """

    def __init__(
        self,
        model: nn.Module,
        planner: Planner,
        plan: ParallelPlan,
        loss: Loss,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        device: torch.device,
        seed: int = 0,
    ) -> None:
        traced, units = planner.units(plan)
        self.plan, self.device = plan, device
        self.mesh = _mesh(plan, device)
        self._place = {axis: self.mesh.get_local_rank(axis) if self.mesh else 0 for axis in _AXES}
        stage = self._place["pipeline"]
        bounds = plan.bounds[stage], plan.bounds[stage + 1]
        self.module = StageModule(model, traced, units, bounds, plan.recomputed[stage], device, early=plan.early)
        self._loss = partial(_leaves_loss, loss, traced.output)
        self._names = _first_names(model)
        self._shard(units[slice(*bounds)], planner.rules)
        self.optimizer = optimizer(_groups(self.module.parameters()))
        self._runtime = build_runtime(plan, self.module, stage, self.mesh, self._loss) if plan.pipeline > 1 else None
        self._tied = TiedGradients(plan, units, self.mesh, stage, self.tensors())
        self.steps, self._seed = 0, seed

    def step(self, inputs: Tensor | tuple[Tensor, ...], targets: Tensor) -> float:
        """Train on a batch: forward, backward, optimizer.

        inputs (Union[Tensor, tuple[Tensor, ...]]): The whole batch, the same in all processes.
        targets (Tensor): Its targets.
        RETURNS (float): Its loss before the step, the same in all processes.
        RAISES (ValueError): S722 for a batch that does not divide.
        RAISES (RuntimeError): S718, in all processes, when the loss or a gradient is no finite number; the weights and
            the state of the optimizer are those before the step.
        """
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        values = {f"input_{i}": self._own_rows(x) for i, x in enumerate(inputs)}
        values = {name: value for name, value in values.items() if name in self.module.inputs}
        targets = self._own_rows(targets)
        with self._chance():
            if self._runtime:
                losses = run_step(self._runtime, values, targets, last=self.module.is_last)
            else:
                losses = self._alone(values, targets)
        self._tied.reduce()
        loss, size = self._sums(losses)
        if not math.isfinite(loss + size):
            self.optimizer.zero_grad()
            raise RuntimeError(Errors.S718.format(step=self.steps + 1, loss=loss, size=size))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        return loss

    def tensors(self) -> dict[str, Tensor]:
        """RETURNS (dict[str, Tensor]): Parameters and saved buffers of this process, by name in the model."""
        buffers = {name: buffer for name, buffer in self.module.named_buffers() if name in self.module.state_dict()}
        return {self._names[name]: tensor for name, tensor in [*self.module.named_parameters(), *buffers.items()]}

    def state_dict(self) -> dict[str, Tensor]:
        """RETURNS (dict[str, Tensor]): What a checkpoint has of this process."""
        return in_tensors(self._state())

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, all processes together, after the first step or later.

        One of the same name is replaced when the new one is complete.

        path (Union[str, Path]): The folder.
        """
        settings = optimizer_settings(self.tensors(), self.optimizer)
        save_checkpoint(path, self.state_dict(), {"steps": self.steps, "optimizer": settings})

    def load(self, path: str | Path) -> None:
        """Read a checkpoint of this model, written by any number of processes.

        path (Union[str, Path]): The folder.
        RAISES (ValueError): S725 when it is incomplete, S726 when it is of something else; nothing is loaded then.
        """
        fresh = not self.optimizer.state
        if fresh:
            _fill(self.optimizer)
        state = self._state()
        try:
            settings = load_checkpoint(path, state)
        except ValueError:
            if fresh:
                self.optimizer.state.clear()
            raise
        self.steps = settings["steps"]
        restore_settings(self.tensors(), self.optimizer, settings["optimizer"])

    def _state(self) -> State:
        return named_state(self.tensors(), self.optimizer)

    @contextmanager
    def _chance(self) -> Iterator[None]:
        """Random numbers of a step: they follow from seed, step and place, and are the same in all tensor ranks."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            place = (self._seed, self.steps, self._place["data"], self._place["pipeline"])
            torch.manual_seed(random.Random(repr(place)).getrandbits(63))
            yield

    def _shard(self, units: tuple[Unit, ...], rules: tuple[TensorRule, ...]) -> None:
        """Split blocks over the tensor dimension and everything over the data dimension."""
        if self.mesh is None:
            return
        blocks = {unit.name: self.module.get_submodule(unit.name) for unit in units if unit.block}
        if self.plan.tensor > 1:
            for block in blocks.values():
                found = matching_rules(block, self.plan.tensor, rules)
                if found:
                    split_block(block, self.mesh["tensor"], found)
        if self.plan.data > 1:
            from torch.distributed.fsdp import fully_shard

            mesh = self.mesh["data"]
            if self.plan.pipeline == 1:
                for block in blocks.values():
                    fully_shard(block, mesh=mesh)
            fully_shard(self.module, mesh=mesh, reshard_after_forward=False)

    def _own_rows(self, tensor: Tensor) -> Tensor:
        """Rows of this data rank."""
        multiple = self.plan.data * self.plan.micro_batches
        if len(tensor) % multiple:
            raise ValueError(
                Errors.S722.format(
                    rows=len(tensor), dp=self.plan.data, micro_batches=self.plan.micro_batches, multiple=multiple
                )
            )
        return tensor.chunk(self.plan.data)[self._place["data"]].to(self.device)

    def _sums(self, losses: list[Tensor]) -> tuple[float, float]:
        """The loss, and the norms of what processes hold of the gradient, summed over them: finite if all of it is."""
        grads = [local_part(p.grad) for p in self.module.parameters() if p.grad is not None]
        zero = torch.zeros((), device=self.device)
        loss = torch.stack([x.detach().float() for x in losses]).sum() if losses else zero
        sums = torch.stack([loss, nn.utils.get_total_norm(grads).float() if grads else zero])
        if self.mesh:
            dist.all_reduce(sums)
        total, size = sums.tolist()
        return total / (self.plan.micro_batches * self.plan.data * self.plan.tensor), size

    def _alone(self, values: dict[str, Tensor], targets: Tensor) -> list[Tensor]:
        count, losses = self.plan.micro_batches, []
        parts = {name: value.chunk(count) for name, value in values.items()}
        for i, target in enumerate(targets.chunk(count)):
            if self.plan.data > 1:
                self.module.set_requires_gradient_sync(i == count - 1)
            losses.append(self._loss(self.module(**{name: part[i] for name, part in parts.items()}), target))
            (losses[-1] / count).backward()
        return losses


def _mesh(plan: ParallelPlan, device: torch.device) -> DeviceMesh | None:
    if plan.world == 1:
        return None
    return init_device_mesh(device.type, (plan.pipeline, plan.data, plan.tensor), mesh_dim_names=_AXES)


def _leaves_loss(loss: Loss, spec: Any, leaves: Any, targets: Tensor) -> Tensor:
    leaves = leaves if isinstance(leaves, tuple | list) else (leaves,)
    return loss(tree_unflatten(list(leaves), spec), targets)


def _first_names(model: nn.Module) -> dict[str, str]:
    """For each name of a parameter or buffer, the first name that the same one has."""
    first = {id(x): name for name, x in [*model.named_parameters(), *model.named_buffers()]}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first[id(x)] for name, x in every}


def _groups(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of parameters that one fused operation can step: those that are spread over the same processes."""
    groups: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
    return [{"params": group} for group in groups.values()]


def _fill(optimizer: Optimizer) -> None:
    """Have an optimizer make its state, which a checkpoint is about to replace, without a change of weights."""
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    optimizer.zero_grad()
    for group, before in zip(optimizer.param_groups, settings):
        group.update(before)
