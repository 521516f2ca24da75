"""Bytes of the tensors that are alive, at any moment of a computation, on any device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


def holder(tensor: Tensor) -> Tensor:
    """RETURNS (Tensor): The tensor whose storage a tensor's numbers lie in: a shard inside a DTensor, else itself."""
    while is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        # What is no tensor is such as a mesh.
        tensor = next(part for part in (getattr(tensor, name) for name in names) if isinstance(part, Tensor))
    return tensor


class LiveMemory(TorchDispatchMode):
    """Counts the storage that operators allocate from here on, until nothing refers to it.

    What was there before does not count. Unlike an allocator's figures these are exact and the same on every device;
    what a kernel takes for itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def start_peak(self) -> None:
        """Let the peak be what is alive now."""
        self.peak = self.current

    def ignore(self, tensors: Any) -> None:
        """Never count the storage of these tensors (any nesting), such as weights and inputs."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor):
                self._remember(holder(tensor).untyped_storage(), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ignore((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = holder(tensor).untyped_storage()
                self._remember(storage, storage.nbytes())
        return out

    def _remember(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self._known:
            return

        def forget(_: weakref.ref) -> None:
            del self._known[key]
            self.current -= size

        self._known[key] = weakref.ref(storage, forget)
        self.current += size
        self.peak = max(self.peak, self.current)
