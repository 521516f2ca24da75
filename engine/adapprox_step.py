"""One step of Adapprox for a batch of matrices of one shape.

Shapes: N matrices, m rows, n columns, rank k, r columns of a sketch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .low_rank import (
    Balance,
    Factors,
    column_major,
    orthonormal,
    random_columns,
    rank_ladder,
    rank_limit,
    rung,
    subspace_iteration,
    unit_scale,
)
from .matrix_views import as_matrix, local_part

# Numbers of a block of the second moment: what stays in the caches of a few cores, and what keeps a GPU busy.
CPU_BLOCK, GPU_BLOCK = 2**19, 2**24
# Bounds of the factors by which cosine guidance may change a step, and by which a rank may grow at once.
GUIDANCE, GROWTH = (0.5, 2.0), (1.25, 4.0)


class Slot:
    """A parameter with its gradient and its state as local matrices, which are views.

    parameter (Tensor): The parameter, with a gradient.
    state (dict[str, Tensor]): Its state; filled when empty.
    group (dict): Its settings.
    """

    def __init__(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        self.state = state
        weight = local_part(parameter)
        self.weight, self.grad = as_matrix(weight, weight), as_matrix(local_part(parameter.grad), weight)
        m, n = self.weight.shape
        self.most = rank_limit(m, n, group["max_rank"])
        self.exact = not self.most
        if not state:
            if self.exact:
                state["second"] = torch.zeros(m, n, device=weight.device)
            else:
                state["rows"], state["columns"] = (torch.zeros(size, 0, device=weight.device) for size in (m, n))
            if group["betas"][0]:
                state["first"] = torch.zeros_like(parameter)
        self.first = as_matrix(local_part(state["first"]), weight) if group["betas"][0] else None

    @property
    def rank(self) -> int:
        """RETURNS (int): Rank of the factors; 0 before the first step."""
        return self.state["rows"].shape[1]

    @property
    def kind(self) -> tuple:
        """RETURNS (tuple): What slots of a batch have in common."""
        rank = None if self.exact else self.rank
        return *self.weight.shape, rank, self.weight.dtype, self.grad.dtype, self.weight.device


def chunks(slots: list[Slot]) -> Iterator[list[Slot]]:
    """Slots of one kind in batches of about a block; a matrix larger than that is a batch by itself."""
    size = max(1, block_size(slots[0].weight) // max(1, slots[0].weight.numel()))
    for first in range(0, len(slots), size):
        yield slots[first : first + size]


def block_size(tensor: Tensor) -> int:
    """RETURNS (int): Numbers of a block on the device of a tensor."""
    return CPU_BLOCK if tensor.device.type == "cpu" else GPU_BLOCK


def step_exact(batch: list[Slot], group: dict[str, Any]) -> None:
    """Step parameters whose second moment is kept whole."""
    beta2 = group["betas"][1]
    grads = torch.stack([slot.grad.float() for slot in batch])
    seconds = [slot.state["second"] for slot in batch]
    torch._foreach_mul_(seconds, beta2)
    torch._foreach_addcmul_(seconds, list(grads), list(grads), value=1 - beta2)
    second, everything = torch.stack(seconds).mul_(_unbias(group)).clamp_(min=_least(group)), slice(None)
    norms = _Norms(batch, group)
    norms.add(everything, grads, second.clone())
    _apply(batch, everything, grads, second, norms, group)


def step_low_rank(batch: list[Slot], group: dict[str, Any]) -> None:
    """Step matrices of one shape and rank, and renew their factors."""
    moment = _SecondMoment(batch, group)
    rank = max(batch[0].rank, min(group["min_rank"], batch[0].most))
    known = moment.known_balance()
    start = moment.start(rank, known)
    if not batch[0].rank:
        start = subspace_iteration(moment, start, group["power_steps"], known).columns
    # One product gives the sketch and the sums of rows.
    ones = start.new_ones(len(batch), start.shape[1], 1)
    probe = column_major(torch.cat([known.column_scale * start, ones], dim=2))
    norms, products, sums = _Norms(batch, group), [], torch.zeros_like(known.columns)
    for place, second in moment():
        products.append(second @ probe)
        sums += second.sum(1).unsqueeze(2)
        norms.add(place, moment.grads(place), second)
    product = torch.cat(products, dim=1)
    balance = Balance.of(product[..., -1:], sums) if group["balanced"] else known
    rows = orthonormal(balance.row_scale * product[..., :-1])
    # Transposed: a product from the left takes a fraction of the time of one with the transposed block.
    columns, scaled = start.new_zeros(len(batch), rows.shape[2], start.shape[1]), balance.row_scale * rows
    decide, total = group["step"] % group["interval"] == 0, start.new_zeros(len(batch))
    for place, second in moment():
        columns.baddbmm_(scaled[:, place].mT, second)
        if decide:
            total += _squares(balance.scaled(place, second))
        _apply(batch, place, moment.grads(place), second, norms, group)
    factors = Factors(rows, balance.column_scale * columns.mT)
    ranks = _adapted_ranks(batch, factors, total, group, rank) if decide else [rank] * len(batch)
    kept = moment.restore(factors, balance)
    for i, (slot, wanted) in enumerate(zip(batch, ranks)):
        _keep(slot, kept, i, min(rank, wanted))
    _grow([i for i, wanted in enumerate(ranks) if wanted > rank], ranks, batch, moment, balance, total, group)


class _SecondMoment:
    """The new second moment of a batch of matrices without its bias, from their old factors and their gradients."""

    def __init__(self, batch: list[Slot], group: dict[str, Any]) -> None:
        self.group = group
        # Of one matrix, views are taken; blocks of its rows fit the cache. Several small ones are a block together.
        stack = torch.stack if len(batch) > 1 else _unsqueezed
        self._grads = stack([slot.grad for slot in batch])
        self._rows = stack([slot.state["rows"] for slot in batch])
        self._columns = stack([slot.state["columns"] for slot in batch])
        height, width = self._grads.shape[1:]
        self._height = height if len(batch) > 1 else max(1, block_size(self._grads) // width)
        self._unbias = _unbias(group)

    def __call__(self) -> Iterator[tuple[slice, Tensor]]:
        """YIELDS (slice, float32 [N, rows, n]): Blocks of rows."""
        beta2, least = self.group["betas"][1], _least(self.group)
        rows = self._unbias * beta2 * self._rows
        for first in range(0, self._rows.shape[1], self._height):
            place = slice(first, first + self._height)
            grads = self.grads(place)
            second = (rows[:, place] @ self._columns.mT).clamp_(min=least)
            yield place, second.addcmul_(grads, grads, value=self._unbias * (1 - beta2))

    def known_balance(self) -> Balance:
        """RETURNS (Balance): That of the old factors, or, at the first step, of the new moment."""
        if not self.group["balanced"]:
            return Balance.none(*self._grads.shape, self._rows.device)
        if self._rows.shape[2]:
            rows = self._rows @ self._columns.sum(1, keepdim=True).mT
            return Balance.of(rows.clamp_(min=0), (self._columns @ self._rows.sum(1, keepdim=True).mT).clamp_(min=0))
        return Balance.of_blocks(self)

    def restore(self, factors: Factors, balance: Balance) -> Factors:
        """Factors of the second moment with its bias, from those of what is balanced and without."""
        kept = balance.restore(factors)
        return Factors(kept.rows, kept.columns / self._unbias)

    def grads(self, place: slice) -> Tensor:
        """Rows of the gradients: float32 [N, rows, n]."""
        return self._grads[:, place].float()

    def start(self, rank: int, balance: Balance, columns: Tensor | None = None) -> Tensor:
        """Earlier columns, the old factors' unless given, scaled, and random ones: [N, n, r] for a rank."""
        columns = balance.column_scale * (self._columns if columns is None else columns)
        _, n, known = columns.shape
        width = min(rank + self.group["oversampling"], n, self._rows.shape[1])
        random = random_columns(n, max(0, width - known), self.group["seed"], self.group["step"], columns.device)
        return torch.cat([unit_scale(columns), random.expand(len(columns), -1, -1)], dim=2)

    def part(self, places: list[int]) -> _SecondMoment:
        """Those of some of the matrices."""
        part = object.__new__(_SecondMoment)
        part.group, part._height, part._unbias = self.group, self._height, self._unbias
        part._grads, part._rows, part._columns = (x[places] for x in (self._grads, self._rows, self._columns))
        return part


