"""Attention as JSON: what AttViz reads, and the way there and back."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_corpora import INJECTIONS, Parsed
from samarkand.pipeline.attention_page import convert_attention, show_attention
from samarkand.pipeline.cli import app
from samarkand.pipeline.offline_page import unpacked
from samarkand.pipeline.sources import UsageError
from sentence_checkpoints import make_encoder_folder
from typer.testing import CliRunner

TEXT = "the cats sat on the mat, قط 猫 " * 8
# As the tools of AttViz write it: numbers are text, and so is the name of a head at times.
ATTVIZ = [
    {
        "text": "ma ##p",
        "sets": [
            {
                "attention_vectors": [
                    {"name": 0, "vectors": ["0.25", "0.5", "1"]},
                    {"name": "Head <1>", "vectors": [0.75, 0.5, 0], "color": "#aabbcc"},
                ],
                "tokens": ["[CLS]", "ma", "##p"],
            }
        ],
        "output_activations": [{"name": "class <A>", "value": "0.91"}],
    }
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory) -> Path:
    """A page and the JSON of the same text, which does not fit one window."""
    folder = tmp_path_factory.mktemp("written")
    show_attention(TEXT, folder / "a.html", model=encoder)
    show_attention(TEXT, folder / "a.json", model=encoder)
    return folder


def save(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_round_trip(written, tmp_path):
    summary = convert_attention(written / "a.json", tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (written / "a.html").read_bytes()
    assert summary["windows"] > 1
    assert summary == {**convert_attention(written / "a.json", tmp_path / "b.json"), "page": summary["page"]}
    assert (tmp_path / "b.json").read_bytes() == (written / "a.json").read_bytes()


def test_file_is_one_of_attviz(written):
    (document,) = json.loads((written / "a.json").read_bytes())
    ours = document["samarkand"]
    assert document["text"] == TEXT
    assert document["output_activations"] == []
    (shown,) = document["sets"]
    assert shown["tokens"] == [unit["text"] for unit in ours["units"]]
    for unit in ours["units"]:
        assert unit["special"] or TEXT[unit["start"] : unit["end"]] == unit["text"]
    vectors = shown["attention_vectors"]
    assert [vector["name"] for vector in vectors][:3] == ["layer 1, head 1", "layer 1, head 2", "layer 2, head 1"]
    assert all(isinstance(value, str) for vector in vectors for value in vector["vectors"])
    values = np.array([vector["vectors"] for vector in vectors], dtype=float)
    diagonal = unpacked(ours["measures"]["diagonal"])
    np.testing.assert_allclose(values, diagonal.reshape(values.shape), atol=5e-6)
    assert values.max() > 0.01


def test_without_our_part_a_file_keeps_its_vectors(written, tmp_path):
    (document,) = json.loads((written / "a.json").read_bytes())
    ours = document.pop("samarkand")
    convert_attention(save(tmp_path / "a.json", [document]), tmp_path / "b.json")
    (again,) = json.loads((tmp_path / "b.json").read_bytes())
    diagonal = ours["measures"]["diagonal"]
    assert again["sets"] == document["sets"]
    assert again["samarkand"]["measures"]["diagonal"]["data"] == diagonal["data"]
    assert again["samarkand"]["heads"] == diagonal["shape"][0] * diagonal["shape"][1]


def test_file_of_attviz_is_shown(tmp_path):
    summary = convert_attention(save(tmp_path / "a.json", ATTVIZ), tmp_path / "a.html")
    assert {name: summary[name] for name in ("model", "layers", "heads", "windows", "pieces", "words")} == {
        "model": "a.json",
        "layers": 1,
        "heads": 2,
        "windows": 1,
        "pieces": 3,
        "words": 2,
    }
    parsed = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert parsed.data["names"] == ["0", "Head <1>"]
    assert [unit["special"] for unit in parsed.data["units"]] == [True, False, False]
    np.testing.assert_allclose(unpacked(parsed.data["aggregates"]["diagonal"]["mean"])[0], [0.5, 0.5, 0.5], atol=1e-5)
    np.testing.assert_allclose(unpacked(parsed.data["aggregates"]["diagonal"]["max"])[0], [0.75, 0.5, 1], atol=1e-5)
    assert "rollout" not in parsed.data
    assert parsed.rows == [
        [],
        *([token, "0.5000"] for token in ("[CLS]", "ma", "##p")),
        [],
        ["class <A>", "0.9100"],
    ]
    convert_attention(tmp_path / "a.json", tmp_path / "b.json")
    convert_attention(tmp_path / "b.json", tmp_path / "b.html")
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_document_of_many(tmp_path):
    documents = [{**ATTVIZ[0], "text": f"text {n}"} for n in range(12)]
    for value in (documents, {str(n): document for n, document in reversed(list(enumerate(documents)))}):
        convert_attention(save(tmp_path / "a.json", value), tmp_path / "b.json", document=11, force=True)
        assert json.loads((tmp_path / "b.json").read_bytes())[0]["text"] == "text 10"
    with pytest.raises(ValueError, match=r"\[S1184\] .* it has 12 documents, and number 13 was asked for\."):
        convert_attention(tmp_path / "a.json", tmp_path / "c.json", document=13)


@pytest.mark.parametrize("bad", INJECTIONS)
def test_hostile_file_stays_data(tmp_path, bad):
    document = copy.deepcopy(ATTVIZ[0])
    document["text"] = document["output_activations"][0]["name"] = document["sets"][0]["tokens"][1] = bad
    document["sets"][0]["attention_vectors"][0]["name"] = bad
    convert_attention(save(tmp_path / "a.json", [document]), tmp_path / "a.html")
    parsed = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    known = "html head meta title style body h1 h2 p svg main div table caption thead tr th tbody td bdi script"
    assert {name for name, _ in parsed.tags} == set(known.split())
    assert [name for name, _ in parsed.tags].count("script") == 2
    assert parsed.data["names"][0] == parsed.data["units"][1]["text"] == bad


def put(*places: Any) -> Callable[[Any], None]:
    """Change a document: the last of the places is the value of the ones before."""

    def change(document: Any) -> None:
        *way, last, value = places
        for place in way:
            document = document[place]
        document[last] = value

    return change


VECTOR = ("sets", 0, "attention_vectors", 0, "vectors")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("text", 3), "text is not a string"),
        (put("sets", []), "the first of sets is not an object"),
        (put("sets", 0, "tokens", []), "it has no tokens or no attention_vectors"),
        (put("sets", 0, "attention_vectors", 5), "vectors is not a list"),
        (put(*VECTOR, ["0.5"]), "a vector has 1 numbers for 3 tokens"),
        (put(*VECTOR, ["0.5", "2", "0"]), "a vector has numbers outside of 0 to 1"),
        (put(*VECTOR, ["0.5", "NaN", "0"]), "'NaN' is no number"),
        (put(*VECTOR, ["0.5", True, "0"]), "True is no number"),
        (put("output_activations", 7), "output_activations is not a list"),
    ],
)
def test_bad_file_of_attviz(tmp_path, change, reason):
    document = copy.deepcopy(ATTVIZ[0])
    change(document)
    with pytest.raises(ValueError, match=rf"^\[S1184\] .*a.json holds no attention .*: {re.escape(reason)}\. Mend"):
        convert_attention(save(tmp_path / "a.json", [document]), tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("samarkand", []), "samarkand is not an object"),
        (put("samarkand", "format", 2), "its format is 2, and 1 can be read"),
        (put("samarkand", "units", []), "it has no units"),
        (put("samarkand", "units", 0, "special", 1), "special is not true or false"),
        (put("samarkand", "units", 0, "window", -1), "a window is less than 0"),
        (put("samarkand", "layers", 0), "layers is less than 1"),
        (put("samarkand", "dir", "up"), "dir is neither"),
        (put("samarkand", "measures", {}), "it has no units, or measures other"),
        (put("samarkand", "measures", "diagonal", "shape", [1, 1, 1]), "diagonal has the shape [1, 1, 1], not "),
        (put("samarkand", "measures", "diagonal", "unit", 2), "diagonal has the shape"),
        (put("samarkand", "measures", "diagonal", "data", "AAAA"), "diagonal has more or less numbers than"),
        (put("samarkand", "measures", "diagonal", "data", "!"), "Error: "),
        (put("samarkand", "aggregates", "diagonal", "mean", None), "mean is not an object"),
        (put("samarkand", "rollout_keys", "shape", ["x"]), "the number of keys is not a whole number"),
        (put("samarkand", "keys", "unit", 1 / 65535), "keys has no numbers of units"),
        (put("samarkand", "names", ["a"]), "it has 1 names of 2 heads"),
        (put("samarkand", "outputs", [["a"]]), "an output is no name with a value"),
    ],
)
def test_bad_file_of_ours(written, tmp_path, change, reason):
    (document,) = json.loads((written / "a.json").read_bytes())
    change(document)
    with pytest.raises(ValueError, match=rf"^\[S1184\] .*a.json holds no attention .*: {re.escape(reason)}"):
        convert_attention(save(tmp_path / "a.json", [document]), tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "NaN", "[" * 300, "[]"])
def test_no_such_file_is_one_line(tmp_path, content):
    arguments = ["attention", "--from", str(save(tmp_path / "a.json", content)), "-o", str(tmp_path / "a.html")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: [S1184] {tmp_path / 'a.json'} holds no attention as AttViz has it: ")
    assert not (tmp_path / "a.html").exists()


def test_command(encoder, tmp_path):
    run = CliRunner().invoke
    result = run(app, ["attention", "the cat", "-m", encoder, "-o", str(tmp_path / "a.json")])
    assert result.exit_code == 0, result.output
    result = run(app, ["attention", "--from", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.html"), "--json"])
    assert json.loads(result.stdout)["words"] == 2
    for arguments in ([], ["the cat", "--from", str(tmp_path / "a.json")]):
        result = run(app, ["attention", *arguments, "-o", str(tmp_path / "b.html")])
        assert result.exit_code == 2
        assert "[S507] Bad value for text" in result.stderr
    with pytest.raises(UsageError, match=r"\[S504\]"):
        convert_attention(tmp_path / "none.json", tmp_path / "a.html")
    with pytest.raises(UsageError, match=r"\[S505\]"):
        convert_attention(tmp_path / "a.json", tmp_path / "a.json", force=True)
    with pytest.raises(OSError, match=r"\[S512\] Cannot read .*none.json"):
        convert_attention(tmp_path / "none.json", tmp_path / "b.html")
