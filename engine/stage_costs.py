"""What a training step of a pipeline stage costs: operators, layers, and the windows in which computation waits.

Units: seconds and bytes. A layer is what is recomputed together; its input is always kept.
"""

from __future__ import annotations

from dataclasses import dataclass

# Stands among the inputs of an operator for the input of its layer.
LAYER_INPUT = -1


@dataclass(frozen=True)
class Operator:
    """One operator of a layer's forward pass.

    name (str): What it is.
    seconds (float): Time of its forward pass.
    size (int): Bytes of its output that are held for the backward pass; 0 when nothing is: what reads it can then only
        be rebuilt after it has run again.
    inputs (tuple[int, ...]): Places of the operators that it reads, each before its own, or `LAYER_INPUT`.
    collective (bool): It is a communication, which cannot be done again while another waits for the same link.
    """

    name: str
    seconds: float
    size: int
    inputs: tuple[int, ...]
    collective: bool = False


@dataclass(frozen=True)
class LayerCosts:
    """A layer.

    operators (tuple[Operator, ...]): In the order of the forward pass.
    input_size (int): Bytes of the layer's input, which is always kept.
    backward_seconds (float): Time of the backward pass, communication and the windows before it included.
    windows (tuple[float, ...]): Seconds, in order of time, in which computation would wait for communication before
        the backward pass of this layer, and could recompute what it needs.
    working_size (int): Bytes that the backward pass takes beside what is held or rebuilt.
    """

    operators: tuple[Operator, ...]
    input_size: int
    backward_seconds: float
    windows: tuple[float, ...] = ()
    working_size: int = 0

    @property
    def forward_seconds(self) -> float:
        """RETURNS (float): Time of the forward pass."""
        return sum(operator.seconds for operator in self.operators)

    @property
    def activation_size(self) -> int:
        """RETURNS (int): Bytes that are held when nothing is recomputed, the input among them."""
        return self.input_size + sum(operator.size for operator in self.operators)


@dataclass(frozen=True)
class StageCosts:
    """A stage: its layers in the order of the forward pass.

    layers (tuple[LayerCosts, ...]): The layers.
    in_flight (int): Micro-batches whose activations are held at once.
    static_size (int): Bytes of weights, gradients, optimizer state and buffers.
    slowdown (float): How much longer an operator takes beside a running communication, 1 or more.
    """

    layers: tuple[LayerCosts, ...]
    in_flight: int = 1
    static_size: int = 0
    slowdown: float = 1.15