class _Norms:
    """Sums over the blocks of an update that decide by how much it is scaled."""

    def __init__(self, batch: list[Slot], group: dict[str, Any]) -> None:
        self.batch, self.group = batch, group
        self.update, self.first, self.inner = torch.zeros(3, len(batch), device=batch[0].weight.device)

    def add(self, place: slice, grads: Tensor, second: Tensor) -> None:
        """Add rows of the update G / sqrt(V), from G and V [N, rows, n]; V is lost."""
        if self.group["cosine_guidance"]:
            update = torch.div(grads, second.sqrt_(), out=second)
            self.update += _squares(update)
            first = torch.stack([slot.first[place].float() for slot in self.batch])
            self.first += _squares(first)
            self.inner += (update * first).sum((1, 2))
        else:
            # ||G / sqrt(V)||^2 as the inner product of G / V and G: no root is taken.
            ratio = torch.div(grads, second, out=second)
            self.update += torch.einsum("nij,nij->n", ratio, grads)

    def clip(self) -> Tensor:
        """What brings the root mean square of each update down to the threshold: [N]."""
        return self._bound(self.update)

    def guidance(self) -> Tensor:
        """What each step, the new first moment, is multiplied by: [N].

        1 / (1 - cosine) of the update and the old first moment, within bounds, and such that the step's root mean
        square does not pass the threshold for that.
        """
        beta1, scale = self.group["betas"][0], self.clip()
        cosine = self.inner / (self.update * self.first).sqrt().clamp_min(1e-30)
        factor = (1 / (1 - cosine).clamp_min(1e-6)).clamp(*GUIDANCE)
        factor = torch.where(self.first > 0, factor, 1.0)
        old, new = beta1**2 * self.first, ((1 - beta1) * scale) ** 2 * self.update
        step = (old + new + 2 * beta1 * (1 - beta1) * scale * self.inner).clamp_min(0)
        return factor * self._bound(step * factor.square())

    def _bound(self, squares: Tensor) -> Tensor:
        rms = (squares / max(1, self.batch[0].weight.numel())).sqrt()
        return 1 / (rms / self.group["clip_threshold"]).clamp_min(1.0)


