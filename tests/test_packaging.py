"""What is in the wheel, what importing costs, and which names users can rely on.

`python tests/test_packaging.py` freezes the public names anew; the diff of public_names.json is what a review reads.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import catalogue
import pytest
import samarkand
from spacy.language import Language

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(samarkand.__file__).parent
FROZEN = Path(__file__).parent / "public_names.json"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS: dict[str, dict[str, str]] = SETTINGS["project"]["entry-points"]
SETUPTOOLS = SETTINGS["tool"]["setuptools"]
TARGETS = [
    *((group, name, target) for group, names in ENTRY_POINTS.items() for name, target in names.items()),
    *(("console_scripts", name, target) for name, target in SETTINGS["project"]["scripts"].items()),
]
# Folders of the repository that are no part of the package; what git ignores is none either.
OUTSIDE = {"benchmarks", "configs", "docs", "tests"}
BUILD_LIMIT = 300  # seconds


def _ignored() -> set[str]:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    return {line.strip("/") for line in lines if line.endswith("/")}


def _package_files() -> Iterator[Path]:
    """Files below the root's folders that belong to the package, relative to the root."""
    left_out = _ignored() | OUTSIDE
    for path in sorted(ROOT.rglob("*")):
        folders = path.relative_to(ROOT).parts[:-1]
        is_inside = folders and not any(name in left_out or name.startswith(".") for name in folders)
        if is_inside and not any(name.endswith(".egg-info") for name in folders) and path.is_file():
            yield path.relative_to(ROOT)


def _folder(package: str) -> Path:
    return Path(*package.split(".")[1:])


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _defaults(function: Any) -> dict[str, Any]:
    """Settings by name; a setting without default is required."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: "(required)" if p.default is p.empty else p.default for p in parameters}


def public_names() -> dict[str, Any]:
    """RETURNS (dict): Every registered name with its default settings, the commands, and the package's own names."""
    names: dict[str, Any] = {"samarkand": sorted(samarkand.__all__), "commands": sorted(SETTINGS["project"]["scripts"])}
    for group, entries in ENTRY_POINTS.items():
        for name, target in entries.items():
            function = _load(target)
            if group != "spacy_factories":
                names.setdefault(group, {})[name] = _defaults(function)
                continue
            meta = Language.get_factory_meta(name)
            names.setdefault(group, {})[name] = {
                "default_config": meta.default_config,
                "default_score_weights": meta.default_score_weights,
                "assigns": list(meta.assigns),
                "requires": list(meta.requires),
            }
    return json.loads(json.dumps(names))


def _run_fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_folder_with_modules_is_a_package_of_the_wheel():
    found = {path.parent for path in _package_files() if path.suffix == ".py"}
    assert {_folder(package) for package in SETUPTOOLS["packages"]} == found | {Path()}
    assert all((ROOT / folder / "__init__.py").is_file() for folder in found)


def test_extras_that_are_told_of_are_there():
    texts = [ROOT / "README.md", ROOT / "errors.py", *sorted((ROOT / "docs").glob("*.md"))]
    told = {name for path in texts for name in re.findall(r"samarkand\[(\w+)\]", path.read_text(encoding="utf-8"))}
    assert "scale" in told
    assert told <= set(SETTINGS["project"]["optional-dependencies"])


def test_every_pattern_of_package_data_finds_a_file():
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            found = [path for path in (ROOT / _folder(package)).glob(pattern) if path.is_file()]
            assert found, f"{package}: nothing matches {pattern!r}"


def test_no_data_file_is_left_out_of_the_wheel():
    kept = {
        path.relative_to(ROOT)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / _folder(package)).glob(pattern)
    }
    left_out = [path for path in _package_files() if path.suffix != ".py" and path not in kept]
    assert left_out == []


@pytest.mark.parametrize(("group", "name", "target"), TARGETS, ids=[f"{group}:{name}" for group, name, _ in TARGETS])
def test_every_entry_point_can_be_called(group, name, target):
    assert callable(_load(target))


def test_every_registered_name_has_an_entry_point():
    """Without one a name is known only after its module happens to have been imported."""
    for module in pkgutil.walk_packages([str(ROOT)], "samarkand."):
        parts = module.name.split(".")[1:]
        if parts[0] not in OUTSIDE | _ignored() and not module.ispkg:
            import_module(module.name)
    registered = {
        ("_".join(path[:-1]), path[-1])
        for path, function in catalogue.REGISTRY.items()
        if getattr(function, "__module__", "").startswith("samarkand.") and path[-1].startswith("samarkand.")
    }
    assert registered
    assert registered <= {(group, name) for group, names in ENTRY_POINTS.items() for name in names}


def test_public_names_and_their_defaults_are_frozen():
    """A name or default that users rely on changes by a new version beside the old one: Thing.v2."""
    assert public_names() == json.loads(FROZEN.read_text(encoding="utf-8"))


def test_import_is_light():
    code = "import sys, samarkand; print([m for m in ('torch', 'transformers', 'spacy', 'thinc') if m in sys.modules])"
    assert _run_fresh(code) == "[]"


def test_import_takes_less_than_a_tenth_of_a_second_beside_spacy():
    code = "import spacy, time; began = time.perf_counter(); import samarkand; print(time.perf_counter() - began)"
    assert statistics.median(float(_run_fresh(code)) for _ in range(3)) < 0.1


@pytest.mark.slow
def test_wheel_holds_every_module_and_data_file(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    left_out = shutil.ignore_patterns(*_ignored(), *OUTSIDE, "*.egg-info", ".git", ".hypothesis")
    shutil.copytree(ROOT, tmp_path / "source", ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w"]
    command += [str(tmp_path), str(tmp_path / "source")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_LIMIT)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(points).decode()
    expected = {f"samarkand/{path.as_posix()}" for path in _package_files()}
    assert packed == expected | {f"samarkand/{path.name}" for path in ROOT.glob("*.py")} | {"samarkand/py.typed"}
    assert all(f"{name} = {target}" in text for _, name, target in TARGETS)


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(public_names(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
