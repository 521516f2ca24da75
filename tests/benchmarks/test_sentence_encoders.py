"""The benchmark of sentence encoders: rows are what the evaluation found, and speeds are of one run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from samarkand.pipeline.evaluate_encoder import evaluate_encoder
from samarkand.pipeline.evaluation_sets import load_sets
from samarkand.pipeline.sentence_models import load_encoder
from sentence_checkpoints import make_encoder_folder


@pytest.fixture(scope="module")
def script():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("sentence_encoders")
    sys.path.remove(folder)


def test_rows_of_named_encoders_are_what_the_evaluation_found(script, tmp_path):
    encoders = {f"encoder {seed}": make_encoder_folder(tmp_path / str(seed), seed=seed) for seed in (1, 2)}
    named = [f"{name}={folder}" for name, folder in encoders.items()]
    script.main(["--quick", "--results", str(tmp_path), "--encoder", *named])
    rows = json.loads((tmp_path / "sentence_encoders.json").read_text(encoding="utf-8"))
    values = {(row["system"], row["dataset"], row["metric"]): row["value"] for row in rows}
    for name, folder in encoders.items():
        found = evaluate_encoder(load_encoder(folder), load_sets(None, ["samples"]))
        for s in found["sts"]:
            assert values[name, s["name"], "Spearman"] == pytest.approx(100 * s["spearman"], abs=1e-3)
        for b in found["bitexts"]:
            assert values[name, b["name"], "accuracy"] == pytest.approx(100 * b["accuracy"], abs=1e-3)
        ratio = values[name, "speed", "speed"] / values[script.PEER, "speed", "speed"]
        assert values[name, "speed", "speed ratio"] == pytest.approx(ratio, rel=1e-3)


def test_speeds_are_of_all_languages_in_turn(script):
    texts = script.speed_texts(load_sets(None, ["samples/en-ar", "samples/en-zh"]))
    assert len(texts) == len(set(texts)) == 36
    assert texts[0].isascii()
    assert not any(text.isascii() for text in texts[1:3])


def test_an_encoder_needs_a_name(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--quick", "--encoder", "folder"])
    assert "'folder' is not NAME=FOLDER" in capsys.readouterr().err
