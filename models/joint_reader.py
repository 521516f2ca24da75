"""Reading a mention and an option together: the tokens of each look at those of the other, layer by layer.

Shapes: N mentions, L tokens around each, U distinct options, S tokens of each, P pairs, H width, E width of the
encoders.

    X = W_x x + mark            tokens around the mention; `mark` tells the mention's own from the others
    Y = W_y y + segment         tokens of the option; `segment` tells its name, its type and all else
    X <- X + Attn(X; Y);  Y <- Y + Attn(Y; X);  X <- X + MLP(X);  Y <- Y + MLP(Y)             in each layer, by pair
    V = norm(W [x; y; x * y] + W_f f),  x the mean of the mention's tokens, y that of the option's

where f is what the candidate table knows of a pair, which the verifier would not see otherwise.

A pair is read by itself, so that what it says depends on no other pair and on no padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What a token around a mention is: of the text, or of the mention.
MARKS = 2
# What a token of an option is: of its name, of its type, or of its description and facts.
SEGMENTS = 3


@dataclass(frozen=True)
class Pairs:
    """Mentions and the options that each is read with.

    queries (int64, [N, L]): Places of the tokens around each mention among all tokens; -1 for padding.
    marks (int64, [N, L]): 1 for tokens of the mention.
    options (int64, [U, S]): Places of the tokens of each option among all tokens of options; -1 for padding.
    segments (int64, [U, S]): As in `SEGMENTS`.
    choices (int64, [N, K]): Which option; -1 for none.
    features (float, [N, K, F]): What else is known of each pair.
    """

    queries: Tensor
    marks: Tensor
    options: Tensor
    segments: Tensor
    choices: Tensor
    features: Tensor


class CrossLayer(nn.Module):
    """One layer: both sides of a pair read one another, at the same time and with the same weights.

    width (int): H.
    heads (int): Heads that share it.
    dropout (float): Dropout of what is added.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, X: Tensor, Y: Tensor, x_mask: Tensor, y_mask: Tensor, rows: Tensor | None, columns: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One layer over pairs.

        X (float, [N, L, H]): Tokens around mentions; Y (float, [U, S, H]): of options.
        x_mask (bool, [P, L]), y_mask (bool, [P, S]): Real tokens of each pair, one or more.
        rows, columns (Optional[int64, [P]]): Which of X and Y each pair is of; None when X and Y are by pair already.
        RETURNS: X and Y by pair, [P, L, H] and [P, S, H].
        """
        # What a side says by itself is worked out once for all pairs that it is in.
        x_parts, y_parts = self._parts(X), self._parts(Y)
        if rows is not None:
            X, Y = X[rows], Y[columns]
            x_parts, y_parts = [part[rows] for part in x_parts], [part[columns] for part in y_parts]
        X, Y = X + self._look(x_parts, y_parts, y_mask), Y + self._look(y_parts, x_parts, x_mask)
        return X + self.dropout(self.think(X)), Y + self.dropout(self.think(Y))

    def _parts(self, tokens: Tensor) -> list[Tensor]:
        """Queries, keys and values: [B, heads, T, H / heads] each."""
        parts = self.read(self.norm(tokens)).chunk(3, dim=-1)
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]

    def _look(self, own: list[Tensor], other: list[Tensor], mask: Tensor) -> Tensor:
        seen = F.scaled_dot_product_attention(own[0], other[1], other[2], attn_mask=mask[:, None, None, :])
        return self.dropout(self.write(seen.transpose(1, 2).flatten(-2)))


class JointReader(nn.Module):
    """Readings of pairs, and of the mentions alone.

    query_width, option_width (int): E of the encoder of texts, and of that of options.
    features (int): F.
    width (int): H.
    depth (int): Layers.
    heads (int): Heads of their attention.
    dropout (float): Dropout.
    """

    def __init__(
        self, *, query_width: int, option_width: int, features: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.enter_query = nn.Linear(query_width, width)
        self.enter_option = nn.Linear(option_width, width)
        self.marks = nn.Embedding(MARKS, width)
        self.segments = nn.Embedding(SEGMENTS, width)
        self.layers = nn.ModuleList(CrossLayer(width=width, heads=heads, dropout=dropout) for _ in range(depth))
        self.pair = nn.Linear(3 * width, width)
        self.known = nn.Linear(features, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.alone = nn.Sequential(nn.Linear(2 * width, width), nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)
        for table in (self.marks, self.segments):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, tokens: Tensor, option_tokens: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Read mentions.

        tokens (float, [T, E]): Tokens of all texts; option_tokens (float, [R, E]): of all options.
        pairs (Pairs): What to read.
        RETURNS: V (float, [N, K, H]), with zeros where there is no option, and q (float, [N, H]).
        """
        x_mask, y_mask = pairs.queries >= 0, pairs.options >= 0
        X = self.enter_query(tokens[pairs.queries.clamp_min(0)]) + self.marks(pairs.marks)
        Y = self.enter_option(option_tokens[pairs.options.clamp_min(0)]) + self.segments(pairs.segments)
        X, Y = self.dropout(X), self.dropout(Y)
        mention = (pairs.marks == 1) & x_mask
        q = self.alone(torch.cat([masked_mean(X, mention), masked_mean(X, x_mask)], -1))
        where = pairs.choices >= 0
        rows, columns = where.nonzero()[:, 0], pairs.choices[where]
        V = self._read(X, Y, x_mask, y_mask, mention, rows, columns)
        V = self.norm(V + self.known(pairs.features[where]))
        return V.new_zeros(*where.shape, V.shape[-1]).index_put((where,), V), q

    def _read(
        self, X: Tensor, Y: Tensor, x_mask: Tensor, y_mask: Tensor, mention: Tensor, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """What the texts say of each pair: [P, H]."""
        x_mask, y_mask, mention = x_mask[rows], y_mask[columns], mention[rows]
        for number, layer in enumerate(self.layers):
            places = (None, None) if number else (rows, columns)
            X, Y = layer(X, Y, x_mask, y_mask, *places)
        if not self.layers:
            X, Y = X[rows], Y[columns]
        x, y = masked_mean(X, mention), masked_mean(Y, y_mask)
        return self.pair(torch.cat([x, y, x * y], -1))


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of some tokens, of one at least: tokens [B, T, H], mask [B, T] -> [B, H]."""
    weights = mask.to(tokens.dtype) / mask.sum(1, keepdim=True).clamp_min(1)
    return (weights.unsqueeze(1) @ tokens).squeeze(1)
