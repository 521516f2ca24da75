"""Layers that keep some of what their operators give and recompute the rest in the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.checkpoint import SAC_IGNORED_OPS, checkpoint

_BELOW: ContextVar[Any] = ContextVar("region below", default=None)
# In the metadata of the node that made a region's result.
_GIVER = "early region"


@dataclass(frozen=True)
class RegionPlan:
    """What a region keeps. Operators are counted in the order of dispatch; those not named here run again.

    kept (Mapping[int, tuple[bool, ...]]): Operators whose output is kept, and which of its tensors.
    skipped (frozenset[int]): Operators of which nothing is needed again: they give memory without contents.
    early (bool): Recompute while the layer above, a region too, waits for a sum over processes in its backward pass, or
        at the latest when the gradient of the result is known, and not only when the first operator asks.
    operators (tuple[str, ...]): Names of all operators that the plan was made for; a call that dispatches others, as
        for another shape, recomputes everything. Empty for a plan that fits every call.
    """

    kept: Mapping[int, tuple[bool, ...]] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()
    early: bool = False
    operators: tuple[str, ...] = ()


def run_region(function: Callable[..., Any], plan: RegionPlan, *args: Any, **kwargs: Any) -> Any:
    """Call a function whose activations are recomputed, through torch's checkpointing.

    function (Callable): The function; what is random in it comes out the same again.
    plan (RegionPlan): What it keeps.
    RETURNS (Any): What the function returns.
    """
    first: list[Any] | None = [] if plan.early else None
    entered, contexts = partial(enter_region, function, first), partial(_contexts, plan)
    with over_region(_giver((args, kwargs))):
        result = checkpoint(entered, *args, use_reentrant=False, context_fn=contexts, **kwargs)
    if first:
        for tensor in _tensors(result):
            tensor.register_hook(partial(_recompute, first[0]))
            # Weakly, since a result that was an argument is made by a node that the region's own come after.
            tensor.grad_fn.metadata[_GIVER] = weakref.ref(first[0])
            break
    return result


def observed_region(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with the operators that `run_region` would dispatch, keeping everything."""
    return enter_region(function, None, *args, **kwargs)


def enter_region(function: Callable[..., Any], entrances: list[Any] | None, *args: Any, **kwargs: Any) -> Any:
    """Call a function whose graph has a node that can be asked to recompute it.

    function (Callable): The function, under checkpointing.
    entrances (Optional[list]): Gets that node when it is empty: to read its `saved_tensors` is to recompute the
        function. None for a graph without that node, in which gradients are added up as if there were no region.
    RETURNS (Any): What the function returns.
    """
    args = list(args)
    for i, arg in enumerate(args):
        if isinstance(arg, Tensor) and arg.requires_grad:
            # Also where it is not used, so that operators are counted alike.
            entered = _Entrance.apply(arg)
            if entrances is not None:
                args[i] = entered
                entrances[:] = entrances or [entered.grad_fn]
            break
    cached = torch.is_autocast_cache_enabled()
    # Weights that autocast has at hand from another call would not be cast here, and operators be counted otherwise.
    torch.set_autocast_cache_enabled(False)
    try:
        return function(*args, **kwargs)
    finally:
        torch.set_autocast_cache_enabled(cached)


@contextmanager
def over_region(entrance: Any) -> Iterator[None]:
    """Let what runs inside know the region whose result it reads, and whose backward pass comes after its own.

    entrance (Any): Of `enter_region`, or None.
    """
    token = _BELOW.set(entrance)
    try:
        yield
    finally:
        _BELOW.reset(token)


def region_below() -> Any:
    """RETURNS (Any): What `over_region` was called with; None outside of it."""
    return _BELOW.get()


def recompute(entrance: Any) -> None:
    """Recompute a region, if that was not done in this backward pass.

    entrance (Any): Of `enter_region`.
    """
    if not entrance.recomputed:
        entrance.recomputed = True
        _ = entrance.saved_tensors


class Regions:
    """Layers whose forward pass is a region; the model is as before once they are removed.

    model (Module): The model; its layers get a `forward` of their own, names and weights stay.
    plans (Mapping[str, Sequence[Optional[RegionPlan]]]): Plans of each layer by name, which the calls of the layer
        follow in turn, the first one again after the last; None for a call that keeps everything.
    """

    def __init__(self, model: nn.Module, plans: Mapping[str, Sequence[RegionPlan | None]]) -> None:
        self._layers = []
        for name, turns in plans.items():
            if any(plan is not None for plan in turns):
                layer = model.get_submodule(name)
                layer.forward = _Turns(layer.forward, turns)
                self._layers.append(layer)

    def remove(self) -> None:
        """Give the layers their own forward pass again."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self._layers = []


class OperatorNames(TorchDispatchMode):
    """Names of the operators that a region dispatches, as `RegionPlan` takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in SAC_IGNORED_OPS:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class _Turns:
    """The forward pass of a layer whose calls follow plans in turn."""

    def __init__(self, forward: Callable[..., Any], plans: Sequence[RegionPlan | None]) -> None:
        self._forward, self._plans, self._calls = forward, plans, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plan = self._plans[self._calls % len(self._plans)]
        self._calls += 1
        return self._forward(*args, **kwargs) if plan is None else run_region(self._forward, plan, *args, **kwargs)


@dataclass(frozen=True)
class _Blank:
    """A tensor of which nothing is needed but its shape.

    kind (type), context, inside: Its class, what that says of itself, and what is inside it, tensors as blanks, for one
        such as DTensor that holds no memory itself.
    """

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    kind: Any = None
    context: Any = None
    inside: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tensor: Tensor) -> _Blank:
        shape = tensor.size(), tensor.stride(), tensor.dtype, tensor.device
        if not is_traceable_wrapper_subclass(tensor):
            return cls(*shape)
        names, context = tensor.__tensor_flatten__()
        return cls(*shape, type(tensor), context, {name: _aside(getattr(tensor, name), False) for name in names})

    def tensor(self) -> Tensor:
        if self.kind is None:
            return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)
        inside = {name: _back(value) for name, value in self.inside.items()}
        return self.kind.__tensor_unflatten__(inside, self.context, self.size, self.stride)


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
        self._fits = True

    def __exit__(self, *error: Any) -> Any:
        if not self._fits or self._place < len(self._plan.operators):
            self._store.clear()
        return super().__exit__(*error)

    def _run(self, place: int, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        names = self._plan.operators
        self._fits = self._fits and (not names or names[place : place + 1] == (str(func),))
        if self._fits and (place in self._plan.kept or place in self._plan.skipped):
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
    """Identity that saves an empty tensor: to ask for it, but once, is to recompute the region that it is in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.new_empty(0))
        ctx.recomputed = False
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        ctx.recomputed = False
        return grad


def _recompute(entrance: Any, grad: Tensor) -> None:
    recompute(entrance)


def _giver(arguments: Any) -> Any:
    """The entrance of an early region that gave one of these arguments, or None."""
    givers = (tensor.grad_fn.metadata.get(_GIVER) for tensor in _tensors(arguments))
    return next((giver() for giver in givers if giver is not None), None)


def _tensors(result: Any) -> Iterator[Tensor]:
    return (t for t in tree_leaves(result) if isinstance(t, Tensor) and t.grad_fn is not None)
