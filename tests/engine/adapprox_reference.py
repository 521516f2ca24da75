"""Adapprox for one matrix at a fixed rank, as the paper states it: dense, slow and in the order of its equations."""

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
        second = beta2 * (self.q @ self.u.T).clamp(min=0) + (1 - beta2) * grad * grad
        row_sizes, column_sizes = torch.ones(len(second), 1), torch.ones(second.shape[1], 1)
        if self.balanced:
            # Sums of the second moment before its factors are cut off at 0, so that no pass over it is needed.
            known, squares = self.q @ self.u.T, (1 - beta2) * grad * grad
            row_sizes = beta2 * known.sum(1, keepdim=True).clamp(min=0) + squares.sum(1, keepdim=True)
            column_sums = beta2 * known.sum(0).clamp(min=0) + squares.sum(0)
            column_sizes = (column_sums / column_sums.sum()).unsqueeze(1)
        scaled = second / row_sizes / column_sizes.T
        columns = self._start(scaled, self.u / column_sizes)
        for _ in range(1 if self.steps else 1 + self.power_steps):
            q = torch.linalg.qr(scaled @ columns).Q
            columns = scaled.T @ q
        self.q, self.u = q[:, : self.rank] * row_sizes, columns[:, : self.rank] * column_sizes
        unbiased = second / (1 - beta2 ** (self.steps + 1))
        update = grad / (unbiased.sqrt() + self.eps)
        rms = update.norm() / update.numel() ** 0.5
        update = update / max(1.0, float(rms) / self.clip_threshold)
        self.first = beta1 * self.first + (1 - beta1) * update
        self.weight -= self.lr * (self.first + self.weight_decay * self.weight)
        self.steps += 1

    def _start(self, second: Tensor, known: Tensor) -> Tensor:
        width = min(self.rank + self.oversampling, *second.shape) - known.shape[1]
        generator = torch.Generator().manual_seed((self.seed << 32) + self.steps)
        random = torch.randn(second.shape[1], width, generator=generator)
        return torch.cat([known / known.abs().amax(0) if known.numel() else known, random], dim=1)
