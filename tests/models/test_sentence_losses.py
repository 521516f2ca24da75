"""Losses of sentence encoders against slow and obvious forms of their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samarkand.models.sentence_losses import (
    AssistantVectors,
    EmbeddingLoss,
    MirrorLoss,
    RelationLoss,
    TeacherTable,
    VectorLoss,
    info_nce,
)
from sentence_checkpoints import make_encoder_folder
from sentence_transformers import SentenceTransformer
from torch import nn

ENGLISH = ["the cat sat", "a dog ran in the park", "a cat"]
OTHER = ["قط", "狗 ran", "猫 . the"]


class Fixed(nn.Module):
    """Returns the vectors it is given."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}


def columns(*vectors):
    return [{"vectors": torch.tensor(v, dtype=torch.float32, requires_grad=True)} for v in vectors]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return SentenceTransformer(make_encoder_folder(tmp_path_factory.mktemp("encoder")), device="cpu")


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("positive_in_sum", [True, False])
def test_info_nce_is_the_sum_written_out(positive_in_sum):
    first, second, tau = numbers(4, 6), numbers(4, 6, seed=1), 0.2
    views = np.concatenate([first, second]).tolist()
    total = 0.0
    for i, view in enumerate(views):
        partner = (i + 4) % 8
        others = [j for j in range(8) if j != i and (positive_in_sum or j != partner)]
        below = sum(math.exp(cosine(view, views[j]) / tau) for j in others)
        total -= math.log(math.exp(cosine(view, views[partner]) / tau) / below)
    loss = MirrorLoss(Fixed(), tau, positive_in_sum)(columns(first, second))
    assert loss.item() == pytest.approx(total / 8, abs=1e-5)


def test_info_nce_of_aligned_orthogonal_views():
    views = torch.eye(5).repeat(2, 1)
    assert info_nce(views, 0.04).item() == pytest.approx(math.log(1 + 8 * math.exp(-1 / 0.04)), abs=1e-6)


def test_info_nce_is_taken_in_float32():
    views = torch.randn(8, 4).bfloat16()
    assert info_nce(views, 0.04).dtype == torch.float32


def test_the_vector_loss_sums_over_columns():
    table, first, second = numbers(10, 6), numbers(3, 6, seed=1), numbers(3, 6, seed=2)
    labels = torch.tensor([7, 0, 7])
    wanted = table[[7, 0, 7]]
    expected = ((first - wanted) ** 2).mean() + ((second - wanted) ** 2).mean()
    loss = VectorLoss(Fixed(), TeacherTable(table.astype(np.float32)))(columns(first, second), labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["mse", "softmax"])
def test_the_relation_loss_is_its_equation(form):
    table, english, other = numbers(5, 6), numbers(3, 6, seed=1), numbers(3, 6, seed=2)
    wanted = table[[4, 1, 0]]
    relation = 0.0
    for i in range(3):
        found = [cosine(english[i], other[j]) for j in range(3)]
        expected = [cosine(wanted[i], wanted[j]) for j in range(3)]
        if form == "mse":
            relation += sum((a - b) ** 2 for a, b in zip(found, expected)) / 9
            continue
        p, q = ([math.exp(20 * x) / sum(math.exp(20 * y) for y in row) for x in row] for row in (expected, found))
        relation += sum(a * math.log(a / b) for a, b in zip(p, q)) / 3
    vectors = ((english - wanted) ** 2).mean() + ((other - wanted) ** 2).mean()
    teacher = TeacherTable(table.astype(np.float32))
    loss = RelationLoss(Fixed(), teacher, form)
    labels = torch.tensor([4, 1, 0])
    assert loss(columns(english, other), labels).item() == pytest.approx(relation + vectors, rel=1e-4)


def test_swapping_sides_changes_the_softmax_of_relations():
    table, english, other = numbers(5, 6), numbers(3, 6, seed=1), numbers(3, 6, seed=2)
    loss = RelationLoss(Fixed(), TeacherTable(table.astype(np.float32)), "softmax")
    labels = torch.tensor([4, 1, 0])
    assert loss(columns(english, other), labels).item() != pytest.approx(
        loss(columns(other, english), labels).item(), rel=1e-3
    )


def test_the_assistant_gives_each_sentence_its_own_vector_and_learns_nothing(encoder):
    features = [encoder.tokenize(texts) for texts in (ENGLISH, OTHER)]
    targets = AssistantVectors(encoder)
    wanted = targets(features, torch.arange(3))
    np.testing.assert_allclose(wanted[1].numpy(), encoder.encode(OTHER), atol=1e-5)
    assert not any(weight.requires_grad for weight in targets.parameters())


def test_the_embedding_loss_touches_embeddings_alone(tmp_path):
    student, assistant = (
        SentenceTransformer(make_encoder_folder(tmp_path / str(seed), seed=seed), device="cpu") for seed in (1, 2)
    )
    features = [student.tokenize(texts) for texts in (ENGLISH, OTHER)]
    loss = EmbeddingLoss(student, assistant)
    loss(features).backward()
    learning = {name for name, weight in loss.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning
    assert all(name.startswith("model.0.model.embeddings.") for name in learning)
    same = EmbeddingLoss(assistant.eval(), assistant)
    assert same(features).item() == pytest.approx(0, abs=1e-10)


def test_padding_has_no_part_in_the_embedding_loss(tmp_path):
    student, assistant = (
        SentenceTransformer(make_encoder_folder(tmp_path / str(seed), seed=seed), device="cpu").eval()
        for seed in (1, 2)
    )
    loss = EmbeddingLoss(student, assistant)
    together = loss([student.tokenize(ENGLISH)]).item()
    alone = np.mean([loss([student.tokenize([text])]).item() for text in ENGLISH])
    assert together == pytest.approx(alone, rel=1e-5)
