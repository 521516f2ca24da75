"""Checkpoints that name a repository, whose code would be fetched and run: refused by every loader."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from samarkand.models import assistant, transformer
from samarkand.models.encoder_base import base_shape
from samarkand.models.hub_code import refuse_hub_code_in
from samarkand.models.sentence_model import load_sentence_model
from transformer_checkpoints import save_checkpoint

KERNEL = "kernels-community/anything"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: save_checkpoint(family, root / family) for family in ("bert", "modernbert")}


def spoilt(folder: Path, target: Path, key: str) -> Path:
    shutil.copytree(folder, target)
    found = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**found, key: KERNEL}))
    return target


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
@pytest.mark.parametrize(
    ("family", "load"),
    [
        ("bert", transformer.load_encoder),
        ("bert", assistant.load_encoder),
        ("bert", load_sentence_model),
        ("modernbert", lambda folder: base_shape(folder, {})),
    ],
)
def test_S336_every_loader_refuses(family, load, key, folders, tmp_path):
    load(str(folders[family]))
    with pytest.raises(ValueError, match=rf"\[S336\].*'{KERNEL}'"):
        load(str(spoilt(folders[family], tmp_path / "spoilt", key)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0_Transformer/config.json", {"attn_implementation": KERNEL}),
        ("config.json", {"text_config": {"attn_implementation": f"paged|{KERNEL}@v1:attend"}}),
        ("config.json", {"parts": [{"attn_implementation": {"vision_config": KERNEL}}]}),
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": KERNEL}}),
    ],
)
def test_S336_wherever_it_stands(name, content, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"\[S336\]"):
        refuse_hub_code_in(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"attn_implementation": ["sdpa", null, 3]}'])
def test_other_files_are_left_to_the_loader(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    refuse_hub_code_in(tmp_path)
    refuse_hub_code_in("a-name/on-the-hub")
