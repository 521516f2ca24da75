"""The graph of a model's forward pass, with its repeated blocks as single nodes and what each node costs.

The model runs once on the meta device: no weights are allocated, and its own code runs as it is, so any control flow
that does not depend on the values of tensors is traced. What it calls is recorded in a `torch.fx` graph: modules whole
(`call_module`), functions outside of them one by one (`call_function`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from ..errors import Errors, first_line
from .repeated_layers import repeated_layers

# Methods that read values of tensors.
_READS = ("__bool__", "item", "__int__", "__float__", "__index__", "tolist", "equal", "allclose")
_META = torch.device("meta")
_AUTOCAST = ("cpu", "cuda", "xpu", "mps")


@dataclass(frozen=True)
class Trace:
    """A traced model. Nodes carry in `meta`:

    flops, saved (int): Of a call, in operations and bytes.
    value (Any): The result, of meta tensors.
    grad (bool), autocast (tuple): Modes that the model set: were gradients enabled, and types, states and dtypes.
    changes (frozenset[int]): Storages, as `storage` has them, that a call changes in place.
    pure (bool): A call depends on its arguments and buffers alone: it has no parameters and draws no random numbers.

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
            leaves, spec = tree_flatten(twin(*(recorder.input(i, fake) for i, fake in enumerate(fakes))))
        recorder.graph.output(tuple(recorder.node(value) for value in leaves))
    except Exception as error:
        reason = str(error) if isinstance(error, _UnknownTensor) else first_line(error)
        raise ValueError(Errors.S723.format(model=type(model).__name__, reason=reason)) from error
    return Trace(recorder.graph, frozenset(blocks), spec)


def leaf(value: Any, place: int) -> Any:
    """A value of a nested one.

    value (Any): Tuples, lists, dicts and the like.
    place (int): Which of its leaves.
    RETURNS (Any): The leaf.
    """
    return tree_leaves(value)[place]


def after(value: Tensor, change: Any) -> Tensor:
    """A value as it is once another call, of a view of it perhaps, has changed it in place.

    value (Tensor): The value.
    change (Any): What that call gave.
    RETURNS (Tensor): The value itself.
    """
    return value


def call(node: fx.Node, run: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call a node in the modes that it was traced in.

    node (fx.Node): A call.
    run (Callable): Its function or module.
    args, kwargs (tuple, dict): Real arguments.
    RETURNS (Any): What stands for the node.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.set_grad_enabled(node.meta["grad"] and torch.is_grad_enabled()))
        for device, enabled, dtype in node.meta["autocast"]:
            modes.enter_context(torch.autocast(device, dtype, enabled))
        result = run(*args, **kwargs)
    return args[0] if result is None and node.meta["changes"] else result


def storage(tensor: Tensor) -> int:
    """What tensors share that are views of one another.

    tensor (Tensor): A tensor.
    RETURNS (int): A key, as long as one of them lives.
    """
    return tensor.untyped_storage()._cdata


def tensors(value: Any) -> list[Tensor]:
    """The tensors of a nested value.

    value (Any): Tuples, lists, dicts and the like.
    RETURNS (list[Tensor]): Its leaves that are tensors.
    """
    return [x for x in tree_leaves(value) if isinstance(x, Tensor)]


class _UnknownTensor(Exception):
    """A tensor that is no input, parameter, buffer or result."""


