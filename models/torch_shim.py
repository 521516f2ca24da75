"""Torch networks inside thinc models: arrays in and out, optimizer steps, weights as safetensors.

Sizes that are known late. A network whose shapes depend on the data (labels of a head, the width of a
downloaded encoder) is given to the shim as a `build` function and a JSON `config` of everything that decides
a shape:

1. at construction the shim may hold no module: `TorchShim(None, build=build)`;
2. at `initialize` the wrapper calls `shim.build(config)` with the sizes it has learnt from the data;
3. `to_bytes` writes the config beside the weights; `from_bytes` compares it with the config at hand, calls
   `build` with the saved one when they differ or when no module is there, and only then loads, strictly.

So a pipeline that was never initialised loads a trained one, and a model of other sizes is replaced, not
broken. What the user may change at load time (precision, freezing) belongs in `functools.partial(build, ...)`
and not in the config.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import safetensors.torch
import srsly
import torch
from thinc.api import ArgsKwargs, Model, Optimizer, PyTorchShim, torch2xp, xp2torch
from thinc.types import ArrayXd, FloatsXd
from thinc.util import convert_recursive, get_torch_default_device
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import Errors
from .heap import return_free_memory
from .weights import load_weights

Builder = Callable[[dict[str, Any]], nn.Module]
ShimT = TypeVar("ShimT", bound="TorchShim")

# Optimizer state is keyed by (id, name), and ids of shims and of thinc nodes are counted apart: the prefix
# keeps `torch.W` of shim 7 from meeting `W` of node 7.
KEY_PREFIX = "torch."

# The threads of OpenMP do not survive a fork, and a child of a process that has used them waits for them for ever
# (https://github.com/pytorch/pytorch/issues/17199): `nlp.pipe(n_process=2)` forks. One thread needs no others.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def torch_model(
    module: nn.Module | None,
    *,
    name: str,
    forward: Callable,
    build: Builder | None = None,
    config: Mapping[str, Any] | None = None,
    init: Callable | None = None,
    layers: Sequence[Model] = (),
    attrs: Mapping[str, Any] | None = None,
    dims: Mapping[str, int | None] | None = None,
    refs: Mapping[str, Model | None] | None = None,
    half_storage: bool = False,
) -> Model:
    """Make a thinc model around a torch network; the network is `model.shims[0].module`.

    module (Optional[nn.Module]): The network, or None when `init` builds it.
    name (str): Name of the thinc model.
    forward (Callable): thinc forward function, usually a conversion around `run_torch`.
    build (Optional[Callable]): Makes the network from a config; needed when sizes are known late.
    config (Optional[Mapping]): What decides the shapes of `module`, JSON types only.
    init (Optional[Callable]): thinc init function, called with `X` and `Y`.
    layers (Sequence[Model]): Sublayers, such as the encoder that feeds the network.
    attrs (Optional[Mapping]): Attributes of the model.
    dims (Optional[Mapping]): Dimensions, None where unknown.
    refs (Optional[Mapping]): References to sublayers.
    half_storage (bool): Save the weights as float16.
    RETURNS (Model): The model.
    """
    return Model(
        name,
        forward,
        init=init,
        layers=list(layers),
        attrs=dict(attrs or {}),
        dims=dict(dims or {}),
        refs=dict(refs or {}),
        shims=[TorchShim(module, config, build=build, half_storage=half_storage)],
    )


def run_torch(
    shim: TorchShim, arrays: Sequence[FloatsXd], kwargs: Mapping[str, Any], is_train: bool
) -> tuple[tuple[FloatsXd, ...], Callable[[Sequence[FloatsXd | None]], list[FloatsXd]]]:
    """Call the network on float arrays, which get gradients, and on keyword arguments, which do not.

    shim (TorchShim): The shim that holds the network.
    arrays (Sequence[FloatsXd]): Positional arguments; memory is shared with torch, not copied.
    kwargs (Mapping): Keyword arguments passed as they are.
    is_train (bool): Whether to keep the graph for a backward pass.
    RETURNS (Tuple): The outputs as arrays (one-tuple for a single tensor), and a callback from their
        gradients (None for an output that has none) to the gradients of `arrays`.
    """
    device = shim.device
    leaves = [xp2torch(array, requires_grad=is_train, device=device) for array in arrays]
    returned, backward = shim(ArgsKwargs(args=tuple(leaves), kwargs=dict(kwargs)), is_train)
    outputs: tuple[Tensor, ...] = returned if isinstance(returned, tuple) else (returned,)

    def backprop(grads: Sequence[FloatsXd | None]) -> list[FloatsXd]:
        pairs = [(y, xp2torch(dy, device=device)) for y, dy in zip(outputs, grads) if dy is not None]
        backward(ArgsKwargs(args=([y for y, _ in pairs],), kwargs={"grad_tensors": [dy for _, dy in pairs]}))
        return [torch2xp(torch.zeros_like(x) if x.grad is None else x.grad) for x in leaves]

    return tuple(torch2xp(y.detach()) for y in outputs), backprop


class TorchShim(PyTorchShim):
    """Hold a torch network for a thinc model: forward, backward, update, device, bytes.

    module (Optional[nn.Module]): The network, or None until `build` or `from_bytes`.
    config (Optional[Mapping]): What decides the shapes of the module, JSON types only; saved as well.
    build (Optional[Callable]): Picklable function that makes the module from such a config.
    half_storage (bool): Save the weights as float16: half the bytes, and a loaded network that saves to the same.
    """

    def __init__(
        self,
        module: nn.Module | None,
        config: Mapping[str, Any] | None = None,
        *,
        build: Builder | None = None,
        half_storage: bool = False,
    ) -> None:
        super().__init__(module, _as_json(config))
        self._build = build
        self._half_storage = half_storage

    @property
    def module(self) -> nn.Module:
        """RETURNS (nn.Module): The network.

        RAISES (ValueError): S322 when it has not been built yet.
        """
        if self._model is None:
            raise ValueError(Errors.S322)
        return self._model

    @property
    def is_built(self) -> bool:
        """RETURNS (bool): Whether there is a network to call."""
        return self._model is not None

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the parameters are; the device of thinc's ops when there are none."""
        parameter = None if self._model is None else next(self._model.parameters(), None)
        return get_torch_default_device() if parameter is None else parameter.device

    def set_module(self, module: nn.Module, config: Mapping[str, Any]) -> None:
        """Put a network in place and move it to the device of thinc's ops.

        module (nn.Module): The network.
        config (Mapping): What decides its shapes, JSON types only.
        """
        self.cfg = _as_json(config)
        self._model = module.to(get_torch_default_device())

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Make the network for these sizes and put it in place.

        config (Mapping): What decides the shapes, JSON types only.
        RETURNS (nn.Module): The network.
        RAISES (ValueError): S323 when the shim was made without a `build` function.
        """
        self.set_module(self._make(config), config)
        return self.module

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Call the network in evaluation mode, without a graph.

        inputs (ArgsKwargs): Arguments of the network, as tensors.
        RETURNS (Any): What the network returns.
        """
        module = self.module
        if module.training:
            module.eval()
        with torch.no_grad():
            return module(*inputs.args, **inputs.kwargs)

    def begin_update(self, inputs: ArgsKwargs) -> tuple[Any, Callable[[ArgsKwargs], ArgsKwargs]]:
        """Call the network in training mode and keep the graph.

        inputs (ArgsKwargs): Arguments of the network, as tensors.
        RETURNS (Tuple): What the network returns, and a callback that takes the arguments of
            `torch.autograd.backward`, adds to the gradients of the parameters and returns those of `inputs`.
        """
        module = self.module
        if not module.training:
            module.train()
        output = module(*inputs.args, **inputs.kwargs)

        def backprop(grads: ArgsKwargs) -> ArgsKwargs:
            # Outputs of frozen networks are outside the graph, and autograd refuses them.
            pairs = [(y, dy) for y, dy in zip(grads.args[0], grads.kwargs["grad_tensors"]) if y.requires_grad]
            if pairs:
                torch.autograd.backward([y for y, _ in pairs], [dy for _, dy in pairs])
            return convert_recursive(torch.is_tensor, _grad, inputs)

        return output, backprop

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the optimizer with the gradients at hand, then clear them.

        optimizer (Optimizer): One with a method `step_torch(shim_id, module)` gets the whole network at once,
            so that it can own parameter groups; any other is called as thinc does, once per parameter.
        """
        if self._model is None:
            return
        step = getattr(optimizer, "step_torch", None)
        if step is not None:
            step(self.id, self._model)
        else:
            self._step_each(optimizer)
        self._model.zero_grad(set_to_none=True)
        return_free_memory()

    def _step_each(self, optimizer: Optimizer) -> None:
        for name, parameter in self.module.named_parameters():
            if parameter.grad is None:
                continue
            key = (self.id, KEY_PREFIX + name)
            # thinc's optimizers cannot take a single number.
            arrays = (torch2xp(torch.atleast_1d(tensor)) for tensor in (parameter.data, parameter.grad))
            updated, _ = optimizer(key, *arrays)
            tensor = xp2torch(updated, device=parameter.device).reshape(parameter.shape)
            # thinc's optimizers usually write into the memory they were given.
            if tensor.data_ptr() != parameter.data_ptr():
                parameter.data.copy_(tensor)

    @contextlib.contextmanager
    def use_params(self, params: Mapping[Any, ArrayXd]) -> Iterator[None]:
        """Hold other values in the parameters for a while, such as an optimizer's averages.

        params (Mapping): Arrays by the keys that `finish_update` hands to the optimizer.
        """
        named = {} if self._model is None else dict(self._model.named_parameters())
        keys = {parameter: (self.id, KEY_PREFIX + name) for name, parameter in named.items()}
        swaps = {parameter: params[key] for parameter, key in keys.items() if key in params}
        backup = [(parameter, parameter.detach().clone()) for parameter in swaps]
        try:
            for parameter, value in swaps.items():
                parameter.data.copy_(xp2torch(value, device=parameter.device).reshape(parameter.shape))
            yield
        finally:
            for parameter, value in backup:
                parameter.data.copy_(value)

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the network.

        device_type (str): "cpu" or "gpu", as in thinc's ops.
        device_id (int): Number of the GPU.
        """
        if self._model is not None:
            self._model.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): msgpack of the config and of the weights in safetensors format."""
        state = None
        if self._model is not None:
            tensors = _own_tensors(self._model)
            if self._half_storage:
                tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
            state = safetensors.torch.save(tensors)
        return srsly.msgpack_dumps({"config": self.cfg, "state": state})

    def from_bytes(self: ShimT, bytes_data: bytes) -> ShimT:
        """Load config and weights, building the network anew where the config asks for other sizes.

        bytes_data (bytes): What `to_bytes` returned.
        RETURNS (TorchShim): Itself.
        RAISES (ValueError): S321 when the weights do not fit the network, S323 when it has to be rebuilt but
            the shim was made without a `build` function.
        """
        msg = srsly.msgpack_loads(bytes_data)
        if msg["state"] is None:
            self.cfg, self._model = msg["config"], None
            return self
        module = self._model
        if module is None or msg["config"] != self.cfg:
            with _NoRandomInit():
                module = self._make(msg["config"])
        load_weights(module, safetensors.torch.load(msg["state"]))
        self.set_module(module, msg["config"])
        return self

    def _make(self, config: Mapping[str, Any]) -> nn.Module:
        if self._build is None:
            raise ValueError(Errors.S323.format(found=dict(config), expected=self.cfg))
        return self._build(_as_json(config))

    def copy(self: ShimT) -> ShimT:
        """RETURNS (TorchShim): A deep copy under an id of its own, so that optimizer states stay apart."""
        return type(self)(copy.deepcopy(self._model), self.cfg, build=self._build, half_storage=self._half_storage)

    def __deepcopy__(self: ShimT, memo: dict[int, Any]) -> ShimT:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        # A torch module pickled for a spawned worker would move the parent's weights into shared memory, a
        # file descriptor each; bytes have neither effect.
        if self._build is None:
            return self.__dict__
        return {**self.__dict__, "_model": None, "_bytes": self.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state.pop("_bytes", None)
        self.__dict__.update(state)
        if saved is not None:
            self.from_bytes(saved)


class _NoRandomInit(TorchFunctionMode):
    """Draw no random weights: for a large encoder that takes longer than loading it."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.normal_:
            # torch draws truncated normals again until all are within bounds: give it the mean.
            return args[0].fill_(args[1] if len(args) > 1 else kwargs.get("mean", 0.0))
        # By name, because transformers puts functions of its own in the place of those of torch.nn.init.
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state with no two names on the same memory, which the safetensors format does not allow."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in module.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return tensors


def _as_json(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy as JSON would return it (lists for tuples, string keys), to compare equal with a loaded one."""
    return json.loads(json.dumps(dict(config or {})))


def _grad(tensor: Tensor) -> Tensor | None:
    return tensor.grad
