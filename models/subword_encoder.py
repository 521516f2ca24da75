"""A small encoder for CPUs, trained from scratch: hashed words, pieces, shapes and bigrams, then context layers.

Shapes: U distinct tokens, P pieces, B sequences, L tokens of the longest, H width of the output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import Errors
from .subword_features import SHAPE_ROWS, TokenFeatures

CONTEXTS = ("lstm", "cnn", "attention")
_BIGRAM_MULTIPLIER = 0x9E3779B1


@dataclass
class TokenBatch:
    """Sequences of tokens over a shared set of distinct tokens.

    words, shapes, pieces, offsets: As in `TokenFeatures`, as tensors; token 0 is the padding token.
    index (int64, [B, L]): Place of each token among the distinct ones; 0 for padding, and within a sequence's
        length for a masked token.
    lengths (int64, [B]): Tokens of each sequence.
    """

    words: Tensor
    shapes: Tensor
    pieces: Tensor
    offsets: Tensor
    index: Tensor
    lengths: Tensor

    def piece_counts(self) -> Tensor:
        """Pieces of each distinct token (int64, [U])."""
        return torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.pieces)]))

    @classmethod
    def build(cls, features: TokenFeatures, index: Tensor, lengths: Tensor, device: torch.device) -> TokenBatch:
        """Put features and an index (0-based over the features, -1 for padding) on a device."""
        # The padding token is all zeros: row 0 of every table, which no hash leads to, and no pieces.
        tensors = (
            F.pad(torch.from_numpy(features.words), (0, 0, 1, 0), value=-1),
            F.pad(torch.from_numpy(features.shapes), (1, 0)),
            torch.from_numpy(features.pieces),
            F.pad(torch.from_numpy(features.offsets), (1, 0)),
            index + 1,
            lengths,
        )
        return cls(*(tensor.to(device) for tensor in tensors))


def hashed_rows(hashes: Tensor, rows: int) -> Tensor:
    """Rows of a table for hashes: 1 to `rows` - 1, and row 0, which is never learnt, for -1 (int64, any shape)."""
    return (hashes % (rows - 1) + 1).masked_fill(hashes < 0, 0)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True for real tokens: lengths [B] -> [B, size]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class SharedDropout(nn.Module):
    """Dropout with one mask for all tokens of a sequence (Gal and Ghahramani 2016), which is also cheap to draw.

    rate (float): Share of features set to zero.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x [B, L, N] -> [B, L, N]."""
        if not self.training or not self.rate:
            return x
        keep = 1.0 - self.rate
        return x * (torch.rand(len(x), 1, x.shape[-1], device=x.device) < keep).to(x.dtype).div_(keep)


class TokenEmbedding(nn.Module):
    """Tokens to vectors: word + pieces + shape of the token, and the bigrams with its neighbours.

    word_rows (int): Rows of the word table.
    piece_rows (int): Rows of the piece table.
    embed_width (int): Width of the word and piece vectors.
    bigram_rows (int): Rows of the bigram table; 0 for no bigrams.
    bigram_width (int): Width of a bigram vector.
    width (int): H, width of the output.
    word_dropout (float): Share of distinct tokens whose word vector is left out while training, so that the pieces
        and the context learn to do without it. Characters on their own, which have one piece at most, keep theirs.
    """

    def __init__(
        self,
        *,
        word_rows: int,
        piece_rows: int,
        embed_width: int,
        bigram_rows: int,
        bigram_width: int,
        width: int,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.bigram_rows = bigram_rows
        self.word_dropout = word_dropout
        shape_width = 16
        self.words = nn.EmbeddingBag(word_rows, embed_width, mode="sum", padding_idx=0)
        self.pieces = nn.EmbeddingBag(piece_rows, embed_width, mode="mean", padding_idx=0)
        self.shapes = nn.Embedding(SHAPE_ROWS, shape_width, padding_idx=0)
        self.project = nn.Linear(2 * embed_width + shape_width, width)
        self.bigrams = nn.Embedding(max(bigram_rows, 1), bigram_width, padding_idx=0)
        self.project_before = nn.Linear(bigram_width, width, bias=False)
        self.project_after = nn.Linear(bigram_width, width, bias=False)
        for table in (self.words, self.pieces, self.shapes, self.bigrams):
            nn.init.normal_(table.weight, std=0.1)
            with torch.no_grad():
                table.weight[0].zero_()

    def forward(self, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        """TokenBatch -> tokens alone, bigrams with the token before, bigrams with the token after: [B, L, H] each."""
        # Distinct tokens are embedded once, then spread over the sequences.
        tokens = F.embedding(batch.index, self.project(self._distinct(batch)))
        if not self.bigram_rows:
            return tokens, torch.zeros_like(tokens), torch.zeros_like(tokens)
        hashes = F.pad(batch.words[:, 0].clamp_min(0)[batch.index], (1, 1))  # [B, L + 2]
        pairs = (hashes[:, :-1] * _BIGRAM_MULTIPLIER + hashes[:, 1:]) % (2**31 - 1)
        vectors = self.bigrams(hashed_rows(pairs, self.bigram_rows))  # [B, L + 1, bigram_width]
        return tokens, self.project_before(vectors[:, :-1]), self.project_after(vectors[:, 1:])

    def _distinct(self, batch: TokenBatch) -> Tensor:
        words = self.words(hashed_rows(batch.words, self.words.num_embeddings))
        if self.training and self.word_dropout:
            dropped = torch.rand(len(words), device=words.device) < self.word_dropout
            words = words.masked_fill((dropped & (batch.piece_counts() > 1)).unsqueeze(1), 0.0)
        pieces = self.pieces(hashed_rows(batch.pieces, self.pieces.num_embeddings), batch.offsets)
        return torch.cat([words, pieces, self.shapes(batch.shapes)], dim=-1)


class ConvLayer(nn.Module):
    """Residual convolution over `2 * reach + 1` tokens; padding is held at zero.

    width (int): H.
    reach (int): Tokens seen on each side.
    dropout (float): Dropout of the residual branch.
    """

    def __init__(self, *, width: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.reach = reach
        self.conv = nn.Linear((2 * reach + 1) * width, 2 * width)
        self.dropout = SharedDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, H], mask [B, L] -> [B, L, H]."""
        hidden = F.pad(self.norm(x) * mask.unsqueeze(-1), (0, 0, self.reach, self.reach))
        size = x.shape[1]
        near = torch.cat([hidden[:, k : k + size] for k in range(2 * self.reach + 1)], dim=-1)
        return x + self.dropout(F.glu(self.conv(near), dim=-1))


