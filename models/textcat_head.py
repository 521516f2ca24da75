"""A head that classifies texts or pairs of texts by their pooled vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextcatHead(nn.Module):
    """Vectors of texts to logits of classes: dropout, a hidden layer, dropout, a linear layer.

    A pair is compared as sentence vectors usually are, [u, v, |u - v|, u * v] (Conneau et al. 2017, section 3.1:
    https://arxiv.org/abs/1705.02364).

    nI (int): Width of a text's vector.
    nO (int): Classes.
    is_pair (bool): Whether two vectors make one row.
    hidden (int): Width of the hidden layer; 0 for none.
    dropout (float): Share of features set to zero while training.
    """

    def __init__(self, *, nI: int, nO: int, is_pair: bool, hidden: int, dropout: float) -> None:
        super().__init__()
        self.is_pair = is_pair
        width = 4 * nI if is_pair else nI
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.Tanh()) if hidden else nn.Identity()
        self.output = nn.Linear(hidden or width, nO)

    def forward(self, vectors: Tensor) -> Tensor:
        """Score texts.

        vectors (Tensor): A row a text; of pairs, both texts one after the other. (rows, nI)
        RETURNS (Tensor): Logits. (texts or pairs, nO)
        """
        if self.is_pair:
            u, v = vectors[0::2], vectors[1::2]
            vectors = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        return self.output(self.dropout(self.hidden(self.dropout(vectors))))
