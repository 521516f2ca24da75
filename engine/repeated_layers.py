"""Which layers of a model are alike, so that one of them is measured or traced for all."""

from __future__ import annotations

from torch import nn


def repeated_layers(model: nn.Module) -> list[str]:
    """Names of the layers that a model repeats: in its outermost lists, what has weights and is there more than once.

    model (Module): The model, on any device.
    RETURNS (list[str]): Their names, in the order of the model.
    """
    found: list[str] = []

    def visit(module: nn.Module, prefix: str) -> None:
        children = {f"{prefix}{name}": child for name, child in module.named_children()}
        listed = isinstance(module, (nn.ModuleList, nn.Sequential))
        signatures = [layer_signature(child) for child in children.values()] if listed else []
        for name, child in children.items():
            own = layer_signature(child)
            if own[1] and signatures.count(own) > 1:
                found.append(name)
            else:
                visit(child, f"{name}.")

    visit(model, "")
    return found


def layer_signature(module: nn.Module) -> tuple:
    """What layers that are alike share: their type, and the names, shapes and types of their weights.

    module (Module): A layer.
    RETURNS (tuple): A key.
    """
    return type(module), tuple((name, p.shape, p.dtype) for name, p in module.named_parameters())
