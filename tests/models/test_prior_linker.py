"""Answers without training: against the formula written out, and the invariants that hold for every linker."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.m3 import MISFIT
from samarkand.models.prior_linker import PriorWeights, prior_answers

WEIGHTS = PriorWeights(prior=1.0, similarity=5.0, type=2.0, context=1.5)
option = st.tuples(st.floats(1e-4, 1), st.floats(0.3, 1), st.sampled_from([0.0, 0.5, 1.0]), st.floats(-1, 1))
rows = st.lists(st.lists(option, max_size=4), min_size=1, max_size=4)


def table(mentions: list) -> tuple[torch.Tensor, ...]:
    N, K = len(mentions), max(map(len, mentions))
    features, mask = torch.full((N, K, 4), 7.0), torch.zeros(N, K, dtype=torch.bool)
    cosines = torch.zeros(N, K)
    for n, options in enumerate(mentions):
        for k, (prior, like, agree, cosine) in enumerate(options):
            features[n, k] = torch.tensor([math.log(prior), like, agree, 1.0])
            mask[n, k], cosines[n, k] = True, cosine
    return features, mask, torch.arange(K).expand(N, K), cosines


@settings(max_examples=80, deadline=None)
@given(rows, st.floats(0, 1), st.floats(0, 1.2))
def test_answers_are_those_of_the_formula(mentions, beta, theta):
    answers = prior_answers(*table(mentions), WEIGHTS, beta, theta)
    for n, options in enumerate(mentions):
        if not options:
            assert (answers.chosen[n], answers.best[n], answers.s_link[n]) == (-1, -1, 0)
            assert not answers.probabilities[n].any()
            continue
        a = [math.log(p) + 5 * like + 2 * agree + 1.5 * cosine for p, like, agree, cosine in options]
        chances = np.exp(np.array(a) - max(a)) / np.exp(np.array(a) - max(a)).sum()
        fit = [like * (1 if agree else 1 - MISFIT) for _, like, agree, _ in options]
        best = int(answers.best[n])
        assert a[best] >= max(a) - 1e-4
        v1, v2 = max(fit), fit[best] * chances[best]
        assert float(answers.v1[n]) == pytest.approx(v1, abs=1e-5)
        assert float(answers.v2[n]) == pytest.approx(v2, abs=1e-5)
        link = beta * v1 + (1 - beta) * v2
        assert float(answers.s_link[n]) == pytest.approx(link, abs=1e-5)
        assert answers.probabilities[n, : len(options)].tolist() == pytest.approx(chances.tolist(), abs=1e-5)
        assert not answers.probabilities[n, len(options) :].any()
        if abs(link - theta) > 1e-5:
            assert int(answers.chosen[n]) == (best if link >= theta else -1)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_shuffled_options_change_no_answer(mentions, seed):
    features, mask, ids, cosines = table(mentions)
    shuffle = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    moved = [value[torch.arange(len(mask))[:, None], shuffle] for value in (features, mask, ids, cosines)]
    first, second = (
        prior_answers(features, mask, ids, cosines, WEIGHTS, 0.5, 0.5),
        prior_answers(*moved, WEIGHTS, 0.5, 0.5),
    )
    back = [-1 if k < 0 else int(shuffle[n, k]) for n, k in enumerate(second.chosen.tolist())]
    assert back == first.chosen.tolist()
    torch.testing.assert_close(first.s_link, second.s_link, atol=1e-6, rtol=0)


@given(rows)
def test_theta_of_0_links_all_and_above_1_none(mentions):
    has_options = [bool(options) for options in mentions]
    assert (prior_answers(*table(mentions), WEIGHTS, 0.5, 0.0).chosen >= 0).tolist() == has_options
    assert not (prior_answers(*table(mentions), WEIGHTS, 0.5, 1.001).chosen >= 0).any()
