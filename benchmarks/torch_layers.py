"""A small transformer whose layers repeat, which plans of recomputation are tested and measured on."""

from __future__ import annotations

from torch import Tensor, nn


class TorchLayers(nn.Module):
    """Torch's own transformer layers, with dropout, between a table and a head.

    layers, width, vocabulary (int): Sizes.
    """

    def __init__(self, layers: int = 4, width: int = 32, vocabulary: int = 50) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L] -> [B, L, vocabulary]."""
        h = self.embed(x)
        for layer in self.layers:
            h = layer(h)
        return self.head(h)
