"""Adapprox for one matrix at a fixed rank, as its docstring states it: dense, slow, in the order of its equations."""

from __future__ import annotations

import torch
from torch import Tensor


class ReferenceAdapprox:
    """One matrix.

    weight (float32, [m, n]): The matrix, stepped in place.
    rank (int): k.
    """

    def __init__(
        self,
        weight: Tensor,
        *,
        rank: int,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        clip_threshold: float,
        power_steps: int,
        oversampling: int,
        balanced: bool,
        seed: int,
    ) -> None:
        self.weight, self.rank, self.lr, self.betas, self.eps = weight, rank, lr, betas, eps
        self.weight_decay, self.clip_threshold = weight_decay, clip_threshold
        self.power_steps, self.oversampling, self.balanced, self.seed = power_steps, oversampling, balanced, seed
        m, n = weight.shape
        self.q, self.u = torch.zeros(m, 0), torch.zeros(n, 0)
        self.first = torch.zeros(m, n)
        self.steps = 0

    def step(self, grad: Tensor) -> None:
        """Step by a gradient [m, n]."""
        beta1, beta2 = self.betas
        unbias = 1 / (1 - beta2 ** (self.steps + 1))
        second = (unbias * beta2 * self.q @ self.u.T).clamp(min=self.eps**2) + unbias * (1 - beta2) * grad * grad
        row_sizes, column_sizes = self._sizes(second)
        scaled = second / row_sizes / column_sizes.T
        if self.steps:
            # The subspace starts where that of the old factors, in their own scale, ended.
            old_sizes = self._sizes(self.q @ self.u.T)[1]
            # A column that the old factors have lost, or made negative, says nothing of where to start.
            old_scale = torch.where(old_sizes > 0, 1 / old_sizes, 0)
            columns = column_sizes * old_scale * self._start(second, self.u * old_scale)
        else:
            columns = self._start(second, self.u)
        for _ in range(1 if self.steps else 1 + self.power_steps):
            q = torch.linalg.qr(scaled @ columns).Q
            columns = scaled.T @ q
        self.q, self.u = q[:, : self.rank] * row_sizes, columns[:, : self.rank] * column_sizes / unbias
        update = grad / second.sqrt()
        rms = update.norm() / update.numel() ** 0.5
        update = update / max(1.0, float(rms) / self.clip_threshold)
        self.first = beta1 * self.first + (1 - beta1) * update
        self.weight -= self.lr * (self.first + self.weight_decay * self.weight)
        self.steps += 1

    def _sizes(self, moment: Tensor) -> tuple[Tensor, Tensor]:
        """What rows [m, 1] and columns [n, 1] are divided by."""
        if not self.balanced:
            return torch.ones(len(moment), 1), torch.ones(moment.shape[1], 1)
        rows, columns = moment.sum(1, keepdim=True).clamp(min=0), moment.sum(0).clamp(min=0).unsqueeze(1)
        return rows, columns / columns.sum()

    def _start(self, second: Tensor, known: Tensor) -> Tensor:
        width = min(self.rank + self.oversampling, *second.shape) - known.shape[1]
        generator = torch.Generator().manual_seed((self.seed << 32) + self.steps)
        random = torch.randn(second.shape[1], width, generator=generator)
        return torch.cat([known / known.abs().amax(0) if known.numel() else known, random], dim=1)
