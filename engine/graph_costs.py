"""A traced model as a row of units, between which it can be cut into stages, and what each unit costs.

A cut goes before a module, where every value that crosses is a floating-point tensor with a gradient. It never goes
between a value and what changes it in place. What depends on the inputs and on constants alone, such as a mask or
rotary positions, crosses nowhere: each stage that needs it computes it again. So does a parameter that several stages
use: each has a copy, and the gradients of the copies are summed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, fx, nn

from .graph_trace import Trace, reach, storage, tensors


@dataclass(frozen=True)
class Machine:
    """What the devices can do.

    flops (float): Floating-point operations a second of one device.
    memory_rate (float): Bytes a second between a device and its memory.
    link_rate (float): Bytes a second between two devices.
    latency (float): Seconds until the first byte of a message arrives.
    """

    flops: float = 1e14
    memory_rate: float = 2e12
    link_rate: float = 5e10
    latency: float = 1e-5


@dataclass(frozen=True)
class Unit:
    """What is not cut, for one micro-batch.

    name (str): Its first module.
    forward (float): Seconds of its forward pass.
    backward (float): Seconds of its backward pass.
    parameters (dict[str, int]): Bytes of each parameter that it uses, by name in the model.
    inputs (int): Bytes of its inputs, which are kept whether or not it is recomputed.
    saved (int): Bytes of what else is kept for the backward pass, unless it is recomputed.
    sends (int): Bytes that come in from the unit before.
    block (bool): It is a repeated block, or several, and can be recomputed: it does not change its inputs in place.
    nodes (tuple[fx.Node, ...]): Its nodes of the graph.
    hidden (float): Seconds of its recomputation that fit beside the sum of a gradient of a unit like it.
    """

    name: str
    forward: float
    backward: float
    parameters: dict[str, int] = field(default_factory=dict)
    inputs: int = 0
    saved: int = 0
    sends: int = 0
    block: bool = True
    nodes: tuple[fx.Node, ...] = field(default=(), repr=False, compare=False)
    hidden: float = 0.0


def find_units(model: nn.Module, traced: Trace, machine: Machine) -> tuple[Unit, ...]:
    """Cut a traced model as finely as it can be cut.

    model (nn.Module): The model, possibly on the meta device.
    traced (Trace): Its trace.
    machine (Machine): What times are computed for.
    RETURNS (tuple[Unit, ...]): In the order of the forward pass.
    """
    free = free_nodes(traced.graph)
    nodes = [node for node in traced.graph.nodes if node not in free and node.op != "output"]
    crossing = crossings(traced.graph, nodes)
    joined = _joined(nodes)
    inner = (i for i in range(1, len(nodes)) if i not in joined and _may_cut(nodes[i], crossing[i]))
    cuts = [0, *inner, len(nodes)]
    cuts = _narrowest(cuts, crossing)
    sizes = {name: _size(p) for name, p in model.named_parameters()}
    first = {id(p): name for name, p in model.named_parameters()}
    inside: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        for end in (i for i, letter in enumerate(f"{name}.") if letter == "."):
            inside.setdefault(name[:end], []).append(first[id(parameter)])
    parts = (tuple(nodes[i:j]) for i, j in pairwise(cuts))
    return tuple(_unit(part, traced, {n: sizes[n] for n in _used(part, free, inside)}, machine) for part in parts)


def free_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that any stage can compute for itself.

    graph (fx.Graph): The graph.
    RETURNS (set[fx.Node]): Inputs, parameters, buffers, and what functions, and modules without parameters such as
        rotary positions, compute of inputs and constants alone.
    """
    free: set[fx.Node] = set()
    # Free nodes run before all others, so what another has read by then must not be changed by them.
    read: set[int] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr") or _is_free(node, free, read):
            free.add(node)
        else:
            read.update(storage(x) for given in node.all_input_nodes for x in tensors(given.meta["value"]))
    return free


