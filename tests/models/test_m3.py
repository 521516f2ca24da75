"""The network of M3 against its equations, one mention at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m3_batches import H, make_batch, make_network, networks, seeds, with_padding
from m3_reference import attend, history_term, remember
from samarkand.models.m3 import EVEN, FIT, HISTORIES, KNOWN, M3, VERIFIERS, best_option
from samarkand.models.m3_turns import answer
from samarkand.models.prior_linker import PriorWeights, prior_answers


@settings(max_examples=30, deadline=None)
@given(networks(attention=True), st.lists(st.integers(1, 6), min_size=1, max_size=4), seeds)
def test_options_see_the_other_real_options_of_their_mention(network, counts, seed):
    batch = make_batch([counts], seed, padding=3.0, spare=2)
    seen = batch.options + network.attention(batch.options, batch.mask)
    for i, real in enumerate(batch.mask):
        torch.testing.assert_close(seen[i][real], attend(network, batch.options[i][real]), atol=1e-5, rtol=1e-5)


def test_history_term_and_memory_equal_their_equations():
    network = make_network()
    batch = make_batch([[4, 4, 4]])
    h = torch.randn(3, H)
    term = network.history(batch.options, h)
    grown = network.history.remember(h, batch.options[:, 1], batch.query)
    for i in range(3):
        expected = torch.stack([history_term(network, V, h[i]) for V in batch.options[i]])
        torch.testing.assert_close(term[i], expected, atol=1e-5, rtol=1e-5)
        expected = remember(network, h[i], batch.options[i, 1], batch.query[i])
        torch.testing.assert_close(grown[i], expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 9), st.integers(1, 40))
def test_an_empty_memory_adds_exactly_nothing(seed, mentions, options):
    network = make_network(seed).train()
    V = torch.randn(mentions, options, H, generator=torch.Generator().manual_seed(seed)) * 10
    h = torch.zeros(mentions, H)
    assert torch.equal(network.history(V, h), torch.zeros(mentions, options))
    h[0] = 1.0
    # Without dropout and saturation, which make zeros too.
    term = network.eval().history(V / 10, h)
    assert term[0].any()
    assert not term[1:].any()


@settings(max_examples=20, deadline=None)
@given(networks(), seeds)
def test_what_stands_in_the_padding_is_never_looked_at(network, seed):
    batch = make_batch([[3, 1], [5]], seed)
    clean, dirty = network(batch), network(with_padding(batch, float("nan")))
    for name in ("options", "scores", "first", "second"):
        value, other = getattr(clean, name), getattr(dirty, name)
        assert value is None or torch.equal(value, other), name


def test_an_untrained_linker_is_where_a_network_starts_from():
    network = M3(width=H).eval()
    batch = make_batch([[4, 3, 1], [2]])
    untrained = PriorWeights(1.0, *KNOWN, context=0.0)
    ids = torch.arange(4).expand_as(batch.mask)
    expected = prior_answers(batch.features, batch.mask, ids, torch.zeros(batch.mask.shape), untrained, 0.5, 0.5)
    found = answer(network, batch)
    torch.testing.assert_close(found.probabilities, expected.probabilities)
    for ours, theirs in ((found.v1, expected.v1), (found.v2, expected.v2)):
        torch.testing.assert_close(ours, (FIT * (theirs - EVEN)).sigmoid())
    assert M3(width=H).prior_weight == 1.0
    assert make_network(prior=False).prior_weight == 0.0


def test_the_prior_counts_nowhere_else():
    network = make_network()
    with torch.no_grad():
        network.prior.zero_()
    batch = make_batch([[4, 3]])
    scores = network(batch).scores
    batch.features[..., 0] += torch.randn(2, 4)
    assert torch.equal(network(batch).scores, scores)


@pytest.mark.parametrize(
    ("scores", "ids", "expected"),
    [
        ([1.0, 2.0, 3.0, 9.0], [0, 1, 2, 3], 2),
        ([2.0, 2.0, 1.0, 9.0], [7, 4, 0, 0], 1),
        ([2.0 + 1e-6, 2.0, 1.0, 2.0], [7, 4, 0, 1], 1),
        ([2.0 + 1e-4, 2.0, 1.0, 2.0], [7, 4, 0, 1], 0),
    ],
)
def test_of_equal_scores_the_least_id_wins(scores, ids, expected):
    mask = torch.tensor([[True, True, True, False]])
    assert best_option(torch.tensor([scores]), mask, torch.tensor([ids])).tolist() == [expected]


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_what_is_off_has_no_parameters(history, verifier):
    names = {name.split(".")[0] for name, _ in make_network(history=history, verifier=verifier).named_parameters()}
    assert ("history" in names) == (history == "vector")
    assert ("first" in names) == (verifier in ("both", "first"))
    assert ("second" in names) == (verifier in ("both", "second"))
    bare = {name.split(".")[0] for name, _ in make_network(attention=False, prior=False).named_parameters()}
    assert bare == {"select", "score", "known", "history", "first", "second"}


@pytest.mark.parametrize("name", ["history", "verifier"])
def test_unknown_variants_are_refused(name):
    with pytest.raises(ValueError, match=f"S930.*{name} 'text'.*none"):
        M3(width=H, **{name: "text"})


@pytest.mark.parametrize("heads", [0, -2, 3])
def test_heads_have_to_divide_the_width(heads):
    with pytest.raises(ValueError, match="S931"):
        M3(width=H, heads=heads)
    M3(width=H, heads=heads, attention=False)
