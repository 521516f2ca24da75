"""Options and fixtures that every test can use."""

from __future__ import annotations

import os

import pytest
import torch

torch.set_num_threads(1)


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
