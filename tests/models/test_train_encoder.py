"""Pretraining from prepared text: exact resume, kills, ranks, and a result that loads."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import samarkand
import torch
from encoder_recipes import read_log, write_prepared, write_recipe
from safetensors.torch import load_file
from samarkand.models.checkpoints import checkpoints
from samarkand.models.encoder_settings import EncoderSettings, ScheduleSettings
from samarkand.models.masked_lm import MaskedLMLoss
from samarkand.models.packed_corpus import PIECES
from samarkand.models.settings import load_settings, read_settings
from samarkand.models.train_encoder import main, train_encoder
from samarkand.pipeline import cli
from typer.testing import CliRunner

ROOT = Path(samarkand.__file__).parent
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "data")


@pytest.fixture
def recipe(data, tmp_path):
    return write_recipe(tmp_path, data)


def losses(folder):
    return [row["loss"] for row in read_log(folder)]


def weights(folder):
    return load_file(folder / "run" / "encoder" / "model.safetensors")


def run_python(*arguments, **environment):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT.parent)


@pytest.mark.parametrize("optimizer", ["adamw", "adapprox"])
def test_a_resumed_training_is_the_same_bit_for_bit(data, tmp_path, optimizer):
    words = ["--optimizer.name", optimizer]
    whole, parts = (write_recipe(tmp_path / name, data) for name in ("whole", "parts"))
    train_encoder(whole, words)
    # A training that ends early is one that was stopped: its schedule and its log go on from the checkpoint.
    stop = {"done": False}

    def stop_after_the_second_line(row):
        if row["step"] == 4 and not stop["done"]:
            stop["done"] = True
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(parts, words, report=stop_after_the_second_line)
    assert [path.name for path in checkpoints(tmp_path / "parts" / "run" / "checkpoints")] == ["step-00000002"]
    assert len(losses(tmp_path / "parts")) == 2
    train_encoder(parts, words, resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    held_out = [[row.get("held_out") for row in read_log(tmp_path / name)] for name in ("whole", "parts")]
    assert held_out[0] == held_out[1]
    assert held_out[0][-1].keys() == {"en", "ar", "zh", "mean"}
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


KILLED = """
import os, signal, sys
from pathlib import Path
from samarkand.models import checkpoints
from samarkand.models.train_encoder import train_encoder
write, calls = checkpoints.save_file, []
def write_and_die(tensors, path):
    calls.append(path)
    if len(calls) == 4:
        Path(path).write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    write(tensors, path)
checkpoints.save_file = write_and_die
train_encoder(Path(sys.argv[1]))
"""


def test_a_kill_amid_a_checkpoint_leaves_the_one_before(recipe, data, tmp_path):
    process = run_python("-c", KILLED, recipe)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints(folder)] == ["step-00000002"]
    assert not (tmp_path / "run" / "encoder").exists()
    train_encoder(recipe, resume=True)
    assert not list(folder.glob(".*"))
    train_encoder(write_recipe(tmp_path / "whole", data))
    assert losses(tmp_path) == losses(tmp_path / "whole")


WITHOUT_SPACY = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spacy", "thinc", "typer", "pyarrow", "datasets"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
from samarkand.models.train_encoder import main
sys.exit(main(sys.argv[1:]))
"""


def test_two_ranks_without_spacy_take_the_steps_of_one(recipe, data, tmp_path):
    train_encoder(recipe)
    two = write_recipe(tmp_path / "two", data)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [run_python("-c", WITHOUT_SPACY, two, RANK=str(rank), **common) for rank in (0, 1)]
    texts = [process.communicate(timeout=120)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], texts
    assert ["step 2, loss" in text for text in texts] == [True, False]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path), abs=1e-5)
    held_out = [[row["held_out"]["mean"] for row in read_log(folder)] for folder in (tmp_path, tmp_path / "two")]
    assert held_out[1] == pytest.approx(held_out[0], abs=1e-4)
    expected, found = weights(tmp_path), weights(tmp_path / "two")
    assert all(torch.allclose(expected[name], found[name], atol=1e-4) for name in expected)


def test_it_learns(recipe, tmp_path):
    words = ["--schedule.steps", "120", "--training.save_steps", "0", "--training.log_steps", "20"]
    words += ["--training.batch_size", "16", "--training.micro_batch", "16", "--schedule.shape", "wsd"]
    train_encoder(recipe, words)
    held_out = [row["held_out"]["mean"] for row in read_log(tmp_path) if "held_out" in row]
    assert held_out[-1] < held_out[0] - 0.2
    row = read_log(tmp_path)[-1]
    assert row["pieces"] == 120 * 16 * 32
    assert row["left"] == 0
    assert row["memory_mb"] > 50


