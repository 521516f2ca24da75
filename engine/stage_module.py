"""A pipeline stage as a module: its part of a traced model, with copies of the modules of that part.

Names of parameters and buffers are those of the model. The model itself is not touched.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from .graph_costs import Unit, closure, crossings, free_nodes
from .graph_trace import Trace, call, on_device
from .recompute_region import over_region
from .stage_recompute import run_recomputed


class StageModule(nn.Module):
    """Some consecutive units of a model.

    Called with the tensors that the stage before gives, in order, and the model's inputs as `input_0`, `input_1` ...
    Returns a tuple: the tensors for the next stage, or the leaves of the model's output on the last stage. `entrances`,
    when it is a dict, gets what `recompute_now` takes, by the id of the first of those.

    model (nn.Module): The model; its weights of this stage are copied.
    traced (Trace): Its trace.
    units (Sequence[Unit]): All of its units.
    bounds (tuple[int, int]): The first one of this stage, and the first one after it.
    recomputed (int): How many of the stage's last blocks are recomputed in the backward pass.
    device (torch.device): Where the stage runs.
    early (bool): Of these blocks each but the last is recomputed while the one above it sums a gradient over processes.
    """

    def __init__(
        self,
        model: nn.Module,
        traced: Trace,
        units: Sequence[Unit],
        bounds: tuple[int, int],
        recomputed: int,
        device: torch.device,
        *,
        early: bool = False,
    ) -> None:
        super().__init__()
        first, after = bounds
        free = free_nodes(traced.graph)
        order = [node for unit in units for node in unit.nodes]
        crossing = crossings(traced.graph, order)
        start, end = (sum(len(unit.nodes) for unit in units[:i]) for i in bounds)
        (result,) = (node for node in traced.graph.nodes if node.op == "output")
        self.is_last = after == len(units)
        self._receives = crossing[start]
        self._returns = list(result.args[0]) if self.is_last else crossing[end]
        own = set(order[start:end])
        sources = [node for node in self._returns if isinstance(node, fx.Node) and node in free]
        needed = closure([*own, *([result] if self.is_last else [])], free) | set(sources)
        self._before = [node for node in traced.graph.nodes if node in needed]
        self.inputs = [str(node.target) for node in self._before if node.op == "placeholder"]
        self._units = [_Run(unit.nodes, self._returns) for unit in units[first:after]]
        blocks = [run for run, unit in zip(self._units, units[first:after]) if unit.block]
        for run in blocks[len(blocks) - recomputed :]:
            run.recompute = True
        self._arguments = {
            node: on_device((node.args, node.kwargs), device) for node in (*self._before, *order[start:end])
        }
        self.entrances: dict[int, list[Any]] | None = None
        self._early = early
        self._adopt(model, [*self._before, *order[start:end]])
        self.to(device)

    def forward(self, *received: Tensor, **inputs: Tensor) -> tuple[Any, ...]:
        """Run the stage."""
        values: dict[fx.Node, Any] = dict(zip(self._receives, received))
        for node in self._before:
            values[node] = inputs[str(node.target)] if node.op == "placeholder" else self._call(node, values)
        entrances: list[Any] = []
        for run in self._units:
            arguments = [values[node] for node in run.reads]
            with over_region(entrances[-1] if self._early and entrances else None):
                if run.recompute and torch.is_grad_enabled():
                    results, entrance = run_recomputed(partial(self._run, run), *arguments)
                    entrances += [entrance] if entrance is not None else []
                else:
                    results = self._run(run, *arguments)
            values.update(zip(run.gives, results))
        outputs = tuple(values[x] if isinstance(x, fx.Node) else x for x in self._returns)
        # What only passes through becomes a result, so that its gradient is asked for as every other.
        outputs = tuple(x.view_as(x) if any(x is y for y in received) else x for x in outputs)
        if entrances and self.entrances is not None:
            self.entrances[id(outputs[0])] = entrances
        return outputs

    def _run(self, run: _Run, *arguments: Any) -> tuple[Any, ...]:
        values = dict(zip(run.reads, arguments))
        for node in run.nodes:
            values[node] = self._call(node, values)
        return tuple(values[node] for node in run.gives)

    def _call(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        if node.op == "get_attr":
            return _fetch(self, str(node.target))
        args, kwargs = fx.map_arg(self._arguments[node], values.__getitem__)
        run = self.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        return call(node, run, args, kwargs)

    def _adopt(self, model: nn.Module, nodes: list[fx.Node]) -> None:
        """Copy what nodes use, each tensor once however many of them share it."""
        memo: dict[int, Any] = {}
        for node in nodes:
            if node.op == "call_module":
                parent, _, name = str(node.target).rpartition(".")
                _container(self, parent).add_module(name, copy.deepcopy(model.get_submodule(str(node.target)), memo))
        for node in nodes:
            if node.op != "get_attr":
                continue
            parent, _, name = str(node.target).rpartition(".")
            owner, original = _container(self, parent), _fetch(model, str(node.target))
            if not hasattr(owner, name):
                tensor = copy.deepcopy(original, memo)
                if isinstance(tensor, nn.Parameter):
                    owner.register_parameter(name, tensor)
                else:
                    owner.register_buffer(name, tensor, persistent=str(node.target) in model.state_dict())


class _Run:
    """The nodes of a unit, what they read from outside and what they give."""

    def __init__(self, nodes: tuple[fx.Node, ...], returns: Sequence[Any]) -> None:
        own = set(nodes)
        self.nodes = nodes
        self.reads = list(dict.fromkeys(x for node in nodes for x in node.all_input_nodes if x not in own))
        self.gives = [node for node in nodes if node in returns or any(user not in own for user in node.users)]
        self.recompute = False


def _container(root: nn.Module, name: str) -> nn.Module:
    """The module of that name, made when there is none."""
    for part in name.split(".") if name else ():
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    return root


def _fetch(root: nn.Module, name: str) -> Tensor:
    parent, _, last = name.rpartition(".")
    return getattr(root.get_submodule(parent), last)
