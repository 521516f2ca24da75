"""Whitening: statistics in parts, maps against a slow oracle, few vectors, blank texts, files."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from samarkand.errors import SamarkandWarning
from samarkand.models.whitening import VectorStatistics, Whitening, load_whitening, oas_shrinkage

WIDTH = 24


def skewed(count: int, width: int = WIDTH, *, seed: int = 0, mean: float = 3.0) -> np.ndarray:
    """Vectors in a narrow cone: a common direction, and unequal, correlated variances."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    return (rng.standard_normal((count, width)) * np.geomspace(1, 0.05, width)) @ rotation + mean / width**0.5


def fitted(*blocks: np.ndarray) -> VectorStatistics:
    statistics = VectorStatistics()
    for block in blocks:
        statistics.update(block)
    return statistics


def fit(vectors: np.ndarray, dim: int | str | None = None, **settings: object) -> Whitening:
    return fitted(vectors).whitening(dim, **{"normalize": False, **settings})


def cosines(vectors: np.ndarray) -> np.ndarray:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units @ units.T


class Oracle:
    """The paper's steps one by one, in float64."""

    def __init__(self, vectors: np.ndarray, dim: int) -> None:
        self.mean = sum(vectors) / len(vectors)
        self.covariance = sum(np.outer(row - self.mean, row - self.mean) for row in vectors) / len(vectors)
        left, values, _ = np.linalg.svd(self.covariance)
        self.matrix = left[:, :dim] @ np.diag(values[:dim] ** -0.5)

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self.mean) @ self.matrix


def assert_same(one: VectorStatistics, other: VectorStatistics, tolerance: float = 1e-10) -> None:
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=tolerance, atol=tolerance)
    scale = np.abs(other.covariance).max()
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dim", [1, 7, WIDTH])
def test_the_map_is_that_of_the_slow_oracle(dim):
    vectors = skewed(300)
    oracle, whitening = Oracle(vectors, dim), fit(vectors, dim)
    np.testing.assert_allclose(fitted(vectors).covariance, oracle.covariance, rtol=1e-10, atol=1e-12)
    expected, found = oracle.transform(vectors), whitening.transform(vectors)
    np.testing.assert_allclose(found * np.sign((expected * found).sum(axis=0)), expected, atol=1e-4)
    assert whitening.explained == pytest.approx(whitening.variance.sum() / np.trace(oracle.covariance))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8),
    st.permutations(range(8)),
    st.sampled_from([0.0, 12.0, 1e4]),
    st.integers(0, 2**16),
)
def test_any_blocks_in_any_order_give_the_same(sizes, order, mean, seed):
    vectors = skewed(sum(sizes) + 2, 5, seed=seed, mean=mean)
    blocks = np.split(vectors, np.cumsum(sizes))
    whole = fitted(vectors)
    assert_same(fitted(*blocks), whole)
    assert_same(fitted(*(blocks[i] for i in order if i < len(blocks)), *blocks[8:]), whole)
    merged = VectorStatistics()
    for block in blocks:
        merged.merge(fitted(block))
    assert_same(merged, whole)


def test_shards_of_a_long_stream_are_the_whole():
    # More rows than are multiplied at once, sorted so that the means of the blocks wander.
    vectors = np.sort(skewed(20_000), axis=0)
    whole, merged = fitted(vectors), VectorStatistics()
    for shard in np.array_split(vectors, 4):
        merged.merge(pickle.loads(pickle.dumps(fitted(shard))))
    assert_same(merged, whole)
    np.testing.assert_allclose(whole.covariance, np.cov(vectors.T, bias=True), rtol=0, atol=1e-12)


