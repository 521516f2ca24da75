"""Training that goes on from an encoder: its sizes, its weights, new rows for new pieces, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from encoder_recipes import LANGUAGES, make_texts, read_log, write_prepared, write_recipe
from samarkand.corpora.prepare_text import prepare_text
from samarkand.models.encoder_base import base_shape, base_tokenizer, load_base
from samarkand.models.packed_corpus import PackedCorpus
from samarkand.models.train_encoder import train_encoder
from samarkand.models.vocabulary_growth import grow_vocabulary

ADAPT = """
data = "{data}"
output = "{output}"
base = "{base}"
[[text.sources]]
path = "{raw}/new.txt"
language = "am"
{tables}
[vocabulary]
size = 560
sample_mb = 1.0
[reading]
length = 32
held_out = 8
[optimizer]
learn_rate = 1e-2
[schedule]
steps = 40
warmup = 4
[training]
batch_size = 8
micro_batch = 8
precision = "fp32"
log_steps = 10
evaluations = 4
save_steps = 20
save_minutes = 0
[result]
weights = "fp32"
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with an encoder in run/encoder."""
    folder = tmp_path_factory.mktemp("base")
    train_encoder(write_recipe(folder, write_prepared(folder / "data")), ["--schedule.steps", "20"])
    return folder


@pytest.fixture(scope="module")
def base(trained) -> str:
    return str(trained / "run" / "encoder")


def adapt(folder: Path, base: str, tables: str = "") -> Path:
    """Text in another script and a recipe to go on with it."""
    rng = random.Random(0)
    words = ["".join(rng.choices("አበገደሀወዘ", k=rng.randint(3, 6))) for _ in range(40)]
    texts = []
    for _ in range(300):
        place = rng.randrange(40)
        sentence = []
        for _ in range(10):
            sentence.append(words[place])
            place = (place * 7 + 1) % 40
        texts.append(" ".join(sentence) + "።")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "new.txt").write_text("\n".join(texts), encoding="utf-8")
    config = folder / "adapt.toml"
    fields = {"data": folder / "data", "output": folder / "run", "raw": folder, "base": base, "tables": tables}
    config.write_text(ADAPT.format(**fields), encoding="utf-8")
    return config


def test_prepared_and_trained_from_one_recipe(base, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    config = adapt(tmp_path, base)
    report = prepare_text(config)
    assert 500 < report["vocabulary"] <= 560
    train_encoder(config)
    held_out = [row["held_out"]["mean"] for row in read_log(tmp_path) if "held_out" in row]
    assert held_out[-1] < held_out[0] - 0.2
    folder = tmp_path / "run" / "encoder"
    model, loaded = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not loaded["missing_keys"]
    assert model.config.vocab_size == report["vocabulary"] == len(AutoTokenizer.from_pretrained(folder))
    assert "Trained on from `encoder` by" in (folder / "README.md").read_text()
    assert json.loads((folder / "training.json").read_text())["model"]["width"] == 32


def test_it_begins_where_the_base_ended(base, trained):
    """With the same vocabulary the model is that of the folder, and gives the same."""
    from transformers import ModernBertForMaskedLM

    expected = ModernBertForMaskedLM.from_pretrained(base, dtype=torch.float32).eval()
    found = load_base(base, base_tokenizer(base), 32).eval()
    ids = torch.randint(5, 400, (2, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(found(ids).logits, expected(ids).logits)


def test_a_new_piece_is_the_mean_of_what_it_was_read_as(base):
    old = base_tokenizer(base)
    n_old = old.get_vocab_size()
    grown = grow_vocabulary(old, ["አበ አበ abhg abhg"] * 5, n_old + 8)
    model, before = load_base(base, grown, 32), load_base(base, old, 32)
    table, rows = model.get_input_embeddings().weight, before.get_input_embeddings().weight
    assert torch.equal(table[:n_old], rows)
    assert table.data_ptr() == model.decoder.weight.data_ptr()
    assert len(model.decoder.bias) == len(table) == grown.get_vocab_size()
    new = {grown.id_to_token(i): i for i in range(n_old, grown.get_vocab_size())}
    assert {"አ", "በ"} <= set(new)
    for piece, number in new.items():
        ids = [token.id for token in old.model.tokenize(piece)]
        assert len(ids) > 1
        assert torch.allclose(table[number], rows[ids].mean(dim=0), atol=1e-7)
        assert torch.allclose(model.decoder.bias[number], before.decoder.bias[ids].mean(), atol=1e-7)


def test_transliterated_text_needs_no_new_characters(base, tmp_path):
    pytest.importorskip("icu")
    config = adapt(tmp_path, base, 'tables = { Ethi = "icu:Ethiopic-Latin" }')
    prepare_text(config, ["--vocabulary.size", str(base_tokenizer(base).get_vocab_size())])
    tokenizer = base_tokenizer(str(tmp_path / "data" / "tokenizer"))
    corpus = PackedCorpus.load(tmp_path / "data")
    text = tokenizer.decode(corpus.ids.tolist())
    assert not set(text) & set("አበገደሀወዘ")
    assert corpus.groups[0].documents == 300 - json.loads((tmp_path / "data" / "preparation.json").read_text())[
        "groups"
    ]["new"]["dropped"].get("duplicate", 0)


def test_resumed_like_any_other(base, tmp_path):
    config = adapt(tmp_path, base)
    prepare_text(config)

    def stop(row):
        if row["step"] == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(config, report=stop)
    train_encoder(config, resume=True)
    resumed = [row["loss"] for row in read_log(tmp_path)]
    train_encoder(config, ["--output", str(tmp_path / "whole" / "run")])
    assert [row["loss"] for row in read_log(tmp_path / "whole")] == resumed


def test_sizes_are_those_of_the_base(base):
    assert base_shape(base, {}).layers == 2
    assert base_shape(base, {"width": 32, "heads": 2}).hidden == 48
    with pytest.raises(ValueError, match=r"S732.*model.layers = 6"):
        base_shape(base, {"layers": 6})


def test_S732_longer_sequences_and_a_smaller_vocabulary(base, tmp_path):
    with pytest.raises(ValueError, match=r"S732.*reading.length = 64.*at most 32"):
        load_base(base, base_tokenizer(base), 64)
    with pytest.raises(ValueError, match=r"S732.*vocabulary.size = 400"):
        prepare_text(adapt(tmp_path, base), ["--vocabulary.size", "400"])


def test_S744_no_such_base(base, tmp_path):
    with pytest.raises(ValueError, match="S744"):
        base_shape(str(tmp_path / "nowhere"), {})
    with pytest.raises(ValueError, match="S744"):
        prepare_text(adapt(tmp_path, str(tmp_path / "nowhere")))
    assert not (tmp_path / "data").exists()
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"S744.*'bert'"):
        base_shape(str(tmp_path / "bert"), {})
    shutil.copytree(base, tmp_path / "no-weights", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ValueError, match="S744"):
        load_base(str(tmp_path / "no-weights"), base_tokenizer(base), 32)


def test_S744_vocabulary_of_another_kind(base, tmp_path):
    content = json.loads((Path(base) / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    vocab["<pad>"], vocab["<unk>"] = vocab["<unk>"], vocab["<pad>"]
    for added in content["added_tokens"]:
        added["id"] = vocab[added["content"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"S744.*another kind"):
        base_tokenizer(str(tmp_path))


def test_S745_text_under_another_vocabulary(base, tmp_path):
    other = write_prepared(tmp_path / "data", count=30)
    with pytest.raises(ValueError, match="S745"):
        train_encoder(write_recipe(tmp_path, other), ["--base", base])


def test_languages_of_the_base_are_still_read(base):
    """The text that the base was made of has the same pieces after growth."""
    old = base_tokenizer(base)
    grown = grow_vocabulary(old, ["አበ አበ"] * 5, old.get_vocab_size() + 4)
    for language in LANGUAGES:
        for text in make_texts(language, 10, seed=1):
            assert grown.encode(text).ids == old.encode(text).ids
