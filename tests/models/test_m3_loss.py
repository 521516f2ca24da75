"""The objective against its terms one mention at a time, what it can teach, and the tuned decision."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m3_batches import H, make_batch, make_network, networks, seeds, texts
from m3_reference import answer_all
from samarkand.models.m3 import FEATURES, HISTORIES, M3, VERIFIERS, M3Batch
from samarkand.models.m3_loss import M3Loss, m3_loss, tune_threshold
from samarkand.models.m3_turns import NIL, OWN, answer

Labels = tuple[torch.Tensor, torch.Tensor]
Task = tuple[M3Batch, torch.Tensor, torch.Tensor]


def _random_gold(batch: M3Batch, seed: int) -> Labels:
    """Gold options, some of them missed or NIL."""
    generator = torch.Generator().manual_seed(seed)
    counts = batch.mask.sum(1)
    gold = (torch.rand(len(batch), generator=generator) * (counts + 1)).long().clamp_max(counts) - 1
    in_kb = (gold >= 0) | (torch.rand(len(batch), generator=generator) < 0.5)
    return gold, in_kb


def _slow_loss(network: M3, batch: M3Batch, gold: torch.Tensor, in_kb: torch.Tensor, told: list[int]) -> M3Loss:
    terms: dict[str, list[torch.Tensor]] = {"selection": [], "first": [], "second": []}
    for i, said in enumerate(answer_all(network, batch, told)):
        if said is None:
            continue
        places = batch.mask[i].nonzero().squeeze(1).tolist()
        if gold[i] >= 0:
            terms["selection"].append(-said.probabilities[places.index(int(gold[i]))].log())
        if said.v1 is not None:
            terms["first"].append(-(said.v1 if in_kb[i] else 1 - said.v1).log())
        if said.v2 is not None:
            terms["second"].append(-(said.v2 if gold[i] == said.best else 1 - said.v2).log())
    means = {name: sum(values) / len(values) if values else torch.zeros(()) for name, values in terms.items()}
    return M3Loss(means["selection"] + 0.5 * means["first"] + 0.5 * means["second"], **means)


@settings(max_examples=40, deadline=None)
@given(networks(), texts, seeds, st.sampled_from([0.0, 0.5, 1.0]))
def test_objective_equals_its_terms_mention_by_mention(network, texts, seed, epsilon):
    network, batch = network.double(), make_batch(texts, seed, spare=1)
    batch = M3Batch(*(v.double() if v.is_floating_point() else v for v in vars(batch).values() if v is not None))
    gold, in_kb = _random_gold(batch, seed)
    draws = torch.rand(len(batch), generator=torch.Generator().manual_seed(seed)).tolist()
    told = [OWN if draw < epsilon else int(g) for draw, g in zip(draws, gold)]
    generator = torch.Generator().manual_seed(seed)
    found = m3_loss(network, batch, gold, in_kb, epsilon=epsilon, generator=generator)
    expected = _slow_loss(network, batch, gold, in_kb, told)
    for name in ("total", "selection", "first", "second"):
        value, wanted = getattr(found, name), getattr(expected, name).to(torch.double)
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-5, msg=name)
    found.total.backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    if expected.total.requires_grad:
        network.zero_grad()
        expected.total.backward()
    for name, parameter in network.named_parameters():
        slow = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        fast = torch.zeros_like(parameter) if grads[name] is None else grads[name]
        torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("attention", [True, False])
def test_gradients_reach_every_parameter_and_what_the_encoder_gave(history, verifier, attention):
    network = make_network(history=history, verifier=verifier, attention=attention).train()
    batch = make_batch([[3, 4, 2], [4, 4]])
    batch.options.requires_grad_()
    batch.query.requires_grad_()
    gold = torch.zeros(5, dtype=torch.int64)
    m3_loss(network, batch, gold, gold == 0).total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    assert batch.options.grad[batch.mask].any()
    assert not batch.options.grad[~batch.mask].any()
    assert (batch.query.grad is not None) == (history == "vector" or verifier != "none")


def test_stage_two_learns_of_the_choice_of_this_step():
    """The same mention is labelled anew once the network chooses another option."""
    network, batch = make_network(verifier="second"), make_batch([[3]])
    gold = torch.tensor([1])
    with torch.no_grad():
        network.score.weight.zero_()
        network.second.weight.zero_()
        network.second.bias.fill_(2.0)
    for best in (0, 1):
        batch.features[..., 0] = torch.nn.functional.one_hot(torch.tensor([best]), 3) * 5.0
        expected = math.log1p(math.exp(-2.0 if best == 1 else 2.0))
        assert m3_loss(network, batch, gold, gold > 0).second.item() == pytest.approx(expected, rel=1e-5)


def test_selection_is_learnt_only_where_gold_is_an_option():
    network, batch = make_network(), make_batch([[3, 3], [3]])
    gold = torch.tensor([NIL, NIL, NIL])
    assert m3_loss(network, batch, gold, torch.tensor([True, False, False])).selection == 0
    one = gold.masked_fill(torch.tensor([False, True, False]), 2)
    probabilities = answer(network, batch, one).probabilities
    expected = -math.log(float(probabilities[1, 2]))
    assert m3_loss(network, batch, one, one >= 0).selection.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spare", [0, 2])
@pytest.mark.parametrize("texts", [[], [[0, 0], [0]]])
def test_a_batch_that_says_nothing_has_a_gradient_of_zeros(texts, spare):
    network, batch = make_network(), make_batch(texts, spare=spare)
    loss = m3_loss(network, batch, torch.full((len(batch),), NIL), torch.ones(len(batch), dtype=torch.bool)).total
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_epsilon_is_the_share_of_own_history():
    network = make_network()
    network.theta = 2.0  # the network's own answers are all NIL
    batch = make_batch([[3, 3]] * 200)
    gold = torch.zeros(len(batch), dtype=torch.int64)

    def loss(epsilon: float) -> float:
        generator = torch.Generator().manual_seed(0)
        return m3_loss(network, batch, gold, gold == 0, epsilon=epsilon, generator=generator).selection.item()

    def loss_when_told(told: torch.Tensor) -> float:
        return -answer(network, batch, told).probabilities[:, 0].log().mean().item()

    assert loss(0.0) == pytest.approx(loss_when_told(gold), rel=1e-5)
    assert loss(1.0) == pytest.approx(loss_when_told(torch.full_like(gold, NIL)), rel=1e-5)
    own = torch.rand(len(gold), generator=torch.Generator().manual_seed(0)) < 0.5
    assert loss(0.5) == pytest.approx(loss_when_told(gold.masked_fill(own, NIL)), rel=1e-5)


def _learn(network: M3, task: Callable[[torch.Generator], Task], steps: int, epsilon: float = 0.5) -> M3:
    """Train on a task that never runs out."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    network.train()
    for step in range(steps):
        batch, gold, in_kb = task(generator)
        chance = epsilon * step / steps
        m3_loss(network, batch, gold, in_kb, epsilon=chance, generator=generator).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def _topic_task(generator: torch.Generator, count: int = 64) -> Task:
    """A mention with one option says the topic of a text; of a second one with two, that of the same topic is meant.

    Topics are drawn for each text, so that what is learnt is to compare, not the topics.
    """
    topics = torch.randn(count, 2, H, generator=generator)
    gold = torch.randint(2, (count,), generator=generator)
    told = topics[torch.arange(count), gold].unsqueeze(1).expand(-1, 2, -1)
    V = torch.stack([told, topics], dim=1).flatten(0, 1)
    batch = M3Batch(
        options=V + 0.1 * torch.randn(V.shape, generator=generator),
        query=torch.randn(2 * count, H, generator=generator),
        features=torch.tensor([0.0, 1.0, 1.0, 0.0]).repeat(2 * count, 2, 1),
        mask=torch.tensor([[True, False], [True, True]]).repeat(count, 1),
        text=torch.arange(count).repeat_interleave(2),
        order=torch.tensor([0, 1]).repeat(count),
    )
    gold = torch.stack([torch.zeros_like(gold), gold], dim=1).flatten()
    return batch, gold, torch.ones(2 * count, dtype=torch.bool)