class BiLSTM(nn.Module):
    """Bidirectional LSTM whose result does not depend on padding.

    The backward direction reads each sequence reversed within its own length, so padding always comes last.

    nI (int): Input width.
    nO (int): Output width, half of it for each direction.
    """

    def __init__(self, *, nI: int, nO: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(nI, nO // 2, batch_first=True)
        self.back = nn.LSTM(nI, nO // 2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, x_back: Tensor | None = None) -> Tensor:
        """x [B, L, nI], lengths [B], and what the backward direction reads if not x -> [B, L, nO]."""
        x_back = x if x_back is None else x_back
        flip = _reversed_rows(lengths, x.shape[1])
        ahead, _ = self.ahead(x)
        back, _ = self.back(_take_rows(x_back, flip))
        return torch.cat([ahead, _take_rows(back, flip)], dim=-1)


class AttentionLayer(nn.Module):
    """Pre-norm transformer layer with rotary positions.

    width (int): H.
    heads (int): Attention heads.
    dropout (float): Dropout of both residual branches.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_ff = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = SharedDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, L, H], mask [B, L] -> [B, L, H]."""
        B, L, H = x.shape
        q, k, v = self._projections(x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, L, H)))
        return x + self.dropout(self.ff(self.norm_ff(x)))

    def attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """What `forward` mixes by, for those who look on: x [B, L, H], mask [B, L] -> [B, heads, L, L]."""
        q, k, _ = self._projections(x)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        return scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)

    def _projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, L, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return _rotate(q), _rotate(k), v


@dataclass
class Watch:
    """What `SubwordEncoder` leaves behind of one batch, when it is watched.

    block (Optional[int]): Layer whose attention is asked for.
    needs_first (bool): Whether the output of the first layer is asked for.
    embedded ([B, L, H]): Vectors before the first layer.
    attention ([B, heads, L, L]): Attention of the block; None for layers that have none.
    first ([B, L, H]): Output of the first layer under the norm of the last, so that both are of one scale; padding
        rows are of no use.
    """

    block: int | None
    needs_first: bool = False
    embedded: Tensor | None = None
    attention: Tensor | None = None
    first: Tensor | None = None


