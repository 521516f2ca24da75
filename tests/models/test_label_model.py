"""Label models: invariants, a slow reference of EM, recovery of what votes were drawn from, repeated functions."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from samarkand.errors import SamarkandWarning
from samarkand.models.dawid_skene import DawidSkene
from samarkand.models.label_model import ABSTAIN, MajorityVote, hard_labels
from samarkand.models.vote_dependence import share_of_repeats
from spacy import registry

MODELS = [MajorityVote(), DawidSkene(), DawidSkene(by_class=False), DawidSkene(correlated=True)]
NAMES = ["majority", "by-class", "one-accuracy", "correlated"]
VOTES = st.integers(1, 3).flatmap(
    lambda n_classes: st.tuples(
        arrays(int, st.tuples(st.integers(0, 12), st.integers(1, 5)), elements=st.integers(ABSTAIN, n_classes - 1)),
        st.just(n_classes),
    )
)
pytestmark = pytest.mark.filterwarnings("ignore::samarkand.errors.SamarkandWarning")


def draw(seed: int, size: int, balance: list[float], tables: list[list[list[float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Documents and votes; a function's table has a row a class, with the chance of each vote, ABSTAIN the last."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(len(balance), size, p=balance)
    votes = np.empty((size, len(tables)), dtype=int)
    for j, table in enumerate(tables):
        chances = np.cumsum(np.array(table)[gold], axis=1)
        found = (rng.random((size, 1)) > chances).sum(axis=1)
        votes[:, j] = np.where(found == len(balance), ABSTAIN, found)
    return gold, votes


def even(accuracy: float, coverage: float, n_classes: int = 2) -> list[list[float]]:
    """A function that votes on a share of all documents and errs evenly."""
    rest = (1 - accuracy) / (n_classes - 1)
    return [
        [coverage * (accuracy if vote == label else rest) for vote in range(n_classes)] + [1 - coverage]
        for label in range(n_classes)
    ]


def slow_em(votes: list[list[int]], n_classes: int, smoothing: float, rounds: int) -> list[list[float]]:
    """Dawid and Skene's EM by loops, from the same start."""
    n, functions = len(votes), len(votes[0])
    start = []
    for j in range(functions):
        coverage = (sum(row[j] != ABSTAIN for row in votes) + 0.5) / (n + 1)
        table = even(0.7, coverage, n_classes)
        start.append([[*row] for row in table])
    theta, pi = start, [1 / n_classes] * n_classes
    for at in range(rounds):
        shares = []
        for row in votes:
            joint = [pi[y] * math.prod(theta[j][y][row[j]] for j in range(functions)) for y in range(n_classes)]
            shares.append([p / sum(joint) for p in joint])
        if at == rounds - 1:
            return shares
        totals = [sum(share[y] for share in shares) + smoothing / n_classes for y in range(n_classes)]
        pi = [total / sum(totals) for total in totals]
        theta = []
        for j in range(functions):
            rows = []
            for y in range(n_classes):
                found = [smoothing * p for p in start[j][y]]
                for row, share in zip(votes, shares):
                    found[row[j]] += share[y]
                rows.append([p / sum(found) for p in found])
            theta.append(rows)
    return []


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@given(data=VOTES)
@settings(max_examples=40, deadline=None)
def test_rows_are_probabilities_and_no_vote_is_the_prior(model, data):
    votes, n_classes = data
    rows = model.fit(votes, n_classes).predict_proba(votes)
    assert rows.shape == (len(votes), n_classes)
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert (rows >= 0).all()
    nothing = model.predict_proba(np.full((1, votes.shape[1]), ABSTAIN))
    prior = getattr(model, "class_balance", np.full(n_classes, 1 / n_classes))
    np.testing.assert_allclose(nothing[0], prior)
    unseen = np.full((1, votes.shape[1]), n_classes - 1)
    np.testing.assert_allclose(model.predict_proba(unseen).sum(), 1)


