"""Plans: the choice, its limits, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parallel_model import LENGTH, ROWS, TinyModel
from samarkand.engine.graph_costs import Machine
from samarkand.engine.parallel_plan import Planner
from samarkand.engine.tensor_rules import matching_rules
from torch import nn

# A link as fast as this makes computation what counts, even for a tiny model.
FAST = Machine(link_rate=1e15, latency=0.0)
LITTLE = 2.5e5


def _planner(model: nn.Module | None = None, **options: Any) -> Planner:
    options = {"micro_batches": 4, "machine": FAST, **options}
    return Planner(model or TinyModel(), (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),), **options)


def test_a_plan_prints_its_stages():
    plan = _planner().choose(4, (2, 1, 2))
    assert (plan.data, plan.tensor, plan.pipeline, plan.world) == (2, 1, 2, 4)
    lines = str(plan).splitlines()
    assert lines[0].startswith("data 2 x tensor 1 x pipeline 2, 4 micro-batches")
    assert len(lines) == 4
    assert all(name in line for name, line in zip(plan.names, lines[2:]))


def test_less_memory_asks_for_more_parallelism_or_recomputation():
    rich, poor = (_planner(budget=budget).choose(4) for budget in (1e9, LITTLE))
    assert max(poor.peak) <= LITTLE < max(_planner().choose(4, (4, 1, 1)).peak)
    assert rich.seconds <= poor.seconds
    free = _planner().choose(2, (1, 1, 2), "pre-recompute")
    assert free.recomputed == (0, 0)
    tight = _planner(budget=0.9 * free.peak[0]).choose(2, (1, 1, 2), "pre-recompute")
    assert tight.recomputed[0] > 0
    assert max(tight.peak) <= 0.9 * free.peak[0]


@pytest.mark.parametrize(
    ("world", "degrees", "options", "message"),
    [
        (4, (3, None, None), {}, r"\[S720\] 4 processes do not split into data 3 x tensor any x pipeline any"),
        (4, (2, 2, 2), {}, r"\[S720\] 4 processes"),
        (
            2,
            (None,) * 3,
            {"budget": 1000},
            r"\[S721\] No plan for 2 processes fits .* 1000 bytes .* needs \d",
        ),
        (8, (8, 1, 1), {}, r"\[S722\] A batch of 16 rows does not split into data 8 x micro_batches 4 .* of 32"),
        (8, (1, 1, 8), {}, r"\[S727\].*8 stages need as many micro-batches, not 4"),
        (2, (1, 1, 2), {"schedule": "shifted", "micro_batches": 2}, r"\[S727\].*'shifted'.*4 micro-batches"),
        (3, (1, 3, 1), {}, r"\[S728\].*degree 3 .* TinyModel: .*linear1, linear2"),
        (16, (1, 1, 16), {"micro_batches": 16}, r"\[S729\] TinyModel can be cut into at most 10 stages, not 16"),
    ],
)
def test_impossible_plans_are_refused(world, degrees, options, message):
    schedule = options.pop("schedule", None)
    with pytest.raises(ValueError, match=message):
        _planner(**options).choose(world, degrees, schedule)


def test_inputs_of_different_rows_are_refused():
    inputs = torch.empty(8, 4, device="meta"), torch.empty(6, 4, device="meta")
    with pytest.raises(ValueError, match=r"\[S722\] A batch of 6 and 8 rows"):
        Planner(TinyModel(), inputs, micro_batches=2).choose(1)


def test_rules_match_common_blocks_and_their_heads():
    block = TinyModel().encoder.layers[0]
    assert [rule.columns for rule in matching_rules(block, 2)] == [("linear1",)]
    assert matching_rules(block, 3) == []

    attention = nn.ModuleDict({name: nn.Linear(12, 12) for name in ("q_proj", "k_proj", "v_proj", "o_proj")})
    llama = nn.ModuleDict({"self_attn": attention})
    assert [rule.row for rule in matching_rules(llama, 2)] == ["self_attn.o_proj"]
    attention.num_heads = 3
    assert matching_rules(llama, 2) == []
    del attention.num_heads
    attention.head_dim = 4
    assert matching_rules(llama, 2) == []
    assert matching_rules(llama, 3) != []


@pytest.mark.parametrize(("heads", "degree", "split"), [(1, 2, False), (2, 2, True), (2, 4, False), (4, 4, True)])
def test_few_heads_of_keys_and_values_are_not_cut_through(heads, degree, split):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=heads,
        intermediate_size=64,
    )  # fmt: skip
    block = transformers.LlamaForCausalLM(config).model.layers[0]
    rows = [rule.row for rule in matching_rules(block, degree)]
    assert rows == ["self_attn.o_proj"] * split + ["mlp.down_proj"]


@pytest.mark.parametrize(
    ("world", "degrees", "budget", "recomputed", "early"),
    [
        (2, (1, 2, 1), 8e5, (4,), True),
        # There is no room for two blocks at once.
        (2, (1, 2, 1), 7e5, (4,), False),
        # Blocks that are spread over the data degree as well are gathered in their turn.
        (4, (2, 2, 1), 5e5, (3,), False),
    ],
)
def test_blocks_are_recomputed_early_where_that_fits_and_is_faster(world, degrees, budget, recomputed, early):
    # A sum takes as long as a block.
    machine = Machine(link_rate=1e15, latency=1e-7)
    plan = _planner(micro_batches=1, machine=machine, budget=budget).choose(world, degrees)
    assert (plan.recomputed, plan.early) == (recomputed, early)
    assert ("recomputing early" in str(plan)) == early
    assert max(plan.peak) <= budget


def test_splitting_blocks_spreads_their_costs():
    whole, split = (_planner().choose(degree, (1, degree, 1)) for degree in (1, 2))
    assert split.static[0] < whole.static[0]
    assert split.seconds < whole.seconds


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_models_of_transformers_are_planned_as_they_are(kind):
    transformers = pytest.importorskip("transformers")
    if kind == "bert":
        config = transformers.BertConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64
        )
        model = transformers.BertForSequenceClassification(config)
    else:
        config = transformers.GPT2Config(
            vocab_size=50, n_embd=32, n_layer=3, n_head=4, use_cache=False, bos_token_id=1, eos_token_id=1
        )
        model = transformers.GPT2LMHeadModel(config)
    plan = _planner(model).choose(2, (1, 1, 2))
    assert plan.blocks != (0, 0)
    if kind == "bert":
        assert _planner(model).choose(2, (1, 2, 1)).tensor == 2
