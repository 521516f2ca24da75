"""Judging encoders: every sentence encoded once, figures that follow from the vectors, files and one clear line."""

from __future__ import annotations

import json
import lzma
import os
import re
from collections import Counter

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.mpts import GENRES
from samarkand.corpora.parallel_sets import Bitext
from samarkand.corpora.sentence_sets import StsSet
from samarkand.models.sentence_metrics import cosine_spearman, retrieval_accuracy
from samarkand.pipeline import evaluate_encoder as module
from samarkand.pipeline.encode_once import EncodeOnce
from samarkand.pipeline.evaluate_cli import evaluate_encoder_cli
from samarkand.pipeline.evaluate_encoder import evaluate_encoder
from samarkand.pipeline.evaluation_report import plot_results, result_tables, write_results
from samarkand.pipeline.evaluation_sets import LEAST_MPTS, EvaluationSets, load_sets
from sentence_checkpoints import make_encoder_folder
from typer.testing import CliRunner

app = typer.Typer()
app.command("evaluate-encoder")(evaluate_encoder_cli)
runner = CliRunner()


class HashEncoder:
    """Random vectors, one a text; counts what it is asked for.

    apart (float): How far from their common direction.
    """

    width = 8
    fingerprint = "hash"

    def __init__(self, apart: float = 1.0) -> None:
        self.asked: Counter[str] = Counter()
        self._apart = apart

    def encode(self, texts, *, batch_size=64, progress=False):
        self.asked.update(texts)
        return np.stack([self.vector(text) for text in texts]).astype(np.float32)

    def vector(self, text):
        return 1 + self._apart * np.random.default_rng(list(text.encode())).normal(size=self.width)


def bitext(name, pairs):
    return Bitext(name, "xx", "en", [a for a, _ in pairs], [b for _, b in pairs], "CC0", True)


def write_mpts(folder, split, start, count=30):
    generator = np.random.default_rng(start)
    rows = []
    for row in range(count):
        same = {genre: int(value) for genre, value in zip(GENRES, generator.integers(-1, 2, len(GENRES))) if value}
        items = f"{start + 2 * row}_{start + 2 * row + 1}"
        rows.append({"id": items, "a": f"plot {items} a", "b": f"plot {items} b", "same": same})
    (folder / "sts").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "sts" / f"mpts.en.{split}.jsonl.xz").write_bytes(lzma.compress(text.encode()))


@pytest.fixture
def folder(tmp_path):
    write_mpts(tmp_path, "dev", 0)
    write_mpts(tmp_path, "test", 1000)
    (tmp_path / "sts" / "sts17.track1.ar-ar.test.tsv").write_text("1\tا ب\tج\n0\tد\tا ب\n5\tه\tه\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def results(folder):
    return evaluate_encoder(HashEncoder(), load_sets(folder, ["samples", "mpts", "sts17/track1.ar-ar"]))


@given(st.lists(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=2), max_size=6))
def test_every_sentence_is_encoded_once_and_let_go(groups):
    model = HashEncoder()
    encoder = EncodeOnce(model, groups, batch_size=1)
    for group in groups:
        for side, vectors in zip(group, encoder.vectors(*group)):
            assert np.allclose(vectors, [model.vector(text) for text in side])
    assert set(model.asked.values()) <= {1}
    assert set(model.asked) == {text for group in groups for side in group for text in side}
    assert encoder.sentences == len(model.asked)
    assert not encoder._kept


def test_only_what_is_needed_later_is_kept():
    encoder = EncodeOnce(HashEncoder(), [[["a", "b"]], [["b", "c"]]])
    encoder.vectors(["a", "b"])
    assert set(encoder._kept) == {"b"}