def test_the_result_loads_in_transformers_and_in_samarkand(recipe, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    train_encoder(recipe, ["--result.weights", "fp16", "--result.file_mb", "1", "--training.peak_tflops", "1"])
    folder = tmp_path / "run" / "encoder"
    model, report = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["ab <mask> cd", "我爱北京"], return_tensors="pt", padding=True)
    assert batch["input_ids"][0].tolist().count(tokenizer.mask_token_id) == 1
    assert torch.isfinite(model(**batch).logits).all()
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.TransformerEncoder.v1", "name": str(folder), "window": 20, "stride": 10}
    pipe = nlp.add_pipe("tok2vec", config={"model": encoder})
    pipe.model.initialize()
    doc = nlp.make_doc("ab 我爱 تا")
    (vectors,) = pipe.model.predict([doc])
    assert vectors.shape == (len(doc), 32)
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).min(axis=1).max() > 0
    card = (folder / "README.md").read_text()
    assert "2 layers of width 32" in card
    assert "| mean |" in card
    assert json.loads((folder / "training.json").read_text())["schedule"]["steps"] == 6
    assert 0 < read_log(tmp_path)[0]["share_of_peak"] < 1


def test_large_weights_are_split(recipe, tmp_path):
    words = ["--result.file_mb", "1", "--model.width", "256", "--model.hidden", "512", "--schedule.steps", "1"]
    train_encoder(recipe, words)
    files = list((tmp_path / "run" / "encoder").glob("*.safetensors"))
    assert len(files) > 2
    assert max(file.stat().st_size for file in files) < 1.2e6


@pytest.mark.parametrize(
    "options", [["--training.precision", "bf16"], ["--schedule.minutes", "0.01", "--schedule.steps", "0"]]
)
def test_bfloat16_and_time(recipe, tmp_path, options):
    row = train_encoder(recipe, options)
    assert np.isfinite(row["loss"])
    assert row["left"] == 0
    assert (tmp_path / "run" / "encoder" / "config.json").is_file()


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(recipe, tmp_path, monkeypatch, part):
    forward, calls = MaskedLMLoss.forward, []

    def break_later(self, *batch):
        calls.append(1)
        losses = forward(self, *batch)
        # Two steps of two micro-batches, and four batches of held-out text; the gradient breaks in the fourth step.
        if part == "loss" and len(calls) > 10:
            return losses * float("nan")
        if part == "gradient" and self.training and len(calls) > 10:
            losses.register_hook(lambda gradient: gradient * float("nan"))
        return losses

    monkeypatch.setattr(MaskedLMLoss, "forward", break_later)
    with pytest.raises(RuntimeError, match=r"S740.*nan.*step-00000002"):
        train_encoder(recipe)
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000002"]
    assert not (tmp_path / "run" / "encoder").exists()


def test_what_is_refused(recipe, tmp_path):
    for words, code in (
        (["--training.micro_batch", "3"], "S739.*8 sequences.*1 ranks.*3"),
        (["--masking.rate", "0.02"], "S732.*masking.rate"),
        (["--data", str(tmp_path / "none")], "S735"),
        (["--schedule.steps", "0"], "S732.*schedule.steps"),
        (["--reading.weights", "{xx = 1.0}"], "S736"),
        (["--optimizer.betas", "[0.9]"], "S732"),
        (["--optimizer.rate", "1"], "S731"),
        (["--output", str(recipe)], "S516.*toml"),
    ):
        with pytest.raises(ValueError, match=code):
            train_encoder(recipe, words)
    assert not (tmp_path / "run").exists()
    train_encoder(recipe)
    with pytest.raises(ValueError, match="S741"):
        train_encoder(recipe)
    with pytest.raises(ValueError, match=r"S742.*training\.seed"):
        train_encoder(recipe, ["--training.seed", "1"], resume=True)
    (newest,) = checkpoints(tmp_path / "run" / "checkpoints")[-1:]
    (newest / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="S738"):
        train_encoder(recipe, resume=True)
    state = json.loads((newest / "state.json").read_text())
    del state["training"]["text"]
    (newest / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"S738.*text"):
        train_encoder(recipe, resume=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match="S737"):
        train_encoder(recipe, resume=True)


def test_other_text_of_the_same_length_is_noticed(recipe, data, tmp_path):
    train_encoder(recipe)
    other = shutil.copytree(data, tmp_path / "other")
    ids = np.frombuffer(lzma.decompress((other / PIECES).read_bytes()), dtype="<u2")
    (other / PIECES).write_bytes(lzma.compress(ids[::-1].tobytes()))
    with pytest.raises(ValueError, match=r"S742.*data"):
        train_encoder(recipe, ["--data", str(other)], resume=True)


def test_one_command_starts_and_goes_on(recipe, tmp_path):
    train_encoder(recipe, ["--schedule.steps", "2"], resume=True)
    train_encoder(recipe, resume=True)
    assert [row["step"] for row in read_log(tmp_path)] == [2, 4, 6]