def test_a_large_mean_costs_no_digits():
    vectors = (12 + 0.05 * np.random.default_rng(0).standard_normal((5000, 8))).astype(np.float32)
    exact = np.cov(vectors.astype(np.float64).T, bias=True)
    double = fitted(vectors.astype(np.float64))
    np.testing.assert_allclose(double.covariance, exact, rtol=0, atol=1e-10 * exact.max())
    np.testing.assert_allclose(fitted(vectors).covariance, exact, rtol=0, atol=1e-6 * exact.max())


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_squares_beyond_float32_are_no_loss(scale):
    vectors = (skewed(5000) * scale).astype(np.float32)
    exact = np.cov(vectors.astype(np.float64).T, bias=True)
    np.testing.assert_allclose(fitted(vectors).covariance, exact, rtol=0, atol=1e-6 * exact.max())


def test_many_float32_vectors_lose_nothing_to_their_number():
    vectors = skewed(200_000, 8).astype(np.float32)
    exact = np.cov(vectors.astype(np.float64).T, bias=True)
    np.testing.assert_allclose(fitted(vectors).covariance, exact, rtol=0, atol=1e-7 * exact.max())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_blocks_of_any_kind_of_number(dtype):
    block = (10 * skewed(50)).astype(dtype)
    block.setflags(write=False)
    tolerance = 1e-10 if dtype == np.int32 else 1e-6
    assert_same(fitted(block[::2], block[1::2]), fitted(block.astype(np.float64)), tolerance)


def test_a_refused_block_changes_nothing():
    vectors = skewed(5000)
    statistics, bad = fitted(vectors[:10]), vectors.copy()
    for value in (np.nan, np.inf):
        bad[4321, 3] = value
        with pytest.raises(ValueError, match=r"S811.*4321"):
            statistics.update(bad)
    for odd in (vectors[:, :3], vectors[0], vectors[None], np.zeros((3, 0)), np.zeros(())):
        with pytest.raises(ValueError, match="S810"):
            statistics.update(odd)
    with pytest.raises(ValueError, match="S810"):
        statistics.merge(fitted(vectors[:, :3]))
    assert_same(statistics, fitted(vectors[:10]), 0)


def test_a_number_of_numpy_is_a_number():
    vectors = skewed(300)
    np.testing.assert_array_equal(fit(vectors, np.int64(7)).matrix, fit(vectors, 7).matrix)


@pytest.mark.parametrize("dim", [8, 64, 96])
def test_whitened_vectors_are_white(dim):
    vectors = skewed(20_000, 96).astype(np.float32)
    whitened = fit(vectors, dim).transform(vectors).astype(np.float64)
    assert np.abs(whitened.mean(axis=0)).max() < 1e-5
    assert np.abs(np.cov(whitened.T, bias=True) - np.eye(dim)).max() < 1e-4


def test_the_mean_becomes_the_origin():
    vectors = skewed(4000, mean=0.0)
    assert np.abs(fit(vectors).transform(vectors).astype(np.float64).mean(axis=0)).max() < 1e-6


@pytest.mark.parametrize("shrinkage", [0.0, np.float32(0.25), "oas"])
def test_fewer_columns_are_the_first_ones(shrinkage):
    vectors = skewed(200)
    full, few = fit(vectors, shrinkage=shrinkage), fit(vectors, 5, shrinkage=shrinkage)
    np.testing.assert_array_equal(full.transform(vectors)[:, :5], full.truncate(5).transform(vectors))
    np.testing.assert_array_equal(full.truncate(5).matrix, few.matrix)
    assert full.truncate(5).explained == few.explained
    for dim in (0, 25):
        with pytest.raises(ValueError, match="S732"):
            full.truncate(dim)


def test_one_layer_is_the_two_steps():
    vectors = skewed(300).astype(np.float32)
    whitening = fit(vectors, 10)
    matrix, offset = whitening.affine()
    np.testing.assert_allclose(vectors @ matrix + offset, whitening.transform(vectors), atol=1e-5)


def test_every_full_whitening_has_the_same_cosines():
    vectors = skewed(200)
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(vectors.T, bias=True))
    zca = directions @ np.diag(values**-0.5) @ directions.T
    cholesky = np.linalg.cholesky(np.linalg.inv(np.cov(vectors.T, bias=True)))
    ours = cosines(fit(vectors).transform(vectors).astype(np.float64))
    np.testing.assert_allclose(ours, cosines(centred @ zca), atol=1e-5)
    np.testing.assert_allclose(cosines(centred @ zca), cosines(centred @ cholesky), atol=1e-6)


