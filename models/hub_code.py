"""Refuses checkpoints whose configs name a repository: `transformers` would fetch its code and run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SETTINGS = ("attn_implementation", "experts_implementation")


def refuse_hub_code(config: PreTrainedConfig) -> None:
    """Look at a config of `transformers`.

    config (PreTrainedConfig): The config; its parts are looked at too.
    RAISES (ValueError): S336 when it names a repository.
    """
    for name in _SETTINGS:
        _refuse(name, getattr(config, f"_{name}", None))
    for part in config.sub_configs:
        if (own := getattr(config, part, None)) is not None:
            refuse_hub_code(own)


def refuse_hub_code_in(folder: str | Path) -> None:
    """Look at the JSON files of a checkpoint's folder, for loaders that read the config themselves.

    folder (str | Path): The folder, or a name on the hub, where there is nothing to look at yet.
    RAISES (ValueError): S336 when one names a repository.
    """
    for path in sorted(Path(folder).glob("**/*config*.json")):
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # The loader tells of it.
        for name, value in _settings_in(found):
            _refuse(name, value)


def _settings_in(found: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(found, list):
        for value in found:
            yield from _settings_in(value)
    elif isinstance(found, dict):
        for key, value in found.items():
            name = key.removeprefix("_")
            yield from ((name, part) for part in _strings(value)) if name in _SETTINGS else _settings_in(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, str):
        yield value


def _refuse(name: str, value: Any) -> None:
    if value is not None and "/" in value:
        raise ValueError(Errors.S336.format(name=name, value=value))
