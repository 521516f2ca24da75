"""What the layers of a GPT cost on hardware that is not at hand: operators by their arithmetic and their traffic.

Shapes: s positions, b sequences of a micro-batch, h width, a heads, t devices of tensor parallelism. Activations are as
Korthikanti et al. (arXiv 2205.05198) count them, two bytes a number: s b h (10 + 24 / t + 5 a s / (h t)) a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import Errors
from .stage_costs import LAYER_INPUT, LayerCosts, Operator, StageCosts

VOCABULARY = 50304
# Mixed precision with Adam: weights and gradients of 2 bytes, weights and two moments of 4.
PARAMETER_SIZE = 16


@dataclass(frozen=True)
class Hardware:
    """A device and its link to the others of a tensor-parallel group.

    flops (float): Peak of matrix products in half precision, operations a second.
    bandwidth (float): Of the memory, bytes a second.
    link (float): Bytes a second that a device sends to the others.
    memory (int): Bytes.
    product_share, traffic_share, link_share (float): Shares of the three peaks that are reached.
    """

    flops: float
    bandwidth: float
    link: float
    memory: int
    product_share: float = 0.55
    traffic_share: float = 0.8
    link_share: float = 0.75

    def product(self, operations: float) -> float:
        """RETURNS (float): Seconds of a matrix product."""
        return operations / (self.flops * self.product_share)

    def traffic(self, size: float) -> float:
        """RETURNS (float): Seconds of an operator that is bound by the bytes which it reads and writes."""
        return size / (self.bandwidth * self.traffic_share)

    def all_reduce(self, size: float, devices: int) -> float:
        """RETURNS (float): Seconds of a ring all-reduce of some bytes."""
        return 2 * (devices - 1) / devices * size / (self.link * self.link_share)


# Nominal figures of data sheets, nothing measured.
HARDWARE = {
    "a100-nvlink": Hardware(312e12, 2.0e12, 300e9, 80 * 2**30),
    "a100-pcie": Hardware(312e12, 1.55e12, 32e9, 40 * 2**30),
    "v100-pcie": Hardware(112e12, 0.9e12, 16e9, 32 * 2**30),
    "910b": Hardware(320e12, 1.6e12, 196e9, 64 * 2**30),
}


@dataclass(frozen=True)
class GPTSize:
    """Size of a GPT.

    layers, width, heads (int): As usual.
    """

    layers: int
    width: int
    heads: int

    @property
    def layer_parameters(self) -> int:
        """RETURNS (int): Parameters of a layer."""
        return 12 * self.width**2 + 13 * self.width


GPT_SIZES = {
    "1.3b": GPTSize(24, 2048, 16),
    "4.7b": GPTSize(40, 3072, 24),
    "7b": GPTSize(32, 4096, 32),
    "13b": GPTSize(40, 5120, 40),
    "20b": GPTSize(44, 6144, 64),
}


def gpt_layer(size: GPTSize, hardware: Hardware, *, micro_batch: int, tensor: int, length: int = 2048) -> LayerCosts:
    """One of many equal layers: its windows are the two collectives in the backward pass of the layer after it.

    size (GPTSize): The model.
    hardware (Hardware): Where it runs.
    micro_batch (int): Sequences.
    tensor (int): Devices of tensor parallelism; 1 for none, and then there are no windows.
    length (int): Positions of a sequence.
    RETURNS (LayerCosts): The layer.
    """
    tokens, w, t = length * micro_batch, size.width, tensor
    unit = tokens * w
    scores = size.heads * length * tokens // t
    weights, attention = 2 * tokens * w * w / t, 2 * unit * length / t
    reduce = hardware.all_reduce(2 * unit, t)

    def product(name: str, operations: float, held: int, *inputs: int) -> Operator:
        return Operator(name, hardware.product(operations), held, inputs)

    def pointwise(name: str, moved: float, held: int, *inputs: int) -> Operator:
        return Operator(name, hardware.traffic(moved), held, inputs)

    operators = [
        pointwise("norm 1", 4 * unit, 2 * unit, LAYER_INPUT),
        product("qkv", 3 * weights, 6 * unit // t, 0),
        product("scores", attention, 0, 1),
        pointwise("softmax", 4 * scores, 2 * scores, 2),
        pointwise("attention dropout", 5 * scores, 3 * scores, 3),
        product("context", attention, 2 * unit // t, 1, 4),
        product("projection", weights, 0, 5),
        Operator("all-reduce 1", reduce, 0, (6,), collective=True),
        pointwise("dropout and sum 1", 7 * unit, 3 * unit, LAYER_INPUT, 7),
        pointwise("norm 2", 4 * unit, 2 * unit, 8),
        product("fc 1", 4 * weights, 8 * unit // t, 9),
        pointwise("gelu", 16 * unit / t, 8 * unit // t, 10),
        product("fc 2", 4 * weights, 0, 11),
        Operator("all-reduce 2", reduce, 0, (12,), collective=True),
        pointwise("dropout and sum 2", 7 * unit, unit, 8, 13),
    ]
    return _layer(operators, 2 * unit, (reduce, reduce) if t > 1 else ())


def gpt_stage(
    name: str,
    hardware: Hardware,
    *,
    stage: int,
    stages: int,
    micro_batch: int,
    micro_batches: int,
    tensor: int,
    length: int = 2048,
) -> StageCosts:
    """A stage of a pipeline in the schedule 1F1B; the first one embeds, the last one has the head and the loss.

    name (str): Key of `GPT_SIZES`.
    hardware (Hardware): Where it runs.
    stage, stages (int): Which stage, from 0, and of how many.
    micro_batch, micro_batches (int): Sequences of a micro-batch, and micro-batches of a step.
    tensor (int): Devices of tensor parallelism.
    length (int): Positions of a sequence.
    RETURNS (StageCosts): The stage.
    RAISES (ValueError): S716 for an unknown size, S717 for a stage that the model does not have.
    """
    if name not in GPT_SIZES:
        raise ValueError(Errors.S716.format(size=name, known=", ".join(GPT_SIZES)))
    size = GPT_SIZES[name]
    if not 0 <= stage < stages <= size.layers:
        raise ValueError(Errors.S717.format(layers=size.layers, stage=stage, stages=stages))
    count = size.layers // stages + (stage < size.layers % stages)
    layers = [gpt_layer(size, hardware, micro_batch=micro_batch, tensor=tensor, length=length)] * count
    parameters = count * size.layer_parameters
    if stage == 0:
        layers = [_embedding(size, hardware, length * micro_batch), *layers]
        parameters += (VOCABULARY + length) * size.width
    if stage == stages - 1:
        layers = [*layers, _head(size, hardware, length * micro_batch, tensor)]
        parameters += VOCABULARY * size.width
    return StageCosts(
        tuple(_in_place(layers)),
        in_flight=min(stages - stage, micro_batches),
        static_size=PARAMETER_SIZE * parameters // tensor,
    )


def _embedding(size: GPTSize, hardware: Hardware, tokens: int) -> LayerCosts:
    unit = tokens * size.width
    operators = [
        Operator("embedding", hardware.traffic(8 * unit), 0, (LAYER_INPUT,)),
        Operator("embedding dropout", hardware.traffic(5 * unit), unit, (0,)),
    ]
    return _layer(operators, 8 * tokens, ())


def _head(size: GPTSize, hardware: Hardware, tokens: int, tensor: int) -> LayerCosts:
    unit, logits = tokens * size.width, tokens * VOCABULARY // tensor
    operators = [
        Operator("norm", hardware.traffic(4 * unit), 2 * unit, (LAYER_INPUT,)),
        Operator("logits", hardware.product(2 * unit * VOCABULARY / tensor), 0, (0,)),
        Operator("loss", hardware.traffic(10 * logits), 4 * logits, (1,)),
    ]
    return _layer(operators, 2 * unit, (hardware.all_reduce(2 * unit, tensor),) if tensor > 1 else ())


def _layer(operators: list[Operator], input_size: int, collectives: tuple[float, ...]) -> LayerCosts:
    """A layer whose backward pass has twice the arithmetic of the forward pass, and these collectives."""
    done = tuple(operators) if collectives else _without_collectives(operators)
    compute = sum(operator.seconds for operator in done if not operator.collective)
    return LayerCosts(
        done,
        input_size,
        2 * compute + sum(collectives),
        collectives,
        # Gradients of the widest output, and of the layer's input and output.
        max(operator.size for operator in done) + 2 * input_size,
    )


def _without_collectives(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Operators of one device: what read a collective reads what that read."""
    places: dict[int, int] = {LAYER_INPUT: LAYER_INPUT}
    alone: list[Operator] = []
    for j, operator in enumerate(operators):
        if operator.collective:
            places[j] = places[operator.inputs[0]]
        else:
            places[j] = len(alone)
            alone.append(replace(operator, inputs=tuple(places[i] for i in operator.inputs)))
    return tuple(alone)


def _in_place(layers: list[LayerCosts]) -> list[LayerCosts]:
    """Give each layer the collectives of the layer after it as its windows; those of the first hide nothing."""
    placed = []
    for layer, after in zip(layers, [*layers[1:], None]):
        windows = after.windows if after else ()
        seconds = layer.backward_seconds - sum(layer.windows) + sum(windows)
        placed.append(replace(layer, windows=windows, backward_seconds=seconds))
    first = placed[0]
    return [replace(first, backward_seconds=first.backward_seconds + sum(layers[0].windows)), *placed[1:]]