def test_exponent_zero_keeps_distances():
    vectors = skewed(50).astype(np.float32)
    turned = fit(vectors, exponent=0.0).transform(vectors)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(turned[:, None] - turned[None], axis=-1), apart, atol=1e-5)


def test_soft_exponents_lie_between():
    vectors = skewed(4000)
    spread = np.sqrt(fit(vectors).variance)
    half = fit(vectors, exponent=0.5).transform(vectors).std(axis=0)
    np.testing.assert_allclose(half, spread**0.5, rtol=1e-4)


def test_auto_keeps_the_variance_that_was_asked_for():
    vectors = skewed(500)
    for retained in (0.5, 0.9, 0.999):
        whitening = fit(vectors, "auto", retained=retained)
        assert whitening.explained >= retained
        assert whitening.dim == 1 or whitening.truncate(whitening.dim - 1).explained < retained
    assert fit(vectors, "auto", retained=1.0).dim == WIDTH


def test_inverse_brings_vectors_back():
    vectors = skewed(300).astype(np.float32)
    full = fit(vectors)
    np.testing.assert_allclose(full.inverse(full.transform(vectors)), vectors, atol=1e-4)
    few = full.truncate(6)
    once = few.inverse(few.transform(vectors))
    np.testing.assert_allclose(few.inverse(few.transform(once)), once, atol=1e-4)
    lost = np.square(once - vectors).sum() / np.square(vectors - vectors.mean(axis=0)).sum()
    assert lost == pytest.approx(1 - few.explained, abs=1e-4)
    with pytest.raises(ValueError, match="S810"):
        few.inverse(vectors)


def test_few_vectors_need_a_floor_or_shrinkage():
    vectors = skewed(10)
    with pytest.raises(ValueError, match=r"S812.*vary in 9"):
        fit(vectors, floor=0.0)
    assert fit(vectors, 9, floor=0.0).dim == 9
    with pytest.warns(SamarkandWarning, match=r"SW810.*vary in 9"):
        floored = fit(vectors, floor=1e-6)
    shrunk = fit(vectors, floor=0.0, shrinkage="oas")
    others = skewed(500, seed=0)
    for whitening in (floored, shrunk):
        assert np.isfinite(whitening.transform(others)).all()
    assert 0 < shrunk.shrinkage < 1
    assert shrunk.transform(others).std() < floored.transform(others).std() / 10


def test_full_shrinkage_only_centres():
    vectors = skewed(100)
    round_map = fit(vectors, shrinkage=1.0)
    np.testing.assert_allclose(
        cosines(round_map.transform(vectors)), cosines(vectors - vectors.mean(axis=0)), atol=1e-5
    )


def test_oas_is_the_published_formula():
    # Against the same formula with the traces written out, and its limits.
    covariance = np.diag([4.0, 1.0])
    a, b = 17.0, 25.0
    expected = ((1 - 2 / 2) * a + b) / ((10 + 1 - 2 / 2) * (a - b / 2))
    assert oas_shrinkage(covariance, 10) == pytest.approx(expected)
    assert oas_shrinkage(np.eye(3), 10) == 1.0
    assert oas_shrinkage(covariance, 10**9) < 1e-6


def test_oas_comes_closer_to_the_truth():
    truth = np.diag(np.linspace(1, 2, 40))
    sample = np.cov(np.random.default_rng(0).multivariate_normal(np.zeros(40), truth, 30).T, bias=True)
    rho = oas_shrinkage(sample, 30)
    shrunk = (1 - rho) * sample + rho * np.trace(sample) / 40 * np.eye(40)
    assert np.linalg.norm(shrunk - truth) < np.linalg.norm(sample - truth) / 2


