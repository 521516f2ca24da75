"""The graph of a model's forward pass, with its repeated blocks as single nodes and what each node costs.

The model runs once on the meta device: no weights are allocated, and its own code runs as it is, so any control flow
that does not depend on the values of tensors is traced. What it calls is recorded in a `torch.fx` graph: modules whole
(`call_module`), functions outside of them one by one (`call_function`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from ..errors import Errors, first_line
from .repeated_layers import repeated_layers

# Functions whose result differs from call to call; each runs on one stage only.
_RANDOM = ("rand", "dropout", "bernoulli", "multinomial", "normal")
# Methods that read values of tensors.
_READS = ("__bool__", "item", "__int__", "__float__", "__index__", "tolist", "equal", "allclose")
_META = torch.device("meta")


@dataclass(frozen=True)
class Trace:
    """A traced model. Nodes carry in `meta`: flops, saved (bytes), value (meta tensors), grad (was it enabled).

    graph (fx.Graph): Placeholders are the inputs, get_attr nodes parameters and buffers under their names in the model.
    blocks (frozenset[str]): Names of the modules that are repeated.
    output (TreeSpec): How the model's output is built of the values of the output node.
    """

    graph: fx.Graph
    blocks: frozenset[str]
    output: TreeSpec


def trace(model: nn.Module, inputs: tuple[Tensor, ...], *, inside_blocks: bool = False) -> Trace:
    """Trace a model.

    model (nn.Module): It is neither changed nor needs weights: it may be on the meta device.
    inputs (tuple[Tensor, ...]): Of a micro-batch; only shapes and types are read.
    inside_blocks (bool): Trace into the repeated blocks too, so that cuts can go through them.
    RETURNS (Trace): The graph.
    RAISES (ValueError): S723 when the forward pass depends on values of tensors.
    """
    twin = _on_meta(model)
    blocks = repeated_layers(twin)
    recorder = _Recorder(twin)
    for name in _whole(twin, blocks, inside_blocks):
        unit = twin.get_submodule(name)
        unit.forward = partial(recorder.call_unit, name, unit.forward)
    fakes = [torch.empty_like(x, device=_META).requires_grad_(False) for x in inputs]
    try:
        with _META, recorder.counter, recorder:
            output = twin(*(recorder.input(i, fake) for i, fake in enumerate(fakes)))
    except Exception as error:
        reason = str(error) if isinstance(error, _UnknownTensor) else first_line(error)
        raise ValueError(Errors.S723.format(model=type(model).__name__, reason=reason)) from error
    leaves, spec = tree_flatten(output)
    recorder.graph.output(tuple(recorder.nodes.get(id(leaf), leaf) for leaf in leaves))
    return Trace(recorder.graph, frozenset(blocks), spec)


def leaf(value: Any, place: int) -> Any:
    """A value of a nested one.

    value (Any): Tuples, lists, dicts and the like.
    place (int): Which of its leaves.
    RETURNS (Any): The leaf.
    """
    return tree_leaves(value)[place]


class _UnknownTensor(Exception):
    """A tensor that is no input, parameter, buffer or result."""


class _Recorder(TorchFunctionMode):
    """Records what a model calls while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.counter = FlopCounterMode(display=False)
        self.nodes: dict[int, fx.Node] = {}
        self._alive: list[Any] = []
        self._inside = False
        weights = [*model.named_parameters(), *model.named_buffers()]
        self._names = {id(t): name for name, t in weights}
        self._weights = {t.untyped_storage()._cdata for _, t in weights}

    def input(self, place: int, value: Tensor) -> Tensor:
        """Record an input."""
        self._bind(self.graph.placeholder(f"input_{place}"), value)
        return value

    def call_unit(self, name: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a module that is recorded whole."""
        if self._inside:
            return forward(*args, **kwargs)
        return self._record("call_module", name, forward, args, kwargs)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._inside:
            return func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _READS:
            self._inside = True
            try:
                with torch.device("cpu"):
                    return func(self._evaluate(args[0]), *args[1:], **(kwargs or {}))
            finally:
                self._inside = False
        return self._record("call_function", func, func, args, kwargs or {})

    def _record(self, op: str, target: Any, run: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        saved: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage()._cdata] = tensor
            return tensor

        before = self.counter.get_total_flops()
        self._inside = True
        try:
            with saved_tensors_hooks(pack, _same):
                value = run(*args, **kwargs)
        finally:
            self._inside = False
        mutates = op == "call_function" and _mutates(target, kwargs)
        if not mutates and not any(isinstance(x, Tensor) for x in tree_leaves(value)):
            return value
        # A function that changes its first argument and returns nothing stands for that argument from here on.
        result = args[0] if mutates and value is None else value
        node = self.graph.create_node(op, target, tree_map(self._node, args), tree_map(self._node, kwargs))
        node.meta["flops"] = self.counter.get_total_flops() - before
        inputs = {id(x): x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        read = {x.untyped_storage()._cdata for x in inputs.values()} | self._weights
        node.meta["saved"] = sum(_size(x) for key, x in saved.items() if key not in read)
        node.meta["inputs"] = sum(_size(x) for x in inputs.values() if x.requires_grad and id(x) not in self._names)
        node.meta["mutates"] = mutates
        self._bind(node, result)
        return value

    def _bind(self, node: fx.Node, value: Any) -> None:
        """Make a node stand for a value, and further nodes for its parts."""
        node.meta.update(value=value, grad=torch.is_grad_enabled())
        self._alive.append(value)
        if isinstance(value, Tensor):
            self.nodes[id(value)] = node
            return
        for place, part in enumerate(tree_leaves(value)):
            if isinstance(part, Tensor):
                child = self.graph.call_function(leaf, (node, place))
                child.meta.update(flops=0, saved=0, inputs=0, mutates=False)
                self._bind(child, part)

    def _evaluate(self, value: Any) -> Any:
        """The real value of a meta tensor that depends on shapes alone, such as of a causal mask."""
        node = self.nodes.get(id(value)) if isinstance(value, Tensor) else value
        if not isinstance(node, fx.Node):
            return value
        if node.op != "call_function" or is_random(node):
            raise _UnknownTensor(f"forward() reads the value of {node.name}, which depends on the inputs or weights")
        args, kwargs = fx.map_arg(on_device((node.args, node.kwargs), torch.device("cpu")), self._evaluate)
        return node.target(*args, **kwargs)

    def _node(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or id(value) in self.nodes:
            return self.nodes.get(id(value), value)
        if id(value) not in self._names:
            raise _UnknownTensor(f"a tensor of shape {tuple(value.shape)} is no input, parameter or buffer")
        self._bind(self.graph.get_attr(self._names[id(value)]), value)
        return self.nodes[id(value)]


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of a model without its weights."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to(_META), p.requires_grad) for p in model.parameters()}
    memo.update({id(b): b.detach().to(_META) for b in model.buffers()})
    return copy.deepcopy(model, memo)


def _whole(model: nn.Module, blocks: list[str], inside_blocks: bool) -> Iterator[str]:
    """Names of the modules that are recorded whole: all that neither are nor hold what is traced into."""
    opened = {""}
    for name in blocks:
        parts = name.split(".")
        opened.update(".".join(parts[:n]) for n in range(len(parts)))
        if inside_blocks and any(True for _ in model.get_submodule(name).children()):
            opened.add(name)
    for name, _ in model.named_modules():
        if name not in opened and name.rpartition(".")[0] in opened:
            yield name


def _mutates(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return name == "__setitem__" or (name.startswith("__i") and name in _IN_PLACE) or in_place or "out" in kwargs


_IN_PLACE = tuple(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "and", "or", "xor"))


def on_device(arguments: Any, device: torch.device) -> Any:
    """Arguments of a traced function with a real device in the place of the meta device.

    arguments (Any): Tuples, lists and dicts of them.
    device (torch.device): The device.
    RETURNS (Any): The same, changed.
    """
    return tree_map(partial(_moved, device=device), arguments)


def is_random(node: fx.Node) -> bool:
    """Whether a function gives another result each time.

    node (fx.Node): A node.
    RETURNS (bool): Whether it does.
    """
    return node.op == "call_function" and any(word in getattr(node.target, "__name__", "") for word in _RANDOM)


def _moved(value: Any, device: torch.device) -> Any:
    return device if isinstance(value, torch.device | str) and str(value) == "meta" else value


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _same(tensor: Tensor) -> Tensor:
    return tensor
