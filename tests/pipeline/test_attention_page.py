"""The page of attention over a text."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
import samarkand
import torch
from report_corpora import INJECTIONS, Parsed
from samarkand.models.attention_frames import Unit
from samarkand.models.attention_reading import AttentionReading
from samarkand.pipeline.attention_page import page_data, show_attention
from samarkand.pipeline.cli import app
from samarkand.pipeline.sources import UsageError
from sentence_checkpoints import make_encoder_folder
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


def unpacked(packed):
    """As the page's script reads it."""
    numbers = np.frombuffer(base64.b64decode(packed["data"]), dtype="<u2")
    return numbers.reshape(packed["shape"]) * packed["unit"]


def test_page(encoder, tmp_path):
    summary = show_attention("the cats, قط 猫", tmp_path / "a.html", model=encoder)
    assert (summary["layers"], summary["heads"], summary["words"], summary["pieces"]) == (3, 2, 5, 8)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    parsed = Parsed(page)
    data = parsed.data
    shown = ["[CLS]", "the", "cats", ",", "قط", "猫", "[SEP]"]
    assert [unit["text"] for unit in data["units"]] == shown
    assert [unit["special"] for unit in data["units"]] == [True, *[False] * 5, True]
    # The table can be read where no script runs.
    assert [row[0] for row in parsed.rows[1:]] == shown
    assert [unit["window"] for unit in data["units"]] == [0] * 7
    assert set(data["measures"]) == {"received", "diagonal", "spread", "influence"}
    assert not re.search("https?://", page)
    assert not any(name in ("src", "href", "style") for _, tag in parsed.tags for name in tag)


def test_data_of_a_page():
    random = torch.Generator().manual_seed(0)
    measures = {name: torch.rand(2, 3, 12, dtype=torch.float64, generator=random) for name in ("received", "spread")}
    shares = torch.rand(2, 4, 12, 8, dtype=torch.float64, generator=random)
    keys = torch.randint(0, 60_000, shares.shape, generator=random)
    rollout = measures["spread"][0, 0]
    reading = AttentionReading(
        [Unit(n) for n in range(12)], [0] * 12, 12, measures, rollout, keys, shares, keys[0, 0], shares[0, 0]
    )
    data = json.loads(json.dumps(page_data(reading, [])))
    assert (data["layers"], data["heads"]) == (2, 3)
    np.testing.assert_array_equal(unpacked(data["keys"]), keys)
    np.testing.assert_array_equal(unpacked(data["rollout_keys"]), keys[0, 0])
    for name, values in (("shares", shares), ("rollout", rollout), ("rollout_shares", shares[0, 0])):
        np.testing.assert_allclose(unpacked(data[name]), values, atol=1e-5)
    for name, values in measures.items():
        np.testing.assert_allclose(unpacked(data["measures"][name]), values, atol=1e-5)
        np.testing.assert_allclose(unpacked(data["aggregates"][name]["mean"]), values.mean(dim=1), atol=1e-5)


def test_long_text_is_shown_in_windows(encoder, tmp_path):
    summary = show_attention("the cats sat on the mat. " * 12, tmp_path / "a.html", model=encoder)
    assert summary["words"] == 84
    assert summary["windows"] == 2
    data = Parsed((tmp_path / "a.html").read_text(encoding="utf-8")).data
    assert {unit["window"] for unit in data["units"]} == {0, 1}
    assert [unit["text"] for unit in data["units"] if not unit["special"]][:3] == ["the", "cats", "sat"]
    assert data["measures"]["influence"]["shape"] == [3, 2, 88]


@pytest.mark.parametrize("bad", INJECTIONS)
def test_hostile_text_stays_data(encoder, tmp_path, bad):
    show_attention(f"cat {bad} قط", tmp_path / "a.html", model=encoder)
    parsed = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    known = "html head meta title style body h1 h2 p svg main div table caption thead tr th tbody td bdi script"
    assert {name for name, _ in parsed.tags} == set(known.split())
    assert [name for name, _ in parsed.tags].count("script") == 2
    assert parsed.data["units"][1]["text"] == "cat"


def test_command(encoder, tmp_path):
    page = tmp_path / "page.html"
    run = CliRunner().invoke
    result = run(app, ["attention", "the cat", "-m", encoder, "-o", str(page)])
    assert result.exit_code == 0, result.output
    assert "3 layers, 2 heads, 2 words, 4 pieces in 1 windows" in result.output
    with pytest.raises(UsageError, match=r"\[S504\]"):
        show_attention("the cat", page, model="not looked at")
    result = run(app, ["attention", "cat", "-m", encoder, "-o", str(page), "-F", "--json"])
    assert json.loads(result.stdout)["words"] == 1
    bundled = run(app, ["attention", "the cat", "-o", str(tmp_path / "bundled.html"), "--json"])
    assert json.loads(bundled.stdout)["model"] == samarkand.DEFAULT_ENCODER
    result = run(app, ["attention", " ", "-m", encoder, "-o", str(tmp_path / "none.html")])
    assert result.exit_code == 1
    assert "[S1180]" in result.output
    assert not (tmp_path / "none.html").exists()
