"""A schedule of ours on torch's pipeline runtime, with recomputation while a gradient is on its way."""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, schedules

from ..errors import SamarkandWarning, Warnings
from .parallel_plan import ParallelPlan
from .schedules import RECOMPUTE, SCHEDULES, build_schedule, check_schedule, write_csv
from .stage_module import StageModule
from .stage_recompute import recompute_now

# Private in torch 2.11 to 2.13: the only way to run a schedule of one's own.
_RUNTIME = "_PipelineScheduleRuntime"
_PARTS = ("_load_csv", "register_custom_function")
# Where torch can do without, the outputs of all micro-batches are not held to the end of a step.
_NO_OUTPUTS = {"return_outputs": False} if "return_outputs" in inspect.signature(Schedule1F1B.step).parameters else {}


def build_runtime(
    plan: ParallelPlan, module: StageModule, stage: int, mesh: DeviceMesh, loss: Callable[[Any, Tensor], Tensor]
) -> Any:
    """Make what runs a step of a stage.

    plan (ParallelPlan): The plan.
    module (StageModule): The stage.
    stage (int): Which one.
    mesh (DeviceMesh): With a dimension "pipeline".
    loss (Callable): Of the stage's output and targets, on the last stage.
    RETURNS (Any): A schedule of torch: the plan's, or plain 1F1B if this torch cannot run schedules of others.
    WARNS: SW721, in the first process, when that is another schedule than the plan's.
    """
    device = next(module.parameters()).device
    pipe = PipelineStage(module, stage, plan.pipeline, device, group=mesh.get_group("pipeline"))
    missing = _missing()
    if missing is not None:
        if plan.schedule != SCHEDULES[0] and dist.get_rank() == 0:
            message = Warnings.SW721.format(asked=plan.schedule, version=torch.__version__, missing=missing)
            warnings.warn(message, SamarkandWarning, stacklevel=4)
        return Schedule1F1B(pipe, plan.micro_batches, loss_fn=loss)
    schedule = build_schedule(plan.schedule, plan.pipeline, plan.micro_batches)
    check_schedule(schedule.stages, plan.micro_batches)
    runtime = schedules._PipelineScheduleRuntime([pipe], plan.micro_batches, loss_fn=loss)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "schedule.csv")
        write_csv(schedule, path)
        runtime._load_csv(path)
    ahead = {action.micro_batch for action in schedule.stages[stage] if action.kind == RECOMPUTE}
    if ahead and plan.recomputed[stage]:
        module.entrances = {}
        runtime.register_custom_function(schedules.FULL_BACKWARD, partial(_backward, pipe, module, ahead))
    return runtime


def run_step(runtime: Any, inputs: dict[str, Tensor], targets: Tensor, *, last: bool) -> list[Tensor]:
    """Run forward and backward passes of a batch.

    runtime (Any): Of `build_runtime`.
    inputs (dict[str, Tensor]): Inputs of the stage by name, rows first.
    targets (Tensor): Targets, rows first.
    last (bool): This is the last stage.
    RETURNS (list[Tensor]): Losses of the micro-batches on the last stage, else none.
    """
    losses: list[Tensor] = []
    runtime.step(target=targets if last else None, losses=losses if last else None, **_NO_OUTPUTS, **inputs)
    return losses


def _missing() -> str | None:
    """What torch lacks to run a schedule of one's own, if anything."""
    if not hasattr(schedules, _RUNTIME):
        return _RUNTIME
    return next((f"{_RUNTIME}.{part}" for part in _PARTS if not hasattr(getattr(schedules, _RUNTIME), part)), None)


def _backward(pipe: PipelineStage, module: StageModule, ahead: set[int], action: Any, context: Any) -> None:
    """A backward pass that recomputes before it waits for the gradient."""
    runtime, number = context.schedule_ref, action.microbatch_index
    outputs = pipe.fwd_cache[number][0]
    entrances = module.entrances.pop(id(outputs[0]), [])
    runtime._assert_unsharded(pipe)
    with recompute_now(entrances if number in ahead else []):
        for work in runtime.bwd_recv_ops.pop((action.stage_index, number), []):
            work.wait()
        runtime.backward_counter[action.stage_index] += 1
        last = runtime.backward_counter[action.stage_index] == runtime._n_microbatches
        loss = runtime._maybe_get_loss(pipe, number)
        pipe.backward_one_chunk(number, loss=loss, full_backward=True, last_backward=last)
    if last:
        module.entrances.clear()
