"""Raw text to prepared text: sources, vocabulary, pieces, and what is refused."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samarkand.corpora.prepare_text import TRAINING, PreparationSettings, describe, prepare_text
from samarkand.corpora.text_sources import TextSource, find_groups, read_texts
from samarkand.corpora.train_texts import FILES, HELD_OUT
from samarkand.models.encoder_result import read_sources
from samarkand.models.packed_corpus import PackedCorpus
from samarkand.models.settings import build
from samarkand.models.vocabulary import END
from samarkand.pipeline import cli
from spacy.util import import_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGS = Path(__file__).parents[2] / "configs"
recipes = import_file("encoder_recipes", Path(__file__).parents[1] / "models" / "encoder_recipes.py")

CONFIG = """
data = "{data}"
output = "unused"
[[text.sources]]
path = "{raw}/*.txt*"
exclude = "*.research.*"
[vocabulary]
size = 500
sample_mb = 0.02
[schedule]
steps = 10
"""


@pytest.fixture
def raw(tmp_path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    texts = {language: recipes.make_texts(language, 200) for language in recipes.LANGUAGES}
    (folder / "en.txt").write_text("\n".join(texts["en"]) + "\n??\n", encoding="utf-8")
    (folder / "ar.txt.xz").write_bytes(lzma.compress("\n".join(texts["ar"]).encode()))
    (folder / "zh_news.txt.gz").write_bytes(gzip.compress("\n".join(texts["zh"]).encode()))
    (folder / "en_x.research.txt").write_text("not to be read\n")
    return folder


@pytest.fixture
def config(tmp_path, raw) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(CONFIG.format(data=tmp_path / "data", raw=raw), encoding="utf-8")
    return path


def test_every_kept_document_is_there_in_order(tmp_path, raw, config):
    report = prepare_text(config)
    corpus = PackedCorpus.load(tmp_path / "data")
    assert [(group.name, group.language) for group in corpus.groups] == [("ar", "ar"), ("en", "en"), ("zh_news", "zh")]
    tokenizer = Tokenizer.from_file(str(tmp_path / "data" / "tokenizer" / "tokenizer.json"))
    english = corpus.groups[1]
    assert (corpus.ids == END).sum() == sum(group.documents for group in corpus.groups)
    ids = corpus.ids[english.start : english.start + english.pieces].tolist()
    documents = "\x00".join(tokenizer.decode(ids, skip_special_tokens=False).split("</s>")).split("\x00")[:-1]
    kept = list(dict.fromkeys((raw / "en.txt").read_text().splitlines()[:-1]))
    assert [text.strip() for text in documents] == kept
    assert report["groups"]["en"]["kept"] == len(kept) == english.documents
    assert report["groups"]["en"]["dropped"]["short"] == 1
    assert "en: " in describe(report)
    assert json.loads((tmp_path / "data" / "preparation.json").read_text()) == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "raw", "recipe.toml"]


def test_the_same_text_gives_the_same_files(tmp_path, config):
    for name in ("a", "b"):
        prepare_text(config, ["--data", str(tmp_path / name)])
    for file in ("pieces.bin.xz", "corpus.json", "tokenizer/tokenizer.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_special_pieces_in_a_text_are_text(tmp_path, raw, config):
    (raw / "en.txt").write_text("this one </s> spells out <pad> and <0x41> here\n" * 2)
    prepare_text(config)
    corpus = PackedCorpus.load(tmp_path / "data")
    assert corpus.groups[1].documents == 1
    assert (corpus.ids[corpus.groups[1].start :][: corpus.groups[1].pieces] < 5).sum() == 1


def test_prepared_text_is_not_replaced_unasked(tmp_path, config):
    prepare_text(config)
    with pytest.raises(ValueError, match="S217"):
        prepare_text(config)
    prepare_text(config, ["--vocabulary.size", "450"], force=True)
    assert json.loads((tmp_path / "data" / "preparation.json").read_text())["vocabulary"] == 450


def test_command_line(tmp_path, config):
    result = CliRunner().invoke(cli.app, ["prepare-text", str(config), "--vocabulary.size", "450"])
    assert result.exit_code == 0, result.output
    assert "vocabulary of 450 pieces" in result.stdout
    result = CliRunner().invoke(cli.app, ["prepare-text", str(config)])
    assert (result.exit_code, result.stderr[:13]) == (1, "error: [S217]")
    result = CliRunner().invoke(cli.app, ["prepare-text", str(config), "--force", "--json"])
    assert json.loads(result.stdout)["vocabulary"] == 500


def test_a_failure_leaves_nothing(tmp_path, raw, config):
    (raw / "zz.txt.xz").write_bytes(lzma.compress(b"some text that is long enough")[:-20])
    with pytest.raises(ValueError, match="S208"):
        prepare_text(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "recipe.toml"]


def test_S743_nothing_is_left(tmp_path, raw, config):
    prepare_text(config)
    for path in raw.iterdir():
        path.unlink()
    (raw / "ar.txt").write_text("English text in a file of Arabic, all of it.\n" * 3, encoding="utf-8")
    with pytest.raises(ValueError, match=r"S743.*3 dropped as 'script'"):
        prepare_text(config, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "raw", "recipe.toml"]
    assert PackedCorpus.load(tmp_path / "data").groups


@pytest.mark.parametrize(
    ("name", "value"),
    [("script_share", "-3"), ("max_characters", "-3"), ("language_score", "1.5"), ("top_ngrams", "[0.2, 7]")],
)
def test_rules_out_of_range(config, name, value):
    with pytest.raises(ValueError, match=rf"S732.*cleaning\.{name}"):
        prepare_text(config, [f"--cleaning.{name}", value])


def test_texts_to_exclude(tmp_path, raw, config):
    english = list(dict.fromkeys((raw / "en.txt").read_text().splitlines()[:-1]))
    (tmp_path / "held_out.txt").write_text(f"{english[0].upper()}\n{english[1]}!\nnowhere else\n", encoding="utf-8")
    report = prepare_text(config, ["--cleaning.exclude", json.dumps([str(tmp_path / "held_out.txt")])])
    assert report["groups"]["en"]["dropped"]["held out"] == 2
    assert report["groups"]["en"]["kept"] == len(english) - 2
    assert report["held_out"] == 3
    assert "3 texts to exclude" in describe(report)
    with pytest.raises(ValueError, match="S747"):
        prepare_text(config, ["--cleaning.exclude", '["nowhere.txt"]'], force=True)
    assert PackedCorpus.load(tmp_path / "data").groups


def test_what_the_card_is_made_of(tmp_path, raw, config):
    sources = json.dumps(str(raw / "*.txt")), json.dumps(str(raw / "*.gz"))
    words = [
        "--text.sources",
        f"[{{path = {sources[0]}, exclude = 'en_x*', licence = 'CC0'}}, {{path = {sources[1]}}}]",
    ]
    report = prepare_text(config, words)
    found = read_sources(tmp_path / "data")
    assert {name: (about["file"], about["language"], about["licence"]) for name, about in found.items()} == {
        "en": ("en.txt", "en", "CC0"),
        "zh_news": ("zh_news.txt.gz", "zh", ""),
    }
    assert found["en"]["pieces"] == report["groups"]["en"]["pieces"] > found["en"]["kept"] > 0


def test_base_recipe_with_text_of_corpora():
    """The lines about corpora hold good when the marks are taken off them."""
    text = (CONFIGS / "encoder_base.toml").read_text(encoding="utf-8")
    marked = re.sub(r"(?m)^# (?=\[|path|licence|exclude)", "", text)
    plain, full = (tomllib.loads(version) for version in (text, marked))
    assert "cleaning" not in plain
    assert [source["path"] for source in full["text"]["sources"]] == [
        plain["text"]["sources"][0]["path"],
        f"corpus/train_texts/{FILES[True].format(lang='*')}",
    ]
    assert full["cleaning"]["exclude"] == [f"corpus/train_texts/{HELD_OUT}"]
    for version in (plain, full):
        build({key: version[key] for key in version if key not in TRAINING}, PreparationSettings)


def test_parquet_and_datasets(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = {"body": ["one", None, "two"], "id": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "en.parquet")
    (tmp_path / "en.parquet.gz").write_bytes(gzip.compress((tmp_path / "en.parquet").read_bytes()))
    DatasetDict({"train": Dataset.from_dict(rows)}).save_to_disk(str(tmp_path / "folder"))
    for name in ("en.parquet", "en.parquet.gz", "folder"):
        with pytest.raises(ValueError, match=r"S734.*'id' is not text, but int"):
            list(read_texts(tmp_path / name, "id"))
        assert list(read_texts(tmp_path / name, "body")) == ["one", "two"]
        with pytest.raises(ValueError, match=r"S734.*'text'.*body"):
            list(read_texts(tmp_path / name))


def test_damage_in_the_middle_of_a_table(tmp_path):
    path = tmp_path / "en.parquet"
    pq.write_table(pa.table({"text": ["good", "bad one"]}), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"bad one", b"bad \xff\xfe\xfd"))
    texts = read_texts(path)
    assert next(texts) == "good"
    with pytest.raises(ValueError, match=r"S734.*utf-8"):
        next(texts)


@pytest.mark.parametrize("name", ["a.parquet", "a.doc", "folder"])
def test_what_cannot_be_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    if name != "folder":
        (tmp_path / name).write_text("no table")
    with pytest.raises(ValueError, match="S734"):
        list(read_texts(tmp_path / name))


def test_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "en_x.txt").touch()
    (group,) = find_groups([TextSource("$HERE/a/*.txt")])
    assert (group.name, group.language) == ("en_x", "en")
    (group,) = find_groups([TextSource("$HERE/a/*.txt", language="sw")])
    assert group.language == "sw"
    for sources in ([TextSource("$HERE/none*")], [TextSource("$HERE/*/en_x.txt")]):
        with pytest.raises(ValueError, match="S733"):
            find_groups(sources)
