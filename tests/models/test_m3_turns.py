"""Turns over a text: against a loop over texts and mentions, and the invariants of the method."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m3_batches import H, make_batch, make_network, networks, seeds, texts, with_padding
from m3_reference import answer_all
from samarkand.models.m3 import HISTORIES, M3, VERIFIERS, M3Batch
from samarkand.models.m3_turns import (
    NIL,
    ORDERS,
    OWN,
    M3Answers,
    answer,
    easiest_first,
    natural_order,
    order_mentions,
    random_order,
    reverse_order,
    take_turns,
)

mentions = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.integers(0, 500)), max_size=8)


def _without_history(network: M3) -> M3:
    single = copy.deepcopy(network)
    single.history = None
    return single


def _assert_equal(found: M3Answers, expected: M3Answers, rows: torch.Tensor | slice = slice(None)) -> None:
    """To the last bit."""
    for name, value in vars(found).items():
        other = getattr(expected, name)
        assert (value is None) == (other is None)
        assert value is None or torch.equal(value[rows], other[rows]), name


def _assert_close(found: M3Answers, expected: M3Answers) -> None:
    assert torch.equal(found.chosen, expected.chosen)
    assert torch.equal(found.best, expected.best)
    for name in ("probabilities", "v1", "v2", "s_link"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=0, msg=name)


def _first_turns(batch: M3Batch) -> torch.Tensor:
    """Rows of the mentions that no other of their text comes before."""
    asked = [i for i in range(len(batch)) if batch.mask[i].any()]
    first = {}
    for i in sorted(asked, key=lambda i: int(batch.order[i])):
        first.setdefault(int(batch.text[i]), i)
    return torch.tensor(sorted(first.values()), dtype=torch.int64)


@settings(max_examples=60, deadline=None)
@given(networks(), texts, seeds, st.data())
def test_answers_equal_a_loop_over_texts_and_turns(network, texts, seed, data):
    batch = make_batch(texts, seed, padding=7.0, spare=data.draw(st.integers(0, 2)))
    told = None
    if data.draw(st.booleans()):
        told = [data.draw(st.integers(OWN, int(real.sum()) - 1)) for real in batch.mask]
    found = answer(network, batch, None if told is None else torch.tensor(told))
    assert found.probabilities.shape == batch.mask.shape
    for i, expected in enumerate(answer_all(network, batch, told)):
        real = batch.mask[i]
        if expected is None:
            assert (found.chosen[i], found.best[i], found.s_link[i]) == (NIL, NIL, 0)
            assert not found.probabilities[i].any()
            assert all(v is None or v[i] == 0 for v in (found.v1, found.v2))
            continue
        assert (int(found.chosen[i]), int(found.best[i])) == (expected.chosen, expected.best)
        torch.testing.assert_close(found.probabilities[i][real], expected.probabilities, atol=1e-4, rtol=1e-4)
        assert float(found.s_link[i]) == pytest.approx(expected.s_link, abs=1e-4)
        for name in ("v1", "v2"):
            value, wanted = getattr(found, name), getattr(expected, name)
            assert (value is None) == (wanted is None)
            assert value is None or value[i].item() == pytest.approx(wanted.item(), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(networks(), texts, seeds, st.booleans())
def test_shuffled_options_change_no_score_and_no_answer(network, texts, seed, twins):
    batch = make_batch(texts, seed)
    K = batch.mask.shape[1]
    if twins and K > 1:  # the second option says what the first does, and the ids decide
        for value in (batch.options, batch.features):
            value[:, 1] = value[:, 0]
    batch = dataclasses.replace(batch, ids=torch.arange(K).expand_as(batch.mask))
    shuffle = torch.rand(len(batch), K, generator=torch.Generator().manual_seed(seed)).argsort(1)

    def moved(value: torch.Tensor) -> torch.Tensor:
        return value[torch.arange(len(batch))[:, None], shuffle]

    moved_parts = {name: moved(getattr(batch, name)) for name in ("options", "features", "mask", "ids")}
    found, other = answer(network, batch), answer(network, dataclasses.replace(batch, **moved_parts))
    torch.testing.assert_close(other.probabilities, moved(found.probabilities), atol=1e-5, rtol=0)
    torch.testing.assert_close(other.s_link, found.s_link, atol=1e-5, rtol=0)
    for name in ("chosen", "best"):
        before, after = getattr(found, name), getattr(other, name)
        back = [NIL if k == NIL else int(shuffle[i, k]) for i, k in enumerate(after.tolist())]
        assert back == before.tolist(), name


@settings(max_examples=40, deadline=None)
@given(networks(history="vector"), texts, seeds)
def test_the_first_mention_of_a_text_is_answered_as_without_history(network, texts, seed):
    batch = make_batch(texts, seed)
    _assert_equal(answer(network, batch), answer(_without_history(network), batch), _first_turns(batch))


@settings(max_examples=20, deadline=None)
@given(networks(history="vector"), st.lists(st.integers(0, 5).map(lambda n: [n]), min_size=1, max_size=6), seeds)
def test_texts_of_one_mention_are_answered_as_without_history(network, texts, seed):
    batch = make_batch(texts, seed)
    _assert_equal(answer(network, batch), answer(_without_history(network), batch))


@settings(max_examples=20, deadline=None)
@given(networks(history="vector"), texts, seeds)
def test_a_memory_that_stays_empty_is_no_history(network, texts, seed):
    batch = make_batch(texts, seed)
    without = answer(_without_history(network), batch)
    nothing = torch.full((len(batch),), NIL)
    _assert_equal(answer(network, batch, nothing), without)
    with torch.no_grad():
        network.history.answer.weight.zero_()
    _assert_equal(answer(network, batch), without)


@settings(max_examples=20, deadline=None)
@given(networks(history="vector"), seeds)
def test_a_nil_answer_leaves_the_memory_unchanged_bit_for_bit(network, seed):
    """What a NIL mention says reaches no later mention of its text."""
    batch = make_batch([[2, 3, 4], [3, 2]], seed)
    middle = (batch.text == 0) & (batch.order == 1)
    told = torch.where(middle, NIL, torch.zeros(len(batch), dtype=torch.int64))
    other = dataclasses.replace(batch, options=batch.options.clone(), query=batch.query.clone())
    other.options[middle] = torch.randn(4, H)
    other.query[middle] = torch.randn(H)
    _assert_equal(answer(network, batch, told), answer(network, other, told), ~middle)
    # The same two batches differ when the mention is linked.
    linked = answer(network, batch, told.masked_fill(middle, 0)), answer(network, other, told.masked_fill(middle, 0))
    last = (batch.text == 0) & (batch.order == 2)
    assert not torch.equal(linked[0].probabilities[last], linked[1].probabilities[last])


@settings(max_examples=30, deadline=None)
@given(networks(), texts, seeds, st.floats(1, 10, exclude_min=True))
def test_theta_zero_never_and_theta_above_one_always_gives_nil(network, texts, seed, above):
    batch = make_batch(texts, seed)
    network.theta = 0.0
    assert torch.equal(answer(network, batch).chosen != NIL, batch.mask.any(1))
    network.theta = above
    assert (answer(network, batch).chosen == NIL).all()
    # Stages as sure as they can be.
    for stage in (network.first, network.second):
        if stage is not None:
            torch.nn.init.constant_(stage.bias, 1e4)
    found = answer(network, make_batch([[1], [1, 1]], seed))
    assert (found.chosen == NIL).all()
    assert (found.s_link == 1).all()


@settings(max_examples=30, deadline=None)
@given(networks(), texts, seeds, st.integers(0, 3))
def test_padding_has_probability_zero_and_no_part_in_anything(network, texts, seed, spare):
    batch = make_batch(texts, seed)
    found = answer(network, batch)
    assert not found.probabilities[~batch.mask].any()
    totals = found.probabilities.sum(1)
    torch.testing.assert_close(totals, batch.mask.any(1).float(), atol=1e-6, rtol=0)
    _assert_equal(found, answer(network, with_padding(batch, float("nan"))))
    pad = {
        "options": torch.nn.functional.pad(batch.options, (0, 0, 0, spare), value=1e3),
        "features": torch.nn.functional.pad(batch.features, (0, 0, 0, spare), value=1e3),
        "mask": torch.nn.functional.pad(batch.mask, (0, spare)),
    }
    wider = answer(network, dataclasses.replace(batch, **pad))
    assert not wider.probabilities[:, batch.mask.shape[1] :].any()
    narrow = dataclasses.replace(wider, probabilities=wider.probabilities[:, : batch.mask.shape[1]])
    _assert_close(narrow, found)


@settings(max_examples=30, deadline=None)
@given(networks(), texts, seeds)
def test_mentions_without_options_take_no_part(network, texts, seed):
    batch = make_batch(texts, seed)
    asked = batch.mask.any(1)
    found, alone = answer(network, batch), answer(network, batch.rows(asked))
    without = ~asked
    assert (found.chosen[without] == NIL).all()
    assert not found.probabilities[without].any()
    _assert_equal(dataclasses.replace(found, **{n: v[asked] for n, v in vars(found).items() if v is not None}), alone)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("options", [0, 3])
def test_a_batch_without_any_options(history, verifier, options):
    network = make_network(history=history, verifier=verifier)
    for batch in (make_batch([[0, 0], [0]], spare=options), make_batch([], spare=options)):
        found = answer(network, batch)
        assert found.chosen.tolist() == [NIL] * len(batch)
        assert found.probabilities.shape == (len(batch), options)
        assert not found.s_link.any()


@pytest.mark.parametrize("verifier", ["both", "first", "second"])
def test_the_verifier_may_refuse_the_only_option(verifier):
    network = make_network(verifier=verifier)
    batch = make_batch([[1]])
    for bias, linked in ((-50.0, False), (50.0, True)):
        for stage in (network.first, network.second):
            if stage is not None:
                torch.nn.init.constant_(stage.bias, bias)
        found = answer(network, batch)
        assert found.probabilities.tolist() == [[1.0]]
        assert (int(found.chosen[0]) != NIL) == linked


@settings(max_examples=20, deadline=None)
@given(networks(), texts, seeds)
def test_rows_of_a_batch_may_stand_in_any_order(network, texts, seed):
    batch = make_batch(texts, seed)
    shuffle = torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))
    found, other = answer(network, batch), answer(network, batch.rows(shuffle))
    moved = {name: None if value is None else value[shuffle] for name, value in vars(found).items()}
    _assert_close(other, M3Answers(**moved))


def test_answers_do_not_depend_on_the_numbers_of_texts_and_turns():
    network, batch = make_network(), make_batch([[2, 3], [4], [3, 2, 1]])
    other = dataclasses.replace(batch, text=batch.text * 1000 - 7, order=batch.order * 3 + 40)
    _assert_equal(answer(network, batch), answer(network, other))


@pytest.mark.parametrize("history", HISTORIES)
def test_answers_are_the_same_on_every_device(device, history):
    network, batch = make_network(history=history), make_batch([[2, 3, 0], [4], [0, 3, 2, 1]])
    here = answer(network, batch)
    there = M3Batch(*(None if value is None else value.to(device) for value in vars(batch).values()))
    _assert_close(M3Answers(*(value.cpu() for value in vars(answer(network.to(device), there)).values())), here)


def test_answers_have_no_graph_and_turns_have_one():
    network, batch = make_network(), make_batch([[2, 3]])
    assert not answer(network, batch).probabilities.requires_grad
    turns = take_turns(network, batch)
    assert turns.scores.requires_grad
    assert turns.first.requires_grad
    assert turns.second.requires_grad
    assert not turns.link.requires_grad


@settings(max_examples=100, deadline=None)
@given(mentions)
def test_easiest_first_is_fewest_candidates_then_margin_then_place(mentions):
    counts, margins, positions = ([m[i] for m in mentions] for i in range(3))
    order = easiest_first(counts, margins, positions)
    assert sorted(order) == list(range(len(mentions)))
    for i in range(len(mentions)):
        easier = 0
        for j in range(len(mentions)):
            if counts[j] != counts[i]:
                easier += counts[j] < counts[i]
            elif margins[j] != margins[i]:
                easier += margins[j] > margins[i]
            elif positions[j] != positions[i]:
                easier += positions[j] < positions[i]
            else:
                easier += j < i
        assert order[i] == easier
    assert order == easiest_first(tuple(counts), tuple(margins), tuple(positions))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 500), max_size=8, unique=True), seeds, st.randoms())
def test_other_orders_read_the_positions_alone(positions, seed, shuffler):
    natural = natural_order(positions)
    assert [positions[natural.index(turn)] for turn in range(len(positions))] == sorted(positions)
    assert [a + b for a, b in zip(natural, reverse_order(positions))] == [len(positions) - 1] * len(positions)
    drawn = random_order(positions, seed)
    assert sorted(drawn) == list(range(len(positions)))
    by_place = dict(zip(positions, drawn))
    moved = shuffler.sample(positions, len(positions))
    assert random_order(moved, seed) == [by_place[position] for position in moved]


def test_random_orders_differ_by_seed_and_all_come_about():
    drawn = {tuple(random_order([5, 1, 9], seed)) for seed in range(100)}
    assert len(drawn) == math.factorial(3)


def test_orders_by_name():
    counts, margins, positions = [3, 1, 3], [0.1, 0.0, 0.9], [0, 5, 9]
    found = {how: order_mentions(how, counts, margins, positions, seed=4) for how in ORDERS}
    assert found == {
        "easiest": [2, 0, 1],
        "natural": [0, 1, 2],
        "reverse": [2, 1, 0],
        "random": random_order(positions, 4),
    }
    with pytest.raises(ValueError, match=r"S930.*order 'hardest'.*easiest"):
        order_mentions("hardest", counts, margins, positions)