@pytest.mark.parametrize("by_class", [True, False])
@given(data=VOTES, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_objective_never_falls_and_renaming_classes_renames_results(by_class, data, seed):
    votes, n_classes = data
    model = DawidSkene(by_class=by_class, tolerance=0, iterations=30).fit(votes, n_classes)
    assert all(after >= before - 1e-9 for before, after in zip(model.log_likelihoods, model.log_likelihoods[1:]))
    names = np.random.default_rng(seed).permutation(n_classes)
    renamed = np.where(votes == ABSTAIN, ABSTAIN, names[votes])
    # Few steps: where votes are symmetric, each step away from the saddle doubles the rounding of the one before.
    one, other = (DawidSkene(by_class=by_class, tolerance=0, iterations=5).fit(v, n_classes) for v in (votes, renamed))
    np.testing.assert_allclose(other.predict_proba(renamed)[:, names], one.predict_proba(votes), atol=1e-7)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@given(data=VOTES)
@settings(max_examples=30, deadline=None)
def test_a_function_that_never_votes_changes_nothing(model, data):
    votes, n_classes = data
    expected = model.fit(votes, n_classes).predict_proba(votes)
    more = np.column_stack([votes, np.full(len(votes), ABSTAIN)])
    np.testing.assert_allclose(model.fit(more, n_classes).predict_proba(more), expected, atol=1e-12)
    assert np.isnan(model.accuracies()[-1])


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@given(column=arrays(int, st.integers(1, 30), elements=st.integers(ABSTAIN, 2)))
@settings(max_examples=30, deadline=None)
def test_one_function_alone_is_believed(model, column):
    votes = column[:, None]
    labels = hard_labels(model.fit(votes, 3).predict_proba(votes))
    assert (labels[column != ABSTAIN] == column[column != ABSTAIN]).all()


def test_the_same_documents_twice_change_nothing():
    _, votes = draw(3, 300, [0.7, 0.3], [even(a, 0.4, 2) for a in (0.8, 0.7, 0.75, 0.6)])
    once, twice = (DawidSkene().fit(rows, 2).predict_proba(votes) for rows in (votes, np.concatenate([votes, votes])))
    np.testing.assert_allclose(twice, once, atol=0.01)


def test_trust_in_the_start_keeps_to_the_classes():
    """Regression: where functions vote rarely and some texts have more of all votes, EM split the texts by that."""
    rng = np.random.default_rng(1)
    gold = (rng.random(4000) < 0.3).astype(int)
    talkative = np.where(rng.random(4000) < 0.4, 2.0, 0.4)
    votes = np.full((4000, 12), ABSTAIN)
    for at in range(12):
        votes[rng.random(4000) < np.where(gold == at % 2, 0.12, 0.03) * talkative, at] = at % 2
    voted = (votes != ABSTAIN).any(axis=1)
    trusting, doubting = (
        (model.fit(votes, 2).predict_proba(votes)[voted].argmax(axis=1) == gold[voted]).mean()
        for model in (DawidSkene(), DawidSkene(smoothing=0.0025))
    )
    assert trusting > 0.8
    assert doubting < 0.7


@pytest.mark.parametrize("n_classes", [2, 3])
def test_em_is_the_slow_reference(n_classes):
    balance = [0.5, 0.3, 0.2][:n_classes]
    balance = [share / sum(balance) for share in balance]
    # Good functions and enough documents, so that no vote is likelier where it is wrong.
    _, votes = draw(0, 200, balance, [even(a, 0.8, n_classes) for a in (0.9, 0.85, 0.8)])
    model = DawidSkene(iterations=12, tolerance=0, smoothing=2.0 / len(votes))
    model.fit(votes, n_classes)
    # Each round ends with new parameters, which the reference uses in one more round of shares.
    expected = slow_em(votes.tolist(), n_classes, 2.0, 13)
    voted = (votes != ABSTAIN).any(axis=1)
    np.testing.assert_allclose(model.predict_proba(votes)[voted], np.array(expected)[voted], atol=1e-10)


def test_accuracies_and_the_balance_are_found_without_gold():
    accuracies = [0.9, 0.75, 0.65, 0.8, 0.6]
    gold, votes = draw(1, 8000, [0.6, 0.3, 0.1], [even(a, 0.7, 3) for a in accuracies])
    for model in (DawidSkene(), DawidSkene(by_class=False)):
        model.fit(votes, 3)
        np.testing.assert_allclose(model.accuracies(), accuracies, atol=0.03)
        np.testing.assert_allclose(model.class_balance, np.bincount(gold) / len(gold), atol=0.03)
        voted = (votes != ABSTAIN).any(axis=1)
        majority = MajorityVote().fit(votes, 3).predict_proba(votes)
        right = [(p.argmax(axis=1) == gold)[voted].mean() for p in (model.predict_proba(votes), majority)]
        assert right[0] >= right[1] + 0.01


def test_a_function_may_be_good_at_one_class_alone():
    tables = [[[0.9, 0.1, 0], [0.4, 0.6, 0]], even(0.8, 1.0), even(0.75, 1.0), even(0.7, 1.0)]
    _, votes = draw(2, 8000, [0.5, 0.5], tables)
    model = DawidSkene().fit(votes, 2)
    np.testing.assert_allclose(model.class_accuracies()[0], [0.9, 0.6], atol=0.06)


def test_a_known_balance_helps_where_each_function_votes_for_one_class():
    def only(label: int, right: float, wrong: float) -> list[list[float]]:
        rows = [[0.0, 0.0, 1 - wrong], [0.0, 0.0, 1 - wrong]]
        for y, row in enumerate(rows):
            row[label], row[2] = (right, 1 - right) if y == label else (wrong, 1 - wrong)
        return rows

    tables = [only(1, 0.4, 0.02), only(1, 0.3, 0.01), only(0, 0.3, 0.1), only(0, 0.2, 0.05), only(1, 0.5, 0.05)]
    gold, votes = draw(3, 5000, [0.95, 0.05], tables)
    voted = (votes != ABSTAIN).any(axis=1)
    right = {
        balance: (DawidSkene(class_balance=balance).fit(votes, 2).predict_proba(votes).argmax(axis=1) == gold)[voted]
        for balance in (None, (0.95, 0.05))
    }
    assert right[0.95, 0.05].mean() > right[None].mean() + 0.03
    assert DawidSkene(class_balance=(0.9, 0.1)).fit(votes, 2).class_balance.tolist() == [0.9, 0.1]


def test_known_labels_are_kept_and_teach():
    # Two bad functions agree against a good one; only known labels can tell.
    gold, votes = draw(4, 2000, [0.5, 0.5], [even(0.95, 1.0), even(0.3, 1.0), even(0.3, 1.0)])
    known = np.where(np.arange(len(gold)) < 200, gold, ABSTAIN)
    blind, taught = DawidSkene().fit(votes, 2), DawidSkene().fit(votes, 2, known)
    right = [(model.predict_proba(votes).argmax(axis=1) == gold)[200:].mean() for model in (blind, taught)]
    assert right[1] > max(right[0], 0.9)


@given(data=VOTES)
@settings(max_examples=40, deadline=None)
def test_votes_are_likeliest_on_their_own_class(data):
    votes, n_classes = data
    theta = DawidSkene().fit(votes, n_classes).theta
    np.testing.assert_allclose(theta.sum(axis=2)[(votes != ABSTAIN).any(axis=0)], 1)
    for label in range(n_classes):
        assert (theta[:, :, label] <= theta[:, [label], label] + 1e-9).all()


def test_right_functions_reach_the_cap_and_their_labels_are_gold():
    gold, votes = draw(5, 300, [0.5, 0.5], [even(1.0, 1.0)] * 3)
    model = DawidSkene(by_class=False).fit(votes, 2)
    assert model.accuracies() == pytest.approx([0.95] * 3)
    assert (hard_labels(model.predict_proba(votes)) == gold).all()


def test_repeated_functions_count_once():
    gold, votes = draw(6, 3000, [0.6, 0.4], [even(a, 0.9) for a in (0.85, 0.8, 0.75, 0.6)])
    copies = np.column_stack([votes, votes[:, [3, 3, 3]]])
    plain, aware = (DawidSkene(correlated=correlated).fit(copies, 2) for correlated in (False, True))
    np.testing.assert_allclose(aware.weights, [1, 1, 1, 0.25, 0.25, 0.25, 0.25], atol=0.05)
    copied = np.arange(7) >= 3
    np.testing.assert_allclose(aware.excess, copied[:, None] & copied & ~np.eye(7, dtype=bool), atol=0.05)
    assert plain.excess is None
    assert plain.weights.tolist() == [1.0] * 7
    right = [(model.predict_proba(copies).argmax(axis=1) == gold).mean() for model in (plain, aware)]
    assert right[1] > right[0] + 0.1
    alone = DawidSkene().fit(votes, 2).predict_proba(votes)
    np.testing.assert_allclose(aware.predict_proba(copies), alone, atol=0.05)


def test_accurate_functions_are_not_taken_for_copies():
    _, votes = draw(7, 3000, [0.5, 0.5], [even(a, 1.0) for a in (0.95, 0.95, 0.9, 0.9, 0.85)])
    assert share_of_repeats(votes, 0, 1) > 0.85
    assert DawidSkene(correlated=True).fit(votes, 2).weights == pytest.approx([1] * 5, abs=0.1)


def test_repeats_are_warned_of():
    _, votes = draw(8, 100, [0.5, 0.5], [even(0.8, 0.9), even(0.7, 0.9)])
    with pytest.warns(SamarkandWarning, match=r"SW1120.*0 and 2"):
        DawidSkene().fit(votes[:, [0, 1, 0]], 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DawidSkene().fit(votes, 2)


def test_fits_are_the_same_to_the_bit():
    _, votes = draw(9, 500, [0.5, 0.5], [even(0.8, 0.5), even(0.7, 0.9), even(0.6, 0.6)])
    first, second = (DawidSkene().fit(votes, 2).predict_proba(votes) for _ in range(2))
    assert (first == second).all()
    order = np.random.default_rng(0).permutation(len(votes))
    shuffled = DawidSkene().fit(votes[order], 2).predict_proba(votes[order])
    np.testing.assert_allclose(shuffled, first[order], atol=1e-12)


def test_hard_labels():
    rows = np.array([[0.5, 0.5], [0.3, 0.7], [0.45, 0.55]])
    assert hard_labels(rows).tolist() == [ABSTAIN, 1, 1]
    assert hard_labels(rows, 0.6).tolist() == [ABSTAIN, 1, ABSTAIN]
    assert hard_labels(np.empty((0, 2))).tolist() == []


def test_majority_vote_shares_ties():
    votes = np.array([[0, 0, 1], [0, 1, ABSTAIN], [ABSTAIN] * 3, [2, ABSTAIN, ABSTAIN]])
    rows = MajorityVote().fit(votes, 3).predict_proba(votes)
    np.testing.assert_allclose(rows, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [0, 0, 1]])


@pytest.mark.parametrize(
    ("votes", "n_classes", "gold", "reason"),
    [
        (np.array([0, 1]), 2, None, "shape"),
        (np.array([[0.0]]), 2, None, "type"),
        (np.array([[2]]), 2, None, "from 2 to 2"),
        (np.array([[-2]]), 2, None, "from -2"),
        (np.array([[0]]), 0, None, "0 classes"),
        (np.array([[0]]), 2, np.array([0, 1]), "known classes"),
        (np.array([[0]]), 2, np.array([5]), "known classes go"),
    ],
)
def test_bad_votes_are_refused(votes, n_classes, gold, reason):
    for model in MODELS:
        with pytest.raises(ValueError, match=rf"S1120.*{reason}"):
            model.fit(votes, n_classes, gold)


def test_misuse_is_refused():
    for model in (MajorityVote(), DawidSkene()):
        with pytest.raises(ValueError, match="S1121"):
            model.predict_proba(np.zeros((1, 1), dtype=int))
        with pytest.raises(ValueError, match="S1121"):
            model.accuracies()
        model.fit(np.zeros((3, 2), dtype=int), 2)
        with pytest.raises(ValueError, match="S1120"):
            model.predict_proba(np.zeros((1, 3), dtype=int))
    for wrong in ({"iterations": 0}, {"tolerance": -1}, {"smoothing": 0}, {"class_balance": [0.5, 0.6]}):
        with pytest.raises(ValueError, match="S1122"):
            DawidSkene(**wrong)
    with pytest.raises(ValueError, match="S1122"):
        DawidSkene(class_balance=[1.0]).fit(np.zeros((3, 2), dtype=int), 2)


def test_configs_make_the_models():
    config = {
        "a": {"@misc": "samarkand.DawidSkene.v1", "correlated": True},
        "b": {"@misc": "samarkand.MajorityVote.v1"},
    }
    made = registry.resolve(config)
    assert made["a"].correlated
    assert isinstance(made["b"], MajorityVote)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_crowd_kit():
    """The original model: every function votes on every document."""
    aggregation = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    _, votes = draw(10, 400, [0.5, 0.3, 0.2], [even(a, 1.0, 3) for a in (0.85, 0.7, 0.6, 0.75)])
    table = pandas.DataFrame(
        [(i, j, int(vote)) for i, row in enumerate(votes) for j, vote in enumerate(row)],
        columns=["task", "worker", "label"],
    )
    peer = aggregation.DawidSkene(n_iter=25, tol=1e-9).fit_predict_proba(table).sort_index()[[0, 1, 2]].to_numpy()
    ours = DawidSkene(smoothing=0.01 / len(votes), iterations=200, tolerance=0).fit(votes, 3).predict_proba(votes)
    assert (ours.argmax(axis=1) == peer.argmax(axis=1)).mean() > 0.99
    assert np.abs(ours - peer).mean() < 0.01
