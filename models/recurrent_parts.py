"""Parts of encoders that store little: a narrow table of pieces, and few layers that run several times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init

from ..errors import Errors


class Projection(nn.Linear):
    """P, from the width of the table to that of the layers."""

    def spread(self) -> None:
        """Random weights, such that the product with a table is as spread as the table. Loaded ones are left alone."""
        init.normal_(self.weight, std=self.in_features**-0.5)


class BottleneckEmbedding(nn.Module):
    """A table of pieces through a narrow width.

    table (Embedding): E_b, weight of shape (pieces, e).
    width (int): Width h of the result.
    """

    def __init__(self, table: nn.Embedding, width: int) -> None:
        super().__init__()
        self.table = table
        self.project = Projection(table.embedding_dim, width, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Vectors of pieces.

        input_ids (int64, [B, L]): The pieces.
        RETURNS (Tensor): Shape (B, L, h).
        """
        return self.project(self.table(input_ids))

    def product(self) -> Tensor:
        """RETURNS (Tensor): The whole table, shape (pieces, h)."""
        return self.table.weight @ self.project.weight.T

    @torch.no_grad()
    def factorize(self, table: Tensor) -> None:
        """Become the best approximation of a whole table: E_b = U S^(1/2), P = S^(1/2) V^T of its largest values.

        table (Tensor): Shape (pieces, h).
        RAISES (ValueError): S860 if it has other sizes.
        """
        own = (self.table.num_embeddings, self.project.out_features)
        if tuple(table.shape) != own:
            raise ValueError(Errors.S860.format(found=tuple(table.shape), own=own))
        size = self.table.embedding_dim
        # The eigenvectors of E^T E are the right singular vectors of E, and far fewer than its rows.
        values, vectors = torch.linalg.eigh(table.double().T @ table.double())
        right, roots = vectors[:, -size:], values[-size:].clamp_min(1e-12) ** 0.25
        self.table.weight.copy_(table.double() @ right / roots)
        self.project.weight.copy_(right * roots)


class RepeatedLayers(nn.ModuleList):
    """Layers whose iteration goes over them several times.

    layers (ModuleList): The layers.
    repeats (int): How many times.
    """

    def __init__(self, layers: nn.ModuleList, repeats: int) -> None:
        super().__init__(list(layers))
        self.repeats = repeats

    @property
    def stored(self) -> list[nn.Module]:
        """RETURNS (list[Module]): Each layer once."""
        return list(self._modules.values())

    def __iter__(self) -> Iterator[Any]:
        yield from self.stored
        for _ in range(self.repeats - 1):
            yield from self._again()

    def _again(self) -> Iterator[Any]:
        """The layers as they run another time."""
        yield from self.stored


def sizes_of(config: PreTrainedConfig) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): What a config says, for one of another kind of encoder with the same layers."""
    kind = ("model_type", "architectures", "embedding_size", "repeats")
    return {key: value for key, value in config.to_dict().items() if key not in kind}
