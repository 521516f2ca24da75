"""A step of a whole model that recomputes everything, and what is alive at each of its moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .layer_profile import LayerProfile, preserved, profile_layer
from .live_memory import LiveMemory
from .recompute_region import OperatorNames, RegionPlan, run_region
from .repeated_layers import layer_signature

# Calls of one kind are of layers whose weights have the same shapes, with arguments of the same shapes.
Kind = tuple


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer.

    layer (Module): The layer.
    args, kwargs: What it was called with, on which it can be called again.
    autocast (Callable): Makes the context of mixed precision that it was called in.
    operators (tuple[str, ...]): Names of its operators, in the order of dispatch.
    """

    layer: nn.Module
    args: tuple
    kwargs: dict[str, Any]
    autocast: Callable[[], AbstractContextManager]
    operators: tuple[str, ...]

    def profile(self) -> LayerProfile:
        """RETURNS (LayerProfile): What the call costs."""
        with self.autocast():
            return profile_layer(self.layer, self.args, self.kwargs)


@dataclass
class ModelProbe:
    """What was seen.

    calls (list[tuple[str, Kind]]): Layer and kind of each call, in order; a layer may be called several times.
    first (dict[Kind, LayerCall]): The first call of each kind.
    head_peak (int): Bytes alive at most between the forward and the backward pass of the last call.
    layer_peaks (list[int]): Bytes alive at most in the backward pass of each call and of what is before it.
    """

    calls: list[tuple[str, Kind]] = field(default_factory=list)
    first: dict[Kind, LayerCall] = field(default_factory=dict)
    head_peak: int = 0
    layer_peaks: list[int] = field(default_factory=list)

    def peak(self) -> int:
        """RETURNS (int): Bytes alive at most."""
        return max(self.head_peak, *self.layer_peaks)


def probe_model(model: nn.Module, names: Sequence[str], sample: Any, loss: Callable[[Any], Tensor]) -> ModelProbe:
    """Run a model once in both directions while all of its layers are recomputed.

    model (Module): The model; its gradients, buffers and random state stay as they are.
    names (Sequence[str]): Its layers.
    sample (Any): What it is called with: a tensor, a tuple, or a mapping.
    loss (Callable): Makes a number of what it returns.
    RETURNS (ModelProbe): What was seen.
    """
    probe, memory = ModelProbe(), LiveMemory()
    watch = _Watch(probe, memory)
    layers = [model.get_submodule(name) for name in names]
    memory.ignore((list(model.parameters()), list(model.buffers()), sample))
    with preserved(model):
        try:
            for name, layer in zip(names, layers):
                layer.forward = partial(_watched, watch, name, layer, layer.forward)
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
    """Follows the peak through the backward pass: the head's part first, then each call's, from the last."""

    def __init__(self, probe: ModelProbe, memory: LiveMemory) -> None:
        self.probe, self.memory = probe, memory
        self._now: int | None = None

    def forward(self) -> int:
        """A layer has run forwards."""
        self.memory.start_peak()
        self.probe.layer_peaks.append(0)
        return len(self.probe.layer_peaks) - 1

    def enter(self, call: int) -> None:
        """The backward pass of a call begins."""
        if self._now is None:
            self.probe.head_peak = self.memory.peak
        else:
            self.probe.layer_peaks[self._now] = self.memory.peak
        self._now = call
        self.memory.start_peak()


def _watched(watch: _Watch, name: str, layer: nn.Module, forward: Callable, *args: Any, **kwargs: Any) -> Any:
    device = next((t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)), "cpu")
    precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    shapes = tree_map_only(Tensor, _shape_of, (args, tuple(sorted(kwargs.items()))))
    kind = layer_signature(layer), str(shapes), precision
    with OperatorNames() as operators:
        result = run_region(forward, RegionPlan(), *args, **kwargs)
    watch.probe.calls.append((name, kind))
    if kind not in watch.probe.first:
        autocast = partial(torch.autocast, device, enabled=precision[0], dtype=precision[1])
        inputs = tree_map_only(Tensor, _detached, (args, kwargs))
        watch.probe.first[kind] = LayerCall(layer, *inputs, autocast, tuple(operators.names))
    i = watch.forward()
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