def test_lengths_are_one_and_blanks_stay_zeros():
    vectors = skewed(100)
    whitening = fit(vectors, 8, normalize=True)
    whitened = whitening.transform(np.concatenate([vectors, np.zeros((2, WIDTH)), whitening.mean[None]]))
    np.testing.assert_allclose(np.linalg.norm(whitened[:100], axis=1), 1, atol=1e-6)
    assert not whitened[100:].any()
    assert whitening.transform(np.zeros((0, WIDTH))).shape == (0, 8)
    assert whitened.dtype == np.float32


def test_signs_are_fixed():
    matrix = fit(skewed(100)).matrix
    assert (matrix[np.abs(matrix).argmax(axis=0), np.arange(WIDTH)] > 0).all()


@pytest.mark.parametrize("blocks", [[], [skewed(1)], [np.ones((50, 3)) / 3], [np.zeros((5, 3))]])
def test_too_few_vectors(blocks):
    with pytest.raises(ValueError, match="S814"):
        fitted(*blocks).whitening()


@pytest.mark.parametrize(
    "values",
    [
        {"dim": 0},
        {"dim": True},
        {"dim": np.int64(WIDTH + 1)},
        {"dim": WIDTH + 1},
        {"dim": "some"},
        {"dim": "auto", "retained": 0.0},
        {"shrinkage": 1.5},
        {"shrinkage": "lw"},
        {"exponent": -1.0},
        {"floor": 1.0},
    ],
)
def test_bad_values(values):
    with pytest.raises(ValueError, match="S732"):
        fit(skewed(50), **values)


@pytest.fixture
def saved(tmp_path):
    vectors = skewed(100)
    whitening = fitted(vectors).whitening(6, shrinkage="oas", fingerprint="abc", pooling="mean")
    path = tmp_path / "maps" / "whitening.safetensors"
    whitening.save(path)
    return whitening, path, vectors


def test_files_bring_back_the_very_map(saved):
    whitening, path, vectors = saved
    loaded = load_whitening(path, "abc")
    np.testing.assert_array_equal(loaded.transform(vectors), whitening.transform(vectors))
    for name in vars(whitening):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(whitening, name))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_encoder_is_refused(saved):
    whitening, path, _ = saved
    with pytest.raises(ValueError, match=r"S816.*abc"):
        load_whitening(path, "abd")
    replace(whitening, fingerprint="").save(path)
    with pytest.raises(ValueError, match=r"S816.*unknown"):
        load_whitening(path, "abd")


def test_damaged_files_are_told(saved):
    _, path, _ = saved
    whole = path.read_bytes()
    arrays = load_file(path)
    settings = {"total": 1.0, "count": 5}

    def written(arrays: dict, **metadata: str) -> None:
        save_file(arrays, path, metadata=metadata)

    kind = "samarkand.Whitening.v1"
    damages = [
        lambda: path.unlink(),
        lambda: path.write_bytes(whole[:200]),
        lambda: path.write_bytes(b"no map"),
        lambda: written(arrays),
        lambda: written({"mean": arrays["mean"]}, kind=kind, settings=json.dumps(settings)),
        lambda: written({**arrays, "mean": arrays["mean"][:3]}, kind=kind, settings=json.dumps(settings)),
        lambda: written({**arrays, "mean": arrays["mean"] * np.nan}, kind=kind, settings=json.dumps(settings)),
        lambda: written({**arrays, "matrix": arrays["mean"]}, kind=kind, settings=json.dumps(settings)),
        lambda: written(arrays, kind=kind, settings="{"),
        lambda: written(arrays, kind=kind, settings="{}"),
        lambda: written(arrays, kind=kind, settings=json.dumps({**settings, "count": "5"})),
        lambda: written(arrays, kind=kind, settings=json.dumps({**settings, "more": 1})),
    ]
    for damage in damages:
        damage()
        with pytest.raises(ValueError, match="S815"):
            load_whitening(path)
    written(arrays, kind=kind, settings=json.dumps(settings))
    assert load_whitening(path).count == 5
