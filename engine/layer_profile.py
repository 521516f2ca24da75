"""What the layers of a model cost, measured on a sample: time and bytes of every operator."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import SAC_IGNORED_OPS

from .live_memory import LiveMemory, holder
from .recompute_policy import DEMAND, KEEP, LayerPolicy
from .recompute_region import RegionPlan, observed_region
from .stage_costs import LAYER_INPUT, LayerCosts, Operator

# Of several measurements of a time the least counts: the others were disturbed.
REPEATS = 3
_ASYNCHRONOUS = "_c10d_functional"
_COLLECTIVES = (_ASYNCHRONOUS, "c10d", "c10d_functional", "_c10d_functional_autograd", "_dtensor")


@dataclass(frozen=True)
class LayerProfile:
    """A measured layer.

    costs (LayerCosts): Its costs; operators that allocate nothing are not among them. The size of an operator is what
        it takes to keep it for others: 0 when the backward pass reads nothing of it.
    places (tuple[int, ...]): Number of each operator in the order of dispatch, as `RegionPlan` takes them.
    kept (tuple[tuple[bool, ...], ...]): Which tensors of its output it takes to keep it.
    held (int): Bytes that the backward pass reads, the layer's input apart.
    changed (frozenset[int]): Operators whose output is changed in place, which cannot be kept by itself.
    random (tuple[int, ...]): Operators that draw random numbers. Of two, the later cannot be recomputed while the
        earlier is not: it would draw other ones.
    after_sum (Optional[int]): Bytes alive at most once its backward pass has begun the first sum over processes, beside
        those at its beginning; None when it has none.
    """

    costs: LayerCosts
    places: tuple[int, ...]
    kept: tuple[tuple[bool, ...], ...]
    held: int
    changed: frozenset[int]
    random: tuple[int, ...]
    after_sum: int | None

    def carried_out(self, policy: LayerPolicy) -> LayerPolicy:
        """The nearest policy that can be carried out: what cannot be kept is recomputed on demand.

        policy (LayerPolicy): A policy for the costs.
        RETURNS (LayerPolicy): The same when it keeps everything.
        """
        choices = list(policy.choices)
        if all(choice == KEEP for choice in choices):
            return policy
        operators = self.costs.operators
        again = {i for i, choice in enumerate(choices) if choice != KEEP} | self.changed
        while True:
            drawn = [i for i in self.random if i in again]
            more = {i for i in self.random if drawn and i < drawn[-1]}
            more |= {i for j in again for i in operators[j].inputs if i != LAYER_INPUT and not operators[i].size}
            if more <= again:
                break
            again |= more
        return LayerPolicy(tuple(DEMAND if i in again and c == KEEP else c for i, c in enumerate(choices)))

    def region(self, policy: LayerPolicy) -> RegionPlan | None:
        """What a policy that can be carried out means for the region; None when it keeps everything."""
        choices = list(enumerate(policy.choices))
        if all(choice == KEEP for _, choice in choices):
            return None
        kept = [i for i, choice in choices if choice == KEEP]
        return RegionPlan(
            {self.places[i]: self.kept[i] for i in kept if self.costs.operators[i].size},
            frozenset(self.places[i] for i in kept if not self.costs.operators[i].size),
            early=any(choice >= 0 for _, choice in choices),
        )


def profile_layer(layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> LayerProfile:
    """Measure one call of a layer, forwards and backwards. Random state, buffers and gradients stay as they were.

    layer (Module): The layer.
    args, kwargs: What it is called with.
    RETURNS (LayerProfile): Its costs.
    """
    args, kwargs = tree_map_only(Tensor, _leaf, (args, kwargs))
    with preserved(layer):
        runs = [_Recorder.run(layer, args, kwargs) for _ in range(REPEATS)]
    best = runs[0]
    seconds = [min(run.seconds[i] for run in runs) for i in range(len(best.seconds))]
    operators = best.operators(seconds)
    size = sum(_storage(t).nbytes() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))
    costs = LayerCosts(
        operators=operators,
        input_size=size,
        backward_seconds=min(run.backward_seconds for run in runs),
        # What is communicated forwards is communicated backwards.
        windows=tuple(operator.seconds for operator in operators if operator.collective),
        working_size=best.working_size,
    )
    return LayerProfile(
        costs,
        places=tuple(call.place for call in best.calls),
        kept=tuple(tuple(map(best.is_needed, call.storages)) for call in best.calls),
        held=sum(best.packed.values()),
        changed=frozenset(i for i, call in enumerate(best.calls) if call.changed),
        random=tuple(i for i, call in enumerate(best.calls) if call.random),
        after_sum=best.after_sum,
    )


class preserved:
    """Leave gradients, buffers and random state of a module as they are, whatever is run inside.

    module (Module): The module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> None:
        self._grads = [(p, p.grad) for p in self.module.parameters()]
        self._buffers = [(b, b.clone()) for b in self.module.buffers()]
        devices = {p.device for p in self.module.parameters() if p.device.type == "cuda"}
        self._random = torch.random.fork_rng(devices=list(devices))
        self._random.__enter__()
        for parameter, _ in self._grads:
            parameter.grad = None

    def __exit__(self, *error: Any) -> None:
        self._random.__exit__(*error)
        with torch.no_grad():
            for buffer, value in self._buffers:
                buffer.copy_(value)
        for parameter, grad in self._grads:
            parameter.grad = grad


