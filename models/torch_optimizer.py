"""torch's optimizers as spaCy optimizers that step each torch network as a whole.

`samarkand.AdamW.v1` is torch's AdamW, `samarkand.Adapprox.v1` the engine's optimizer of little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from spacy import registry
from thinc.api import Optimizer, torch2xp
from torch import nn

from ..engine import Adapprox
from .torch_shim import KEY_PREFIX

Schedule = float | list[float] | Iterator[float]


@registry.optimizers("samarkand.AdamW.v1")
def create_adamw(
    learn_rate: Schedule = 1e-3,
    pretrained_learn_rate: Schedule | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    L2: float = 0.01,
    grad_clip: float = 5.0,
    average_decay: float = 0.999,
) -> TorchOptimizer:
    """AdamW (Loshchilov and Hutter, 2019) for pipelines with torch networks.

    learn_rate (float or schedule): Learning rate.
    pretrained_learn_rate (float or schedule): Learning rate of networks whose `pretrained` attribute is true;
        `learn_rate` when not given.
    beta1, beta2, eps (float): Moments.
    L2 (float): Decoupled weight decay, on parameters of two or more dimensions.
    grad_clip (float): Greatest norm of a network's gradient; 0 for no limit.
    average_decay (float): Decay of the averaged weights with which spaCy evaluates and saves; 0 for none.
    RETURNS (TorchOptimizer): The optimizer. spaCy's own thinc networks are stepped by thinc's Adam with the same
        settings.
    """
    make = partial(torch.optim.AdamW, betas=(beta1, beta2), eps=eps, fused=True)
    moments = {"beta1": beta1, "beta2": beta2, "eps": eps, "L2": L2, "grad_clip": grad_clip}
    return TorchOptimizer(learn_rate, make, pretrained_learn_rate, average_decay, **moments)


@registry.optimizers("samarkand.Adapprox.v1")
def create_adapprox(
    learn_rate: Schedule = 1e-3,
    pretrained_learn_rate: Schedule | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    L2: float = 0.01,
    grad_clip: float = 5.0,
    average_decay: float = 0.0,
    clip_threshold: float = 1.0,
    min_rank: int = 1,
    max_rank: float = 0.25,
    tolerance: float = 0.05,
    cosine_guidance: bool = False,
    balanced: bool = True,
    seed: int = 0,
) -> TorchOptimizer:
    """Adapprox (arXiv 2403.14958) for pipelines with torch networks: see `samarkand.engine.Adapprox`.

    learn_rate, pretrained_learn_rate, eps, L2, grad_clip: As in `samarkand.AdamW.v1`.
    beta1 (float): Decay of the first moment; 0 keeps none and takes no memory for it.
    beta2 (float): Decay of the second moment.
    average_decay (float): As in `samarkand.AdamW.v1`; none by default, since averages take the memory of the weights.
    clip_threshold, min_rank, max_rank, tolerance, cosine_guidance, balanced, seed: As in `samarkand.engine.Adapprox`.
    RETURNS (TorchOptimizer): The optimizer. spaCy's own thinc networks are stepped by thinc's Adam.
    """
    make = partial(
        Adapprox,
        betas=(beta1, beta2),
        eps=eps,
        clip_threshold=clip_threshold,
        min_rank=min_rank,
        max_rank=max_rank,
        tolerance=tolerance,
        cosine_guidance=cosine_guidance,
        balanced=balanced,
        seed=seed,
    )
    moments = {"beta1": beta1, "beta2": beta2, "eps": eps, "L2": L2, "grad_clip": grad_clip}
    return TorchOptimizer(learn_rate, make, pretrained_learn_rate, average_decay, **moments)


class TorchOptimizer(Optimizer):
    """thinc's optimizer for thinc's parameters, and one of torch's for torch networks.

    learn_rate (float or schedule): Learning rate.
    make (Callable): Makes torch's optimizer for parameter groups.
    pretrained_learn_rate (float or schedule): Learning rate of pretrained networks, or None.
    average_decay (float): Decay of the averaged weights; 0 for none.
    kwargs: Settings of `thinc.Optimizer`.
    """

    def __init__(
        self,
        learn_rate: Any,
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        pretrained_learn_rate: Any = None,
        average_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(learn_rate, use_averages=bool(average_decay), **kwargs)
        self.average_decay = average_decay
        self.pretrained_learn_rate: float | None = None
        if pretrained_learn_rate is not None:
            self._set_attr_or_schedule("pretrained_learn_rate", pretrained_learn_rate)
        self._make = make
        self._torch: dict[int, tuple[nn.Module, torch.optim.Optimizer]] = {}

    def step_torch(self, shim_id: int, module: nn.Module) -> None:
        """Step one network.

        shim_id (int): Id of the shim that holds it.
        module (nn.Module): The network, with gradients.
        """
        parameters = [p for p in module.parameters() if p.grad is not None]
        if not parameters:
            return
        if self.grad_clip:
            nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        known, optimizer = self._torch.get(shim_id, (None, None))
        if known is not module:
            # The network is new, or was built anew by `initialize` or `from_bytes`.
            optimizer = self._build(module)
            self._torch[shim_id] = module, optimizer
            self._forget_averages(shim_id)
        pretrained = getattr(module, "pretrained", False) and self.pretrained_learn_rate is not None
        for group in optimizer.param_groups:
            group["lr"] = self.pretrained_learn_rate if pretrained else self.learn_rate
        optimizer.step()
        if self.averages is not None:
            self._average(shim_id, module)

    def _build(self, module: nn.Module) -> torch.optim.Optimizer:
        trained = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.L2},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return self._make(groups)

    def _forget_averages(self, shim_id: int) -> None:
        for key in [key for key in self.averages or () if key[0] == shim_id and key[1].startswith(KEY_PREFIX)]:
            del self.averages[key]
            self.nr_update.pop(key, None)

    def _average(self, shim_id: int, module: nn.Module) -> None:
        """Move the averages towards the weights; early averages forget faster, as in thinc."""
        named = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
        keys = [(shim_id, KEY_PREFIX + name) for name in named]
        self.nr_update[keys[0]] += 1
        step = self.nr_update[keys[0]]
        for key, value in zip(keys, named.values()):
            if key not in self.averages:
                self.averages[key] = torch2xp(value.clone())
        averages = [torch.as_tensor(self.averages[key], device=p.device) for key, p in zip(keys, named.values())]
        decay = min(self.average_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(averages, list(named.values()), 1 - decay)
        # Not all devices share memory with the arrays (Apple's do not).
        self.averages.update((key, torch2xp(average)) for key, average in zip(keys, averages))
