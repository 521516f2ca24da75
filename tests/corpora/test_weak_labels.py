"""Weak labels: from texts and a config to records that a classifier learns from, and the command line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import samarkand
import torch
from samarkand.corpora.cats_corpus import CatsCorpus
from samarkand.corpora.weak_labels import SUMMARY, describe, weak_label
from samarkand.errors import SamarkandWarning
from samarkand.pipeline import cli
from spacy import registry
from typer.testing import CliRunner

CONFIG = """
[paths]
words = null

[weak_labels]
min_confidence = 0.6

[weak_labels.functions]

[weak_labels.functions.words]
@misc = "samarkand.KeywordLabels.v1"
path = ${paths.words}

[weak_labels.functions.ends]
@misc = "test_weak_labels.ends.v1"
"""
TEXTS = [
    ("a good day !", "pos"),
    ("good food !", None),
    ("bad luck .", "neg"),
    ("a bad dog .", "neg"),
    ("good , sort of", "pos"),
    ("nothing", "pos"),
    ("bad !", "neg"),
]


@registry.misc("test_weak_labels.ends.v1")
def make_ends():
    return lambda doc: {"!": "pos", ".": "neg"}.get(doc.text[-1:])


@registry.misc("test_weak_labels.numbers.v1")
def make_numbers():
    return lambda doc: {"!": "1", ".": "0"}.get(doc.text[-1:])


@registry.misc("test_weak_labels.mark.v1")
def make_mark(place: int):
    return lambda doc: {"+": "pos", "-": "neg"}[doc.text[place]]


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path, Path]:
    config, texts, words = tmp_path / "weak.cfg", tmp_path / "texts.jsonl", tmp_path / "words.tsv"
    words.write_text("pos\tgood\nneg\tbad\n", encoding="utf-8")
    config.write_text(CONFIG.replace("words = null", f'words = "{words}"'), encoding="utf-8")
    records = [{"text": text, "lang": "en", **({"label": label} if label else {})} for text, label in TEXTS]
    texts.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return config, texts, tmp_path / "out" / "weak.jsonl"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_texts_get_soft_labels_and_functions_a_summary(files):
    config, texts, output = files
    summary = weak_label(config, [texts], output)
    records = read(output)
    assert [(record["text"], record.get("label"), record["lang"]) for record in records] == [
        (text, label, "en") for text, label in TEXTS
    ]
    assert records[0]["votes"] == {"words": "pos", "ends": "pos"}
    assert records[0]["cats"]["pos"] > 0.6 > records[0]["cats"]["neg"]
    assert sum(records[0]["cats"].values()) == pytest.approx(1, abs=1e-5)
    assert records[5]["cats"] == records[5]["votes"] == {}
    assert summary["documents"] == 7
    assert summary["labelled"] == sum(bool(record["cats"]) for record in records)
    words = summary["functions"][0]
    assert (words["name"], words["coverage"], words["accuracy"]) == ("words", pytest.approx(6 / 7), 1.0)
    assert words["conflict"] == pytest.approx(1 / 7)
    assert set(summary) >= {"accuracy", "majority"}
    saved = json.loads(output.with_name(output.name + SUMMARY).read_text(encoding="utf-8"))
    assert saved["functions"] == json.loads(json.dumps(summary["functions"]))
    assert saved["config"]["weak_labels"]["min_confidence"] == 0.6
    table = describe(summary)
    assert "coverage" in table
    assert table.splitlines()[-2].startswith("words")


def test_known_labels_are_used_when_asked_for(files):
    config, texts, output = files
    weak_label(config, [texts], output, ["--weak_labels.use_gold", "true"])
    records = read(output)
    assert records[5]["cats"] == {"neg": 0.0, "pos": 1.0}
    assert records[6]["cats"] == {"neg": 1.0, "pos": 0.0}


@pytest.mark.parametrize("single", [True, False])
def test_numbers_are_labels_as_they_are_to_classifiers(files, single):
    """Regression: records with numbers for labels were taken for records without."""
    config, texts, output = files
    numbers = {"pos": 1, "neg": 0, None: None}
    labels = {label: number if single or number is None else [number] for label, number in numbers.items()}
    records = [{"text": text, "label": labels[label]} for text, label in TEXTS]
    texts.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    words = config.with_name("words.tsv")
    words.write_text("1\tgood\n0\tbad\n", encoding="utf-8")
    text = config.read_text().replace('"test_weak_labels.ends.v1"', '"test_weak_labels.numbers.v1"')
    config.write_text(text, encoding="utf-8")
    options = ["--weak_labels.use_gold", "true", "--weak_labels.labels", "[0, 1]"]
    summary = weak_label(config, [texts], output, options)
    assert summary["functions"][0]["accuracy"] == 1.0
    assert "accuracy" in summary
    assert [eg.reference.cats for eg in CatsCorpus(output)(samarkand.blank("xx"))][5:] == [
        {"0": 0.0, "1": 1.0},
        {"0": 1.0, "1": 0.0},
    ]


def test_records_that_classifiers_cannot_read_are_refused(files):
    config, texts, output = files
    texts.write_text('{"text": "a good dog", "text_b": null, "label": ["pos", "neg"]}\n', encoding="utf-8")
    assert "accuracy" not in weak_label(config, [texts], output)
    for field in ('"label": {}', '"text_b": 1'):
        texts.write_text('{"text": "good"}\n{"text": "good", ' + field + "}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"S631.*line 2"):
            weak_label(config, [texts], output, force=True)


def test_known_labels_that_nothing_votes_for_are_told(files):
    config, texts, output = files
    records = [{"text": "good", "label": "pos"}, {"text": "bad .", "label": "mixed"}, {"text": "x", "label": "mixed"}]
    texts.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    with pytest.warns(SamarkandWarning, match=r"SW1110.*2 records.*'mixed'.*neg, pos"):
        weak_label(config, [texts], output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weak_label(config, [texts], output, ["--weak_labels.labels", '["mixed", "neg", "pos"]'], force=True)


def test_correlations_and_weights_are_reported(tmp_path):
    rng = np.random.default_rng(0)
    gold = rng.random(1500) < 0.5
    # What a text is made of says what each function votes; the last two are one in all but name.
    right = rng.random((1500, 4)) < np.array([0.85, 0.8, 0.75, 0.6])
    marks = ["".join("+" if (at == g) else "-" for at in row) for row, g in zip(right, gold)]
    texts, config, output = tmp_path / "texts.jsonl", tmp_path / "weak.cfg", tmp_path / "weak.jsonl"
    texts.write_text("".join(json.dumps({"text": mark}) + "\n" for mark in marks), encoding="utf-8")
    functions = "".join(
        f'[weak_labels.functions.{name}]\n@misc = "test_weak_labels.mark.v1"\nplace = {place}\n'
        for name, place in (("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 3))
    )
    model = '[weak_labels.label_model]\n@misc = "samarkand.{name}.v1"\n{rest}'
    for name, rest in (("DawidSkene", "correlated = true\n"), ("DawidSkene", ""), ("MajorityVote", "")):
        text = "[weak_labels]\n[weak_labels.functions]\n" + functions + model.format(name=name, rest=rest)
        config.write_text(text, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamarkandWarning)
            summary = weak_label(config, [texts], output, force=True)
        weights = {row["name"]: row["weight"] for row in summary["functions"]}
        if rest:
            (pair,) = summary["correlations"]
            assert pair == {"functions": ["d", "e"], "excess": pytest.approx(1, abs=0.05)}
            assert weights == pytest.approx({"a": 1, "b": 1, "c": 1, "d": 0.5, "e": 0.5}, abs=0.05)
            assert describe(summary).splitlines()[-1].split() == [format(pair["excess"], ".3f"), "d,", "e"]
            saved = json.loads(output.with_name(output.name + SUMMARY).read_text(encoding="utf-8"))
            assert saved["correlations"] == [{"functions": ["d", "e"], "excess": pytest.approx(pair["excess"])}]
        else:
            assert summary["correlations"] is None
            assert set(weights.values()) == ({1.0} if name == "DawidSkene" else {None})
            assert describe(summary).splitlines()[-1].startswith("e ")


def test_labels_and_model_of_the_config(files):
    config, texts, output = files
    options = ["--weak_labels.labels", '["pos", "neg", "other"]', "--weak_labels.min_confidence", "0"]
    text = config.read_text() + '\n[weak_labels.label_model]\n@misc = "samarkand.MajorityVote.v1"\n'
    config.write_text(text, encoding="utf-8")
    weak_label(config, [texts], output, options)
    assert list(read(output)[0]["cats"].items()) == [("pos", 1.0), ("neg", 0.0), ("other", 0.0)]
    assert read(output)[6]["cats"] == {"pos": 0.5, "neg": 0.5, "other": 0.0}


def test_a_classifier_learns_the_soft_labels(files):
    config, texts, output = files
    weak_label(config, [texts], output)
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.SubwordEncoder.v1", "width": 16, "embed_width": 16, "depth": 1}
    encoder |= {"word_rows": 200, "piece_rows": 200, "bigram_rows": 0, "dropout": 0.0, "token_dropout": 0.0}
    model = {"@architectures": "samarkand.TransferTextcat.v1", "tok2vec": encoder, "dropout": 0.0}
    nlp.add_pipe("transfer_textcat", config={"model": model})
    examples = list(CatsCorpus(output)(nlp))
    torch.manual_seed(0)
    np.random.seed(0)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    for eg in examples:
        if eg.reference.cats:
            assert nlp(eg.text).cats == pytest.approx(eg.reference.cats, abs=0.1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("[weak_labels]", "[other]"), "no section"),
        (("min_confidence = 0.6", "confidence = 0.6"), "no setting 'confidence'"),
        (("samarkand.KeywordLabels.v1", "samarkand.None.v1"), "samarkand.None.v1|RegistryError"),
        (("path = ", "file = "), r"ConfigValidationError.*\(words\.path"),
    ],
)
def test_configs_that_cannot_be_used(files, change, reason):
    config, texts, output = files
    text = config.read_text(encoding="utf-8").replace(*change)
    if "[other]" in change:
        text = "[other]\nx = 1\n"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"S1110.*({reason})"):
        weak_label(config, [texts], output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", '"high"'),
        ("min_confidence", "1.5"),
        ("labels", '"pos"'),
        ("labels", '["pos", "pos"]'),
        ("labels", "[]"),
        ("model", "3"),
        ("use_gold", '"yes"'),
    ],
)
def test_settings_of_another_kind_are_refused(files, name, value):
    config, texts, output = files
    text = config.read_text(encoding="utf-8").replace("min_confidence = 0.6\n", "")
    config.write_text(text.replace("[weak_labels]\n", f"[weak_labels]\n{name} = {value}\n"), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"S1105.*{name}"):
        weak_label(config, [texts], output)
    assert not output.exists()


def test_nothing_is_written_when_something_fails(files):
    config, texts, output = files
    with pytest.raises(ValueError, match=r"S1110.*no such file|S1110.*No such file"):
        weak_label(config, [texts], output, code=config.with_name("none.py"))
    with pytest.raises(ValueError, match=r"S1103.*none"):
        weak_label(config, [texts], output, ["--weak_labels.model", "none"])
    texts.write_text('{"text": "silence"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="S1111"):
        weak_label(config, [texts], output)
    texts.write_text('{"no": "text"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="S842"):
        weak_label(config, [texts], output)
    with pytest.raises(OSError, match="S201"):
        weak_label(config, ["none.jsonl"], output)
    assert not output.exists()
    output.parent.mkdir(exist_ok=True)
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="S217"):
        weak_label(config, [texts], output)
    assert output.read_text(encoding="utf-8") == "mine"


def test_command_line(files):
    config, texts, output = files
    code = config.with_name("code.py")
    code.write_text(
        "from spacy import registry\n\n\n@registry.misc('test_weak_labels.always.v1')\ndef make():\n"
        "    return lambda doc: 'pos'\n",
        encoding="utf-8",
    )
    text = config.read_text() + '\n[weak_labels.functions.always]\n@misc = "test_weak_labels.always.v1"\n'
    config.write_text(text, encoding="utf-8")
    command = ["weak-label", str(config), "-i", str(texts), "-o", str(output)]
    refused = CliRunner().invoke(cli.app, command)
    assert refused.exit_code == 1
    assert "S1110" in refused.output
    done = CliRunner().invoke(cli.app, [*command, "--code", str(code), "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [row["name"] for row in summary["functions"]] == ["words", "ends", "always"]
    again = CliRunner().invoke(
        cli.app, [*command, "--code", str(code), "--force", "--weak_labels.min_confidence", "0.99999"]
    )
    assert again.exit_code == 0, again.output
    assert "documents labelled" in again.output
    assert not any(record["cats"] for record in read(output))
