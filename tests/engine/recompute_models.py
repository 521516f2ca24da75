"""Small models whose layers repeat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from samarkand.engine.live_memory import LiveMemory
from torch import Tensor, nn
from torch_layers import TorchLayers as Transformer


class Batches(nn.Module):
    """A transformer that takes its rows in batches, in mixed precision, and adds up what all layers give."""

    def __init__(self, sizes: Sequence[int] = (3, 1), dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.inner, self.sizes, self.dtype = Transformer(), sizes, dtype

    def forward(self, x: Tensor) -> Tensor:
        """[B, L] -> [B, L, vocabulary]."""
        return torch.cat([self._run(rows) for rows in x.split(self.sizes)])

    def _run(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            results = [self.inner.embed(x)]
            for layer in self.inner.layers:
                results.append(layer(results[-1]))
            return self.inner.head(sum(results))


class Convolutions(nn.Module):
    """Layers with buffers, changes in place and two results."""

    class Layer(nn.Module):
        """Convolution, norm, activation in place."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width)

        def forward(self, x: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
            """[B, width, L] twice."""
            h = torch.relu_(self.norm(self.conv(x))) * scale
            return x + h, h

    def __init__(self, layers: int = 3, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(self.Layer(width) for _ in range(layers)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, width, L] -> the last layer's results."""
        h = x
        for layer in self.layers:
            x, h = layer(x, scale=0.5)
        return {"x": x, "h": h}


def step(model: nn.Module, sample: Tensor) -> tuple[int, list[Tensor], Tensor]:
    """One step from the same random state: bytes at the worst moment, gradients, and the random state after it."""
    torch.manual_seed(3)
    model.zero_grad(set_to_none=True)
    memory = LiveMemory()
    memory.ignore((list(model.parameters()), list(model.buffers()), sample))
    with memory:
        result = model(sample)
        values = result.values() if isinstance(result, dict) else [result]
        sum(value.float().sum() for value in values).backward()
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    return memory.peak + weights, [p.grad.clone() for p in model.parameters()], torch.get_rng_state()