@dataclass
class _Call:
    """An operator that was dispatched; `storages` has a key for each leaf of its output, 0 for none."""

    name: str
    place: int
    storages: tuple[int, ...]
    inputs: set[int]
    collective: bool
    random: bool
    changed: bool = False


class _Recorder(TorchDispatchMode):
    """Records the operators of a region."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.seconds: list[float] = []
        # Bytes of the storages that the backward pass reads, and those that other operators read.
        self.packed: dict[int, int] = {}
        self._read: set[int] = set()
        self.backward_seconds, self.working_size = 0.0, 0
        self.after_sum: int | None = None
        self._place = 0
        # Which call a storage is of. Its memory goes when the layer is done with it; its address is kept from others.
        self._makers: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._addresses: list[StorageWeakRef] = []

    @classmethod
    def run(cls, layer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> _Recorder:
        """Run a layer once in both directions."""
        recorder, memory = cls(), LiveMemory()
        memory.ignore((list(layer.parameters()), args, kwargs))
        with torch.enable_grad(), memory:
            with recorder, torch.autograd.graph.saved_tensors_hooks(recorder._pack, _same):
                out = observed_region(layer, *args, **kwargs)
            recorder._addresses.clear()
            results = [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.requires_grad]
            gradients = [torch.ones_like(t) for t in results]
            held = memory.current
            memory.start_peak()
            began = _now(results)
            with _FirstSum(memory) as first:
                torch.autograd.backward(results, gradients)
            recorder.backward_seconds = _now(results) - began
            recorder.working_size = max(0, first.peak_before - held, memory.peak - held)
            recorder.after_sum = memory.peak - held if first.is_begun else None
        return recorder

    def operators(self, seconds: list[float]) -> tuple[Operator, ...]:
        """The operators; those after the last one that the backward pass reads are never recomputed."""
        last = max((self._makers[key] for key in self.packed), default=-1)
        return tuple(
            Operator(
                call.name,
                seconds[i] if i <= last else 0.0,
                sum(self._sizes[key] for key in {*call.storages} if self.is_needed(key)),
                tuple(sorted(call.inputs)),
                call.collective,
            )
            for i, call in enumerate(self.calls)
        )

    def is_needed(self, key: int) -> bool:
        """Whether a storage has to be kept for its operator not to run again."""
        if key in self.packed:
            return True
        beside = self.calls[self._makers[key]].storages if key in self._makers else ()
        return key in self._read and any(other in self.packed for other in beside)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SAC_IGNORED_OPS:
            return func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        began = _now(tensors)
        out = func(*args, **(kwargs or {}))
        if func.namespace == _ASYNCHRONOUS:
            # The call only starts it: whoever reads the result would pay for it otherwise.
            tree_map_only(Tensor, torch.ops._c10d_functional.wait_tensor, out)
        seconds = _now(tensors) - began
        old = {_storage(t)._cdata for t in tensors}
        storages = [_storage(t) if isinstance(t, Tensor) else None for t in tree_leaves(out)]
        fresh = {s._cdata: s for s in storages if s is not None and s._cdata not in old}
        random = torch.Tag.nondeterministic_seeded in func.tags
        inputs = {self._maker(t) for t in tensors}
        if fresh:
            self._makers |= dict.fromkeys(fresh, len(self.calls))
            self._sizes |= {key: storage.nbytes() for key, storage in fresh.items()}
            self._addresses += map(StorageWeakRef, fresh.values())
            self._read |= old
            keys = tuple(0 if storage is None else storage._cdata for storage in storages)
            collective = func.namespace in _COLLECTIVES
            self.calls.append(_Call(str(func), self._place, keys, inputs, collective, random))
            self.seconds.append(seconds)
        elif func._schema.is_mutable and (maker := self._maker(tensors[0])) != LAYER_INPUT:
            call = self.calls[maker]
            call.changed, call.random = True, call.random or random
            call.inputs |= {i for i in inputs if i < maker}
            self._read |= old
            self.seconds[maker] += seconds
        self._place += 1
        return out

    def _maker(self, tensor: Tensor) -> int:
        return self._makers.get(_storage(tensor)._cdata, LAYER_INPUT)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage._cdata in self._makers:
            self.packed[storage._cdata] = storage.nbytes()
        return tensor


class _FirstSum(TorchDispatchMode):
    """Starts another peak at the first sum over processes.

    memory (LiveMemory): What counts.
    """

    def __init__(self, memory: LiveMemory) -> None:
        super().__init__()
        self.is_begun, self.peak_before = False, 0
        self._memory = memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.is_begun and func.namespace in _COLLECTIVES:
            self.is_begun, self.peak_before = True, self._memory.peak
            self._memory.start_peak()
        return out


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return holder(tensor).untyped_storage()


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _now(values: Iterable[Any]) -> float:
    """The time, when what was asked of the devices of these tensors is done."""
    if any(isinstance(value, Tensor) and value.is_cuda for value in values):
        torch.cuda.synchronize()
    return time.perf_counter()
