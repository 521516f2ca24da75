"""Strict loading of weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import Errors


def load_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network, all or none.

    module (nn.Module): The network.
    weights (Mapping[str, Tensor]): Its whole state, by name.
    RAISES (ValueError): S321 with the names that are missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if weights[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        lists = {"missing": missing, "unexpected": unexpected, "shapes": shapes}
        listed = {key: ", ".join(names) or "none" for key, names in lists.items()}
        raise ValueError(Errors.S321.format(network=type(module).__name__, **listed))
    module.load_state_dict(weights, strict=True)
