"""Which layers are alike."""

import pytest
from recompute_models import Convolutions, Transformer
from samarkand.engine.repeated_layers import repeated_layers
from torch import nn


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Transformer(), [f"layers.{i}" for i in range(4)]),
        (Convolutions(), [f"layers.{i}" for i in range(3)]),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.ReLU(), nn.Linear(3, 2)), []),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), ["0", "2"]),
        # Attributes side by side are parts of one layer: query, key, value.
        (nn.Sequential(nn.MultiheadAttention(4, 2, kdim=3, vdim=3)), []),
        (nn.Sequential(nn.Linear(2, 3), nn.ModuleList(nn.Linear(3, 3) for _ in range(2))), ["1.0", "1.1"]),
    ],
)
def test_repeated_layers(model, names):
    assert repeated_layers(model) == names


def test_on_the_meta_device():
    assert repeated_layers(Transformer().to("meta")) == repeated_layers(Transformer())
