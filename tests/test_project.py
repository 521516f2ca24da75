"""The recipes: project.yml holds together, every config resolves, and a small corpus goes all the way."""

from __future__ import annotations

import json
import lzma
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samarkand
import spacy
import srsly
import torch
from samarkand.components.ricon_ner import RiconNer
from samarkand.corpora.records import read_records, write_records
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.tokens import Doc
from spacy.training.initialize import init_nlp
from spacy.util import import_file, load_config, load_model_from_config, registry
from weasel.cli.run import project_run
from weasel.util.config import load_project_config

ROOT = Path(samarkand.__file__).parent
SAMPLES = ROOT / "corpora" / "samples"
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))
STEPS = ("assets", "convert", "train", "evaluate", "package", "annotate")
# Pipes and score of the recipes that are not RICON's.
PIPES = {
    "m3_linker": (["m3_linker"], "nel_overall_f"),
    "transfer_textcat": (["transfer_textcat"], "cats_score"),
    "weak_textcat": (["transfer_textcat"], "cats_p_at_r90"),
}

SMALL = {
    "training.max_steps": 20,
    "training.eval_frequency": 10,
    "training.optimizer.learn_rate.warmup_steps": 2,
    "components.ricon_ner.model.width": 16,
    "components.ricon_ner.model.rank": 4,
    "components.ricon_ner.model.hidden": 8,
}
SMALL_ENCODER = {
    "components.tok2vec.model.width": 16,
    "components.tok2vec.model.embed_width": 16,
    "components.tok2vec.model.word_rows": 200,
    "components.tok2vec.model.piece_rows": 200,
    "components.tok2vec.model.bigram_rows": 200,
    "components.tok2vec.model.bigram_width": 4,
    "components.ricon_ner.model.tok2vec.width": 16,
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> dict[str, Any]:
    """The project as run from a folder of its own."""
    monkeypatch.setenv("SAMARKAND_DATA", "data")
    return _load(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny BERT."""
    checkpoints = import_file("tiny_checkpoints", ROOT / "tests" / "models" / "transformer_checkpoints.py")
    return checkpoints.save_checkpoint("bert", tmp_path_factory.mktemp("bert"))


def _load(folder: Path, **variables: Any) -> dict[str, Any]:
    shutil.copy(ROOT / "project.yml", folder)
    return load_project_config(folder, overrides={f"vars.{name}": value for name, value in variables.items()})


def _words(project: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for command in project["commands"]:
        for line in command["script"]:
            yield command["name"], shlex.split(line)


def _own_corpus(folder: Path, *, nested: bool = False) -> Path:
    """Two thirds of the samples to train on, the rest to choose and to test."""
    names = ["nested"] if nested else ["ar", "en", "mixed", "zh"]
    records = [r for name in names for r in read_records(SAMPLES / f"{name}.jsonl") if len(r["text"]) < 400]
    write_records(folder / "train.jsonl", [r for i, r in enumerate(records) if i % 3])
    write_records(folder / "dev.jsonl.xz", records[::6])
    write_records(folder / "test.jsonl", records[3::6])
    return folder


def _small_config(recipe: str, path: Path) -> Path:
    config = load_config(ROOT / "configs" / recipe, {**SMALL, **SMALL_ENCODER}, interpolate=False)
    config.to_disk(path)
    return path


def _train_in_memory(recipe: Path, corpus: Path, overrides: dict[str, Any]) -> tuple[Language, dict[str, float]]:
    """Initialise a recipe and take a few steps of its own optimizer."""
    paths = {"paths.train": str(corpus / "train.jsonl"), "paths.dev": str(corpus / "train.jsonl")}
    # As `spacy train` does: not every reference between blocks can be followed then.
    nlp = init_nlp(load_config(recipe, {**SMALL, **paths, **overrides}, interpolate=False))
    config = nlp.config.interpolate()
    training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    examples = list(registry.resolve({"corpus": config["corpora"]["train"]})["corpus"](nlp))
    losses: dict[str, float] = {}
    for _ in range(3):
        nlp.update(examples[:8], sgd=training["optimizer"], losses=losses)
        training["optimizer"].step_schedules()
    return nlp, losses


def test_workflows_are_the_steps_of_a_recipe(project):
    assert tuple(project["workflows"]["all"]) == STEPS
    assert list(project["workflows"]) == [
        "all",
        "pretrain",
        "sentences",
        "silver",
        "linker",
        "transfer",
        "weak",
        "bundle",
    ]
    listed = [name for steps in project["workflows"].values() for name in steps]
    assert sorted(listed) == sorted(command["name"] for command in project["commands"])
    assert all(command["help"] for command in project["commands"])


def test_what_a_command_needs_is_made_by_one_before_it_or_is_there(project):
    made: set[str] = set()
    by_name = {command["name"]: command for command in project["commands"]}
    for steps in project["workflows"].values():
        for step in steps:
            for dep in by_name[step].get("deps", []):
                assert dep in made or (ROOT / dep).is_file() or dep.startswith("data/raw/"), f"{step}: {dep}"
            outputs = by_name[step]["outputs"]
            assert made.isdisjoint(outputs)
            made.update(outputs)


def test_steps_that_read_what_the_user_names_are_never_skipped():
    """A new knowledge base or raw text under the same name went unseen."""
    given = ["corpus", "input", "raw", "kb", "links", "unlabelled", "keywords", "weak_dev"]
    given += ["classes", "classes_dev", "classes_test"]
    for command in srsly.read_yaml(ROOT / "project.yml")["commands"]:
        if any(f"${{vars.{name}}}" in line for line in command["script"] for name in given):
            assert command.get("no_skip"), command["name"]


def test_scripts_read_and_write_what_they_declare(project):
    for command in project["commands"]:
        words = {word for line in command["script"] for word in shlex.split(line)}
        for path in [*command.get("deps", []), *command["outputs"]]:
            assert words & {path, path.rpartition("/")[0]}, f"{command['name']}: {path}"


def test_every_module_that_a_command_runs_is_there(project):
    for name, words in _words(project):
        assert words[:2] == ["python", "-m"], name
        assert find_spec(words[2]) is not None, f"{name}: {words[2]}"


def test_no_path_of_a_machine(project):
    for name, words in _words(project):
        assert not any(word.startswith(("/", "~")) for word in words), name
    assert not re.search(r"(^|[\s'\"=])/\w", (ROOT / "project.yml").read_text(encoding="utf-8"))


def test_variables_reach_the_commands(tmp_path):
    values = {"corpus": "ar-anercorp", "seed": 7, "gpu_id": 0, "encoder": "null", "spans_key": "ricon"}
    project = _load(tmp_path, **values)
    lines = dict(_words(project))
    assert lines["assets"][3:5] == ["ar-anercorp", "assets/ar-anercorp"]
    train = dict(zip(lines["train"], lines["train"][1:]))
    assert train["--paths.train"] == "assets/ar-anercorp/train.jsonl"
    assert (train["--system.seed"], train["--gpu-id"], train["--paths.encoder"]) == ("7", "0", "null")
    assert "ricon" in lines["convert"]
    assert lines["evaluate"][lines["evaluate"].index("--spans-key") + 1] == "ricon"
    project = _load(tmp_path, corpus="elsewhere/my corpus", name="mine")
    assert dict(_words(project))["assets"][3:5] == ["elsewhere/my corpus", "assets/mine"]


def test_pretraining_without_data_names_what_is_missing(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "project.yml", tmp_path)
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path / "none"))
    with pytest.raises(SystemExit):
        project_run(tmp_path, "pretrain")
    assert "none/raw/ar.txt.xz" in capsys.readouterr().out


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_config_resolves(path):
    config = load_config(path, {"paths.train": "train.jsonl", "paths.dev": "dev.jsonl"}, interpolate=True)
    nlp = load_model_from_config(config, auto_fill=True, validate=True)
    pipes, score = PIPES.get(path.stem, (["tok2vec", "ricon_ner"], None))
    assert nlp.pipe_names == pipes
    registry.resolve(nlp.config.interpolate()["training"], schema=ConfigSchemaTraining)
    # With a score that the component does not give, every step would be as good as any other.
    score = score or _ricon_score(nlp.get_pipe("ricon_ner"))
    weights = config["training"]["score_weights"]
    assert {name: weight for name, weight in weights.items() if weight} == {score: 1.0}
    assert registry.resolve({"corpora": config["corpora"]})["corpora"].keys() == {"train", "dev"}


def _ricon_score(pipe: RiconNer) -> str:
    return "ents_f" if pipe.mode == "flat" else f"spans_{pipe.spans_key}_f"


def test_project_offers_every_config():
    text = (ROOT / "project.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"configs/\w+\.cfg", text)) == {f"configs/{path.name}" for path in CONFIGS}


@pytest.mark.parametrize("recipe", ["ricon_flat.cfg", "ricon_nested.cfg"])
def test_small_recipes_learn_from_their_first_steps(recipe, tmp_path):
    corpus = _own_corpus(tmp_path, nested=recipe == "ricon_nested.cfg")
    overrides = {**SMALL_ENCODER, "paths.encoder": None}
    nlp, losses = _train_in_memory(ROOT / "configs" / recipe, corpus, overrides)
    assert np.isfinite(losses["ricon_ner"])
    assert losses["ricon_ner"] > 0
    doc = nlp("她在北京大学工作。")
    assert isinstance(doc, Doc)


def test_transformer_recipe_moves_the_checkpoint_more_slowly(checkpoint, tmp_path):
    overrides = {
        "paths.encoder": str(checkpoint),
        "components.tok2vec.model.width": 32,
        "components.tok2vec.model.window": 30,
        "components.tok2vec.model.stride": 20,
        "training.optimizer.pretrained_learn_rate.warmup_steps": 2,
    }
    nlp, losses = _train_in_memory(ROOT / "configs" / "ricon_transformer.cfg", _own_corpus(tmp_path), overrides)
    assert losses["ricon_ner"] > 0
    encoder = nlp.get_pipe("tok2vec").model.shims[0].module
    assert encoder.pretrained
    settings = nlp.config.interpolate()["components"]["tok2vec"]["model"]
    start = samarkand.blank("xx").add_pipe("tok2vec", config={"model": settings})
    start.model.initialize()
    before, after = start.model.shims[0].module.state_dict(), encoder.state_dict()
    moved = [float((after[name] - before[name]).abs().max()) for name in before if after[name].is_floating_point()]
    # Adam moves a weight by about the learning rate a step: three steps of at most 2e-5, not of 1e-3.
    assert 0 < max(moved) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ricon_flat.cfg", "ricon_nested.cfg"])
def test_all_from_a_folder_to_annotated_samples(recipe, tmp_path, monkeypatch):
    nested = recipe == "ricon_nested.cfg"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copy(ROOT / "project.yml", tmp_path)
    variables = {
        "corpus": str(_own_corpus(tmp_path / "mine", nested=nested)),
        "name": "mine",
        "config": str(_small_config(recipe, tmp_path / "small.cfg")),
        "encoder": None,
        "spans_key": "ricon" if nested else "",
        "input": str(SAMPLES / "mixed.jsonl"),
    }
    overrides = {f"vars.{name}": value for name, value in variables.items()}
    project_run(tmp_path, "all", overrides=overrides, capture=True)

    scores = json.loads((tmp_path / "out" / "mine" / "scores.json").read_text())
    assert ("spans_ricon_f" if nested else "ents_f") in scores
    nlp = spacy.load(tmp_path / "training" / "mine" / "model-best")
    assert nlp.pipe_names == ["tok2vec", "ricon_ner"]
    package = tmp_path / "out" / "mine" / "package" / "xx_ricon_ner-0.1.0"
    meta = json.loads((package / "meta.json").read_text())
    assert any(requirement.startswith("samarkand") for requirement in meta["requirements"])
    assert (package / "setup.py").is_file()
    assert spacy.load(package / "xx_ricon_ner" / package.name).pipe_names == nlp.pipe_names
    lines = (tmp_path / "out" / "mine" / "annotated" / "mixed.jsonl").read_text(encoding="utf-8").split("\n")
    expected = [record["text"] for record in read_records(SAMPLES / "mixed.jsonl")]
    assert [json.loads(line)["text"] for line in lines if line] == expected

    trained = (tmp_path / "training" / "mine" / "model-best" / "meta.json").stat().st_mtime_ns
    project_run(tmp_path, "train", overrides=overrides, capture=True)
    assert (tmp_path / "training" / "mine" / "model-best" / "meta.json").stat().st_mtime_ns == trained, "not repeated"


@pytest.mark.slow
def test_pretraining_from_raw_text(tmp_path, monkeypatch):
    for lang in ("ar", "zh", "en"):
        texts = [record["text"].replace("\n", " ") for record in read_records(SAMPLES / f"{lang}.jsonl")]
        _write_lines(tmp_path / "data" / "raw" / f"{lang}.txt.xz", texts)
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copy(ROOT / "project.yml", tmp_path)
    project_run(tmp_path, "pretrain", overrides={"vars.minutes": 0.05, "vars.texts": "ar=7 zh=6 en=5"}, capture=True)
    encoder = tmp_path / "training" / "encoder"
    assert {"encoder.json", "encoder.safetensors"} <= set(os.listdir(encoder))
    nlp = samarkand.blank("xx")
    model = {"@architectures": "samarkand.SubwordEncoder.v1", "pretrained": str(encoder)}
    pipe = nlp.add_pipe("tok2vec", config={"model": model})
    pipe.model.initialize()
    (vectors,) = pipe.model.predict([nlp.make_doc("北京 is here")])
    assert torch.as_tensor(vectors).isfinite().all()


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
