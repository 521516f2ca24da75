"""The page of attention over a text."""

from __future__ import annotations

import json
import re

import pytest
import torch
from report_corpora import INJECTIONS, Parsed
from samarkand.models.attention_reading import AttentionReading, Unit
from samarkand.pipeline.attention_page import KEYS, page_data, show_attention
from samarkand.pipeline.cli import app
from samarkand.pipeline.sources import UsageError
from sentence_checkpoints import make_encoder_folder
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


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
    assert not re.search("https?://", page)
    assert not any(name in ("src", "href", "style") for _, tag in parsed.tags for name in tag)


def test_data_of_a_page():
    attention = torch.rand(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    measures = {"received": attention.mean(dim=-2), "diagonal": attention.diagonal(dim1=-2, dim2=-1)}
    reading = AttentionReading([Unit(n) for n in range(12)], 12, attention, measures, attention[0, 0])
    data = page_data(reading, [])
    assert len(data["keys"]) == 2
    assert len(data["keys"][0]) == 3 + 1
    mean = attention.mean(dim=1)
    for layer in range(2):
        for head in range(4):
            rows = mean[layer] if head == 3 else attention[layer, head]
            for unit, pairs in enumerate(data["keys"][layer][head]):
                slow = sorted(enumerate(rows[unit].tolist()), key=lambda pair: -pair[1])[:KEYS]
                assert [key for key, _ in pairs] == [key for key, _ in slow]
                assert [share for _, share in pairs] == pytest.approx([share for _, share in slow], abs=1e-4)
    for name, values in measures.items():
        assert torch.tensor(data["measures"][name]).numpy() == pytest.approx(values.numpy(), abs=1e-4)
        assert torch.tensor(data["aggregates"][name]["mean"]).numpy() == pytest.approx(values.mean(1).numpy(), abs=1e-4)
    json.dumps(data)


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
    assert "3 layers, 2 heads, 2 words, 4 pieces" in result.output
    with pytest.raises(UsageError, match=r"\[S504\]"):
        show_attention("the cat", page, model="not looked at")
    result = run(app, ["attention", "cat", "-m", encoder, "-o", str(page), "-F", "--json"])
    assert json.loads(result.stdout)["words"] == 1
    assert run(app, ["attention", "the cat"]).exit_code == 2
    result = run(app, ["attention", " ", "-m", encoder, "-o", str(tmp_path / "none.html")])
    assert result.exit_code == 1
    assert "[S1180]" in result.output
    assert not (tmp_path / "none.html").exists()
