"""Parameters that several pipeline stages use: gradients of the copies are summed, so that the copies stay equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from .graph_costs import Unit
from .parallel_plan import ParallelPlan


def shared_parameters(units: Sequence[Unit], bounds: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Parameters of more than one stage.

    units (Sequence[Unit]): All units.
    bounds (Sequence[int]): Stage s is units bounds[s] to bounds[s + 1].
    RETURNS (dict[str, tuple[int, ...]]): Their stages by name; the first of them owns the parameter.
    """
    stages: dict[str, set[int]] = {}
    for place, unit in enumerate(units):
        stage = sum(bound <= place for bound in bounds[1:])
        for name in unit.parameters:
            stages.setdefault(name, set()).add(stage)
    return {name: tuple(sorted(found)) for name, found in stages.items() if len(found) > 1}


class TiedGradients:
    """Sums gradients over the stages that share a parameter.

    plan (ParallelPlan): The plan.
    units (Sequence[Unit]): All units.
    mesh (Optional[DeviceMesh]): Dimensions pipeline, data, tensor.
    stage (int): The stage of this process.
    tensors (dict[str, Tensor]): Its parameters by name.
    """

    def __init__(
        self,
        plan: ParallelPlan,
        units: Sequence[Unit],
        mesh: DeviceMesh | None,
        stage: int,
        tensors: dict[str, Tensor],
    ) -> None:
        shared = shared_parameters(units, plan.bounds)
        self._reduced: list[tuple[Tensor, dist.ProcessGroup]] = []
        if mesh is None:
            return
        for stages in sorted(set(shared.values())):
            # Every process has to make every group, in one order.
            groups = [dist.new_group(ranks.tolist()) for ranks in mesh.mesh[list(stages)].flatten(1).T]
            names = sorted(name for name, found in shared.items() if found == stages and stage in stages)
            for group in groups:
                if dist.get_rank() in dist.get_process_group_ranks(group):
                    self._reduced += [(tensors[name], group) for name in names]

    def reduce(self) -> None:
        """Sum the gradients of a step."""
        for parameter, group in self._reduced:
            if parameter.grad is not None:
                grad = parameter.grad
                dist.all_reduce(grad.to_local() if hasattr(grad, "to_local") else grad, group=group)
