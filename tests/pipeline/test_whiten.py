"""`samarkand whiten`: what is read, what is written, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from samarkand.models.sentence_model import SentenceTransformerModel, load_sentence_model
from samarkand.models.whitening import VectorStatistics, load_whitening
from samarkand.models.whitening_exports import without_normalize
from samarkand.pipeline.sources import UsageError
from samarkand.pipeline.whiten import whiten
from samarkand.pipeline.whiten_cli import whiten_cli
from sentence_checkpoints import WIDTH, make_encoder_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from typer.testing import CliRunner

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park", "猫", "كلب"]
TEXTS = [" ".join(np.random.default_rng(n).choice(WORDS, 2 + n % 5)) for n in range(60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "in" / "texts.txt"
    path.parent.mkdir()
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def expected(model: SentenceTransformerModel, texts: list[str], dim: int) -> np.ndarray:
    statistics = VectorStatistics()
    statistics.update(model.encode(texts))
    return statistics.whitening(dim).transform(model.encode(TEXTS))


def test_the_folder_is_a_whitened_model(model, corpus, tmp_path):
    summary = whiten(model, corpus, tmp_path / "out", dim=6, batch_size=3)
    encoder = load_sentence_model(model)
    vectors = SentenceTransformer(str(tmp_path / "out")).encode(TEXTS)
    np.testing.assert_allclose(vectors, expected(encoder, TEXTS, 6), atol=1e-3)
    whitening = load_whitening(tmp_path / "out" / "whitening.safetensors", encoder.fingerprint)
    np.testing.assert_allclose(whitening.transform(encoder.encode(TEXTS)), vectors, atol=1e-4)
    assert summary["explained_variance"] == whitening.explained
    assert (summary["sentences"], summary["width"], summary["dim"]) == (60, WIDTH, 6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_the_scaling_at_the_end_of_a_model_is_left_out(model, corpus, tmp_path):
    scaled = SentenceTransformer(modules=[*SentenceTransformer(model), Normalize()])
    scaled.save(str(tmp_path / "scaled"), create_model_card=False)
    whiten(tmp_path / "scaled", corpus, tmp_path / "out", dim=6)
    bare = SentenceTransformerModel(without_normalize(scaled))
    whitened = SentenceTransformer(str(tmp_path / "out"))
    np.testing.assert_allclose(whitened.encode(TEXTS), expected(bare, TEXTS, 6), atol=1e-3)
    assert [type(module).__name__ for module in whitened] == ["Transformer", "Pooling", "Dense", "Normalize"]


def test_records_without_text_are_counted(model, tmp_path):
    lines = [json.dumps({"body": text}) for text in TEXTS]
    lines += ["{broken", json.dumps({"text": "the"}), json.dumps({"body": 3}), json.dumps({"body": " "}), "{}"]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    summary = whiten(model, path, tmp_path / "out", text_field="body", dim=4)
    assert (summary["sentences"], summary["blank"]) == (60, 1)
    assert summary["skipped"] == {"S521": 1, "S522": 2, "S523": 1}


def test_limit_pooling_and_auto(model, corpus, tmp_path):
    summary = whiten(model, [corpus], tmp_path / "out", limit=40, pooling="first-last", dim="auto", retained=0.8)
    assert summary["sentences"] == 40
    assert 0.8 <= summary["explained_variance"] < 1
    whitening = load_whitening(tmp_path / "out" / "whitening.safetensors")
    assert (whitening.count, whitening.pooling) == (40, "first-last")
    encoder = load_sentence_model(model, pooling="first-last")
    vectors = SentenceTransformer(str(tmp_path / "out")).encode(TEXTS)
    np.testing.assert_allclose(vectors, expected(encoder, TEXTS[:40], summary["dim"]), atol=1e-3)


def test_output_is_replaced_whole_or_not_at_all(model, corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    whiten(model, corpus, out, dim=4)
    with pytest.raises(UsageError, match="S504"):
        whiten(model, corpus, out, dim=5)
    whiten(model, corpus, out, dim=5, force=True)
    monkeypatch.setattr("samarkand.models.whitening_map.Whitening.save", _fail)
    with pytest.raises(OSError, match="full"):
        whiten(model, corpus, out, dim=6, force=True)
    assert load_whitening(out / "whitening.safetensors").dim == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def _fail(*arguments: object) -> None:
    raise OSError("the disk is full")


def test_what_is_not_ours_is_not_replaced(model, corpus, tmp_path):
    with pytest.raises(UsageError, match="S817"):
        whiten(model, corpus, corpus.parent, force=True)
    for place in (corpus, corpus / "inside"):
        with pytest.raises(UsageError, match=f"S516.*{corpus.name} is a file"):
            whiten(model, corpus, place, force=True)
    whiten(model, corpus, tmp_path / "out", dim=4)
    inside = corpus.rename(tmp_path / "out" / "texts.txt")
    with pytest.raises(UsageError, match="S505"):
        whiten(model, inside, tmp_path / "out", force=True)
    assert inside.exists()


def test_refusals(model, corpus, tmp_path):
    out = tmp_path / "out"
    for odd in ({"batch_size": 0}, {"limit": 0}, {"txt_unit": "page"}):
        with pytest.raises(UsageError, match="S507"):
            whiten(model, corpus, out, **odd)
    with pytest.raises(ValueError, match="S732"):
        whiten(model, corpus, out, dim="most")
    with pytest.raises(UsageError, match="S501"):
        whiten(model, tmp_path / "none.txt", out)
    (tmp_path / "empty.jsonl").write_text('\n{"text": ""}\n{}\n')
    with pytest.raises(ValueError, match=r"S813.*blank 1, S522 1"):
        whiten(model, tmp_path / "empty.jsonl", out)
    with pytest.raises(ValueError, match="S732"):
        whiten(model, tmp_path / "empty.jsonl", out, dim=WIDTH + 1)
    assert not out.exists()


def invoke(*arguments: object):
    app = typer.Typer()
    app.command()(whiten_cli)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command(model, corpus, tmp_path):
    out = tmp_path / "out"
    done = invoke(model, corpus, "-o", out, "--dim", 4, "--shrinkage", "oas", "--exponent", 0.5, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["dim"], summary["sentences"]) == (4, 60)
    whitening = load_whitening(out / "whitening.safetensors")
    assert (whitening.exponent, whitening.shrinkage > 0) == (0.5, True)
    again = invoke(model, corpus, "-o", out)
    assert (again.exit_code, "S504" in again.output) == (2, True)
    (corpus.parent / "b.txt").write_bytes(b"the cat\n\xff\n")
    done = invoke(model, corpus.parent, "-o", out, "--dim", "full", "--shrinkage", 0.5, "--force")
    assert done.exit_code == 0, done.output
    assert "61 sentences" in done.stdout
    assert "left out: S520 1" in done.stdout
    assert load_whitening(out / "whitening.safetensors").dim == WIDTH
    bad = invoke(model, corpus, "-o", tmp_path / "other", "--shrinkage", "much")
    assert (bad.exit_code, "S732" in bad.output) == (1, True)
