"""The settings of a training, saved beside what it has made: with other ones it does not go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Errors, first_line
from ..replacing import replace_file

RECORD = "training.json"


def write_record(folder: Path, settings: Mapping[str, Any]) -> None:
    """Save settings.

    folder (Path): Folder of what they make; it is made.
    settings (Mapping[str, Any]): The settings, JSON types.
    """
    with replace_file(folder / RECORD) as aside:
        aside.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def check_record(folder: Path, settings: Mapping[str, Any], free: Sequence[str]) -> None:
    """Refuse to go on in a folder with other settings than were saved in it.

    folder (Path): The folder.
    settings (Mapping[str, Any]): The settings, JSON types.
    free (Sequence[str]): Dotted keys that may differ.
    RAISES (ValueError): S738 when no settings can be read, S742 when they are others.
    """
    try:
        saved = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ValueError(Errors.S738.format(path=folder, reason=first_line(err))) from None
    check_same(folder, saved, settings, free)


def check_same(path: Path, saved: Any, settings: Mapping[str, Any], free: Sequence[str]) -> None:
    """Refuse to go on from a checkpoint of other settings.

    path (Path): The checkpoint, or the folder of several.
    saved (Any): Its settings, as JSON gives them back.
    settings (Mapping[str, Any]): Those to go on with, JSON types.
    free (Sequence[str]): Dotted keys that may differ; a table's stands for all that is in it.
    RAISES (ValueError): S742 when another differs.
    """
    # JSON makes lists of tuples.
    changed = _differences(saved, json.loads(json.dumps(settings)), frozenset(free))
    if changed:
        raise ValueError(Errors.S742.format(path=path, keys=", ".join(changed)))


def _differences(old: Any, new: Any, free: frozenset[str], key: str = "") -> list[str]:
    """Dotted keys whose values differ and may not."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = {name: f"{key}.{name}" if key else name for name in old | new}
        pairs = [(old.get(name), new.get(name), full) for name, full in names.items() if full not in free]
        return [found for before, after, full in pairs for found in _differences(before, after, free, full)]
    return [] if old == new else [key or "all"]
