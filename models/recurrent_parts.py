"""Parts of encoders that store little: a narrow table of pieces, and few layers that run several times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        """Become the best approximation of a whole table.

        table (Tensor): Shape (pieces, h).
        RAISES (ValueError): S860 if it has other sizes.
        """
        own = (self.table.num_embeddings, self.project.out_features)
        if tuple(table.shape) != own:
            raise ValueError(Errors.S860.format(found=tuple(table.shape), own=own))
        narrow, (projection,) = shared_factors([table], self.table.embedding_dim)
        self.table.weight.copy_(narrow)
        self.project.weight.copy_(projection.T)


class NarrowTable:
    """What `transformers` asks of an encoder whose table is a `BottleneckEmbedding`, its `bottleneck`."""

    bottleneck: BottleneckEmbedding

    def get_input_embeddings(self) -> nn.Module:
        """RETURNS (nn.Module): The table of pieces."""
        return self.bottleneck.table

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the table of pieces.

        value (nn.Module): The table.
        """
        self.bottleneck.table = value


def shared_factors(tables: Sequence[Tensor], size: int) -> tuple[Tensor, list[Tensor]]:
    """The best approximation of several tables by one narrow table and a projection for each: E P_1, E P_2 and so on.

    They are the largest singular values and vectors of the tables side by side, each scaled to the same norm. E is as
    spread as the first table.

    tables (Sequence[Tensor]): Shapes (pieces, any width).
    size (int): Width e of the narrow table.
    RETURNS (tuple[Tensor, list[Tensor]]): E, shape (pieces, e), and projections, shapes (e, width), in float64.
    """
    norms = [table.double().norm() for table in tables]
    joint = torch.cat([table.double() / norm for table, norm in zip(tables, norms)], dim=1)
    # The eigenvectors of J^T J are the right singular vectors of J, and far fewer than its rows.
    values, vectors = torch.linalg.eigh(joint.T @ joint)
    right, roots = vectors[:, -size:], values[-size:].clamp_min(1e-30) ** 0.25
    narrow = joint @ right / roots
    spread = tables[0].double().square().mean().sqrt() / narrow.square().mean().sqrt()
    parts = (right * roots / spread).T.split([table.shape[1] for table in tables], dim=1)
    return narrow * spread, [part * norm for part, norm in zip(parts, norms)]


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
    kind = ("model_type", "architectures", "embedding_size", "repeats", "skip")
    return {key: value for key, value in config.to_dict().items() if key not in kind}
