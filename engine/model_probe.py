"""A step of a whole model that recomputes everything, and what is alive at each of its moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .layer_profile import preserved
from .live_memory import LiveMemory
from .recompute_region import RegionPlan, run_region
from .repeated_layers import layer_signature

# Layers of one kind have the same weights' shapes and were called with the same arguments' shapes.
Kind = tuple


@dataclass
class ModelProbe:
    """What was seen.

    kinds (dict[str, Kind]): Kind of each layer.
    calls (dict[Kind, tuple]): Arguments and keyword arguments of the first layer of each kind.
    head_peak (int): Bytes alive at most between the forward and the backward pass of the last layer.
    layer_peaks (list[int]): Bytes alive at most in each layer's backward pass; the first's also in what is before it.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    calls: dict[Kind, tuple[tuple, dict[str, Any]]] = field(default_factory=dict)
    head_peak: int = 0
    layer_peaks: list[int] = field(default_factory=list)

    def peak(self) -> int:
        """RETURNS (int): Bytes alive at most."""
        return max(self.head_peak, *self.layer_peaks)


def probe_model(model: nn.Module, names: Sequence[str], sample: Any, loss: Callable[[Any], Tensor]) -> ModelProbe:
    """Run a model once in both directions while all of its layers are recomputed.

    model (Module): The model; its gradients, buffers and random state stay as they are.
    names (Sequence[str]): Its layers, in the order in which they are called.
    sample (Any): What it is called with: a tensor, a tuple, or a mapping.
    loss (Callable): Makes a number of what it returns.
    RETURNS (ModelProbe): What was seen.
    """
    probe, memory = ModelProbe(layer_peaks=[0] * len(names)), LiveMemory()
    watch = _Watch(probe, memory, len(names))
    layers = [model.get_submodule(name) for name in names]
    memory.ignore((list(model.parameters()), list(model.buffers()), sample))
    with preserved(model):
        try:
            for i, (name, layer) in enumerate(zip(names, layers)):
                layer.forward = partial(_watched, watch, i, name, layer, layer.forward)
            with torch.enable_grad(), memory:
                # As in most training loops, the result lives on while its gradients are computed.
                result = _call(model, sample)
                loss(result).backward()
                watch.enter(-1)
        finally:
            for layer in layers:
                layer.__dict__.pop("forward", None)
    return probe


class _Watch:
    """Follows the peak through the backward pass: the head's part first, then each layer's, from the last."""

    def __init__(self, probe: ModelProbe, memory: LiveMemory, count: int) -> None:
        self.probe, self.memory = probe, memory
        self._now = count

    def forward(self) -> None:
        """A layer has run forwards."""
        self.memory.start_peak()

    def enter(self, layer: int, *_: Any) -> None:
        """The backward pass of a layer begins."""
        if self._now == len(self.probe.layer_peaks):
            self.probe.head_peak = self.memory.peak
        else:
            self.probe.layer_peaks[self._now] = self.memory.peak
        self._now = layer
        self.memory.start_peak()


def _watched(watch: _Watch, i: int, name: str, layer: nn.Module, forward: Callable, *args: Any, **kwargs: Any) -> Any:
    call = tree_map_only(Tensor, _shape_of, (args, tuple(sorted(kwargs.items()))))
    kind = layer_signature(layer), str(call)
    watch.probe.kinds[name] = kind
    watch.probe.calls.setdefault(kind, tree_map_only(Tensor, _detached, (args, kwargs)))
    result = run_region(forward, RegionPlan(), *args, **kwargs)
    watch.forward()
    for tensor in tree_leaves(result):
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            tensor.register_hook(partial(_entered, watch, i))
            break
    return result


def _entered(watch: _Watch, i: int, grad: Tensor) -> None:
    watch.enter(i)


def _shape_of(tensor: Tensor) -> tuple:
    return tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _call(model: nn.Module, sample: Any) -> Any:
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*sample) if isinstance(sample, tuple) else model(sample)
