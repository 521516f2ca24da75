"""Adapprox: AdamW whose second moment is a low-rank product of adaptive rank.

Zhao et al., "Adapprox: Adaptive Approximation in Adam Optimization via Randomized Low-Rank Matrices"
(arXiv 2403.14958). For a matrix W [m, n] with gradient G:
    V = max(beta2 Q U^T, (1 - beta2^t) eps^2) + (1 - beta2) G^2       kept as factors Q [m, k], U [n, k]
    Y = G / sqrt(V / (1 - beta2^t)), divided by max(1, rms(Y) / clip)
    M = beta1 M + (1 - beta1) Y                       the moving average of the clipped update, if beta1 > 0
    W = W - lr (M + weight_decay W)
V is never formed whole: it is computed from the factors and the gradient a block of rows at a time, once to find
the new factors' rows and the norm of Y, and once more for their columns and the step.

Three things are not the paper's. The bias of the second moment is corrected, as Adam does. Factors are sought for V
scaled by its row and column sums (`Balance`), whose entries are all about 1: factors of V itself miss its small
entries, whose updates become endless or none. Both are measured in benchmarks/convergence.py. And eps bounds the
factors from below where the paper adds it to the root, which would be another pass over memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import Errors
from .adapprox_step import Slot, chunks, step_exact, step_low_rank
from .moment_shards import MomentShards


class Adapprox(Optimizer):
    """Adam with a low-rank second moment (arXiv 2403.14958).

    Vectors, and matrices so small that factors would be no smaller, keep their second moment whole. Tensors of more
    dimensions are matrices of their first one by all others. Sharded parameters (DTensor) are factored shard by
    shard, each with ranks and clipping of its own; `checkpoint_state` is what other shards can be made of.

    params (Iterable): Parameters, or groups of them.
    lr (float): Learning rate; AdamW's will do.
    betas (tuple[float, float]): Decay of the first moment, 0 for none (no memory is taken), and of the second.
    eps (float): Least root of the second moment, as in sqrt(V) >= eps.
    weight_decay (float): Decoupled weight decay.
    clip_threshold (float): Greatest root mean square of an update.
    min_rank (int): Least rank of a matrix, and the one it starts with.
    max_rank (float): Greatest rank as a share of the lesser side of a matrix.
    tolerance (float): Relative error of the factors above which a rank grows, and under which it shrinks.
    interval (int): Steps between decisions on ranks.
    power_steps (int): Power steps from random columns, at the first step and when a rank grows. Otherwise one step from
        the factors of the step before does.
    oversampling (int): Random columns beside the rank.
    balanced (bool): Factors of the least relative error; False for those of the least absolute error, the paper's.
    cosine_guidance (bool): Lengthen updates that agree with the first moment, shorten those that contradict it.
    seed (int): Seed of the random columns, which depend on it and the step alone; below 2**31.
    RAISES (ValueError): S701 for a setting out of its range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.1,
        clip_threshold: float = 1.0,
        min_rank: int = 1,
        max_rank: float = 0.25,
        tolerance: float = 0.05,
        interval: int = 10,
        power_steps: int = 5,
        oversampling: int = 5,
        cosine_guidance: bool = False,
        balanced: bool = True,
        seed: int = 0,
    ) -> None:
        ranges = {
            "lr": lr >= 0,
            "betas": 0 <= betas[0] < 1 and 0 <= betas[1] < 1,
            "eps": eps >= 0,
            "weight_decay": weight_decay >= 0,
            "clip_threshold": clip_threshold > 0,
            "min_rank": min_rank >= 1,
            "max_rank": 0 < max_rank <= 1,
            "tolerance": 0 <= tolerance <= 1,
            "interval": interval >= 1,
            "power_steps": power_steps >= 1,
            "oversampling": oversampling >= 0,
            "cosine_guidance": betas[0] > 0 or not cosine_guidance,
            "seed": 0 <= seed < 2**31,
        }
        for name, fits in ranges.items():
            if not fits:
                raise ValueError(Errors.S701.format(name=name, value=locals()[name], range=_RANGES[name]))
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "clip_threshold": clip_threshold,
            "min_rank": min_rank,
            "max_rank": max_rank,
            "tolerance": tolerance,
            "interval": interval,
            "power_steps": power_steps,
            "oversampling": oversampling,
            "cosine_guidance": cosine_guidance,
            "balanced": balanced,
            "seed": seed,
            "step": 0,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step.

        closure (Optional[Callable]): Computes the loss and its gradients anew.
        RETURNS (Optional[Tensor]): What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            batches: defaultdict[tuple, list[Slot]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    slot = Slot(parameter, self.state[parameter], group)
                    batches[slot.kind].append(slot)
            for slots in batches.values():
                step = step_exact if slots[0].exact else step_low_rank
                for batch in chunks(slots):
                    step(batch, group)
            group["step"] += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state. Factors stay float32 whatever the type of the parameters."""
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for i, parameter in zip(ids, parameters):
            for name, value in saved.get(i, {}).items():
                self.state[parameter][name] = value.to(device=parameter.device, copy=True)

    def checkpoint_state(self, parameter: Tensor) -> dict[str, Tensor | MomentShards]:
        """What a checkpoint has of a parameter, for any number of processes to read.

        parameter (Tensor): The parameter.
        RETURNS (dict[str, Union[Tensor, MomentShards]]): Its first moment, distributed as the parameter is, and its
            second moment; nothing before its first step.
        """
        state = self.state.get(parameter)
        if not state:
            return {}
        group = next(group for group in self.param_groups if any(p is parameter for p in group["params"]))
        first = {"first": state["first"]} if "first" in state else {}
        return {**first, "second": MomentShards(parameter, state, group)}


_RANGES = {
    "lr": "0 or more",
    "betas": "two numbers from 0 to below 1",
    "eps": "0 or more",
    "weight_decay": "0 or more",
    "clip_threshold": "above 0",
    "min_rank": "1 or more",
    "max_rank": "above 0 and at most 1",
    "tolerance": "from 0 to 1",
    "interval": "1 or more",
    "power_steps": "1 or more",
    "oversampling": "0 or more",
    "seed": "from 0 to below 2**31",
    "cosine_guidance": "false when betas[0] is 0, since it compares an update with the first moment",
}
