"""The catalogue: each message is given somewhere, and a test matches its code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import samarkand
from samarkand.errors import Errors, Warnings

ROOT = Path(samarkand.__file__).parent
PACKAGE = ("pipeline", "components", "models", "engine", "corpora")
CODES = sorted(
    name for catalogue in (Errors, Warnings) for name in vars(catalogue) if re.fullmatch(r"SW?\d{3,4}", name)
)


def _codes(files: list[Path]) -> set[str]:
    return {code for file in files for code in re.findall(r"\bSW?\d{3,4}\b", file.read_text(encoding="utf-8"))}


USED = _codes([ROOT / "__init__.py", *(file for folder in PACKAGE for file in (ROOT / folder).rglob("*.py"))])
TESTED = _codes([file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)])


@pytest.mark.parametrize("code", CODES)
def test_every_message_is_given_and_tested(code):
    assert code in USED, f"nothing gives {code}: remove it from errors.py"
    assert code in TESTED, f"no test matches {code}"


def test_every_code_is_in_the_catalogue():
    assert set(CODES) >= (USED | TESTED)


@pytest.mark.parametrize("code", CODES)
def test_message_is_one_line_with_its_code(code):
    message = getattr(Warnings if code.startswith("SW") else Errors, code)
    assert message.startswith(f"[{code}] ")
    assert "\n" not in message
    assert message.endswith((".", "}"))
