"""Losses for sentence encoders that `sentence-transformers` lacks; its trainer takes them as it takes its own.

A batch comes as one dict of features a column (english, translation; or a text and its other view), and as labels:
rows of the teacher's table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Features = dict[str, Any]
SOFTMAX_SCALE = 20.0


class MirrorLoss(nn.Module):
    """InfoNCE between two views of each text (Mirror-BERT, Liu et al. 2021, arXiv 2104.08027, equation 1).

    model (Module): The encoder, in training mode: its dropout is what makes views differ.
    temperature (float): tau.
    positive_in_sum (bool): Whether the sum over other views holds the positive too, which bounds the loss below (the
        form of the authors' code); False for the form of the paper.
    """

    def __init__(self, model: nn.Module, temperature: float = 0.04, positive_in_sum: bool = True) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.positive_in_sum = positive_in_sum

    def forward(self, features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch of B texts.

        features (Iterable[Features]): Of the texts and of their other views.
        labels (Optional[Tensor]): Not used.
        RETURNS (Tensor): Scalar, mean over 2 B views.
        """
        views = torch.cat([self.model(column)["sentence_embedding"] for column in features]).float()
        return info_nce(views, self.temperature, self.positive_in_sum)


def info_nce(views: Tensor, temperature: float, positive_in_sum: bool = True) -> Tensor:
    """InfoNCE in both directions, in float32.

    views (Tensor): Shape (2 B, width); rows i and i + B are views of one text.
    temperature (float): tau.
    positive_in_sum (bool): As in `MirrorLoss`.
    RETURNS (Tensor): Scalar.
    """
    unit = F.normalize(views.float(), dim=1)
    scores = unit @ unit.T / temperature
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    half = len(scores) // 2
    targets = torch.arange(len(scores), device=scores.device).roll(half)
    positives = scores[torch.arange(len(scores), device=scores.device), targets]
    hidden = own if positive_in_sum else own | own.roll(half, dims=1)
    return (scores.masked_fill(hidden, -torch.inf).logsumexp(1) - positives).mean()


class VectorLoss(nn.Module):
    """Mean squared error of each column's sentence vector: stages 1 and 3 of multi-stage distillation, L1 and L3.

    model (Module): The encoder that learns.
    targets (Targets): What it learns from.
    """

    def __init__(self, model: nn.Module, targets: Targets) -> None:
        super().__init__()
        self.model = model
        self.targets = targets

    def forward(self, features: Iterable[Features], labels: Tensor) -> Tensor:
        """The loss of a batch.

        features (Iterable[Features]): Of each column.
        labels (Tensor): Rows of the teacher's table, int64, shape (B,).
        RETURNS (Tensor): Scalar, the sum over columns.
        """
        columns = list(features)
        wanted = self.targets(columns, labels)
        vectors = [self.model(dict(column))["sentence_embedding"] for column in columns]
        return sum(F.mse_loss(vector, target) for vector, target in zip(vectors, wanted))


class PieceVectors(nn.Module):
    """A sentence encoder without its layers: what `VectorLoss` needs to train the pieces alone.

    model (Module): A `SentenceTransformer` of ModernBERT, a mean and a linear map.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Features) -> Features:
        """The map of the mean over pieces of their normalized vectors.

        features (Features): Of one column.
        RETURNS (Features): "sentence_embedding", shape (B, width).
        """
        model = getattr(self.model, "module", self.model)
        return model[-1]({"sentence_embedding": _mean(final_piece_vectors(model, features["input_ids"]), features)})


def final_piece_vectors(model: nn.Module, pieces: Tensor) -> Tensor:
    """What ModernBERT would give for pieces if its layers added nothing.

    model (Module): A `SentenceTransformer` of ModernBERT.
    pieces (Tensor): Numbers of pieces, any shape.
    RETURNS (Tensor): One more dimension, of the encoder's width.
    """
    encoder = model[0].model
    return encoder.final_norm(encoder.embeddings(pieces))


class EmbeddingLoss(nn.Module):
    """Mean squared error of the means of the embedding layers' outputs: stage 2, L2. No other layer runs or learns.

    model (Module): A `SentenceTransformer` of the student.
    assistant (Module): A `SentenceTransformer` of the assistant, with the same pieces and width.
    """

    def __init__(self, model: nn.Module, assistant: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.assistant = frozen(assistant)

    def forward(self, features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        features (Iterable[Features]): Of each column.
        labels (Optional[Tensor]): Not used.
        RETURNS (Tensor): Scalar, the sum over columns.
        """
        student = getattr(self.model, "module", self.model)
        return sum(
            F.mse_loss(_embedding_mean(student, column), _embedding_mean(self.assistant, column)) for column in features
        )


class RelationLoss(nn.Module):
    """Similarities between the sentences of a batch, and vectors, as the teacher has them: stage 4, L4.

    R_T = cos(T(s), T(s)), R_S = cos(S(s), S(t)) with s English and t its translation.

    model (Module): The student.
    teacher (TeacherTable): The teacher's vectors of the English sentences.
    form (str): "mse" between R_S and R_T; or "softmax", the divergence between the softmax of their rows, scaled.
    """

    def __init__(self, model: nn.Module, teacher: TeacherTable, form: Literal["mse", "softmax"] = "mse") -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher
        self.form = form

    def forward(self, features: Iterable[Features], labels: Tensor) -> Tensor:
        """The loss of a batch.

        features (Iterable[Features]): Of the English sentences and of their translations.
        labels (Tensor): Rows of the teacher's table, int64, shape (B,).
        RETURNS (Tensor): Scalar.
        """
        columns = list(features)
        wanted = self.teacher(columns, labels)[0]
        english, other = (self.model(dict(column))["sentence_embedding"] for column in columns)
        found, expected = (
            F.normalize(a, dim=1) @ F.normalize(b, dim=1).T for a, b in ((english, other), (wanted, wanted))
        )
        vectors = F.mse_loss(english, wanted) + F.mse_loss(other, wanted)
        if self.form == "mse":
            return F.mse_loss(found, expected) + vectors
        rows, targets = (F.log_softmax(SOFTMAX_SCALE * scores, dim=1) for scores in (found, expected))
        return F.kl_div(rows, targets, reduction="batchmean", log_target=True) + vectors


class TeacherTable(nn.Module):
    """The teacher's vectors, computed beforehand.

    vectors (np.ndarray): Shape (sentences, width); may be memory-mapped.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, columns: Sequence[Features], labels: Tensor) -> list[Tensor]:
        """The same vectors for each column.

        columns (Sequence[Features]): The columns.
        labels (Tensor): Rows of the table.
        RETURNS (list[Tensor]): Shape (B, width), float32, for each column.
        """
        rows = torch.from_numpy(np.asarray(self.vectors[labels.cpu().numpy()], dtype=np.float32)).to(labels.device)
        return [rows for _ in columns]


class AssistantVectors(nn.Module):
    """The vectors that an assistant gives each sentence itself.

    assistant (Module): A `SentenceTransformer` with the student's pieces.
    """

    def __init__(self, assistant: nn.Module) -> None:
        super().__init__()
        self.assistant = frozen(assistant)

    def forward(self, columns: Sequence[Features], labels: Tensor) -> list[Tensor]:
        """Vectors of each column.

        columns (Sequence[Features]): The columns.
        labels (Tensor): Not used.
        RETURNS (list[Tensor]): Shape (B, width) for each column.
        """
        self.assistant.eval()
        with torch.no_grad():
            return [self.assistant(dict(column))["sentence_embedding"] for column in columns]


Targets = TeacherTable | AssistantVectors


def frozen(module: nn.Module) -> nn.Module:
    """RETURNS (Module): The module, whose weights learn nothing from now on."""
    return module.requires_grad_(False).eval()


def _embedding_mean(model: nn.Module, features: Features) -> Tensor:
    """Mean over pieces of what the embedding layer of a `SentenceTransformer` gives, shape (B, width)."""
    return _mean(model[0].model.embeddings(features["input_ids"]), features)


def _mean(vectors: Tensor, features: Features) -> Tensor:
    mask = features["attention_mask"].unsqueeze(-1).to(vectors.dtype)
    return (vectors * mask).sum(1) / mask.sum(1).clamp_min(1)
