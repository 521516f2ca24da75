"""The floors of the house: an import never points up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import samarkand

ROOT = Path(samarkand.__file__).parent
GROUND = {"errors", "compression", "language_scripts", "normalization", "replacing"}
# What each floor may import, beside itself and the ground. `corpora` stands beside `pipeline`, and imports nothing of
# it: the command line is its only door there, and it tokenizes with `samarkand.blank`.
BELOW = {
    "engine": set(),
    "models": {"engine"},
    "components": {"engine", "models"},
    "pipeline": {"engine", "models", "components", "corpora", ""},
    "corpora": {"models", ""},
}
MODULES = [path for floor in BELOW for path in sorted((ROOT / floor).glob("*.py"))]


def _floors(path: Path) -> set[str]:
    """First part of every import out of the module's own folder; "" is the package itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            found.add((node.module or "").split(".")[0])
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not any(name.split(".")[0] == "samarkand" for name in names), "imports inside the package are relative"
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_never_point_up(path):
    assert _floors(path) <= BELOW[path.parent.name] | GROUND


@pytest.mark.parametrize("name", sorted(GROUND))
def test_the_ground_stands_on_nothing_but_the_catalogue(name):
    tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    assert found <= {"errors"} - {name}