def test_figures_are_those_of_the_vectors():
    model = HashEncoder()
    first, second, scores = ["a", "b", "c", "d"], ["e", "f", "a", "h"], [1.0, 2.0, 0.0, 4.0]
    sets = EvaluationSets(
        [StsSet("sick", "en", "test", first, second, scores, "x", False)],
        [bitext("pud/en-ar", list(zip(first, second)))],
    )
    found = evaluate_encoder(model, sets)
    vectors = [np.stack([model.vector(text) for text in side]) for side in (first, second)]
    assert found["sts"][0]["spearman"] == pytest.approx(cosine_spearman(*vectors, np.array(scores)), abs=1e-6)
    (row,) = found["bitexts"]
    assert (row["accuracy_forward"], row["accuracy_backward"]) == pytest.approx(retrieval_accuracy(*vectors))
    assert row["accuracy"] == pytest.approx(sum(retrieval_accuracy(*vectors)) / 2)
    assert found["means"]["sts"]["sick"] == {"sets": 1, "spearman": found["sts"][0]["spearman"]}
    assert found["means"]["bitexts"]["pud"]["accuracy"] == row["accuracy"]
    assert found["model"] == {"fingerprint": "hash", "width": 8}
    assert found["sentences"] == len(model.asked) == 7
    assert found["isotropy"]["sts"]["vectors"] == 4
    assert found["isotropy"]["bitexts"]["vectors"] == 7


def test_equal_translations_are_found_and_mined():
    pairs = [(f"text {i}", f"text {i}") for i in range(30)]
    (row,) = evaluate_encoder(HashEncoder(), EvaluationSets(bitexts=[bitext("pud/en-ar", pairs)]))["bitexts"]
    assert (row["accuracy_forward"], row["accuracy_backward"]) == (1, 1)
    assert row["mining_f1"] == 1
    assert row["mining_held_out_f1"] > 0.8


def test_mining_leaves_sentences_without_translation():
    pairs = bitext("pud/en-ar", [(f"a{i}", f"b{i}") for i in range(7)] + [("a0", "b9"), ("a9", "b1"), ("a8", "b8")])
    first, second, gold = module._mining_task(pairs)
    kept = [(pairs.first[first[a]], pairs.second[second[b]]) for a, b in gold]
    assert kept == [("a2", "b2"), ("a5", "b5")]
    assert [pairs.first[row] for row in first] == ["a0", "a2", "a3", "a5", "a6"]
    assert [pairs.second[row] for row in second] == ["b1", "b2", "b4", "b5", "b8"]


def test_sets_too_small_to_mine_have_no_figure():
    (row,) = evaluate_encoder(HashEncoder(), EvaluationSets(bitexts=[bitext("pud/en-ar", [("a", "b")])]))["bitexts"]
    assert "mining_f1" not in row


def test_perspectives_have_their_floors_and_their_own_scores(results):
    predictors = results["mpts"]["predictors"]
    assert list(predictors) == ["always", "cosine", "heads", "genre product"]
    assert predictors["always"]["weighted"]["recall"] == 1
    assert predictors["always"]["weighted"]["auc"] == 0.5
    for found in predictors.values():
        assert list(found["perspectives"]) == list(GENRES)
    assert results["mpts"]["pairs"] == 30
    assert results["mpts"]["train"] == "30 pairs of dev"


def test_vectors_of_zeros_are_no_error():
    found = evaluate_encoder(HashEncoderOfZeros(), load_sets(None, ["samples"]))
    assert {row["spearman"] for row in found["sts"]} == {0}
    assert [row["accuracy"] for row in found["bitexts"]] == pytest.approx([1 / 12] * 3, abs=1e-6)
    assert found["isotropy"] == {"sts": None, "bitexts": None}
    assert list(result_tables(found))


class HashEncoderOfZeros(HashEncoder):
    def vector(self, text):
        return np.zeros(self.width)


def test_S848_a_vector_that_is_no_number_is_told():
    encoder = EncodeOnce(HashEncoder(np.nan), [[["a"], ["b"]]])
    with pytest.raises(ValueError, match=r"S848.*'a'"):
        encoder.vectors(["a"], ["b"])


def test_a_limit_cuts_every_set(folder):
    sets = load_sets(folder, ["samples", "mpts"]).head(4)
    assert {len(pairs.first) for pairs in (*sets.sts, *sets.bitexts)} == {4}
    assert [len(split.first) for split in sets.mpts] == [LEAST_MPTS, LEAST_MPTS]
    found = evaluate_encoder(HashEncoder(), load_sets(folder, ["samples"]), limit=4)
    assert found["limit"] == 4
    assert {row["pairs"] for row in found["bitexts"]} == {4}


@pytest.mark.parametrize("options", [{"limit": 0}, {"batch_size": 0}])
def test_sizes_below_one_are_refused(options):
    with pytest.raises(ValueError, match=r"\[S507\]"):
        evaluate_encoder(HashEncoder(), load_sets(None, ["samples"]), **options)