def test_micro_batches_change_nothing_and_may_change(recipe, data, tmp_path):
    """A device that ran out of memory goes on with smaller ones."""
    train_encoder(recipe)
    other = write_recipe(tmp_path / "other", data)

    def stop(row):
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train_encoder(other, ["--training.micro_batch", "64"], report=stop)
    train_encoder(other, ["--training.micro_batch", "2"], resume=True)
    assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path), abs=1e-5)
    held_out = [[row["held_out"]["mean"] for row in read_log(folder)] for folder in (tmp_path, tmp_path / "other")]
    assert held_out[1][-1] == pytest.approx(held_out[0][-1], abs=1e-4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_asked_to_stop_saves_first(recipe, data, tmp_path, number):
    handlers = signal.getsignal(number)

    def stop(row):
        if row["step"] == 2:
            os.kill(os.getpid(), number)

    words = ["--training.save_steps", "0"]
    with pytest.raises(KeyboardInterrupt):
        train_encoder(recipe, words, report=stop)
    assert signal.getsignal(number) == handlers
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000002"]
    train_encoder(recipe, words, resume=True)
    train_encoder(write_recipe(tmp_path / "whole", data), words)
    assert losses(tmp_path) == losses(tmp_path / "whole")


def test_a_finished_training_can_be_made_longer(recipe, tmp_path):
    train_encoder(recipe)
    train_encoder(recipe, ["--schedule.steps", "8"], resume=True)
    assert [row["step"] for row in read_log(tmp_path)] == [2, 4, 6, 8]


def test_command_lines(recipe, capsys):
    assert main([]) == 2
    assert main([str(recipe), "--training.micro_batch", "3"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "S739" in line
    invoke = CliRunner().invoke
    result = invoke(cli.app, ["train-encoder", str(recipe), "--schedule.steps", "2", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 2
    assert "step 2, loss" in result.stderr
    result = invoke(cli.app, ["train-encoder", str(recipe), "--resume", "--schedule.steps", "4"])
    assert result.exit_code == 0, result.output
    (folder,) = recipe.parent.rglob("encoder")
    assert result.stdout == f"the encoder is in {folder}\n"
    result = invoke(cli.app, ["train-encoder", str(recipe)])
    assert (result.exit_code, result.stderr[:13]) == (1, "error: [S741]")


def test_an_interrupted_training_says_how_to_go_on(recipe, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskedLMLoss, "forward", interrupt)
    result = CliRunner().invoke(cli.app, ["train-encoder", str(recipe)])
    assert (result.exit_code, result.stderr) == (130, "interrupted: go on with --resume\n")
    assert main([str(recipe)]) == 130


def test_one_rank_speaks_for_all(tmp_path, recipe, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = CliRunner().invoke(cli.app, ["train-encoder", str(tmp_path / "none.toml")])
    assert (result.exit_code, result.stderr) == (1, "")
    assert main([str(tmp_path / "none.toml")]) == 1
    assert capsys.readouterr().err == ""

    def fail(error):
        def forward(*_):
            raise error

        monkeypatch.setattr(MaskedLMLoss, "forward", forward)
        return main([str(recipe)])

    # What only one rank meets is told by that one.
    assert fail(OSError("the disk is gone")) == 1
    assert capsys.readouterr().err == "error: OSError: the disk is gone\n"
    assert fail(ValueError()) == 1
    assert capsys.readouterr().err == "error: ValueError\n"
    with pytest.raises(RuntimeError, match="no kernel"):
        fail(RuntimeError("no kernel"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_recipes_resolve(config):
    from samarkand.corpora import prepare_pairs
    from samarkand.corpora.prepare_text import TRAINING, PreparationSettings
    from samarkand.models import sentence_settings
    from samarkand.models.encoder_settings import PREPARATION

    objective = read_settings(config).get("objective", "masked-lm")
    if objective == "masked-lm":
        load_settings(EncoderSettings, config, others=PREPARATION)
        load_settings(PreparationSettings, config, others=TRAINING)
    else:
        load_settings(sentence_settings.OBJECTIVES[objective], config, others=sentence_settings.PREPARATION)
        load_settings(prepare_pairs.PairSettings, config, others=prepare_pairs.TRAINING)


@pytest.mark.parametrize("shape", ["cosine", "linear", "wsd"])
def test_schedules(shape):
    schedule = ScheduleSettings(steps=100, shape=shape, warmup=10, decay=0.2)
    rates = [schedule.rate(step, schedule.progress(step, 0.0)) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[0] > 0
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates[80] == pytest.approx({"cosine": 0.0955, "linear": 0.2, "wsd": 1.0}[shape], abs=1e-3)
    timed = ScheduleSettings(minutes=2.0, steps=1000)
    assert timed.progress(10, 60.0) == 0.5
    assert timed.progress(900, 60.0) == 0.9
