"""One pair at a time, one head and one token at a time: the slow oracle of `samarkand.models.joint_reader`."""

from __future__ import annotations

import math

import torch
from samarkand.models.joint_reader import CrossLayer, JointReader, Pairs
from torch import Tensor


def norm(layer: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    """LayerNorm of one vector: [H] -> [H]."""
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + layer.eps) * layer.weight + layer.bias


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    """[N] -> [M]."""
    return layer.weight @ x + layer.bias


def look(layer: CrossLayer, own: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """What each token of one side sees in the other: vectors [H]."""
    H = len(own[0])
    part = H // layer.heads
    read = [[linear(layer.read, norm(layer.norm, x)) for x in side] for side in (own, other)]
    seen = []
    for x in read[0]:
        heads = []
        for head in range(layer.heads):
            cut = slice(head * part, (head + 1) * part)
            weights = torch.stack([x[:H][cut] @ y[H : 2 * H][cut] / math.sqrt(part) for y in read[1]]).softmax(0)
            heads.append(sum(weight * y[2 * H :][cut] for weight, y in zip(weights, read[1])))
        seen.append(linear(layer.write, torch.cat(heads)))
    return seen


def think(layer: CrossLayer, x: Tensor) -> Tensor:
    """The two-layer part: [H] -> [H]."""
    first, wide, _, narrow = layer.think
    return linear(narrow, torch.nn.functional.gelu(linear(wide, norm(first, x))))


def read_one(
    reader: JointReader, x: Tensor, marks: list[int], y: Tensor, segments: list[int], f: Tensor
) -> tuple[Tensor, Tensor]:
    """One pair: tokens [L, E] and marks, tokens [S, E] and segments, features [F] -> V [H], q [H]."""
    X = [linear(reader.enter_query, row) + reader.marks.weight[mark] for row, mark in zip(x, marks)]
    Y = [linear(reader.enter_option, row) + reader.segments.weight[segment] for row, segment in zip(y, segments)]
    mention = [place for place, mark in enumerate(marks) if mark]
    means = torch.cat([torch.stack([X[i] for i in mention]).mean(0), torch.stack(X).mean(0)])
    q = norm(reader.alone[1], linear(reader.alone[0], means))
    for layer in reader.layers:
        seen = look(layer, X, Y), look(layer, Y, X)
        X, Y = ([a + b for a, b in zip(side, of_side)] for side, of_side in zip((X, Y), seen))
        X, Y = ([a + think(layer, a) for a in side] for side in (X, Y))
    x, y = torch.stack([X[i] for i in mention]).mean(0), torch.stack(Y).mean(0)
    return norm(reader.norm, linear(reader.pair, torch.cat([x, y, x * y])) + reader.known.weight @ f), q


def read_all(reader: JointReader, tokens: Tensor, option_tokens: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """As `JointReader`, without padding anywhere."""
    N, K = pairs.choices.shape
    H = reader.marks.weight.shape[1]
    V, q = tokens.new_zeros(N, K, H), tokens.new_zeros(N, H)
    for n in range(N):
        real = pairs.queries[n] >= 0
        x, marks = tokens[pairs.queries[n][real]], pairs.marks[n][real].tolist()
        for k in range(K):
            u = int(pairs.choices[n, k])
            if u >= 0:
                there = pairs.options[u] >= 0
                y = option_tokens[pairs.options[u][there]]
                V[n, k], q[n] = read_one(reader, x, marks, y, pairs.segments[u][there].tolist(), pairs.features[n, k])
    return V, q
