"""Training of sentence encoders: mirror, contrastive, and distillation in stages, on small samples."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from samarkand.models.assistant import load_encoder
from samarkand.models.distillation import Distillation
from samarkand.models.masked_lm import EncoderShape, build_masked_lm
from samarkand.models.process_group import Ranks
from samarkand.models.recurrent_modernbert import RecurrentModernBert
from samarkand.models.sentence_losses import PieceVectors
from samarkand.models.sentence_metrics import unit_vectors
from samarkand.models.sentence_model import load_sentence_model
from samarkand.models.sentence_pairs import HELD_OUT, PAIRS, TOKENIZER, SentencePairs, draw_pairs
from samarkand.models.sentence_settings import (
    DistillationSettings,
    SentenceTrainingSettings,
    StageSettings,
    StepSettings,
    stage_settings,
)
from samarkand.models.sentence_stage import Stage
from samarkand.models.teacher_table import teacher_table
from samarkand.models.train_encoder import describe, train_encoder
from samarkand.models.train_sentences import set_dropout
from samarkand.models.vocabulary import train_vocabulary, wrap_tokenizer
from samarkand.pipeline import cli
from sentence_checkpoints import make_encoder_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

ANIMALS = {"cat": ("قط", "猫"), "dog": ("كلب", "狗"), "bird": ("طائر", "鸟"), "horse": ("حصان", "马")}
PLACES = {"park": ("الحديقة", "公园"), "house": ("البيت", "房子"), "river": ("النهر", "河"), "lake": ("البحيرة", "湖")}
ACTS = {"runs": ("يجري", "跑"), "sleeps": ("ينام", "睡"), "eats": ("يأكل", "吃"), "waits": ("ينتظر", "等")}


def sentences() -> list[tuple[str, str, str]]:
    """English, Arabic and Chinese, 64 of each."""
    return [
        (f"the {a} {act} in the {p}", f"{act_ar} {a_ar} في {p_ar}", f"{a_zh}在{p_zh}{act_zh}")
        for a, (a_ar, a_zh) in ANIMALS.items()
        for act, (act_ar, act_zh) in ACTS.items()
        for p, (p_ar, p_zh) in PLACES.items()
    ]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = [(en, other, lang, "by hand") for en, ar, zh in sentences() for other, lang in ((ar, "ar"), (zh, "zh"))]
    for name, chosen in ((PAIRS, rows), (HELD_OUT, rows[::5])):
        columns = dict(zip(("english", "other", "lang", "source"), map(list, zip(*chosen))))
        Dataset.from_dict(columns).to_parquet(str(folder / name))
    vocabulary = train_vocabulary([text for row in sentences() for text in row], 420)
    wrap_tokenizer(vocabulary, 32).save_pretrained(folder / TOKENIZER)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, pairs):
    """A random encoder that reads English, as good as any to be imitated."""
    folder = tmp_path_factory.mktemp("teacher")
    model = SentenceTransformer(make_encoder_folder(folder / "encoder"), device="cpu")
    model.save(str(folder / "teacher"), create_model_card=False)
    return str(folder / "teacher")


def recipe(path: Path, **settings: object) -> Path:
    """Write settings as TOML; JSON values are TOML values, tables apart."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    for key, table in settings.items():
        if isinstance(table, dict):
            lines += [f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


TRAINING = {"precision": "fp32", "max_length": 32, "log_steps": 5, "save_steps": 20}
SHAPE = {"layers": 2, "width": 32, "heads": 2, "hidden": 48}
STAGES = ("pieces", "assistant", "embedding", "recurrence", "relation")
STEPS = {"batch_size": 16, "learn_rate": 2e-3}


def make_modern_bert(folder: Path) -> Path:
    tokenizer = wrap_tokenizer(train_vocabulary([" ".join(row) for row in sentences()], 420), 32)
    torch.manual_seed(0)
    masked = build_masked_lm(EncoderShape(**SHAPE), vocabulary=len(tokenizer), length=32)
    masked.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def distillation(folder: Path, pairs: Path, teacher: str, **changes: object) -> Path:
    settings = {
        "objective": "distill",
        "output": str(folder / "output"),
        "teacher": teacher,
        "pairs": str(pairs),
        "training": TRAINING,
        "assistant.shape": SHAPE,
        "student": {"embedding_size": 16, "layers": 1, "repeats": 2},
        **{f"stages.{name}": {"steps": 60, **STEPS} for name in STAGES},
    }
    return recipe(folder / "config.toml", **(settings | changes))


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, pairs, teacher):
    folder, rows = tmp_path_factory.mktemp("distilled"), []
    result = train_encoder(distillation(folder, pairs, teacher), report=rows.append)
    return folder / "output", rows, result