class _Observer(TorchDispatchMode):
    """Sees whose elements operators read, and whether one of them draws random numbers."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()
        self.random = False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        self.read.update(map(storage, tensors((args, kwargs))))
        self.random |= torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())
        return func(*args, **(kwargs or {}))


class _Recorder(TorchFunctionMode):
    """Records what a model calls while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.counter = FlopCounterMode(display=False)
        self._model = model
        self._nodes: dict[int, fx.Node] = {}
        # The last call that changed a storage in place, and the one after which a tensor's node gives its value.
        self._changes: dict[int, fx.Node] = {}
        self._follows: dict[int, fx.Node | None] = {}
        self._alive: list[Any] = []
        self._inside = False
        self._autocast = _autocast_state()
        weights = [*model.named_parameters(), *model.named_buffers()]
        self._names = {id(t): name for name, t in weights}
        self._weights = {storage(t) for _, t in weights}

    def input(self, place: int, value: Tensor) -> Tensor:
        """Record an input."""
        self._bind(self.graph.placeholder(f"input_{place}"), value)
        return value

    def call_unit(self, name: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a module that is recorded whole."""
        if self._inside:
            return forward(*args, **kwargs)
        return self._record("call_module", name, forward, args, kwargs)

    def node(self, value: Any) -> Any:
        """The node that gives a tensor as it is now; any other value as it is."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._nodes:
            if id(value) not in self._names:
                raise _UnknownTensor(f"a tensor of shape {tuple(value.shape)} is no input, parameter or buffer")
            self._bind(self.graph.get_attr(self._names[id(value)]), value)
            self._follows[id(value)] = None
        change = self._changes.get(storage(value))
        if change is not self._follows[id(value)]:
            self._add(after, (self._nodes[id(value)], change), value)
        return self._nodes[id(value)]

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
            saved[storage(tensor)] = tensor
            return tensor

        module = self._model.get_submodule(target) if op == "call_module" else None
        buffers = [] if module is None else list(module.buffers())
        versions = [(x, x._version) for x in (*tensors((args, kwargs)), *buffers)]
        flops, observer = self.counter.get_total_flops(), _Observer()
        self._inside = True
        try:
            with saved_tensors_hooks(pack, _same), observer:
                value = run(*args, **kwargs)
        finally:
            self._inside = False
        changes = frozenset(storage(x) for x, version in versions if x._version != version)
        if not changes and not tensors(value):
            return value
        has_weights = module is not None and any(True for _ in module.parameters())
        if module is not None and not has_weights:
            unread = {id(x) for x in tensors((args, kwargs))} - {id(x) for x in tensors(value)}
            args, kwargs = tree_map(partial(self._unless_read, unread, observer.read), (args, kwargs))
        node = self.graph.create_node(op, target, tree_map(self.node, args), tree_map(self.node, kwargs))
        read = {storage(x) for x in tensors((args, kwargs))} | self._weights
        node.meta.update(
            flops=self.counter.get_total_flops() - flops,
            saved=sum(_size(x) for key, x in saved.items() if key not in read),
            changes=changes,
            pure=not observer.random and not has_weights and not any(storage(x) in changes for x in buffers),
        )
        self._changes.update(dict.fromkeys(changes, node))
        # A function that changes its first argument and returns nothing stands for that argument from here on.
        self._bind(node, args[0] if changes and value is None else value)
        return value

    def _bind(self, node: fx.Node, value: Any) -> None:
        """Make a node stand for a value, and further nodes for its parts."""
        autocast = sorted(_autocast_state() - self._autocast, key=str)
        node.meta.update(value=value, grad=torch.is_grad_enabled(), autocast=tuple(autocast))
        self._alive.append(value)
        if isinstance(value, Tensor):
            self._nodes[id(value)] = node
            self._follows[id(value)] = self._changes.get(storage(value))
            return
        for place, part in enumerate(tree_leaves(value)):
            if isinstance(part, Tensor):
                self._add(leaf, (node, place), part)

    def _add(self, function: Callable[..., Tensor], args: tuple, value: Tensor) -> None:
        """Make a call of our own stand for a tensor."""
        node = self.graph.call_function(function, args)
        node.meta.update(flops=0, saved=0, changes=frozenset(), pure=True)
        self._bind(node, value)

    def _unless_read(self, unread: set[int], read: set[int], value: Any) -> Any:
        """A blank in the place of a tensor that a module has not read: its module then depends on the shape alone."""
        if id(value) not in unread or storage(value) in read:
            return value
        return torch.zeros((), dtype=value.dtype, device=_META).expand(value.shape)

    def _evaluate(self, value: Any) -> Any:
        """The real value of a meta tensor that depends on shapes alone, such as of a causal mask."""
        target = self.node(value)
        if not isinstance(target, fx.Node):
            return value
        values: dict[fx.Node, Any] = {}
        needed = reach([target])
        nodes = [node for node in self.graph.nodes if node in needed]
        unknown = [node.name for node in nodes if node.op != "call_function" or not node.meta["pure"]]
        if unknown:
            raise _UnknownTensor(f"forward() reads the value of {unknown[-1]}, which depends on the inputs or weights")
        for node in nodes:
            arguments = on_device((node.args, node.kwargs), torch.device("cpu"))
            values[node] = call(node, node.target, *fx.map_arg(arguments, values.__getitem__))
        return values[target]


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


def reach(nodes: Iterable[fx.Node], within: set[fx.Node] | None = None) -> set[fx.Node]:
    """What can be reached from nodes through their arguments.

    nodes (Iterable[fx.Node]): The nodes, which are reached too.
    within (Optional[set[fx.Node]]): Nodes that may be passed; all when None.
    RETURNS (set[fx.Node]): The nodes.
    """
    reached: set[fx.Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in reached and (within is None or node in within):
            reached.add(node)
            stack.extend(node.all_input_nodes)
    return reached


def on_device(arguments: Any, device: torch.device) -> Any:
    """Arguments of a traced function with a real device in the place of the meta device.

    arguments (Any): Tuples, lists and dicts of them.
    device (torch.device): The device.
    RETURNS (Any): The same, changed.
    """
    return tree_map(partial(_moved, device=device), arguments)


def _autocast_state() -> set[tuple[str, bool, torch.dtype]]:
    return {(x, torch.is_autocast_enabled(x), torch.get_autocast_dtype(x)) for x in _AUTOCAST}


def _moved(value: Any, device: torch.device) -> Any:
    return device if isinstance(value, torch.device | str) and str(value) == "meta" else value


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _same(tensor: Tensor) -> Tensor:
    return tensor
