"""What is installed here: versions, bundled pipelines, devices."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__

PACKAGES = ("spacy", "thinc", "torch", "transformers", "datasets", "pyarrow", "numpy")
BUNDLED = Path(__file__).parent.parent / "models" / "packages"


def info() -> dict[str, dict[str, str]]:
    """Versions of what annotation rests on, bundled pipelines with their sizes, and devices.

    RETURNS (dict[str, dict[str, str]]): A group of facts each.
    """
    return {"versions": _versions(), "pipelines": bundled_pipelines(BUNDLED), "devices": _devices()}


def bundled_pipelines(packages: Path) -> dict[str, str]:
    """The pipelines of a folder.

    packages (Path): The folder.
    RETURNS (dict[str, str]): Version, components and size on disk by name.
    """
    found = {}
    for config in sorted(packages.glob("*/config.cfg")):
        folder = config.parent
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        components = ", ".join(meta.get("components", []))
        found[folder.name] = f"{meta.get('version', '')} ({components}), {size / 1e6:.1f} MB"
    return found


def _versions() -> dict[str, str]:
    found = {"samarkand": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        found[f"gpu {index}"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return found
