"""Benchmarks of transfer: their quick modes learn, their tasks keep target languages out of training."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import samarkand

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts_are_importable():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def script(name):
    return importlib.import_module(name)


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """Made-up sentences of SIB-200 in four languages."""
    sentences = script("transfer_tasks")
    records = {
        f"sib200/{split}": [
            {"lang": lang, "id": str(i), "text": f"{lang} {split} {i}", "label": "ab"[i % 2]}
            for lang in ("eng_Latn", "arb_Arab", "zho_Hans", "amh_Ethi")
            for i in range(4)
        ]
        for split in ("train", "dev", "test")
    }

    def cats_records(folder, name, langs=None):
        return (record for record in records[name] if langs is None or record["lang"] in langs)

    monkeypatch.setattr(sentences, "cats_records", cats_records)
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_only_one_language_is_learnt_and_chosen_by(corpora):
    make_task = script("transfer_tasks").make_task
    task = make_task("sib200", corpora)
    assert {record["lang"] for path in (task.train, task.dev) for record in lines(path)} == {"eng_Latn"}
    assert set(task.tests) == {"eng_Latn", "arb_Arab", "zho_Hans"}
    assert set(make_task("sib200", corpora, ["all"]).tests) == {"eng_Latn", "arb_Arab", "zho_Hans", "amh_Ethi"}
    assert set(make_task("sib200", corpora, ["amh_Ethi"]).tests) == {"eng_Latn", "amh_Ethi"}


def test_alignment_is_that_of_translations():
    systems, nlp = script("transfer_systems"), samarkand.blank("xx")

    class Hot:
        """Each first word has a direction of its own; those of the same number share it."""

        def predict(self, docs):
            return [np.eye(4, dtype="f")[[int(doc[0].text[-1])]] for doc in docs]

    same = {"eng_Latn": ["a0", "a1", "a2"], "xx": ["b0", "b1", "b2"]}
    turned = {"eng_Latn": ["a0", "a1", "a2"], "xx": ["b1", "b2", "b0"]}
    assert systems.alignment(Hot(), nlp, same) == (1.0, 1.0)
    assert systems.alignment(Hot(), nlp, turned) == (-0.5, 0.0)


def test_variants_that_an_encoder_allows():
    systems = script("transfer_systems")
    allowed = {name: systems.variants_for(systems.encoder_block(name)) for name in systems.ENCODERS}
    assert allowed["xx_sentence_sm"] == allowed["tiny"] == list(systems.VARIANTS)
    assert allowed["subword_base"] == ["plain", "robust", "push", "robust, push"]


@pytest.mark.parametrize("kind", ["classes", "pairs", "entities"])
def test_configs_have_the_weights_and_their_own_encoder(kind, tmp_path):
    systems = script("transfer_systems")
    task = script("transfer_tasks").samples(kind, tmp_path)
    noise = {"@misc": "samarkand.CharacterNoise.v1"}
    config = systems.make_config(task, systems.encoder_block("tiny"), systems.VARIANTS["pull"], noise, steps=50)
    assert "pretrained_learn_rate" not in config["training"]["optimizer"]
    transformer = systems.make_config(task, systems.encoder_block("xx_sentence_sm"), {}, noise, steps=50)
    assert transformer["training"]["optimizer"]["pretrained_learn_rate"]["initial_rate"] == systems.PRETRAINED_RATE
    pipe = systems.PIPES[kind]
    assert config["nlp"]["pipeline"] == [pipe]
    assert config["components"].keys() == {pipe}
    assert config["components"][pipe]["transfer"] == {"robust": 0.0, "push": 0.0, "pull": 1.0}
    assert config["components"][pipe]["model"]["tok2vec"]["context"] == "attention"


def test_neighbours_are_words_of_the_training_text(tmp_path, monkeypatch):
    systems = script("transfer_systems")
    task = script("transfer_tasks").samples("classes", tmp_path)

    class Pairs:
        """The first two words are alike, and no others."""

        def encode(self, words):
            vectors = np.eye(len(words), dtype="f")
            vectors[1] = vectors[0]
            return vectors

    monkeypatch.setattr(systems, "load_sentence_model", lambda name: Pairs())
    block = systems.write_neighbours(task, tmp_path / "neighbours.tsv")
    table = [line.split("\t") for line in (tmp_path / "neighbours.tsv").read_text(encoding="utf-8").splitlines()]
    assert block == {"@misc": "samarkand.NeighbourSwaps.v1", "path": str(tmp_path / "neighbours.tsv")}
    assert len(table) > 50
    (first, other), (second, back), *rest = table
    assert (other, back) == (second, first)
    assert not any(others for _, others in rest)


def test_adapted_encoders_are_trained_on_and_read_through_their_tables(tmp_path):
    from safetensors.numpy import load_file
    from samarkand.models.pretrained import PACKAGES

    unseen = script("unseen_script")
    encoders = unseen.Encoders(tmp_path, steps=2)
    block = encoders.block("samples", "adapted, transliterated")
    assert block["@architectures"] == "samarkand.TransliteratedEncoder.v1"
    assert block["tables"] == {"Arab": "ar-buckwalter"}
    folder = Path(block["tok2vec"]["pretrained"])
    words = Path(f"{folder}.ids", "tokens.txt").read_text(encoding="utf-8")
    assert not any("\u0621" <= char <= "\u064a" for char in words)
    before, after = (load_file(path / "encoder.safetensors") for path in (PACKAGES / "subword_base", folder))
    assert before.keys() == after.keys()
    assert any(np.abs(before[name] - after[name]).max() > 1e-5 for name in before)
    assert encoders.block("samples", "plain")["pretrained"] == "subword_base"