def test_what_only_history_can_tell_is_learnt_with_history_and_not_without():
    right = {}
    for history in HISTORIES:
        torch.manual_seed(0)
        network = _learn(M3(width=H, hidden=32, heads=2, history=history), _topic_task, 100)
        batch, gold, _ = _topic_task(torch.Generator().manual_seed(99), count=500)
        right[history] = float((answer(network, batch).chosen == gold)[1::2].float().mean())
    assert right["vector"] > 0.95
    assert right["none"] < 0.6


def _doubt_task(generator: torch.Generator, count: int = 128) -> Task:
    """The right option always stands out, but is NIL when the query or the option itself says so."""
    gold = torch.randint(3, (count,), generator=generator)
    V = torch.randn(count, 3, H, generator=generator)
    query = torch.randn(count, H, generator=generator)
    V[..., 0] = torch.nn.functional.one_hot(gold, 3) * 4.0 - 2.0
    # Stage 1 sees the query, stage 2 the option that was chosen; neither changes which option is best.
    V[..., 1] = 2.0 * (torch.rand(count, 3, generator=generator) < 0.7) - 1.0
    query[:, 0] = 2.0 * (torch.rand(count, generator=generator) < 0.7) - 1.0
    linkable = (query[:, 0] > 0) & (V[torch.arange(count), gold, 1] > 0)
    batch = M3Batch(
        options=V,
        query=query,
        features=torch.zeros(count, 3, len(FEATURES)),
        mask=torch.ones(count, 3, dtype=torch.bool),
        text=torch.arange(count),
        order=torch.zeros(count, dtype=torch.int64),
    )
    return batch, gold.where(linkable, NIL), linkable


