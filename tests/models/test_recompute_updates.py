"""Updates of a transformer encoder within a budget: the same gradients, and no more memory than was allowed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from samarkand.engine.live_memory import LiveMemory
from samarkand.models.piece_windows import WindowPlan
from samarkand.models.recompute_updates import RecomputeSettings, UpdateSize
from samarkand.models.transformer import TransformerNetwork, make_encoder
from samarkand.models.transformer_tok2vec import build_transformer_encoder
from spacy.training import Example
from thinc.api import Adam
from transformer_checkpoints import MAX_PIECES, SENTENCES, SIZES, save_checkpoint

# Pieces of each window, longest first: a padded batch of six and one of eight without padding.
LENGTHS = (38, 38, 38, 38, 38, 37, *[24] * 8)
MAX_BATCH = 230
LAYERS = 4
PLENTY = 1 << 40


def make_network(budget=None, planner="heu", *, family="bert", **settings):
    torch.manual_seed(0)
    config = {**SIZES, "num_hidden_layers": LAYERS, "vocab_size": 50, "max_position_embeddings": MAX_PIECES}
    config |= {"pad_token_id": 0, "local_attention": 8}
    if family == "modernbert":
        config |= {f"{name}_token_id": 1 for name in ("bos", "eos", "cls", "sep")}
        config |= {f"{name}_dropout": 0.1 for name in ("attention", "mlp", "embedding")}
    recompute = None if budget is None else RecomputeSettings(budget, planner)
    encoder = make_encoder({"model_type": family, **config})
    return TransformerNetwork(encoder, max_batch_pieces=MAX_BATCH, recompute=recompute, **settings).train()


def make_plan(lengths=LENGTHS):
    windows = [np.random.default_rng(length).integers(2, 50, size=length) for length in lengths]
    rows = np.flatnonzero(np.concatenate([np.arange(length) % 7 for length in lengths]))
    return WindowPlan(windows, rows, np.arange(0, len(rows), 2))


def run_update(network, plan, *, keep_gradients=False):
    """Bytes of weights, gradients and all else at the worst moment of an update; its gradients."""
    torch.manual_seed(3)
    if not keep_gradients:
        network.zero_grad(set_to_none=True)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    memory = LiveMemory()
    memory.ignore([*network.parameters(), *network.buffers(), *gradients])
    with memory:
        vectors = network(plan)
        vectors.backward(torch.linspace(-1, 1, vectors.numel()).view_as(vectors))
    held = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers(), *gradients))
    return memory.peak + held, {name: p.grad.clone() for name, p in network.named_parameters()}


def recomputed_calls(network):
    return [sum(layer.region is not None for layer in plan.layers) for plan in network.update_plans.plans]


def budget_at(share, plan, **settings):
    """Bytes between those of recomputing everything, 0, and of recomputing nothing, 1."""
    network = make_network(PLENTY, "full", **settings)
    network(plan)
    low, high = network.update_plans.plans[0].peak_size, run_update(make_network(**settings), plan)[0]
    return int(low + share * (high - low))


def assert_equal(gradients, expected):
    assert gradients.keys() == expected.keys()
    assert all(torch.equal(gradient, expected[name]) for name, gradient in gradients.items())


@pytest.mark.parametrize(
    ("share", "planner", "settings"),
    [
        (0.5, "mix", {}),
        (0.0, "heu", {"layers": "mix"}),
        (0.5, "heu", {"layers": "mix", "precision": "bf16"}),
        (0.0, "heu", {"family": "modernbert", "precision": "bf16"}),
        (0.5, "heu", {"family": "modernbert", "layers": "mix"}),
    ],
    ids=str,
)
def test_gradients_are_equal_and_memory_stays_within_the_budget(share, planner, settings):
    plan = make_plan()
    most, expected = run_update(make_network(**settings), plan)
    budget = budget_at(share, plan, **settings)
    network = make_network(budget, planner, **settings)
    # The first update is planned, the second follows the plan at once.
    for _ in range(2):
        peak, gradients = run_update(network, plan)
        assert_equal(gradients, expected)
    assert peak <= budget < most
    assert recomputed_calls(network)[-1] > 0


def test_nothing_is_recomputed_where_everything_fits():
    plan = make_plan()
    network = make_network(PLENTY, "mix")
    network(plan)
    assert recomputed_calls(network) == [0]
    assert run_update(network, plan)[0] == run_update(make_network(), plan)[0]


def test_gradients_that_are_there_count():
    """As in the second part of a batch whose gradients are accumulated."""
    plain, plan = make_network(), make_plan()
    run_update(plain, plan)
    most, expected = run_update(plain, plan, keep_gradients=True)
    # As much as fits when no gradients are there.
    budget = run_update(make_network(), plan)[0]
    network = make_network(budget)
    run_update(network, plan)
    for _ in range(2):
        torch.manual_seed(0)
        network.zero_grad(set_to_none=True)
        run_update(network, plan)
        peak, gradients = run_update(network, plan, keep_gradients=True)
        assert_equal(gradients, expected)
    assert peak <= budget < most
    assert len(network.update_plans.plans) == 2


def test_updates_of_any_size_stay_within_the_budget():
    random = np.random.default_rng(0)
    budget = budget_at(0.1, make_plan([38] * 12))
    plain, network, over = make_network(), make_network(budget), 0
    for _ in range(8):
        lengths = random.integers(1, 39, size=random.integers(1, 17))
        plan = make_plan(sorted(lengths.tolist(), reverse=True))
        most, expected = run_update(plain, plan)
        run_update(network, plan)
        peak, gradients = run_update(network, plan)
        assert_equal(gradients, expected)
        assert peak <= budget
        over += most > budget
    assert over > 1


def test_a_plan_serves_the_sizes_around_it():
    network = make_network(PLENTY, "full")
    for lengths in ([38] * 4 + [30], [36] * 5 + [20], [37] * 4 + [36]):
        network(make_plan(lengths))
    assert len(network.update_plans.plans) == 1
    # Without padding the encoder has no mask, and there are other operators.
    for lengths in ([38] * 5, [38, 38, 37]):
        network(make_plan(lengths))
    assert len(network.update_plans.plans) == 3


def test_a_size_is_not_rounded_up_to_what_does_not_fit():
    plan, rounded = make_plan([38] * 4 + [37]), make_network(PLENTY, "full")
    rounded(plan)
    budget = int(1.03 * run_update(rounded, plan)[0])
    network = make_network(budget)
    network(plan)
    assert run_update(network, plan)[0] <= budget < rounded.update_plans.plans[0].peak_size


SHAPES = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 300), st.booleans()), min_size=1, max_size=4)


@hypothesis_settings(max_examples=200, deadline=None)
@given(shapes=SHAPES, rows=st.integers(1, 5000), tokens=st.integers(1, 5000))
def test_rounding_never_makes_an_update_smaller(shapes, rows, tokens):
    batches = tuple((max(count, 1 + padded), max(length, 1 + padded), padded) for count, length, padded in shapes)
    size = UpdateSize(batches, rows, tokens)
    wide = size.rounded(size.longest)
    assert wide.longest <= size.longest
    assert min(wide.rows, wide.tokens) >= max(rows, tokens)
    for (count, length, padded), (high, long, still_padded) in zip(size.batches, wide.batches):
        assert (padded, length) <= (still_padded, long)
        assert count * length <= high * long <= 1.25 * count * length + long
    for each in (size, wide):
        assert UpdateSize.of(*each.sample(7)) == each


def test_no_plans_without_gradients():
    plan = make_plan()
    assert make_network(PLENTY, freeze=True, layers="mix").update_plans is None
    network = make_network(PLENTY)
    with torch.no_grad():
        network.eval()(plan)
    assert network.update_plans.plans == []


def test_S754_no_plan_fits_and_nothing_has_changed():
    plan = make_plan()
    network = make_network(budget_at(-0.2, plan))
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"\[S754\] No plan fits .* Raise the budget"):
        network(plan)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in network.parameters())
    assert not any("forward" in vars(module) for module in network.modules())


def test_S755_the_planner_has_no_plan_that_fits():
    plan = make_plan()
    with pytest.raises(ValueError, match="S755"):
        make_network(budget_at(0.1, plan), "none")(plan)


def test_S334_no_layers_to_recompute():
    config = {**SIZES, "model_type": "albert", "vocab_size": 50, "embedding_size": 8}
    with pytest.raises(ValueError, match=r"\[S334\] AlbertModel"):
        TransformerNetwork(make_encoder(config), recompute=RecomputeSettings(PLENTY, "mix"))


@pytest.mark.parametrize(
    ("recompute", "code"),
    [
        ({}, "S333"),
        ({"planner": "mix"}, "S333"),
        ({"budget": "2GiB", "bugdet": 1}, "S333"),
        ("2GiB", "S333"),
        ({"budget": "2 gigs"}, "S751"),
        ({"budget": "2GiB", "planner": "best"}, "S752"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used(recompute, code):
    with pytest.raises(ValueError, match=rf"\[{code}\]") as info:
        build_transformer_encoder("some/name", recompute=recompute)
    assert "\n" not in str(info.value)


CONFIG = """
[nlp]
lang = "xx"
pipeline = ["tagger"]

