"""One result for all processes that a model is spread over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def shared_result(model: nn.Module, make: Callable[[], T]) -> T:
    """What the first process makes, in all of them: measured times differ, and so would what follows from them.

    model (Module): The model; its parameters that are DTensors say which processes.
    make (Callable): Makes it, or raises a ValueError; the result has to pickle.
    RETURNS (Any): What the first process made.
    RAISES (ValueError): What `make` raised there.
    """
    made: list[Any] = [None, None]
    try:
        made[0] = make()
    except ValueError as error:
        made[1] = str(error)
    for mesh in dict.fromkeys(p.device_mesh for p in model.parameters() if hasattr(p, "device_mesh")):
        for group in mesh.get_all_groups():
            dist.broadcast_object_list(made, src=dist.get_global_rank(group, 0), group=group)
    result, problem = made
    if problem is not None:
        raise ValueError(problem)
    return result