def test_every_stage_learns(distilled):
    _, rows, result = distilled
    for stage in STAGES:
        losses = [row["loss"] for row in rows if row.get("stage") == stage and "loss" in row]
        assert losses[-1] < 0.8 * losses[0], stage
        assert [row for row in rows if row["stage"] == stage and "held_out" in row]
    assert set(result["stages"]["relation"]) == {"ar", "zh"}
    assert all(describe(row) for row in rows)


def test_translations_come_together(distilled):
    _, _, result = distilled
    after = result["stages"]["relation"]
    assert min(after.values()) > 0.15  # one in 26 by chance


def test_the_result_is_a_small_sentence_encoder(distilled, teacher):
    output, _, _ = distilled
    model = load_sentence_model(output / "encoder")
    assert type(model.model[0].model) is RecurrentModernBert
    vectors = model.encode(["the cat runs in the park", "猫在公园跑", ""])
    assert model.width == load_sentence_model(teacher).width
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-3)
    assert vectors[0] @ vectors[1] > 0.5


def test_pieces_alone_are_a_static_encoder(distilled, teacher):
    output, _, result = distilled
    static = load_sentence_model(output / "pieces" / "static")
    whole = SentenceTransformer(str(output / "pieces" / "encoder"))
    texts = ["the cat runs in the park", "猫在公园跑"]
    ids = [whole.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = [PieceVectors(whole)({"input_ids": i, "attention_mask": torch.ones_like(i)}) for i in map(as_row, ids)]
    expected = torch.cat([F.normalize(features["sentence_embedding"], dim=1) for features in found])
    np.testing.assert_allclose(static.encode(texts), expected.detach().numpy(), atol=1e-5)
    assert static.width == load_sentence_model(teacher).width
    assert min(result["stages"]["pieces"].values()) > 0.15


def as_row(ids: list[int]) -> torch.Tensor:
    return torch.tensor([ids])


def test_pieces_learn_without_layers(distilled):
    output, _, _ = distilled
    model = SentenceTransformer(str(output / "pieces" / "encoder"))
    features = {"input_ids": torch.tensor([[7, 8, 9]]), "attention_mask": torch.ones(1, 3)}
    model.zero_grad()
    PieceVectors(model)(features)["sentence_embedding"].square().sum().backward()
    learning = {name.split(".")[2] for name, weight in model.named_parameters() if weight.grad is not None}
    assert {"embeddings", "final_norm"} <= learning
    assert "layers" not in learning


def test_the_embedding_stage_touches_nothing_else(distilled):
    output, _, _ = distilled
    assistant, student = (SentenceTransformer(str(output / name / "encoder")) for name in ("assistant", "embedding"))
    for name, weight in student[0].model.state_dict().items():
        if name.startswith("layers."):
            torch.testing.assert_close(weight, assistant[0].model.state_dict()[name], atol=0, rtol=0)


def test_a_stopped_run_goes_on_and_ends_the_same(distilled, tmp_path, pairs, teacher, monkeypatch):
    output, _, _ = distilled

    class Stopped(Exception):
        pass

    def stop(row):
        if row.get("stage") == "relation" and row.get("step") == 45:
            raise Stopped

    config = distillation(tmp_path, pairs, teacher)
    with pytest.raises(Stopped):
        train_encoder(config, report=stop)
    assert not (tmp_path / "output" / "encoder").exists()
    monkeypatch.setattr(Distillation, "_assistant", lambda self: pytest.fail("a stage that is done begins again"))
    train_encoder(config, resume=True)
    models = [load_sentence_model(folder / "encoder") for folder in (output, tmp_path / "output")]
    texts = [text for row in sentences()[:8] for text in row]
    np.testing.assert_allclose(models[0].encode(texts), models[1].encode(texts), atol=2e-3)


def test_S742_a_stage_goes_on_with_its_own_settings_alone(tmp_path, pairs, teacher):
    few = {f"stages.{name}": {"steps": 2 * (name in ("pieces", "relation")), "batch_size": 8} for name in STAGES}
    config, output = distillation(tmp_path, pairs, teacher, **few), tmp_path / "output"
    train_encoder(config)
    for words, told in (
        (["--stages.pieces.learn_rate", "1e-3"], r"pieces was.*: stages\.pieces\.learn_rate\."),
        (["--stages.pieces.steps", "0"], r"pieces was.*: stages\.pieces\."),
        (["--stages.assistant.steps", "1"], r"relation was.*: stages\.assistant\."),
        (["--relation", "softmax"], r"relation was.*: relation\."),
        (["--student.layers", "2"], r"relation was.*: student\.layers\."),
        (["--training.seed", "1"], r"pieces was.*: training\.seed\."),
    ):
        with pytest.raises(ValueError, match="S742.*" + told):
            train_encoder(config, words, resume=True)
    train_encoder(config, ["--whitening", "0.5", "--training.save_steps", "7"], resume=True)
    assert json.loads((output / "training.json").read_text())["whitening"] == 0.5
    # As benchmarks/distillation_stages.py has it.
    shutil.copytree(output / "pieces", tmp_path / "other" / "pieces")
    words = ["--output", str(tmp_path / "other"), "--student.layers", "2", "--stages.embedding.steps", "1"]
    assert set(train_encoder(config, words, resume=True)["stages"]) == {"pieces", "embedding", "relation"}
    (output / "pieces" / "training.json").unlink()
    with pytest.raises(ValueError, match=r"S738.*output/pieces"):
        train_encoder(config, resume=True)


def test_S742_a_stopped_training_goes_on_with_its_own_settings_alone(tmp_path):
    class Stopped(Exception):
        pass

    def stop(row):
        if row.get("step") == 4:
            raise Stopped

    texts = [f"the {a} {b} a mat" for a in ("cat", "dog") for b in ("sat on", "ran on", "sat in", "ran in")]
    config = mirror(tmp_path, make_encoder_folder(tmp_path / "encoder"), texts, steps=6, batch_size=4)
    words = ["--training.save_steps", "2", "--training.log_steps", "2"]
    with pytest.raises(Stopped):
        train_encoder(config, words, report=stop)
    with pytest.raises(ValueError, match=r"S742.*: temperature\."):
        train_encoder(config, ["--temperature", "0.1"], resume=True)
    moved = (tmp_path / "texts.txt").rename(tmp_path / "moved.txt")
    (tmp_path / "texts.txt").write_text("\n".join(texts[1:]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"S742.*: data\.texts\."):
        train_encoder(config, resume=True)
    steps: list[int] = []
    words = ["--texts", str(moved), "--training.log_steps", "1"]
    train_encoder(config, words, resume=True, report=lambda row: steps.append(row["step"]))
    assert min(steps) >= 3
    assert json.loads((tmp_path / "out" / "training.json").read_text())["texts"] == str(moved)


def test_a_stage_depends_on_what_it_and_those_before_it_read():
    stages = StageSettings(*(StepSettings(steps) for steps in (1, 0, 1, 1, 1)))
    settings = DistillationSettings("distill", "output", "teacher", "pairs", stages)
    first, third = stage_settings(settings, "pieces"), stage_settings(settings, "embedding")
    assert (list(first["stages"]), list(first["assistant"])) == (["pieces"], ["shape"])
    assert list(third["stages"]) == ["pieces", "embedding"]
    assert third.keys() - first.keys() == {"student"}
    last = stage_settings(replace(settings, begin="student"), "relation")
    assert list(last["stages"]) == ["relation"]
    assert not last.keys() & {"assistant", "student", "whitening"}


def test_batches_that_ranks_cannot_share_are_refused(tmp_path):
    stage = Stage("mirror", tmp_path, StepSettings(1, 3), SentenceTrainingSettings(), Ranks(0, 2, torch.device("cpu")))
    with pytest.raises(ValueError, match="S863"):
        stage.run(None, None, None)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path, pairs, teacher):
    config = distillation(tmp_path, pairs, teacher)
    with pytest.raises(RuntimeError, match="S740"):
        train_encoder(config, ["--stages.assistant.learn_rate", "1e30", "--training.clip", "1e30"])


def test_a_stage_can_be_left_out(tmp_path, pairs, teacher):
    config = distillation(tmp_path, pairs, teacher, **{"stages.embedding": {"steps": 0}, "relation": "softmax"})
    short = [word for name in STAGES if name != "embedding" for word in (f"--stages.{name}.steps", "5")]
    result = train_encoder(config, short)
    assert set(result["stages"]) == set(STAGES) - {"embedding"}
    assert not (tmp_path / "output" / "embedding").exists()


def test_an_assistant_begins_with_an_encoder(tmp_path, pairs, teacher):
    base = make_modern_bert(tmp_path / "base")
    none = {f"stages.{name}": {"steps": 0} for name in STAGES}
    train_encoder(distillation(tmp_path, pairs, teacher, assistant={"encoder": str(base)}, **none))
    student = load_sentence_model(tmp_path / "output" / "encoder").model[0].model
    first = load_encoder(str(base))[0].layers[0].mlp.Wi.weight
    torch.testing.assert_close(student.layers[0].mlp.Wi.weight.float(), first, atol=1e-3, rtol=1e-3)


def test_an_assistant_of_another_vocabulary_begins_near_its_teacher(tmp_path, pairs, teacher):
    none = {f"stages.{name}": {"steps": 0} for name in STAGES[1:]}
    settings = {"assistant": {"encoder": teacher, "layers": [0, 2]}, "student": {"embedding_size": 16, "layers": 2}}
    config = distillation(tmp_path, pairs, teacher, **none, **settings)
    train_encoder(config)
    student, whole = load_sentence_model(tmp_path / "output" / "encoder"), load_sentence_model(teacher)
    english = [row[0] for row in sentences()]
    found, wanted = unit_vectors(student.encode(english)), unit_vectors(whole.encode(english))
    assert (found * wanted).sum(1).mean() > 0.9
    assert student.model[0].model.config.num_hidden_layers == 2
    with pytest.raises(ValueError, match="S869"):
        train_encoder(config, ["--stages.pieces.steps", "0", "--output", str(tmp_path / "other")])


def test_a_student_with_a_skip_learns(tmp_path, pairs, teacher):
    few = {f"stages.{name}": {"steps": 0} for name in STAGES[1:-1]}
    settings = {"assistant": {"encoder": teacher}, "student": {"embedding_size": 16, "layers": 3, "skip": True}}
    rows: list[dict] = []
    train_encoder(distillation(tmp_path, pairs, teacher, **few, **settings), report=rows.append)
    losses = [row["loss"] for row in rows if row["stage"] == "relation" and "loss" in row]
    assert losses[-1] < losses[0]
    assert load_sentence_model(tmp_path / "output" / "encoder").model[0].model.skip.weight.abs().sum() > 0


def test_a_student_goes_on(distilled, tmp_path, pairs, teacher):
    output, _, _ = distilled
    earlier = load_sentence_model(output / "encoder")
    english = [row[0] for row in sentences()]
    settings = {"begin": str(output / "encoder"), "stages.relation": {"steps": 0}}
    config = distillation(tmp_path, pairs, teacher, **settings)
    train_encoder(config)
    same = load_sentence_model(tmp_path / "output" / "encoder")
    np.testing.assert_allclose(same.encode(english), earlier.encode(english), atol=2e-3)
    result = train_encoder(config, ["--stages.relation.steps", "60", "--output", str(tmp_path / "longer")])
    assert set(result["stages"]) == {"relation"}
    wanted = unit_vectors(load_sentence_model(teacher).encode(english))
    longer = load_sentence_model(tmp_path / "longer" / "encoder")
    assert (longer.encode(english) * wanted).sum() > (earlier.encode(english) * wanted).sum()


def test_a_students_vectors_are_spread_at_the_end(distilled, tmp_path, pairs, teacher):
    output, _, _ = distilled
    english = [row[0] for row in sentences()]
    changes = {"begin": str(output / "encoder"), "stages.relation": {"steps": 0}, "whitening": 0.5}
    train_encoder(distillation(tmp_path, pairs, teacher, **changes))
    before, after = (load_sentence_model(path / "encoder") for path in (output, tmp_path / "output"))
    assert [type(module) for module in after.model] == [type(module) for module in before.model]
    assert parameters(after) == parameters(before) + before.width  # the mean of the vectors
    crowded, spread = (np.linalg.svd(model.encode(english), compute_uv=False) for model in (before, after))
    assert spread[0] / spread.sum() < 0.8 * crowded[0] / crowded.sum()


def parameters(model) -> int:
    return sum(weights.numel() for weights in model.model.parameters())


def test_S871_a_student_of_another_width_is_told(tmp_path, pairs, teacher):
    other = make_modern_bert(tmp_path / "other")
    with pytest.raises(ValueError, match=r"S871.*32.*16"):
        train_encoder(distillation(tmp_path, pairs, teacher, begin=str(other)))


def test_mirror_spreads_vectors(tmp_path):
    words = product(["cat", "dog"], ["sat", "ran"], ["on", "in"], ["mat", "park"], ["", ".", " ,"])
    texts = [f"the {a} {b} {c} a {d}{e}" for a, b, c, d, e in words]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    begin = make_encoder_folder(tmp_path / "encoder")
    settings = {"objective": "mirror", "output": str(tmp_path / "out"), "encoder": begin, "dims": [8]}
    settings |= {"texts": str(tmp_path / "texts.txt"), "training": TRAINING}
    settings |= {"steps": {"steps": 40, "batch_size": 12, "learn_rate": 2e-3}}
    rows: list[dict] = []
    train_encoder(recipe(tmp_path / "config.toml", **settings), report=rows.append)
    vectors = [load_sentence_model(folder).encode(texts) for folder in (begin, tmp_path / "out" / "encoder")]
    before, after = (float(np.mean(unit_vectors(x) @ unit_vectors(x).T)) for x in vectors)
    assert after < before - 0.3
    assert rows[-1]["loss"] < rows[0]["loss"]


def mirror(folder: Path, encoder: str, texts: list[str], **steps: int) -> Path:
    (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    settings = {"objective": "mirror", "output": str(folder / "out"), "encoder": encoder, "training": TRAINING}
    return recipe(folder / "config.toml", **settings, texts=str(folder / "texts.txt"), steps=steps)


def test_the_command_prints_its_summary_and_nothing_else(tmp_path, capfd):
    """The trainer prints lines of its own to standard output."""
    config = mirror(tmp_path, make_encoder_folder(tmp_path / "encoder"), ["the cat", "a dog"], steps=2, batch_size=2)
    with pytest.raises(SystemExit) as ended:
        cli.app(["train-encoder", str(config), "--json"])
    assert ended.value.code == 0
    row = {"stage": "mirror", "step": 2, "rows": 4, "encoder": str(tmp_path / "out" / "encoder")}
    assert json.loads(capfd.readouterr().out) == row


def test_S872_fewer_texts_than_a_batch_takes_are_refused(tmp_path, pairs):
    begin = make_encoder_folder(tmp_path / "encoder")
    config = mirror(tmp_path, begin, ["the cat", "a dog", "the mat"], steps=5, batch_size=4)
    with pytest.raises(ValueError, match=r"S872.* 4 texts.* 3\."):
        train_encoder(config)
    assert not (tmp_path / "out" / "encoder").exists()
    train_encoder(config, ["--steps.batch_size", "3"], resume=True)
    assert (tmp_path / "out" / "encoder").exists()
    settings = {"objective": "contrastive", "output": str(tmp_path / "other"), "encoder": begin, "training": TRAINING}
    steps = {"steps": 2, "batch_size": 65}
    with pytest.raises(ValueError, match=r"S872.* 65 texts.* 64\."):
        train_encoder(recipe(tmp_path / "config.toml", **settings, pairs=str(pairs), steps=steps))


def test_S873_a_training_that_finds_no_more_batches_is_no_success(tmp_path):
    """Whether the first three make up a batch depends on the place of the last one in the order."""
    data = Dataset.from_dict({"english": ["cat", "dog", "mat", "dog"], "other": ["猫", "狗", "垫", "垫"]})
    model = SentenceTransformer(make_encoder_folder(tmp_path / "encoder"), device="cpu")
    training = SentenceTrainingSettings(precision="fp32")
    stage = Stage("contrastive", tmp_path / "out", StepSettings(40, 3), training, Ranks(0, 1, torch.device("cpu")))
    with pytest.raises(RuntimeError, match=r"S873.*of 40 steps: no batch of 3"):
        stage.run(model, MultipleNegativesRankingLoss(model), data, distinct=True)


def test_S874_views_need_a_mask(tmp_path):
    begin = make_encoder_folder(tmp_path / "encoder")
    model = SentenceTransformer(begin, device="cpu")
    model.tokenizer.mask_token = None
    model.save(str(tmp_path / "unmasked"), create_model_card=False)
    config = mirror(tmp_path, str(tmp_path / "unmasked"), ["the cat", "a dog"], steps=1, batch_size=2)
    with pytest.raises(ValueError, match=r"S874.*unmasked"):
        train_encoder(config)
    assert not (tmp_path / "out" / "encoder").exists()


def test_contrastive_brings_pairs_together(tmp_path, pairs):
    base = make_modern_bert(tmp_path / "base")
    settings = {"objective": "contrastive", "output": str(tmp_path / "out"), "encoder": str(base)}
    steps = {"steps": 60, "batch_size": 16, "learn_rate": 2e-3}
    train_encoder(recipe(tmp_path / "config.toml", **settings, pairs=str(pairs), steps=steps, training=TRAINING))
    model = load_sentence_model(tmp_path / "out" / "encoder")
    english, arabic, _ = (model.encode(list(side)) for side in zip(*sentences()))
    assert np.mean((english @ arabic.T).argmax(1) == np.arange(len(english))) > 0.5


def test_languages_share_by_their_exponent():
    langs = np.array(["ar"] * 90 + ["sw"] * 10)
    even = draw_pairs(langs, 100, exponent=0.0, seed=0)
    assert np.unique(langs[even], return_counts=True)[1].tolist() == [50, 50]
    assert sorted(even[langs[even] == "sw"].tolist()) == sorted(list(range(90, 100)) * 5)
    plain = draw_pairs(langs, 100, exponent=1.0, seed=0)
    assert sorted(plain.tolist()) == list(range(100))
    assert not np.array_equal(plain, draw_pairs(langs, 100, exponent=1.0, seed=1))
    assert len(draw_pairs(langs, 7, exponent=0.5, seed=0)) == 7


def test_a_small_source_of_a_large_language_is_seen_too(pairs):
    found = SentencePairs.load(pairs)
    sources = ["large"] * 90 + ["small"] * 10
    columns = {"english": ["a"] * 100, "other": ["b"] * 100, "lang": ["ar"] * 100, "source": sources}
    drawn = replace(found, train=Dataset.from_dict(columns)).draw(100, exponent=0.0, seed=0)
    assert (drawn >= 90).sum() == 50
    heavy = replace(found, train=Dataset.from_dict(columns)).draw(100, exponent=0.0, seed=0, weights={"small": 3})
    assert (heavy >= 90).sum() == 75
    with pytest.raises(ValueError, match=r"S732.*weights.*smal.*large, small"):
        replace(found, train=Dataset.from_dict(columns)).draw(100, exponent=0.0, seed=0, weights={"smal": 3})


def test_the_teachers_table_goes_on_where_it_stopped(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr("samarkand.models.teacher_table.BLOCK", 4)
    model, texts = load_sentence_model(teacher), [en for en, _, _ in sentences()[:10]]

    def stop(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teacher_table(model, texts, tmp_path / "table.npy", stop)
    seen: list[int] = []
    table = np.array(teacher_table(model, texts, tmp_path / "table.npy", lambda done, total: seen.append(done)))
    assert seen == [10]
    np.testing.assert_allclose(table, model.encode(texts), atol=2e-3)
    again = teacher_table(model, texts[::-1], tmp_path / "table.npy")
    np.testing.assert_allclose(again, table[::-1], atol=2e-3)


def test_a_teachers_table_that_was_replaced_is_not_believed(tmp_path, teacher, monkeypatch):
    model, texts = load_sentence_model(teacher), [en for en, _, _ in sentences()[:4]]
    wanted = np.array(teacher_table(model, texts, tmp_path / "table.npy"))
    with monkeypatch.context() as killed:
        killed.setattr(type(model), "fingerprint", "another")
        killed.setattr(type(model), "encode", _fail)
        with pytest.raises(KeyboardInterrupt):
            teacher_table(model, texts, tmp_path / "table.npy")
    np.testing.assert_array_equal(teacher_table(model, texts, tmp_path / "table.npy"), wanted)


def _fail(*_: object) -> None:
    raise KeyboardInterrupt


def test_S875_a_damaged_table_of_a_teacher_is_told(tmp_path, teacher):
    model, texts, path = load_sentence_model(teacher), [en for en, _, _ in sentences()[:4]], tmp_path / "table.npy"
    wanted = np.array(teacher_table(model, texts, path))
    for damaged in (path.read_bytes()[:-5], b"", b"no table"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"S875.*table\.npy"):
            teacher_table(model, texts, path)
    np.save(path, np.zeros((2, 3), dtype=np.float16))
    with pytest.raises(ValueError, match=r"S875.*\(2, 3\)"):
        teacher_table(model, texts, path)
    path.unlink()
    np.testing.assert_array_equal(teacher_table(model, texts, path), wanted)
    path.with_suffix(".json").write_text("[]", encoding="utf-8")
    np.testing.assert_array_equal(teacher_table(model, texts, path), wanted)


def test_dropout_reaches_attention():
    model = build_masked_lm(EncoderShape(**SHAPE), vocabulary=300, length=16).model.train()
    pieces = torch.randint(5, 300, (2, 8))
    assert torch.equal(model(pieces).last_hidden_state, model(pieces).last_hidden_state)
    set_dropout(model, 0.1)
    assert not torch.equal(model(pieces).last_hidden_state, model(pieces).last_hidden_state)
    assert model.layers[0].attn.attention_dropout == 0.1


def test_bad_settings_are_told(tmp_path, pairs, teacher):
    config = distillation(tmp_path, pairs, teacher)
    for words, code in (
        (["--objective", "best"], "S732"),
        (["--pairs", str(tmp_path)], "S862"),
        (["--teacher", str(tmp_path / "none")], "S800"),
        (["--assistant.encoder", str(tmp_path)], "S864"),
        (["--weights.by_hand", "0"], "S732"),
        (["--weights.nothing", "2"], "S732"),
        (["--student.layers", "9", "--stages.assistant.steps", "0"], "S861"),
    ):
        with pytest.raises(ValueError, match=code):
            train_encoder(config, words, resume=True)
    with pytest.raises(ValueError, match="S864"):
        load_encoder(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"S516.*config\.toml"):
        train_encoder(config, ["--output", str(config / "inside")])
    (tmp_path / "output").mkdir(exist_ok=True)
    (tmp_path / "output" / "something").touch()
    with pytest.raises(ValueError, match="S741"):
        train_encoder(config)


def test_bad_texts_are_told(tmp_path):
    begin = make_encoder_folder(tmp_path / "encoder")
    (tmp_path / "one.txt").write_text("one\n\none\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\n" * 3)
    settings = {"objective": "mirror", "output": str(tmp_path / "out"), "encoder": begin, "steps": {"steps": 1}}
    for name, dims, code in (("none", [], "S865"), ("one", [], "S865"), ("broken", [], "S865"), ("two", [999], "S866")):
        config = recipe(tmp_path / "config.toml", **settings, texts=str(tmp_path / f"{name}.txt"), dims=dims)
        with pytest.raises(ValueError, match=code):
            train_encoder(config, resume=True)
    with pytest.raises(ValueError, match=r"S732.*steps\.steps"):
        train_encoder(config, ["--steps.steps", "0"], resume=True)
