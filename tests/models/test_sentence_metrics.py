"""Metrics of sentence vectors against slow definitions, and their invariants."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samarkand.models.sentence_metrics import (
    cosine_spearman,
    isotropy,
    mine_pairs,
    mining_score,
    retrieval_accuracy,
    unit_vectors,
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(float(x) * float(y) for x, y in zip(a, b)) / lengths if lengths else 0.0


def mean_ranks(values):
    return [sum(other < v for other in values) + (sum(other == v for other in values) + 1) / 2 for v in values]


def slow_spearman(first, second, scores):
    ranks = [mean_ranks([cosine(a, b) for a, b in zip(first, second)]), mean_ranks(list(scores))]
    a, b = (np.array(r) - np.mean(r) for r in ranks)
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def slow_found(queries, candidates):
    """Expected accuracy when equally close candidates are drawn from."""
    shares = []
    for i, query in enumerate(queries):
        cosines = [cosine(query, candidate) for candidate in candidates]
        closest = [j for j, value in enumerate(cosines) if value > max(cosines) - 1e-6]
        shares.append((i in closest) / len(closest))
    return sum(shares) / len(shares)


def slow_mining(first, second, k):
    """Best margin first, one sentence in one pair; margins as the paper writes them."""

    def mean_of_neighbours(a, others):
        return sum(sorted((cosine(a, b) for b in others), reverse=True)[:k]) / (2 * k)

    def neighbours(a, others):
        return sorted(range(len(others)), key=lambda j: -cosine(a, others[j]))[:k]

    def margin(i, j):
        a, b = first[i], second[j]
        return cosine(a, b) / (mean_of_neighbours(a, second) + mean_of_neighbours(b, first))

    candidates = {(i, max(neighbours(a, second), key=lambda j: margin(i, j))) for i, a in enumerate(first)}
    candidates |= {(max(neighbours(b, first), key=lambda i: margin(i, j)), j) for j, b in enumerate(second)}
    kept = []
    for i, j in sorted(candidates, key=lambda pair: -margin(*pair)):
        if all(i != a and j != b for a, b in kept):
            kept.append((i, j))
    return kept, [margin(*pair) for pair in kept]


def slow_best_f1(margins, is_right, gold):
    scores = []
    for threshold in margins:
        accepted = [right for margin, right in zip(margins, is_right) if margin >= threshold]
        scores.append((2 * sum(accepted) / (len(accepted) + gold), threshold))
    return max(scores)


def slow_isotropy(vectors):
    units = [v / np.linalg.norm(v) for v in vectors.astype(float)]
    _, directions = np.linalg.eigh(sum(np.outer(v, v) for v in units))
    sums = [sum(math.exp(sign * float(c @ v)) for v in units) for c in directions.T for sign in (1, -1)]
    pairs = [cosine(a, b) for i, a in enumerate(units) for j, b in enumerate(units) if i != j]
    singular = np.linalg.svd(np.array(units), compute_uv=False)
    shares = [s / singular.sum() for s in singular if s > 1e-12]
    rank = math.exp(-sum(p * math.log(p) for p in shares))
    return min(sums) / max(sums), float(np.linalg.norm(sum(units) / len(units))), sum(pairs) / len(pairs), rank


def test_unit_vectors_keep_zeros():
    units = unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert units.tolist() == [[0.6, 0.8], [0.0, 0.0]]


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_that_of_ranks(seed):
    first, second = random(12, 3, seed=seed), random(12, 3, seed=seed + 9)
    scores = np.random.default_rng(seed).integers(0, 4, 12)
    assert cosine_spearman(first, second, scores) == pytest.approx(slow_spearman(first, second, scores), abs=1e-6)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_spearman_minds_neither_length_nor_spacing(seed, scale):
    first, second, scores = random(8, 3, seed=seed), random(8, 3, seed=seed + 1), random(8, seed=seed + 2)
    value = cosine_spearman(first, second, scores)
    assert -1 <= value <= 1
    assert cosine_spearman(second, first, np.exp(scores)) == pytest.approx(value)
    assert cosine_spearman(first * np.float32(scale), second, scores) == pytest.approx(value, abs=0.05)


def test_spearman_of_something_constant_is_zero():
    assert cosine_spearman(np.ones((3, 2)), np.ones((3, 2)), np.arange(3)) == 0
    assert cosine_spearman(random(3, 2), random(3, 2, seed=1), np.ones(3)) == 0
    assert cosine_spearman(np.zeros((3, 2)), random(3, 2), np.arange(3)) == 0


@given(
    hnp.arrays(np.float32, (6, 2), elements=st.sampled_from([-1, 0, 1, 2])),
    hnp.arrays(np.float32, (6, 2), elements=st.sampled_from([-1, 0, 1, 2])),
)
def test_retrieval_is_the_expected_hit_among_the_closest(first, second):
    forward, backward = retrieval_accuracy(first, second)
    assert forward == pytest.approx(slow_found(first, second), abs=1e-6)
    assert backward == pytest.approx(slow_found(second, first), abs=1e-6)


def test_retrieval_by_blocks_is_the_same(monkeypatch):
    first = random(50, 4)
    second = first + 0.7 * random(50, 4, seed=1)
    whole = retrieval_accuracy(first, second)
    monkeypatch.setattr("samarkand.models.sentence_metrics.BLOCK", 7)
    assert retrieval_accuracy(first, second) == pytest.approx(whole)
    assert 0 < min(whole) <= max(whole) < 1


def test_an_encoder_that_says_always_the_same_finds_by_chance():
    assert retrieval_accuracy(np.ones((8, 3)), np.ones((8, 3))) == (0.125, 0.125)
    assert retrieval_accuracy(np.eye(3), np.eye(3)) == (1.0, 1.0)
    doubled = np.eye(4)[[0, 0, 1, 2]]
    assert retrieval_accuracy(doubled, doubled) == (0.75, 0.75)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_mining_is_that_of_the_paper(seed, k):
    # Away from zero, as the vectors of encoders are, so that no ratio turns over.
    first = random(9, 4, seed=seed) + 2
    second = np.concatenate([first[:6] + 0.3 * random(6, 4, seed=seed + 5), random(4, 4, seed=seed + 7) + 2])
    pairs, margins = mine_pairs(first, second, k=k)
    expected, values = slow_mining(first, second, k)
    assert [tuple(pair) for pair in pairs] == expected
    assert margins == pytest.approx(values, rel=1e-4)


def test_mined_sentences_are_in_one_pair_each():
    pairs, margins = mine_pairs(random(30, 3), random(20, 3, seed=1))
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert (np.diff(margins) <= 0).all()


@given(
    rights=st.lists(st.booleans(), min_size=1, max_size=12),
    steps=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    extra=st.integers(0, 4),
)
def test_the_best_threshold_is_the_best_of_all(rights, steps, extra):
    margins = np.array([20.0 - sum(steps[: i + 1]) for i in range(len(rights))])
    pairs = np.array([(i, i if right else i + 100) for i, right in enumerate(rights)])
    gold = np.array([(i, i) for i in range(len(rights)) if rights[i]] + [(i, i) for i in range(200, 201 + extra)])
    score = mining_score(pairs, margins, gold)
    assert score.f1 == pytest.approx(slow_best_f1(margins, rights, len(gold))[0])
    accepted = margins >= score.threshold
    assert 2 * np.array(rights)[accepted].sum() / (accepted.sum() + len(gold)) == pytest.approx(score.f1)
    assert 0 <= score.held_out_f1 <= 1


def test_the_threshold_of_one_half_is_applied_to_the_other():
    # First half: right above 1.5. Second half: right above 1.1. Each is judged by the other's threshold.
    pairs = np.array([(0, 0), (1, 1), (2, 7), (4, 4), (3, 9), (5, 5)])
    margins = np.array([2.0, 1.9, 1.8, 1.7, 1.2, 1.1])
    gold = np.array([(0, 0), (1, 1), (4, 4), (5, 5)])
    score = mining_score(pairs, margins, gold)
    # Thresholds: 1.9 on rows 0 to 2, 1.1 on rows 3 to 5. Swapped: (0,0) (1,1) (2,7) here and nothing there.
    assert score.held_out_f1 == pytest.approx(2 * 2 / (3 + 4))
    assert score.f1 == pytest.approx(2 * 4 / (6 + 4))


def test_nothing_mined_is_no_error():
    score = mining_score(np.zeros((0, 2), int), np.zeros(0), np.array([(0, 0)]))
    assert (score.f1, score.held_out_f1) == (0, 0)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_isotropy_is_that_of_the_definitions(shift):
    vectors = random(20, 5) + np.float32(shift)
    found = isotropy(vectors)
    expected = slow_isotropy(vectors)
    assert (found.partition, found.mean_norm, found.mean_cosine, found.effective_rank) == pytest.approx(expected)
    assert found.vectors == 20


def test_isotropy_of_an_even_space_and_of_a_single_direction():
    even = isotropy(np.concatenate([np.eye(4), -np.eye(4)]))
    assert (even.partition, even.mean_norm, even.effective_rank) == pytest.approx((1, 0, 4))
    narrow = isotropy(np.tile([[3.0, 0.0, 0.0, 0.0]], (9, 1)))
    assert (narrow.mean_norm, narrow.mean_cosine, narrow.effective_rank) == pytest.approx((1, 1, 1))
    assert narrow.partition == pytest.approx(math.exp(-2))


@given(seed=st.integers(0, 1000))
def test_isotropy_minds_neither_rotation_nor_length_nor_zeros(seed):
    vectors = random(12, 4, seed=seed) + 1
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))
    turned = np.concatenate([5 * vectors @ rotation, np.zeros((2, 4))])
    one, other = isotropy(vectors), isotropy(turned)
    for name in ("partition", "mean_norm", "mean_cosine", "effective_rank"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-3), name
    assert 0 < one.partition <= 1
    assert 1 <= one.effective_rank <= 4 + 1e-9