def _apply(
    batch: list[Slot], place: slice, grads: Tensor, second: Tensor, norms: _Norms, group: dict[str, Any]
) -> None:
    """Step rows of the weights by rows of G / sqrt(V), from G and V [N, rows, n]; V is lost."""
    beta1, rate = group["betas"][0], group["lr"]
    update = torch.div(grads, second.sqrt_(), out=second).mul_(norms.clip()[:, None, None])
    weights, steps = [slot.weight[place] for slot in batch], list(update)
    if beta1:
        firsts = [slot.first[place] for slot in batch]
        torch._foreach_lerp_(firsts, [step.to(firsts[0].dtype) for step in steps], 1 - beta1)
        steps = firsts
    if group["cosine_guidance"]:
        steps = [step * factor for step, factor in zip(steps, norms.guidance())]
    torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
    torch._foreach_add_(weights, steps, alpha=-rate)


def _unbias(group: dict[str, Any]) -> float:
    """What a second moment is multiplied by for its bias towards its beginning, 0, as in Adam."""
    return 1 / (1 - group["betas"][1] ** (group["step"] + 1))


def _least(group: dict[str, Any]) -> float:
    """The least second moment: eps^2, or, where float32 does not hold that, the least it does, so that 0 / 0 is 0."""
    return max(group["eps"] ** 2, torch.finfo(torch.float32).tiny)


def _squares(matrices: Tensor) -> Tensor:
    """Sum of squares of each matrix: [N, m, n] -> [N]."""
    return torch.linalg.vector_norm(matrices, dim=(1, 2)).square()


def _adapted_ranks(batch: list[Slot], factors: Factors, total: Tensor, group: dict[str, Any], rank: int) -> list[int]:
    """The least rank of each matrix whose error is tolerated; a larger one than `rank` when none is."""
    ladder = rank_ladder(batch[0].most)
    least = min(group["min_rank"], batch[0].most)
    tried = [k for k in ladder if least <= k <= rank] or [rank]
    ranks = []
    for errors in factors.relative_errors(total).tolist():
        enough = [k for k in tried if errors[k - 1] <= group["tolerance"]]
        growth = min(max(errors[rank - 1] / max(group["tolerance"], 1e-9), GROWTH[0]), GROWTH[1])
        ranks.append(enough[0] if enough else rung(ladder, rank * growth))
    return ranks


def _grow(
    places: list[int],
    ranks: list[int],
    batch: list[Slot],
    moment: _SecondMoment,
    balance: Balance,
    total: Tensor,
    group: dict[str, Any],
) -> None:
    """Give matrices factors of their larger ranks, and of larger ones still until the error is tolerated."""
    while places:
        rank, known_rank = ranks[places[0]], batch[places[0]].rank
        now = [i for i in places if (ranks[i], batch[i].rank) == (rank, known_rank)]
        places = [i for i in places if i not in now]
        some = [batch[i] for i in now]
        part, part_balance = moment.part(now), balance.part(now)
        known = torch.stack([slot.state["columns"] for slot in some])
        factors = subspace_iteration(part, part.start(rank, part_balance, known), group["power_steps"], part_balance)
        wanted = _adapted_ranks(some, factors, total[now], group, rank)
        kept = part.restore(factors, part_balance)
        for k, i in enumerate(now):
            _keep(batch[i], kept, k, min(rank, wanted[k]))
            if wanted[k] > rank:
                ranks[i] = wanted[k]
                places.append(i)


def _keep(slot: Slot, factors: Factors, i: int, rank: int) -> None:
    # Copies: a view would hold the memory of the oversampled columns.
    slot.state["rows"] = factors.rows[i, :, :rank].contiguous()
    slot.state["columns"] = factors.columns[i, :, :rank].contiguous()


def _unsqueezed(tensors: list[Tensor]) -> Tensor:
    return tensors[0].unsqueeze(0)
