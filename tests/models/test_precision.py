"""Which numbers a training multiplies."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.precision import takes_bf16


@pytest.mark.parametrize("has_units", [False, True])
def test_auto_goes_by_the_device(monkeypatch, has_units):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_units)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_units)
    for device in ("cpu", "cuda"):
        assert takes_bf16("auto", torch.device(device)) is has_units
        assert takes_bf16("bf16", torch.device(device))
        assert not takes_bf16("fp32", torch.device(device))
