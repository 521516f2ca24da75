"""The sentence encoder that ships: by name, offline, across languages."""

from __future__ import annotations

import json

import numpy as np
import pytest
import samarkand
import spacy
from samarkand.models.pretrained import PACKAGES
from samarkand.models.sentence_metrics import retrieval_accuracy
from samarkand.models.sentence_model import load_sentence_model
from samarkand.pipeline.cli import app
from samarkand.pipeline.sentence_models import load_encoder
from typer.testing import CliRunner

NAME = samarkand.DEFAULT_ENCODER
LANGS = ((0, "en"), (2, "zh"))
SAME = [
    ("The cat is sleeping on the chair.", "القطة نائمة على الكرسي.", "猫在椅子上睡觉。"),
    ("I want to learn a new language.", "أريد أن أتعلم لغة جديدة.", "我想学一门新语言。"),
    ("Where is the train station?", "أين محطة القطار؟", "火车站在哪里?"),
    ("He bought bread and milk this morning.", "اشترى الخبز والحليب هذا الصباح.", "他今天早上买了面包和牛奶。"),
    ("The king of the country died in the war.", "مات ملك البلاد في الحرب.", "这个国家的国王死于战争。"),
    (
        "Please save the file before you close the program.",
        "احفظ الملف قبل إغلاق البرنامج.",
        "请在关闭程序之前保存文件。",
    ),
    ("My sister is a doctor.", "أختي طبيبة.", "我的妹妹是医生。"),
    ("It will rain tomorrow.", "سوف تمطر غدا.", "明天会下雨。"),
]


@pytest.fixture(scope="module")
def encoder():
    return load_sentence_model(NAME)


def test_it_is_small(encoder):
    assert sum(p.numel() for p in encoder.model.parameters()) <= 10_000_000
    assert sum(path.stat().st_size for path in (PACKAGES / NAME).rglob("*") if path.is_file()) < 30 * 2**20
    assert (PACKAGES / NAME / "README.md").is_file()


def test_translations_are_nearest(encoder):
    english, arabic, chinese = (encoder.encode(list(side)) for side in zip(*SAME))
    for first, second in ((english, arabic), (english, chinese), (arabic, chinese)):
        assert min(retrieval_accuracy(first, second)) >= 0.75
    np.testing.assert_allclose(np.linalg.norm(english, axis=1), 1, atol=1e-5)


def test_characters_that_are_written_out_are_read_to_their_end(encoder):
    # In 54 bytes, 125 pieces and a word: twice what is read at once.
    cat, dog = encoder.encode(["½" * 25 + " cat", "½" * 25 + " dog"])
    assert not np.allclose(cat, dog, atol=1e-3)


def test_the_bundled_pipeline_has_it_for_who_asks(encoder):
    nlp = samarkand.load()
    assert "sentence_encoder" in nlp.disabled
    nlp.enable_pipe("sentence_encoder")
    docs = [nlp(text) for text in SAME[0]]
    np.testing.assert_allclose(docs[1].vector, encoder.encode([SAME[0][1]])[0], atol=1e-5)
    assert docs[0].similarity(docs[1]) > docs[0].similarity(nlp(SAME[2][1]))
    assert load_encoder(samarkand.DEFAULT_PIPELINE).fingerprint == encoder.fingerprint


def test_a_pipeline_that_was_saved_has_it_too(encoder, tmp_path):
    nlp = samarkand.load()
    nlp.enable_pipe("sentence_encoder")
    expected = nlp(SAME[0][2]).vector
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    np.testing.assert_allclose(again(SAME[0][2]).vector, expected, atol=1e-6)


def test_a_question_in_arabic_finds_answers_in_other_languages(tmp_path):
    lines = [json.dumps({"id": f"{lang}{n}", "text": row[k]}) for n, row in enumerate(SAME) for k, lang in LANGS]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    index = str(tmp_path / "index")
    made = CliRunner().invoke(app, ["index", str(tmp_path / "in.jsonl"), "--output", index, "--id-field", "id"])
    assert made.exit_code == 0, made.output
    found = CliRunner().invoke(app, ["search", index, SAME[2][1], "-k", "2", "--json"])
    assert {hit["id"] for hit in json.loads(found.stdout)["neighbours"]} == {"en2", "zh2"}