def test_sets_are_chosen_by_name(folder):
    assert [s.name for s in load_sets(folder, ["samples/zh", "samples/en-ar"]).sts] == ["samples/zh"]
    every = load_sets(folder)
    assert [s.name for s in every.sts] == ["sts17/track1.ar-ar"]
    assert every.mpts is not None
    (folder / "sts" / "mpts.en.dev.jsonl.xz").unlink()
    assert load_sets(folder).mpts is None
    with pytest.raises(FileNotFoundError, match=r"\[S841\]"):
        load_sets(folder, ["mpts"])


@pytest.mark.parametrize("name", ["nope", "stsb-multi/xx", "samples/fr"])
def test_unknown_sets_are_named(folder, name):
    with pytest.raises(ValueError, match=r"\[S843\] There is no set"):
        load_sets(folder, [name])


def test_without_corpora_there_is_one_line_on_how_to_get_them(tmp_path):
    for place in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"\[S840\] No corpora in .*SAMARKAND_DATA.*--set samples"):
            load_sets(place)


def test_files_are_replaced_whole(results, tmp_path):
    for _ in range(2):
        data, plot = write_results(results, tmp_path / "out")
        assert json.loads(data.read_text(encoding="utf-8")) == results
    assert sorted(file.name for file in data.parent.iterdir()) == ["results.json", "results.svg"]
    drawn = plot.read_bytes()
    plot_results(results, plot)
    assert plot.read_bytes() == drawn
    assert b"<svg" in drawn


def test_the_plot_is_what_its_suffix_says(results, tmp_path):
    plot_results(results, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"


def test_a_big_family_is_one_line_of_the_table():
    pairs = [(f"a{i}", f"b{i}") for i in range(3)]
    sets = [bitext(f"sib200/l{i}", pairs) for i in range(70)] + [bitext("pud/en-ar", pairs)]
    found = evaluate_encoder(HashEncoder(), EvaluationSets(bitexts=sets))
    table, _ = result_tables(found)
    names = list(table.columns[0].cells)
    assert names == ["sib200: mean of 70", "pud/en-ar", "pud: mean of 1"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


def test_the_command_prints_tables_and_writes_files(encoder, tmp_path):
    result = runner.invoke(app, [encoder, "--set", "samples", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    for shown in ("Similarity (STS)", "samples/ar", "samples/en-zh", "Isotropy", "sentences in", "results.svg"):
        assert shown in result.stdout
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert found["encoder"] == encoder
    assert len(found["model"]["fingerprint"]) == 16


def test_the_command_gives_json(encoder, folder, tmp_path):
    options = ["--data", str(folder), "--limit", "3", "--batch-size", "2", "--pooling", "cls", "--json"]
    result = runner.invoke(
        app, [encoder, *options, "-s", "sts17/track1.ar-ar", "-s", "samples/en", "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["pooling"], found["limit"]) == ("cls", 3)
    assert [row["name"] for row in found["sts"]] == ["samples/en", "sts17/track1.ar-ar"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "sick"], r"error: \[S840\] No corpora in SAMARKAND_DATA, which is not set"),
        (["--set", "nope"], r"error: \[S843\] There is no set 'nope'"),
        (["--set", "samples", "--pooling", "max"], r"error: \[S801\]"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(encoder, tmp_path, monkeypatch, arguments, line):
    monkeypatch.delenv("SAMARKAND_DATA", raising=False)
    result = runner.invoke(app, [encoder, *arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert re.search(line, result.stderr)
    assert not (tmp_path / "out").exists()


def test_S516_a_file_in_the_place_of_the_output_is_told(encoder, tmp_path):
    (tmp_path / "out").touch()
    result = runner.invoke(app, [encoder, "--set", "samples", "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert re.fullmatch(r"error: \[S516\] .*out is a file.*\n", result.stderr)


@pytest.mark.data
def test_real_sets_of_each_kind_are_judged():
    sets = load_sets(os.environ["SAMARKAND_DATA"], ["sick", "pud", "tatoeba-laser/amh"])
    found = evaluate_encoder(HashEncoder(), sets, limit=150)
    names = ("sick", "tatoeba-laser/amh", "pud/en-ar", "pud/en-zh", "pud/ar-zh")
    assert [(row["name"], row["pairs"]) for row in (*found["sts"], *found["bitexts"])] == [
        (name, 150) for name in names
    ]
    for row in found["bitexts"]:
        assert row["accuracy"] < 0.05
