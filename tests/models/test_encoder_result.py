"""What a pretraining leaves: the card and the texts that it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samarkand.models.encoder_result import PREPARATION, card, read_sources
from samarkand.models.encoder_settings import EncoderSettings, ScheduleSettings
from samarkand.models.masked_lm import EncoderShape, build_masked_lm
from samarkand.models.train_encoder import train_encoder
from spacy.util import import_file

recipes = import_file("encoder_recipes", Path(__file__).parent / "encoder_recipes.py")

SHAPE = EncoderShape(layers=1, width=16, heads=2, hidden=16)
ROW = {"step": 9, "pieces": 2_000_000, "seconds": 60.0, "loss": 1.5, "pieces_per_second": 10}
SOURCES = {
    "en": {"file": "en.txt.xz", "language": "en", "licence": "CC0", "kept": 1200, "pieces": 34567},
    "zh_law": {"file": "zh_law.txt", "language": "zh", "licence": "", "kept": 3, "pieces": 40},
    "ha": {"file": "ha.txt", "language": "ha", "licence": "", "kept": 0, "pieces": 0},
}


def _card(sources: dict) -> str:
    settings = EncoderSettings("data", "output", ScheduleSettings(steps=9), model=SHAPE)
    return card(build_masked_lm(SHAPE, vocabulary=300, length=256), settings, [ROW], sources)


def test_card_names_languages_texts_and_licences():
    text = _card(SOURCES)
    assert "Languages of its text, 2: en, zh." in text
    assert "| `en.txt.xz` | en | 1,200 | 34,567 | CC0 |" in text
    assert "| `zh_law.txt` | zh | 3 | 40 | not stated |" in text
    assert "ha.txt" not in text
    assert "| 9 | 2.0 | 1.5000 |" in text


def test_card_of_text_that_nothing_is_told_of():
    assert "Languages" not in _card({})
    assert "1 layers of width 16" in _card({})


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"groups": {"en": {}}}', '{"groups": {"en": 1}}'])
def test_without_a_report_there_are_no_sources(tmp_path, text):
    if text is not None:
        (tmp_path / PREPARATION).write_text(text)
    assert read_sources(tmp_path) == {}


def test_a_training_writes_them(tmp_path):
    data = recipes.write_prepared(tmp_path / "data")
    groups = {name: {**about, "dropped": {}} for name, about in SOURCES.items()}
    (data / PREPARATION).write_text(json.dumps({"groups": groups}))
    assert read_sources(data) == SOURCES
    train_encoder(recipes.write_recipe(tmp_path, data), ["--schedule.steps", "1", "--schedule.warmup", "1"])
    assert "| `en.txt.xz` | en | 1,200 | 34,567 | CC0 |" in (tmp_path / "run" / "encoder" / "README.md").read_text()
