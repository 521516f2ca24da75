"""Pairs of sentences for training: what is kept, dropped, held out."""

from __future__ import annotations

import json
import lzma
from dataclasses import fields
from pathlib import Path

import pytest
from samarkand.corpora.prepare_pairs import TRAINING, PairSettings, describe, prepare_pairs
from samarkand.models.sentence_pairs import SentencePairs
from samarkand.models.sentence_settings import OBJECTIVES, PREPARATION

SUBJECTS = ["The cat", "The dog", "A bird", "My horse", "Her cow"]
PLACES = ["in the park", "at home", "by the river", "on the road", "under the tree"]


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress("".join("\t".join(row) + "\n" for row in rows).encode()))


@pytest.fixture
def corpora(tmp_path):
    rows = [(f"{a} sleeps {b}.", f"{i} ينام {k}.") for i, a in enumerate(SUBJECTS) for k, b in enumerate(PLACES)]
    rows += [("?!", "؟!"), rows[0], ("Too long. " * 30, "طويل جدا")]
    write(tmp_path / "corpora/parallel/tatoeba-anki.en-ar.train.tsv.xz", rows)
    write(tmp_path / "corpora/parallel/tatoeba-anki.en-zh.train.tsv.xz", [(en, f"{ar} 睡") for en, ar in rows[:25]])
    (tmp_path / "english.txt").write_text("It rains. The sun shines.\nNobody waits here.\n", encoding="utf-8")
    return tmp_path


def config(folder: Path, **changes: object) -> Path:
    settings = {"pairs": str(folder / "pairs"), "corpora": str(folder / "corpora"), "sources": ["tatoeba-anki"]}
    settings |= {"vocabulary.size": 420, "objective": "distill", **changes}
    path = folder / "config.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()), encoding="utf-8")
    return path


def test_pairs_are_gathered(corpora):
    path = config(corpora)
    with path.open("a", encoding="utf-8") as file:
        file.write(f'[[english.sources]]\npath = "{corpora}/english.txt"\nlanguage = "en"\n')
    report = prepare_pairs(path)
    found = SentencePairs.load(corpora / "pairs")
    assert report["sources"]["tatoeba-anki"] == {"kept": 50, "without words": 1, "double": 1, "too long": 1}
    assert report["sources"]["english text"] == {"kept": 3}
    assert len(found.held_out) == 4  # a tenth of 25, of two languages
    assert len(found.train) == report["pairs"]
    itself = [row for row in found.train if row["source"] == "english text"]
    assert [row["english"] for row in itself] == ["It rains.", "The sun shines.", "Nobody waits here."]
    assert all(row["english"] == row["other"] for row in itself)
    assert len(found.tokenizer) == report["vocabulary"] <= 420
    assert "tatoeba-anki" in describe(report)


def test_no_held_out_sentence_is_trained_on(corpora):
    prepare_pairs(config(corpora))
    found = SentencePairs.load(corpora / "pairs")
    trained = {row[side] for row in found.train for side in ("english", "other")}
    assert trained.isdisjoint(row[side] for row in found.held_out for side in ("english", "other"))


def test_the_same_again(corpora):
    reports, rows = [], []
    for _ in range(2):
        reports.append(prepare_pairs(config(corpora), force=True))
        rows.append(SentencePairs.load(corpora / "pairs").train.to_list())
    assert reports[0] == reports[1]
    assert rows[0] == rows[1]


def test_no_corpus_has_more_than_the_most(corpora):
    report = prepare_pairs(config(corpora, most=10))
    assert report["sources"]["tatoeba-anki"]["kept"] == 20
    assert report["sources"]["tatoeba-anki"]["above the most"] == 30


def test_a_tokenizer_can_be_given(corpora):
    prepare_pairs(config(corpora))
    first = corpora / "first"
    (corpora / "pairs").rename(first)
    report = prepare_pairs(config(corpora, **{"vocabulary.folder": str(first / "tokenizer")}))
    assert report["vocabulary"] == len(SentencePairs.load(first).tokenizer)
    with pytest.raises(ValueError, match="S735"):
        prepare_pairs(config(corpora, **{"vocabulary.folder": str(corpora / "none")}), force=True)


def test_refusals(corpora):
    with pytest.raises(ValueError, match="S867"):
        prepare_pairs(config(corpora, longest=3))
    with pytest.raises(ValueError, match="S732"):
        prepare_pairs(config(corpora, sources=["nothing"]))
    prepare_pairs(config(corpora))
    with pytest.raises(ValueError, match="S217"):
        prepare_pairs(config(corpora))


@pytest.mark.parametrize("objective", ["contrastive", "distill"])
def test_one_file_serves_preparing_and_training(objective):
    """Regression: a recipe with new settings of the training was refused."""
    own = {setting.name for setting in fields(PairSettings)}
    assert {setting.name for setting in fields(OBJECTIVES[objective])} <= own | set(TRAINING)
    assert own - {"pairs"} == set(PREPARATION)
