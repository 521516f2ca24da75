"""M3 one mention after another, from the weights alone: the slow oracle of `samarkand.models.m3`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from samarkand.models.m3 import M3, M3Batch
from torch import Tensor

NIL, OWN = -1, -2


@dataclass
class Told:
    """What the oracle says of one mention; scores and probabilities of its real options alone."""

    scores: Tensor
    probabilities: Tensor
    best: int
    chosen: int
    v1: Tensor | None
    v2: Tensor | None
    s_link: float


def attend(network: M3, V: Tensor) -> Tensor:
    """V' of one mention, a head and an option at a time: [K, H] -> [K, H]."""
    if network.attention is None:
        return V
    layer = network.attention
    width = V.shape[1]
    part = width // layer.heads
    q, k, v = (V @ layer.read.weight.T + layer.read.bias).split(width, dim=1)
    rows = []
    for i in range(len(V)):
        heads = []
        for head in range(layer.heads):
            cut = slice(head * part, (head + 1) * part)
            weights = (k[:, cut] @ q[i, cut] / part**0.5).softmax(0)
            heads.append(weights @ v[:, cut])
        rows.append(layer.write.weight @ torch.cat(heads) + layer.write.bias)
    return V + torch.stack(rows)


def history_term(network: M3, V_k: Tensor, h: Tensor) -> Tensor:
    """t(V_k, h): [H], [H] -> []."""
    history = network.history
    W = torch.cat([history.option.weight, history.memory.weight, history.product.weight], dim=1)
    none = torch.zeros_like(h)
    there = torch.tanh(W @ torch.cat([V_k, h, V_k * h]) + history.option.bias)
    alone = torch.tanh(W @ torch.cat([V_k, none, none]) + history.option.bias)
    return history.score.weight[0] @ (there - alone)


def remember(network: M3, h: Tensor, chosen: Tensor, q: Tensor) -> Tensor:
    """The memory after an answer: [H] -> [H]."""
    history = network.history
    c = history.answer.weight @ torch.cat([chosen, q])
    g = torch.sigmoid(history.gate.weight @ torch.cat([h, c]) + history.gate.bias)
    return g * h + (1 - g) * c


def answer_one(network: M3, V: Tensor, q: Tensor, f: Tensor, ids: list[int], h: Tensor | None) -> Told:
    """One mention: V [K, H], q [H], f [K, F]; h is None for a network without history."""
    seen = attend(network, V)
    scores = []
    for k in range(len(V)):
        hidden = torch.tanh(network.select.weight @ torch.cat([seen[k], f[k, 1:]]) + network.select.bias)
        a = network.score.weight[0] @ hidden
        a = a + network.known[0] * f[k, 1] + network.known[1] * f[k, 2]
        if network.prior is not None:
            a = a + network.prior * f[k, 0]
        if h is not None:
            a = a + history_term(network, V[k], h)
        scores.append(a)
    numbers = [float(a.detach()) for a in scores]
    best = min((k for k in range(len(V)) if numbers[k] >= max(numbers) - 1e-5), key=lambda k: ids[k])
    lead = [scores[best] - scores[k] for k in range(len(V)) if k != best]
    probabilities = torch.stack(scores).softmax(0)
    fit = [f[k, 1] * (1.0 if f[k, 2] > 0 else 0.5) for k in range(len(V))]
    v1 = v2 = None
    if network.first is not None:
        pool = torch.cat([q, V.max(0).values, V.mean(0), max(fit)[None]])
        v1 = torch.sigmoid(network.first.weight[0] @ pool + network.first.bias[0])
    if network.second is not None:
        lead = torch.stack(lead).min() if lead else torch.zeros_like(scores[best])
        evidence = torch.cat([seen[best], q, torch.stack([scores[best], lead, fit[best] * probabilities[best]])])
        v2 = torch.sigmoid(network.second.weight[0] @ evidence + network.second.bias[0])
    if v1 is not None and v2 is not None:
        s_link = network.beta * float(v1.detach()) + (1 - network.beta) * float(v2.detach())
    else:
        s_link = float(next(v for v in (v1, v2, probabilities[best]) if v is not None).detach())
    chosen = best if s_link >= network.theta else NIL
    return Told(torch.stack(scores), probabilities, best, chosen, v1, v2, s_link)


def answer_all(network: M3, batch: M3Batch, told: list[int] | None = None) -> list[Told | None]:
    """Every mention, text by text and turn by turn; None for those without options."""
    answers: list[Told | None] = [None] * len(batch)
    for text in sorted(set(batch.text.tolist())):
        mentions = [i for i in range(len(batch)) if int(batch.text[i]) == text and bool(batch.mask[i].any())]
        h = None if network.history is None else batch.query.new_zeros(batch.query.shape[1])
        for i in sorted(mentions, key=lambda i: int(batch.order[i])):
            real = batch.mask[i]
            V, q, f = batch.options[i][real], batch.query[i], batch.features[i][real]
            ids = list(range(len(V))) if batch.ids is None else batch.ids[i][real].tolist()
            answers[i] = answer_one(network, V, q, f, ids, h)
            places = real.nonzero().squeeze(1).tolist()
            kept = answers[i].chosen
            if told is not None and told[i] != OWN:
                kept = places.index(told[i]) if told[i] != NIL else NIL
            if h is not None and kept != NIL:
                h = remember(network, h, V[kept], q)
            # Places among all columns, as the batch has them.
            answers[i].best = places[answers[i].best]
            answers[i].chosen = NIL if answers[i].chosen == NIL else places[answers[i].chosen]
    return answers
