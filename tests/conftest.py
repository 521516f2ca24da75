"""Options and fixtures that every test can use."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# Continuous integration judges a change, so it draws the same examples each time; new ones are met at the desk.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = {
        "slow": not config.getoption("--slow"),
        "gpu": not torch.cuda.is_available(),
        "data": not os.environ.get("SAMARKAND_DATA"),
    }
    reasons = {"slow": "pass --slow to run it", "gpu": "needs a CUDA device", "data": "needs SAMARKAND_DATA"}
    for item in items:
        for marker, missing in absent.items():
            if missing and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reasons[marker]))


def _devices() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=_devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device at hand."""
    return torch.device(request.param)