[components]

[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"

[components.tagger.model.tok2vec]
@architectures = "samarkand.TransformerEncoder.v1"
window = 30
stride = 20
max_batch_pieces = 100
layers = "mix"
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint("bert", tmp_path_factory.mktemp("checkpoint"), num_hidden_layers=LAYERS)


def make_nlp(checkpoint, recompute):
    spacy.util.fix_random_seed(0)
    config = spacy.util.load_config_from_str(CONFIG)
    encoder = config["components"]["tagger"]["model"]["tok2vec"]
    encoder |= {"name": str(checkpoint), "recompute": recompute}
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.initialize(lambda: make_examples(nlp, SENTENCES))
    return nlp


def make_examples(nlp, texts):
    docs = map(nlp.make_doc, texts)
    return [Example.from_dict(doc, {"tags": [token.shape_ for token in doc]}) for doc in docs]


def network_of(nlp):
    (encoder,) = (node for node in nlp.get_pipe("tagger").model.walk() if node.name == "transformer_encoder")
    return encoder.shims[0].module


def train(nlp, steps=4):
    """Losses of some updates, and bytes that the encoder took at the worst moment of the last."""
    optimizer, losses, network = Adam(0.005), [], network_of(nlp)
    for step in range(steps):
        memory = LiveMemory()
        memory.ignore([*network.parameters(), *network.buffers()])
        with memory:
            losses.append(nlp.update(make_examples(nlp, SENTENCES[step % 2 :]), sgd=optimizer, losses={})["tagger"])
    return losses, memory.peak + sum(t.nbytes for t in (*network.parameters(), *network.buffers()))


def vectors(nlp, **options):
    return [doc.tensor.tolist() for doc in nlp.pipe(SENTENCES, **options)]


def test_a_pipeline_trains_within_its_budget_as_it_does_without(checkpoint, tmp_path):
    plain = make_nlp(checkpoint, None)
    losses, most = train(plain)
    budget = int(0.7 * most)
    nlp = make_nlp(checkpoint, {"budget": budget, "planner": "heu"})
    again, peak = train(nlp)
    assert again == losses
    assert peak <= budget
    assert max(recomputed_calls(network_of(nlp))) > 0
    # What is saved does not depend on it, and pipelines go on after any way of saving.
    assert nlp.to_bytes(exclude=["config", "meta"]) == plain.to_bytes(exclude=["config", "meta"])
    expected = vectors(plain)
    assert vectors(nlp, n_process=2, batch_size=2) == expected
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    fresh = make_nlp(checkpoint, {"budget": budget}).from_bytes(nlp.to_bytes())
    for other in (loaded, fresh, pickle.loads(pickle.dumps(nlp))):
        assert other.config["components"]["tagger"]["model"]["tok2vec"]["recompute"]["budget"] == budget
        assert vectors(other) == expected
        assert network_of(other).update_plans.settings.budget == budget
    spacy.util.fix_random_seed(1)
    expected, _ = train(plain, steps=2)
    spacy.util.fix_random_seed(1)
    assert train(loaded, steps=2)[0] == expected


def test_a_config_names_what_is_wrong(checkpoint):
    with pytest.raises(ValueError, match=r"\[S333\].*'memory': '2GiB'"):
        make_nlp(checkpoint, {"memory": "2GiB"})