def crossings(graph: fx.Graph, nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """Values that cross from what is before each node.

    graph (fx.Graph): The graph.
    nodes (list[fx.Node]): Its nodes that are not free, in order.
    RETURNS (list[list[fx.Node]]): For each of them, and the end, the nodes before it whose values are needed from there
        on, in order.
    """
    places = {node: i for i, node in enumerate(nodes)}
    last = {node: max((places.get(user, len(nodes)) for user in node.users), default=-1) for node in nodes}
    crossing: list[list[fx.Node]] = [[]]
    for i, node in enumerate(nodes, start=1):
        crossing.append([x for x in (*crossing[-1], node) if last[x] >= i])
    return crossing


def closure(nodes: Iterable[fx.Node], free: set[fx.Node]) -> set[fx.Node]:
    """What nodes need of the free nodes.

    nodes (Iterable[fx.Node]): The nodes.
    free (set[fx.Node]): All free nodes.
    RETURNS (set[fx.Node]): Those that are needed, directly or not.
    """
    return reach((x for node in nodes for x in node.all_input_nodes), free)


def _is_free(node: fx.Node, free: set[fx.Node], read: set[int]) -> bool:
    if node.op not in ("call_function", "call_module") or not node.meta["pure"]:
        return False
    given = free.issuperset(node.all_input_nodes) and not any(x.requires_grad for x in tensors(node.meta["value"]))
    return given and node.meta["changes"].isdisjoint(read)


def _may_cut(after: fx.Node, crossing: list[fx.Node]) -> bool:
    values = (node.meta["value"] for node in crossing)
    return after.op == "call_module" and all(
        isinstance(x, Tensor) and x.is_floating_point() and x.requires_grad for x in values
    )


def _joined(nodes: list[fx.Node]) -> set[int]:
    """Places between a value and what changes it in place."""
    joined: set[int] = set()
    made: dict[int, int] = {}
    for place, node in enumerate(nodes):
        for key in node.meta["changes"]:
            joined.update(range(made.get(key, place) + 1, place + 1))
        for x in tensors(node.meta["value"]):
            made.setdefault(storage(x), place)
    return joined


def _narrowest(cuts: list[int], crossing: list[list[fx.Node]]) -> list[int]:
    """Leave out cuts that more bytes cross than a neighbouring one."""
    sizes = [sum(_size(node.meta["value"]) for node in crossing[i]) for i in cuts]
    sizes[0] = sizes[-1] = 0
    inner = range(1, len(cuts) - 1)
    kept = [i for i in inner if not (_less(sizes, i - 1, i) or _less(sizes, i + 1, i))]
    return [cuts[0], *(cuts[i] for i in kept), cuts[-1]]


def _less(sizes: list[int], other: int, place: int) -> bool:
    return 0 < other < len(sizes) - 1 and sizes[other] < sizes[place]


def _used(nodes: tuple[fx.Node, ...], free: set[fx.Node], inside: dict[str, list[str]]) -> list[str]:
    """Names of the parameters that nodes use, by those that are in a module or are one of that name."""
    modules = [str(node.target) for node in nodes if node.op == "call_module"]
    read = sorted(str(node.target) for node in closure(nodes, free) if node.op == "get_attr")
    return [name for target in (*modules, *read) for name in inside.get(target, ())]


def _unit(nodes: tuple[fx.Node, ...], traced: Trace, parameters: dict[str, int], machine: Machine) -> Unit:
    modules = [str(node.target) for node in nodes if node.op == "call_module"]
    inside = [any(f"{name}.".startswith(f"{block}.") for block in traced.blocks) for name in modules]
    flops = sum(node.meta["flops"] for node in nodes)
    saved = sum(node.meta["saved"] for node in nodes)
    moved = saved + sum(_size(x) for node in nodes for x in tensors(node.meta["value"]))
    seconds = max(flops / machine.flops, moved / machine.memory_rate)
    own = set(nodes)
    received = {x for node in nodes for x in node.all_input_nodes if x not in own}
    given = [(node, x) for node in received for x in tensors(node.meta["value"])]
    inputs = sum(_size(x) for node, x in given if x.requires_grad and node.op != "get_attr")
    changes = {key for node in nodes for key in node.meta["changes"]}
    return Unit(
        modules[0] if modules else nodes[0].name,
        seconds,
        2 * seconds,
        parameters,
        inputs,
        saved,
        inputs,
        bool(inside) and all(inside) and changes.isdisjoint(storage(x) for _, x in given),
        nodes,
    )


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
