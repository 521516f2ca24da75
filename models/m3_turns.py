"""The mentions of a text one after another: their order, and greedy answers that remember those before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import Errors
from .m3 import M3, M3Batch, best_option

NIL = -1
# What to remember of a mention: the network's own answer.
OWN = -2
ORDERS = ("easiest", "natural", "reverse", "random")


def order_mentions(
    how: str,
    candidate_counts: Sequence[int],
    prior_margins: Sequence[float],
    positions: Sequence[int],
    *,
    seed: int = 0,
) -> list[int]:
    """The turns of the mentions of one text.

    how (str): One of `ORDERS`.
    candidate_counts (Sequence[int]): Candidates of each mention.
    prior_margins (Sequence[float]): Best prior less second best, of each mention.
    positions (Sequence[int]): Where each mention starts.
    seed (int): Decides the random order.
    RETURNS (list[int]): Turn of each mention, from 0.
    RAISES (ValueError): S930 for an unknown order.
    """
    if how == "easiest":
        return easiest_first(candidate_counts, prior_margins, positions)
    if how == "natural":
        return natural_order(positions)
    if how == "reverse":
        return reverse_order(positions)
    if how == "random":
        return random_order(positions, seed)
    raise ValueError(Errors.S930.format(name="order", value=how, known=", ".join(ORDERS)))


def easiest_first(
    candidate_counts: Sequence[int], prior_margins: Sequence[float], positions: Sequence[int]
) -> list[int]:
    """Turns by fewest candidates, then greatest margin, then left to right; arguments as in `order_mentions`."""
    return _turns([(count, -margin, at) for count, margin, at in zip(candidate_counts, prior_margins, positions)])


def natural_order(positions: Sequence[int]) -> list[int]:
    """Turns from left to right."""
    return _turns(positions)


def reverse_order(positions: Sequence[int]) -> list[int]:
    """Turns from right to left."""
    return [len(positions) - 1 - turn for turn in natural_order(positions)]


def random_order(positions: Sequence[int], seed: int) -> list[int]:
    """Turns drawn by a seed; they depend on the positions alone, not on the order in which these are given."""
    drawn = list(range(len(positions)))
    random.Random(seed).shuffle(drawn)
    return [drawn[turn] for turn in natural_order(positions)]


def _turns(keys: Sequence) -> list[int]:
    """Place of each key among the sorted ones, equals by place."""
    turns = [0] * len(keys)
    for turn, i in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
        turns[i] = turn
    return turns


@dataclass(frozen=True)
class M3Turns:
    """What the turns over a batch gave. Of mentions without options: -inf, `NIL` and 0.

    scores (float, [N, K]): a_k with history; -inf for padding.
    best (int64, [N]): The best option.
    chosen (int64, [N]): The best option, or `NIL` when the verifier doubts it.
    first, second (float, [N]): Logits of v1 and v2, or None without that stage.
    link (float64, [N]): s_link.
    """

    scores: Tensor
    best: Tensor
    chosen: Tensor
    first: Tensor | None
    second: Tensor | None
    link: Tensor


@dataclass(frozen=True)
class M3Answers:
    """What the linker says of a batch. Mentions without options are `NIL`, with 0 everywhere.

    chosen (int64, [N]): The option that is linked, or `NIL`.
    best (int64, [N]): The best option, linked or not; `NIL` when there is none.
    probabilities (float, [N, K]): Of the options, among themselves; exactly 0 for padding.
    v1, v2 (float, [N]): Stages of the verifier, or None without that stage.
    s_link (float64, [N]): Linked when at least theta.
    """

    chosen: Tensor
    best: Tensor
    probabilities: Tensor
    v1: Tensor | None
    v2: Tensor | None
    s_link: Tensor


@torch.no_grad()
def answer(network: M3, batch: M3Batch, told: Tensor | None = None) -> M3Answers:
    """Answer mentions greedily, turn by turn, all texts at once.

    network (M3): The network; put it in evaluation mode first.
    batch (M3Batch): The mentions.
    told (Optional[int64, [N]]): What is remembered of each mention in the place of its own answer: an option, `NIL`
        for nothing, `OWN` for its own answer. Gold here gives the upper bound of what history can do.
    RETURNS (M3Answers): The answers.
    """
    turns = take_turns(network, batch, told)
    has_options = turns.best != NIL
    stages = (None if logits is None else logits.sigmoid() * has_options for logits in (turns.first, turns.second))
    # A row of -inf would be NaN.
    probabilities = turns.scores.masked_fill(~has_options[:, None], 0.0).softmax(1) * has_options[:, None]
    return M3Answers(turns.chosen, turns.best, probabilities, *stages, turns.link)


def take_turns(network: M3, batch: M3Batch, told: Tensor | None = None) -> M3Turns:
    """Like `answer`, with a graph and with logits. No gradient passes through a choice.

    network, batch, told: As in `answer`.
    RETURNS (M3Turns): Scores and choices.
    """
    rows, texts, sizes = _schedule(batch)
    if not sizes:
        return _without_options(network, batch)
    if network.history is None:
        sizes = [len(rows)]
    told = torch.full_like(batch.text, OWN) if told is None else told
    # Sorted by turn, a turn is a slice of each tensor.
    turns = network(batch.rows(rows)).split(sizes)
    memory = batch.query.new_zeros(int(texts.max()) + 1, batch.query.shape[1])
    results = []
    for turn, (reading, text, told_here) in enumerate(zip(turns, texts.split(sizes), told[rows].split(sizes))):
        scores = reading.scores
        h = memory[text]
        # Before the first turn all memories are empty, and the term is 0.
        if turn:
            scores = scores + network.history(reading.options, h)
        scores = scores.masked_fill(~reading.mask, -torch.inf)
        best = best_option(scores, reading.mask, reading.ids)
        second = network.confirm(reading, scores, best)
        link = _link_score(network, scores, best, reading.first, second)
        chosen = best.where(link >= network.theta, NIL)
        results.append((scores, best, chosen, reading.first, second, link))
        if turn < len(sizes) - 1:
            kept = chosen.where(told_here == OWN, told_here)
            entity = reading.options[torch.arange(len(kept), device=kept.device), kept.clamp_min(0)]
            grown = network.history.remember(h, entity, reading.query)
            memory = memory.index_copy(0, text, grown.where((kept != NIL)[:, None], h))
    blanks = (-torch.inf, NIL, NIL, 0.0, 0.0, 0.0)
    return M3Turns(*(_spread(parts, rows, len(batch), blank) for parts, blank in zip(zip(*results), blanks)))


def _schedule(batch: M3Batch) -> tuple[Tensor, Tensor, list[int]]:
    """The mentions that have options, by turn: their rows, the numbers of their texts from 0, the size of each turn."""
    rows = batch.mask.any(1).nonzero().squeeze(1)
    rows = rows[batch.order[rows].argsort(stable=True)]
    rows = rows[batch.text[rows].argsort(stable=True)]
    _, texts, counts = torch.unique_consecutive(batch.text[rows], return_inverse=True, return_counts=True)
    turns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[texts]
    by_turn = turns.argsort(stable=True)
    return rows[by_turn], texts[by_turn], turns.bincount().tolist()


def _link_score(network: M3, scores: Tensor, best: Tensor, first: Tensor | None, second: Tensor | None) -> Tensor:
    chance = scores.softmax(1).gather(1, best.unsqueeze(1)).squeeze(1)
    first, second = (None if logits is None else logits.sigmoid() for logits in (first, second))
    return network.link_score(chance, first, second).detach()


def _spread(parts: Sequence[Tensor | None], rows: Tensor, count: int, blank: float) -> Tensor | None:
    """Values of some rows put back among `count` rows, the others blank."""
    if parts[0] is None:
        return None
    values = torch.cat(list(parts))
    return values.new_full((count, *values.shape[1:]), blank).index_copy(0, rows, values)


def _without_options(network: M3, batch: M3Batch) -> M3Turns:
    zeros, nil = batch.query.new_zeros(len(batch)), torch.full_like(batch.text, NIL)
    scores = batch.features.new_full(batch.mask.shape, -torch.inf)
    first, second = (None if stage is None else zeros for stage in (network.first, network.second))
    return M3Turns(scores, nil, nil, first, second, zeros.double())
