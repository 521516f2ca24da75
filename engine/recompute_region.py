"""Layers that keep some of what their operators give and recompute the rest in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.checkpoint import SAC_IGNORED_OPS, checkpoint


@dataclass(frozen=True)
class RegionPlan:
    """What a region keeps. Operators are counted in the order of dispatch; those not named here run again.

    kept (Mapping[int, tuple[bool, ...]]): Operators whose output is kept, and which of its tensors.
    skipped (frozenset[int]): Operators of which nothing is needed again: they give memory without contents.
    early (bool): Recompute as soon as the gradient of the result is known, which may still be on its way from another
        process, and not only when the first operator asks.
    """

    kept: Mapping[int, tuple[bool, ...]] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()
    early: bool = False


def run_region(function: Callable[..., Any], plan: RegionPlan, *args: Any, **kwargs: Any) -> Any:
    """Call a function whose activations are recomputed, through torch's checkpointing.

    function (Callable): The function; what is random in it comes out the same again.
    plan (RegionPlan): What it keeps.
    RETURNS (Any): What the function returns.
    """
    first: list[Any] = []
    entered, contexts = partial(enter_region, function, first), partial(_contexts, plan)
    result = checkpoint(entered, *args, use_reentrant=False, context_fn=contexts, **kwargs)
    if plan.early and first:
        for tensor in _tensors(result):
            tensor.register_hook(partial(_recompute, first[0]))
            break
    return result


def observed_region(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with the operators that `run_region` would dispatch, keeping everything."""
    return enter_region(function, [], *args, **kwargs)


def enter_region(function: Callable[..., Any], entrances: list[Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function whose graph has a node that can be asked to recompute it.

    function (Callable): The function, under checkpointing.
    entrances (list): Gets that node when it is empty: to read its `saved_tensors` is to recompute the function.
    RETURNS (Any): What the function returns.
    """
    args = list(args)
    for i, arg in enumerate(args):
        if isinstance(arg, Tensor) and arg.requires_grad:
            args[i] = _Entrance.apply(arg)
            if not entrances:
                entrances.append(args[i].grad_fn)
            break
    return function(*args, **kwargs)


class Regions:
    """Layers whose forward pass is a region; the model is as before once they are removed.

    model (Module): The model; its layers get a `forward` of their own, names and weights stay.
    plans (dict[str, Optional[RegionPlan]]): Plan of each layer by name, None for a layer that keeps everything.
    """

    def __init__(self, model: nn.Module, plans: dict[str, RegionPlan | None]) -> None:
        self._layers = []
        for name, plan in plans.items():
            if plan is not None:
                layer = model.get_submodule(name)
                layer.forward = partial(run_region, layer.forward, plan)
                self._layers.append(layer)

    def remove(self) -> None:
        """Give the layers their own forward pass again."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self._layers = []


@dataclass(frozen=True)
class _Blank:
    """A tensor of which nothing is needed but its shape."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Blank:
        return cls(tensor.size(), tensor.stride(), tensor.dtype, tensor.device)

    def tensor(self) -> Tensor:
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)


def _contexts(plan: RegionPlan) -> tuple[TorchDispatchMode, TorchDispatchMode]:
    store: dict[int, Any] = {}
    return _Keeping(plan, store), _Again(store)


class _Counting(TorchDispatchMode):
    """Numbers the operators of a region; those that checkpointing adds in one direction alone do not count."""

    def __init__(self) -> None:
        super().__init__()
        self._place = 0

    def __enter__(self) -> Any:
        self._place = 0
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SAC_IGNORED_OPS:
            return func(*args, **(kwargs or {}))
        self._place += 1
        return self._run(self._place - 1, func, args, kwargs or {})

    def _run(self, place: int, func: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError


class _Keeping(_Counting):
    """The forward pass: puts aside what the plan keeps."""

    def __init__(self, plan: RegionPlan, store: dict[int, Any]) -> None:
        super().__init__()
        self._plan, self._store = plan, store

    def _run(self, place: int, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        if place in self._plan.kept or place in self._plan.skipped:
            leaves, tree = tree_flatten(out)
            kept = self._plan.kept.get(place, (False,) * len(leaves))
            self._store[place] = tree_unflatten([_aside(*pair) for pair in zip(leaves, kept)], tree)
        return out


class _Again(_Counting):
    """The recomputation: takes what was put aside, each but once, and runs the rest."""

    def __init__(self, store: dict[int, Any]) -> None:
        super().__init__()
        self._store = store

    def _run(self, place: int, func: Any, args: Any, kwargs: Any) -> Any:
        if place not in self._store:
            return func(*args, **kwargs)
        return tree_map(_back, self._store.pop(place))


def _aside(value: Any, keep: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach() if keep else _Blank.of(value)


def _back(value: Any) -> Any:
    return value.tensor() if isinstance(value, _Blank) else value


class _Entrance(torch.autograd.Function):
    """Identity that saves an empty tensor: to ask for it is to recompute the region that it is in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.new_empty(0))
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def _recompute(node: Any, grad: Tensor) -> None:
    _ = node.saved_tensors


def _tensors(result: Any) -> Iterator[Tensor]:
    return (t for t in tree_leaves(result) if isinstance(t, Tensor) and t.requires_grad)
