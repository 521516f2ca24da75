"""Similarity from many perspectives over one encoder's frozen vectors (MPTS, arXiv 2202.06517)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .perspective_scores import average_scores, score_perspectives

TEMPERATURE = 0.5


class PerspectiveHeads(nn.Module):
    """The bi-encoder's heads: an affine map for each perspective, and the cosine of what it makes of two texts.

    s_p = cos(M_p u + b_p, M_p v + b_p) and q_p = exp(s_p/t) / (exp(s_p/t) + exp(-s_p/t)) = sigmoid(2 s_p/t). The maps
    begin as the identity, so that heads without training give one and the same cosine for all perspectives.

    width (int): Width h of the vectors.
    perspectives (int): Number P of heads.
    temperature (float): t.
    """

    def __init__(self, width: int, perspectives: int, *, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.temperature = temperature
        self.maps = nn.Parameter(torch.eye(width).repeat(perspectives, 1, 1))
        self.biases = nn.Parameter(torch.zeros(perspectives, width))

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """Log-odds of being alike.

        first, second (Tensor): Vectors, shape (B, h).
        RETURNS (Tensor): 2 s_p / t, shape (B, P).
        """
        mapped = [torch.einsum("bh,pkh->bpk", side, self.maps) + self.biases for side in (first, second)]
        return 2 * functional.cosine_similarity(*mapped, dim=2) / self.temperature

    def probabilities(self, first: Tensor, second: Tensor) -> Tensor:
        """Probability that two texts are alike.

        first, second (Tensor): Vectors, shape (B, h).
        RETURNS (Tensor): q_p, shape (B, P), within sigmoid(-2/t) and sigmoid(2/t).
        """
        return self.logits(first, second).sigmoid()

    def loss(self, first: Tensor, second: Tensor, relations: Tensor) -> Tensor:
        """Mean binary cross-entropy; alike are two that both have it.

        first, second (Tensor): Vectors, shape (B, h).
        relations (Tensor): Shape (B, P): 1 both have it, 0 neither, -1 one of them.
        RETURNS (Tensor): A scalar.
        """
        return functional.binary_cross_entropy_with_logits(self.logits(first, second), (relations == 1).float())


class GenreProduct(nn.Module):
    """A baseline that knows how the labels were made: each text has a genre or not, and a pair is alike if both do.

    q_p = sigmoid(w_p u + c_p) sigmoid(w_p v + c_p), fitted to all three relations: both, neither, or one of the two.

    width (int): Width h of the vectors.
    perspectives (int): Number P of genres.
    """

    def __init__(self, width: int, perspectives: int) -> None:
        super().__init__()
        self.genres = nn.Linear(width, perspectives)
        nn.init.zeros_(self.genres.weight)
        nn.init.zeros_(self.genres.bias)

    def probabilities(self, first: Tensor, second: Tensor) -> Tensor:
        """Probability that two texts both have the genre.

        first, second (Tensor): Vectors, shape (B, h).
        RETURNS (Tensor): Shape (B, P).
        """
        return self.genres(first).sigmoid() * self.genres(second).sigmoid()

    def loss(self, first: Tensor, second: Tensor, relations: Tensor) -> Tensor:
        """Mean negative log-likelihood of the relations.

        first, second (Tensor): Vectors, shape (B, h).
        relations (Tensor): Shape (B, P): 1 both have it, 0 neither, -1 one of them.
        RETURNS (Tensor): A scalar.
        """
        scores = self.genres(first), self.genres(second)
        (has, lacks), (other_has, other_lacks) = (
            (functional.logsigmoid(score), functional.logsigmoid(-score)) for score in scores
        )
        one = torch.logaddexp(has + other_lacks, lacks + other_has)
        chosen = torch.where(relations == 1, has + other_has, torch.where(relations == 0, lacks + other_lacks, one))
        return -chosen.mean()


PairModel: TypeAlias = PerspectiveHeads | GenreProduct


@dataclass(frozen=True)
class FitSettings:
    """How pair models are fitted to frozen vectors.

    epochs (int): Most passes.
    patience (int): Passes without a better one after which to stop.
    batch_size (int): Pairs of a step.
    learn_rate (float): Of AdamW.
    weight_decay (float): Of AdamW.
    held_out (float): Share of the pairs that chooses the best pass.
    seed (int): Of order and choice.
    """

    epochs: int = 100
    patience: int = 20
    batch_size: int = 32
    learn_rate: float = 3e-3
    weight_decay: float = 0.01
    held_out: float = 0.2
    seed: int = 7


def fit_pairs(
    model: PairModel, first: np.ndarray, second: np.ndarray, relations: np.ndarray, settings: FitSettings | None = None
) -> None:
    """Fit a pair model to frozen vectors; it keeps the weights of the pass with the best weighted F1 on held-out pairs.

    model (PairModel): The model, changed in place.
    first, second (np.ndarray): Vectors, shape (n, h).
    relations (np.ndarray): Shape (n, P).
    settings (Optional[FitSettings]): How; None for the defaults.
    """
    settings = settings or FitSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    arrays = [_tensor(first), _tensor(second), torch.as_tensor(relations)]
    order = torch.randperm(len(first), generator=generator)
    held = order[: int(settings.held_out * len(first))]
    rest = order[len(held) :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learn_rate, weight_decay=settings.weight_decay)
    best, best_weights, waited = -1.0, copy.deepcopy(model.state_dict()), 0
    for _ in range(settings.epochs):
        for batch in rest[torch.randperm(len(rest), generator=generator)].split(settings.batch_size):
            optimizer.zero_grad()
            model.loss(*(array[batch] for array in arrays)).backward()
            optimizer.step()
        probabilities = predict_pairs(model, first[held], second[held])
        f1 = average_scores(score_perspectives(probabilities, relations[held] == 1))["weighted"]["f1"]
        best, best_weights, waited = (
            (f1, copy.deepcopy(model.state_dict()), 0) if f1 > best else (best, best_weights, waited + 1)
        )
        if waited == settings.patience:
            break
    model.load_state_dict(best_weights)


def predict_pairs(model: PairModel, first: np.ndarray, second: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """Probabilities of pairs.

    model (PairModel): The model.
    first, second (np.ndarray): Vectors, shape (n, h).
    batch_size (int): Pairs at once.
    RETURNS (np.ndarray): Shape (n, P).
    """
    sides = zip(_tensor(first).split(batch_size), _tensor(second).split(batch_size))
    with torch.inference_mode():
        return torch.cat([model.probabilities(*side) for side in sides]).numpy()


def _tensor(vectors: np.ndarray) -> Tensor:
    """Vectors whose numbers are around 1, whatever their encoder's scale is: a cosine does not mind."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.from_numpy(vectors / np.maximum(lengths, 1e-12) * math.sqrt(vectors.shape[1])).float()
