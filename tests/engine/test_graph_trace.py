"""What a traced model computes, in one stage and cut in two, is what the model computes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from parallel_model import LENGTH
from samarkand.engine.graph_costs import Machine, Unit, find_units
from samarkand.engine.graph_trace import Trace, trace
from samarkand.engine.parallel_plan import Planner
from samarkand.engine.stage_module import StageModule
from samarkand.errors import SamarkandWarning
from torch import Tensor, nn

VALUES = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


def _units(model: nn.Module, inputs: Tensor) -> tuple[Trace, tuple[Unit, ...]]:
    traced = trace(model, (inputs,))
    return traced, find_units(model, traced, Machine())


def _stages(model: nn.Module, inputs: Tensor, recomputed: int = 0) -> Tensor:
    """The first output of a model, computed by as many stages as it can be cut into."""
    traced, units = _units(model, inputs)
    values: tuple = ()
    for bounds in pairwise(range(len(units) + 1)):
        stage = StageModule(model, traced, units, bounds, recomputed if units[bounds[0]].block else 0, CPU)
        values = stage(*values, **({"input_0": inputs} if stage.inputs else {}))
    return values[0]


class Blocks(nn.Module):
    """Four blocks with a matrix added that is no parameter; subclasses say what it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 8)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4))
        self.last = nn.Linear(8, 1)

    def mixing(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> weights [length, length]."""
        return torch.eye(x.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> values [rows, length, 1]."""
        values, mixing = self.first(x), self.mixing(x)
        for layer in self.layers:
            values = layer(values) + mixing @ values
        return self.last(values)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "modernbert"])
def test_models_with_rotary_positions_are_cut_between_blocks(kind):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    if kind == "modernbert":
        config = transformers.ModernBertConfig(**sizes, cls_token_id=1, sep_token_id=1)
        model = transformers.ModernBertForMaskedLM(config)
    else:
        name = {"llama": "Llama", "qwen2": "Qwen2"}[kind]
        config = getattr(transformers, f"{name}Config")(**sizes, num_key_value_heads=2, use_cache=False)
        model = getattr(transformers, f"{name}ForCausalLM")(config)
    pieces = torch.randint(0, 50, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    assert sum(unit.block for unit in _units(model, pieces)[1]) >= 3
    torch.testing.assert_close(_stages(model, pieces), model(pieces).logits, atol=1e-6, rtol=1e-5)
    planner = Planner(model, (torch.empty(16, LENGTH, dtype=torch.long, device="meta"),), micro_batches=4)
    assert 0 not in planner.choose(2, (1, 1, 2)).blocks


class Drawn(Blocks):
    """A matrix of a module without parameters that draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def mixing(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> weights [length, length]."""
        return self.drop(torch.ones(x.shape[1], x.shape[1]))


def test_what_is_drawn_is_not_drawn_again_on_each_stage():
    planner = Planner(Drawn(), (torch.empty(8, 4, 8, device="meta"),), micro_batches=4)
    with pytest.warns(SamarkandWarning, match=r"\[SW720\] Drawn repeats blocks such as layers\.0"):
        plan = planner.choose(1)
    assert plan.blocks == (0,)
    assert [unit.block for unit in _units(Blocks(), VALUES)[1]].count(True) == 4


class Changed(Blocks):
    """A matrix that is changed in place, through a view of it or another name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.relu = nn.ReLU(inplace=True)

    def mixing(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> weights [length, length]."""
        length = x.shape[1]
        mixing = torch.full((length, length), -0.5)
        if self.kind == "view":
            mixing.view(-1)[:: length + 1] = 1.0
        elif self.kind == "diagonal":
            mixing.diagonal().fill_(1.0)
        elif self.kind == "row":
            mixing[0].fill_(1.0)
        elif self.kind == "chunk":
            mixing.chunk(2)[0].fill_(1.0)
        elif self.kind == "view of a view":
            (early, late), half = mixing.chunk(2), mixing[:2]
            late.add_(1.0)
            half[0] = early[1] * 3.0
        elif self.kind == "no name of a change":
            nn.functional.relu(mixing[1:], inplace=True)
        elif self.kind == "module":
            self.relu(mixing[1:])
        elif self.kind == "read":
            mixing.diagonal().fill_(1.0)
            mixing = mixing * 2.0 if mixing[0, 0] > 0 else mixing
        return mixing


KINDS = ("view", "diagonal", "row", "chunk", "view of a view", "no name of a change", "module", "read")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_through_a_view_is_changed_on_each_stage(kind):
    model = Changed(kind)
    units = _units(model, VALUES)[1]
    assert [unit.block for unit in units].count(True) == 4
    torch.testing.assert_close(_stages(model, VALUES), model(VALUES))


class ChangedLate(Blocks):
    """A matrix that is changed in place after a block has used it."""

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> values [rows, length, 1]."""
        values, mixing = self.first(x), self.mixing(x)
        values = self.layers[0](mixing @ values)
        mixing.diagonal().fill_(2.0)
        for layer in self.layers[1:]:
            values = layer(mixing @ values)
        return self.last(values)


class ChangedOutput(Blocks):
    """An output of which a view was changed in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> values [rows, length, 1]."""
        values = super().forward(x)
        values[0].mul_(2.0)
        return values


@pytest.mark.parametrize("kind", [ChangedLate, ChangedOutput])
def test_values_are_used_as_they_were_when_they_were_used(kind):
    model = kind()
    torch.testing.assert_close(_stages(model, VALUES), model(VALUES))


class InPlace(Blocks):
    """Blocks that change their input in place."""

    def __init__(self) -> None:
        super().__init__()
        for layer in self.layers:
            layer.insert(0, nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> values [rows, length, 1]."""
        values = self.first(x)
        for layer in self.layers:
            values = layer(values)
        return self.last(values)


def test_blocks_that_change_their_input_are_neither_recomputed_nor_cut_off():
    model = InPlace()
    units = _units(model, VALUES)[1]
    assert not any(unit.block for unit in units)
    assert "layers.1" not in [unit.name for unit in units]
    torch.testing.assert_close(_stages(model, VALUES, recomputed=1), model(VALUES))
    planner = Planner(model, (torch.empty(8, 4, 8, device="meta"),), micro_batches=4, budget=1e9)
    with pytest.warns(SamarkandWarning, match=r"\[SW720\] InPlace repeats blocks .* none of them changed in place"):
        assert planner.choose(1).recomputed == (0,)


class Modes(Blocks):
    """Blocks in half precision, one of them without gradients, between layers in full precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Values [rows, length, 8] -> values [rows, length, 1]."""
        values = self.first(x)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                fixed = self.layers[0](x)
            for layer in self.layers[1:]:
                values = layer(values + fixed @ fixed.mT @ values)
            with torch.autocast("cpu", enabled=False):
                values = values.float() @ torch.eye(8)
        return self.last(values)


@pytest.mark.parametrize("around", [False, True])
def test_modes_of_the_model_and_around_it_are_kept(around):
    model = Modes()
    traced, units = _units(model, VALUES)
    stage = StageModule(model, traced, units, (0, len(units)), 0, CPU)
    with torch.autocast("cpu", torch.bfloat16, enabled=around):
        (found,), expected = stage(input_0=VALUES), model(VALUES)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
    found.float().sum().backward()
    expected.float().sum().backward()
    for name, parameter in stage.named_parameters():
        grad = model.get_parameter(name).grad
        assert (parameter.grad is None) == (grad is None) == name.startswith("layers.0")
        assert grad is None or torch.equal(parameter.grad, grad)