def test_the_verifier_beats_a_threshold_on_the_probability():
    right = {}
    for verifier in ("both", "none"):
        torch.manual_seed(0)
        network = _learn(M3(width=H, hidden=32, heads=2, verifier=verifier), _doubt_task, 120)
        batch, gold, in_kb = _doubt_task(torch.Generator().manual_seed(98), count=500)
        dev = answer(network, batch)
        first = network.link_score(dev.probabilities.amax(1), dev.v1, dev.v2) if dev.v1 is None else dev.v1
        network.beta, network.theta = tune_threshold(first, dev.v2, dev.best, gold, in_kb)
        batch, gold, _ = _doubt_task(torch.Generator().manual_seed(99), count=1000)
        right[verifier] = float((answer(network, batch).chosen == gold).float().mean())
    assert right["both"] > 0.95
    assert right["none"] < 0.8


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 12), st.booleans())
def test_threshold_is_as_good_as_any(data, count, two):
    def draw(values: st.SearchStrategy) -> list:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))
    first, second = torch.tensor(draw(scores)), torch.tensor(draw(scores)) if two else None
    best, gold = torch.tensor(draw(st.integers(-1, 2))).long(), torch.tensor(draw(st.integers(-1, 2))).long()
    in_kb = (gold != NIL) | torch.tensor(draw(st.booleans())).bool()
    network = M3(width=H, heads=2)

    def right(beta: float, theta: float) -> int:
        network.beta = beta
        linked = (best != NIL) & (network.link_score(first, first, second) >= theta)
        return int(torch.where(linked, (best == gold) & (gold != NIL), ~in_kb).sum())

    betas = [0.0, 0.3, 0.5, 1.0] if two else [1.0]
    beta, theta = tune_threshold(first, second, best, gold, in_kb, betas)
    assert beta in betas
    most = 0
    for each in betas:
        network.beta = each
        thetas = {0.0, 1.5, *network.link_score(first, first, second).tolist()}
        most = max(most, *(right(each, t) for t in thetas))
    assert right(beta, theta) == most


def test_of_equal_decisions_the_even_and_generous_one_is_taken():
    same = torch.tensor([0.2, 0.9])
    gold = torch.tensor([NIL, 0])
    beta, theta = tune_threshold(same, same, torch.tensor([0, 0]), gold, gold >= 0)
    assert (beta, theta) == (0.5, pytest.approx(0.55))
    assert tune_threshold(same, same, torch.tensor([0, 0]), torch.tensor([0, 0]), gold == 0)[1] == 0.0
    nothing_right = tune_threshold(same, None, torch.tensor([0, 0]), torch.tensor([NIL, NIL]), gold == 5)
    assert nothing_right == (1.0, 2.0)
