"""Which numbers a training multiplies."""

from __future__ import annotations

from typing import Literal

import torch

TrainingPrecision = Literal["auto", "bf16", "fp32"]


def takes_bf16(precision: TrainingPrecision, device: torch.device) -> bool:
    """Whether to train under autocast to bfloat16.

    precision (str): "bf16", "fp32", or "auto" for bfloat16 where the device has units for it. A processor that knows
        its instructions without such units (AVX512-BF16 without AMX) trains slower with them than in float32.
    device (torch.device): Where the training runs.
    RETURNS (bool): Whether to.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # All versions of torch that are supported have it, unlike `torch.cpu.get_capabilities`.
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
