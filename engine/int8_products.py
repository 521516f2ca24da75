"""Linear layers that multiply integers of 8 bits, for processors that have instructions for them (AVX512-VNNI, AMX)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST = 127
# Of rows that are taken at once: their numbers, in three types, stay in the processor's cache.
BLOCK = 512
# A row of zeros has no scale of its own.
LEAST = 1e-12


class Int8Product:
    """What a linear layer computes, x W^T + b, from integers: W is rounded once, each row of x as it comes.

    Rounding is symmetric: a row r of x, or of W, becomes round(127 r / max |r|), so that the products of two rows are
    integers times one scale of each (LLM.int8(), arXiv 2208.07339, without its outliers). Sums of 32 bits are exact.

    layer (nn.Linear): The layer, of two inputs or more; it stays as it is, and multiplies what does not lie on a CPU.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        weight = layer.weight.detach().float().cpu()
        most = weight.abs().amax(1).clamp_min(LEAST)
        self.scale = most / LARGEST**2
        self.weight = (weight * (LARGEST / most)[:, None]).round_().to(torch.int8).T
        self.bias = None if layer.bias is None else layer.bias.detach().float().cpu()

    def __call__(self, values: Tensor) -> Tensor:
        """Multiply.

        values (float32, [..., in]): x; gradients do not pass.
        RETURNS (float32, [..., out]): The product.
        """
        if values.device.type != "cpu":
            return nn.functional.linear(values, self.layer.weight, self.layer.bias)
        rows = values.reshape(-1, values.shape[-1])
        product = rows.new_empty(len(rows), len(self.scale))
        for start in range(0, len(rows), BLOCK):
            block, found = rows[start : start + BLOCK], product[start : start + BLOCK]
            most = block.abs().amax(1, keepdim=True).clamp_min_(LEAST)
            rounded = torch.mul(block, LARGEST / most).round_().to(torch.int8)
            torch.mul(torch._int_mm(rounded, self.weight), most, out=found)
            if self.bias is None:
                found.mul_(self.scale)
            else:
                torch.addcmul(self.bias, found, self.scale, out=found)
        return product.view(*values.shape[:-1], len(self.scale))


def multiply_in_int8(network: nn.Module) -> None:
    """Let the linear layers of a network multiply integers on a CPU. Its weights stay, and so what is saved of it.

    network (nn.Module): The network, from now on for inference alone.
    """
    for layer in network.modules():
        # torch 2.13 multiplies columns of one number by what lies behind them.
        if isinstance(layer, nn.Linear) and layer.in_features > 1:
            layer.forward = Int8Product(layer)
