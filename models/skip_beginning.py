"""What the skip of a student begins with: what its pieces mean by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .assistant import ridge, without_head
from .recurrent_encoder import Assistant
from .recurrent_parts import shared_factors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Singular values of the head below this share of the largest are not turned round.
LEAST_SINGULAR = 0.1


@torch.no_grad()
def begin_skip(
    student: SentenceTransformer, assistant: Assistant, static: Tensor, texts: Sequence[str], wanted: np.ndarray
) -> None:
    """Let a student begin as the best sum of its layers' output and of static vectors of its pieces.

    Both are mapped to the teacher's vectors at once (ridge regression). The table of the student then approximates the
    assistant's table and the mapped static vectors together, each through a projection of its own.

    student (SentenceTransformer): A student with a skip, a mean, and a map without bias; changed in place.
    assistant (Assistant): The encoder that it was shrunk from.
    static (Tensor): Vectors of the pieces, shape (pieces, any width); pieces that frame a text have no part in it.
    texts (Sequence[str]): Texts of the teacher's language.
    wanted (np.ndarray): The teacher's vectors of them, shape (texts, width).
    """
    encoder, head = student[0].model, student[-1].linear
    static = static.double().clone()
    static[student.tokenizer.all_special_ids] = 0
    encoder.skip.weight.zero_()
    layers, pieces = without_head(student, texts), _means(student, static, texts)
    # Alike in size, for the ridge to weigh on both alike.
    scale = layers.norm() / pieces.norm()
    of_layers, of_pieces = ridge(torch.cat([layers, scale * pieces], dim=1), wanted).split(
        [layers.shape[1], pieces.shape[1]]
    )
    tables = [assistant.get_input_embeddings().weight, scale * static @ of_pieces]
    narrow, (project, skip) = shared_factors(tables, encoder.config.embedding_size)
    encoder.bottleneck.table.weight.copy_(narrow)
    encoder.bottleneck.project.weight.copy_(project.T)
    encoder.skip.weight.copy_((skip @ torch.linalg.pinv(of_layers, rtol=LEAST_SINGULAR)).T)
    head.weight.copy_(of_layers.T)


def _means(student: SentenceTransformer, static: Tensor, texts: Sequence[str]) -> Tensor:
    """Means of static vectors over the pieces that the student reads: (texts, width)."""
    length = student.max_seq_length
    found = student.tokenizer(list(texts), truncation=True, max_length=length, return_attention_mask=False)
    return torch.stack([static[ids].mean(0) for ids in found["input_ids"]])