class SubwordEncoder(nn.Module):
    """Hashed token embedding followed by context layers.

    width (int): H; see `check_width`.
    word_rows, piece_rows, embed_width, bigram_rows, bigram_width, word_dropout: As in `TokenEmbedding`.
    context (str): "cnn", "lstm" or "attention".
    depth (int): Context layers.
    dropout (float): Dropout of the embedding and of each layer.
    token_dropout (float): Share of tokens that are read as masked while training.
    RAISES (ValueError): S304 when the context layers cannot be so wide.
    """

    def __init__(
        self,
        *,
        width: int,
        embed_width: int,
        word_rows: int,
        piece_rows: int,
        bigram_rows: int,
        bigram_width: int,
        context: str,
        depth: int,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_width(width, context, depth)
        self.context = context
        self.token_dropout = token_dropout
        self.embed = TokenEmbedding(
            word_rows=word_rows,
            piece_rows=piece_rows,
            embed_width=embed_width,
            bigram_rows=bigram_rows,
            bigram_width=bigram_width,
            width=width,
            word_dropout=word_dropout,
        )
        self.norm_embed = nn.LayerNorm(width)
        self.dropout = SharedDropout(dropout)
        self.layers = nn.ModuleList(_context_layer(context, width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: TokenBatch, watch: Watch | None = None) -> Tensor:
        """TokenBatch -> [B, L, H]; padding rows are zero. `watch` gets what it asks for."""
        mask = length_mask(batch.lengths, batch.index.shape[1])
        tokens, before, after = self._embed(batch)
        x = self.dropout(self.norm_embed(tokens + before + after))
        if watch is not None:
            watch.embedded = x
        for k, layer in enumerate(self.layers):
            if watch is not None and watch.block == k and isinstance(layer, AttentionLayer):
                watch.attention = layer.attention(x, mask)
            if self.context != "lstm":
                x = layer(x, mask)
            elif k == 0:
                x = x + self.dropout(self._directed(layer, batch.lengths, tokens, before, after))
            else:
                x = x + self.dropout(layer(x, batch.lengths))
            if watch is not None and watch.needs_first and k == 0:
                watch.first = self.norm(x)
        return self.norm(x) * mask.unsqueeze(-1)

    def outside(self, batch: TokenBatch) -> Tensor:
        """What the first BiLSTM knows of each token without having read it: TokenBatch -> [B, L, H].

        The forward half is the state before the token, the backward half the state after it; neither has seen the
        token, nor a bigram of which it is part. Only for the context "lstm".
        """
        tokens, before, after = self._embed(batch)
        states = self._directed(self.layers[0], batch.lengths, tokens, before, after)
        states = states * length_mask(batch.lengths, batch.index.shape[1]).unsqueeze(-1)
        ahead, back = states.chunk(2, dim=-1)
        return torch.cat([F.pad(ahead[:, :-1], (0, 0, 1, 0)), F.pad(back[:, 1:], (0, 0, 0, 1))], dim=-1)

    def _embed(self, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        if self.training and self.token_dropout:
            kept = torch.rand(batch.index.shape, device=batch.index.device) >= self.token_dropout
            batch = replace(batch, index=batch.index * kept)
        return self.embed(batch)

    def _directed(self, layer: BiLSTM, lengths: Tensor, tokens: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Each direction reads the bigrams that it has come past."""
        ahead, back = self.norm_embed(tokens + before), self.norm_embed(tokens + after)
        return layer(self.dropout(ahead), lengths, self.dropout(back))


def check_width(width: int, context: str, depth: int) -> None:
    """Check that context layers can be as wide as is asked.

    The two directions of an LSTM are equally wide, and rotary positions turn pairs of numbers of each attention head.

    width (int): H.
    context (str): "cnn", "lstm" or "attention".
    depth (int): Context layers.
    RAISES (ValueError): S304 when they cannot.
    """
    divisor = {"lstm": 2, "attention": 2 * _heads(width)}.get(context, 1) if depth else 1
    if width % divisor:
        raise ValueError(Errors.S304.format(width=width, context=context, divisor=divisor))


def _heads(width: int) -> int:
    return max(1, width // 64)


def _context_layer(context: str, width: int, dropout: float) -> nn.Module:
    if context == "cnn":
        return ConvLayer(width=width, reach=1, dropout=dropout)
    if context == "lstm":
        return BiLSTM(nI=width, nO=width)
    return AttentionLayer(width=width, heads=_heads(width), dropout=dropout)


def _reversed_rows(lengths: Tensor, size: int) -> Tensor:
    """Rows of a flattened batch that reverse each sequence within its length: [B] -> [B * size]."""
    places = torch.arange(size, device=lengths.device).expand(len(lengths), size)
    places = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    return (places + size * torch.arange(len(lengths), device=lengths.device)[:, None]).flatten()


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of x [B, L, N] as if it were [B * L, N], in the shape of x."""
    return x.flatten(0, 1).index_select(0, rows).view_as(x)


def _rotate(x: Tensor) -> Tensor:
    """Rotary position embedding of x [B, heads, L, width]."""
    half = x.shape[-1] // 2
    inverse = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * inverse
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
