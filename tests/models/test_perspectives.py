"""Heads of many perspectives: their probabilities, their independence, and that fitting learns and repeats."""

import math

import numpy as np
import pytest
import torch
from samarkand.models.perspective_scores import score_perspectives
from samarkand.models.perspectives import FitSettings, GenreProduct, PerspectiveHeads, fit_pairs, predict_pairs

WIDTH, GENRES = 6, 3


def vectors(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def random_heads(temperature=0.5, seed=0):
    heads = PerspectiveHeads(WIDTH, GENRES, temperature=temperature)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in heads.parameters():
            values.add_(0.3 * torch.randn(values.shape, generator=generator))
    return heads


def pair(count=5):
    return torch.from_numpy(vectors(count)), torch.from_numpy(vectors(count, seed=1))


def slow_probabilities(heads, first, second):
    """Pair by pair and head by head, with the exponentials of the paper."""
    t = heads.temperature
    result = np.zeros((len(first), GENRES))
    for i, (u, v) in enumerate(zip(first.double(), second.double())):
        for p in range(GENRES):
            m, b = heads.maps[p].detach().double(), heads.biases[p].detach().double()
            x, y = m @ u + b, m @ v + b
            s = float(x @ y / (x.norm() * y.norm()))
            result[i, p] = math.exp(s / t) / (math.exp(s / t) + math.exp(-s / t))
    return result


@torch.no_grad()
def test_probabilities_are_those_of_the_exponential_form():
    heads, (first, second) = random_heads(), pair()
    found = heads.double().probabilities(first.double(), second.double()).numpy()
    assert found == pytest.approx(slow_probabilities(heads, first, second), abs=1e-7)
    assert found.min() > 0.0179
    assert found.max() < 0.9821


@torch.no_grad()
def test_a_cold_temperature_does_not_overflow():
    heads, (first, second) = random_heads(temperature=0.01), pair()
    relations = torch.tensor([[1, 0, -1]] * len(first))
    assert heads.probabilities(first, second).isfinite().all()
    assert heads.loss(first, second, relations).isfinite()


@torch.no_grad()
def test_heads_are_symmetric_and_sure_of_the_same_text():
    heads, (first, second) = random_heads(), pair()
    torch.testing.assert_close(heads.probabilities(first, second), heads.probabilities(second, first))
    same = heads.probabilities(first, first)
    torch.testing.assert_close(same, torch.full_like(same, 1 / (1 + math.exp(-4))))
    assert round(float(same[0, 0]), 3) == 0.982


@torch.no_grad()
@pytest.mark.parametrize("gone", range(GENRES))
def test_heads_are_independent(gone):
    heads, (first, second) = random_heads(), pair()
    before = heads.probabilities(first, second)
    heads.maps[gone] = 0
    heads.biases[gone] = 0
    after = heads.probabilities(first, second)
    for column in range(GENRES):
        assert torch.equal(before[:, column], after[:, column]) == (column != gone)
    assert (after[:, gone] == 0.5).all()


@torch.no_grad()
def test_heads_begin_as_one_cosine():
    first, second = pair()
    found = PerspectiveHeads(WIDTH, GENRES).probabilities(first, second)
    cosines = torch.nn.functional.cosine_similarity(first, second)
    torch.testing.assert_close(found, torch.sigmoid(4 * cosines)[:, None].expand(-1, GENRES))


def test_loss_of_heads_takes_one_of_two_for_neither():
    heads, (first, second) = random_heads(), pair()
    relations = torch.tensor([[1, 0, -1]] * len(first))
    q = heads.probabilities(first, second)
    expected = -torch.stack([q[:, 0].log(), (1 - q[:, 1]).log(), (1 - q[:, 2]).log()]).mean()
    torch.testing.assert_close(heads.loss(first, second, relations), expected)


def test_product_weighs_all_three_relations():
    product, (first, second) = GenreProduct(WIDTH, GENRES), pair()
    with torch.no_grad():
        product.genres.weight.copy_(torch.from_numpy(vectors(GENRES, seed=4)))
    a, b = product.genres(first).sigmoid(), product.genres(second).sigmoid()
    torch.testing.assert_close(product.probabilities(first, second), a * b)
    relations = torch.tensor([[1, 0, -1]] * len(first))
    one = a * (1 - b) + b * (1 - a)
    chosen = torch.stack([(a * b)[:, 0], ((1 - a) * (1 - b))[:, 1], one[:, 2]])
    torch.testing.assert_close(product.loss(first, second, relations), -chosen.log().mean())


def genre_pairs(count, seed):
    """Texts have genre p when the number p of their vector is above zero."""
    first, second = vectors(count, seed), vectors(count, seed + 50)
    has, other = first[:, :GENRES] > 0, second[:, :GENRES] > 0
    return first, second, np.where(has & other, 1, np.where(has | other, -1, 0))


@pytest.mark.parametrize("kind", [PerspectiveHeads, GenreProduct])
def test_fitting_learns_and_repeats(kind):
    train, (first, second, relations) = genre_pairs(200, seed=1), genre_pairs(200, seed=2)
    settings = FitSettings(epochs=20, learn_rate=0.03, batch_size=16)
    predictions = []
    for _ in range(2):
        model = kind(WIDTH, GENRES)
        before = score_perspectives(predict_pairs(model, first, second), relations == 1)
        fit_pairs(model, *train, settings)
        predictions.append(predict_pairs(model, first, second))
    after = score_perspectives(predictions[0], relations == 1)
    for old, new in zip(before, after):
        assert new.f1 > old.f1 + 0.1
        assert new.auc > (0.95 if kind is GenreProduct else 0.75) > old.auc
    assert (predictions[0] == predictions[1]).all()


def test_prediction_minds_neither_scale_nor_batch():
    heads, first, second = random_heads(), vectors(7), vectors(7, seed=1)
    expected = predict_pairs(heads, first, second)
    assert predict_pairs(heads, 100 * first, second, batch_size=3) == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(predict_pairs(heads, 0 * first, second)).all()


def test_the_best_pass_is_kept(monkeypatch):
    """The F1 of the passes is 0.2, 0.9, 0.1, ...: the weights after the second are kept."""
    f1, seen = iter([0.2, 0.9, 0.1, 0.3]), []

    def scored(_):
        seen.append(product.genres.weight.detach().clone())
        return {"weighted": {"f1": next(f1)}}

    monkeypatch.setattr("samarkand.models.perspectives.average_scores", scored)
    product = GenreProduct(WIDTH, GENRES)
    fit_pairs(product, *genre_pairs(40, seed=1), FitSettings(patience=2))
    assert len(seen) == 4
    assert torch.equal(product.genres.weight, seen[1])
