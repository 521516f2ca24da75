"""Layers that keep some of what their operators give and recompute the rest in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


def run_region(function: Callable[..., Any], keep: frozenset[int], early: bool, *args: Any, **kwargs: Any) -> Any:
    """Call a function whose activations are recomputed, through torch's selective checkpointing.

    function (Callable): The function; what is random in it comes out the same again.
    keep (frozenset[int]): Operators whose output is kept, by their number in the order of dispatch.
    early (bool): Recompute as soon as the gradient of the result is known, which may still be on its way from another
        process, and not only when the first operator asks.
    RETURNS (Any): What the function returns.
    """
    first: list[_Node] = []
    contexts = partial(create_selective_checkpoint_contexts, _Keep(keep))
    result = checkpoint(partial(_region, function, first), *args, use_reentrant=False, context_fn=contexts, **kwargs)
    if early and first:
        for tensor in _tensors(result):
            tensor.register_hook(partial(_recompute, first[0]))
            break
    return result


def observed_region(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with the operators that `run_region` would dispatch, keeping everything."""
    return _region(function, [], *args, **kwargs)


class Regions:
    """Layers whose forward pass is a region; the model is as before once they are removed.

    model (Module): The model; its layers get a `forward` of their own, names and weights stay.
    keeps (dict[str, Optional[tuple[frozenset[int], bool]]]): By name of a layer, `keep` and `early` of `run_region`, or
        None for a layer that keeps everything.
    """

    def __init__(self, model: nn.Module, keeps: dict[str, tuple[frozenset[int], bool] | None]) -> None:
        self._layers = [model.get_submodule(name) for name, keep in keeps.items() if keep is not None]
        for name, keep in keeps.items():
            if keep is not None:
                layer = model.get_submodule(name)
                layer.forward = partial(run_region, layer.forward, *keep)

    def remove(self) -> None:
        """Give the layers their own forward pass again."""
        for layer in self._layers:
            layer.__dict__.pop("forward", None)
        self._layers = []


class _Keep:
    """A policy of torch's selective checkpointing that goes by the number of an operator."""

    def __init__(self, places: frozenset[int]) -> None:
        self.places = places
        self.counts = {False: 0, True: 0}

    def __call__(self, ctx: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        place = self.counts[ctx.is_recompute]
        self.counts[ctx.is_recompute] += 1
        return CheckpointPolicy.MUST_SAVE if place in self.places else CheckpointPolicy.MUST_RECOMPUTE


_Node = Any  # a node of the autograd graph


class _Entrance(torch.autograd.Function):
    """Identity that saves an empty tensor: to ask for it is to recompute the region that it is in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.new_empty(0))
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def _region(function: Callable[..., Any], first: list[_Node], *args: Any, **kwargs: Any) -> Any:
    args = list(args)
    for i, arg in enumerate(args):
        if isinstance(arg, Tensor) and arg.requires_grad:
            args[i] = _Entrance.apply(arg)
            if not first:
                first.append(args[i].grad_fn)
            break
    return function(*args, **kwargs)


def _recompute(node: _Node, grad: Tensor) -> None:
    _ = node.saved_tensors


def _tensors(result: Any) -> Iterator[Tensor]:
    return (t for t in tree_leaves(result) if isinstance(t, Tensor) and t.requires_grad)
