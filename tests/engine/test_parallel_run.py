"""Training on several processes: the losses of one, also after a kill and a resume at another world size."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from parallel_model import (
    LENGTH,
    ROWS,
    STEPS,
    batches,
    do_job,
    make_model,
    make_optimizer,
    make_trainer,
    mean_loss,
    reference_losses,
    run_jobs,
    run_processes,
)
from samarkand.engine import parallelize
from samarkand.engine.parallel_run import ParallelTrainer
from torch import Tensor, nn


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """Losses of plain training in this process."""
    return reference_losses()


def _assert_same(losses: list[float], expected: list[float]) -> None:
    assert losses == pytest.approx(expected, abs=1e-5, rel=0)


def test_one_process_trains_as_ever_and_leaves_the_model_alone(expected):
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    inputs = (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),)
    trainer = parallelize(model, inputs, mean_loss, optimizer=make_optimizer)
    _assert_same([trainer.step(*batch) for batch in batches()], expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(trainer.tensors()) == {name for name, _ in model.named_parameters()}
    with pytest.raises(ValueError, match=r"\[S722\] A batch of 6 rows"):
        trainer.step(torch.zeros(6, LENGTH, dtype=torch.long), torch.zeros(6, LENGTH, dtype=torch.long))


def test_a_pipeline_then_data_parallel_have_the_same_losses(expected, tmp_path):
    saved = str(tmp_path / "saved")
    tight = {"degrees": (1, 1, 2), "budget": 4.4e5, "schedule": "pre-recompute"}
    wide = {"degrees": (2, 1, 1), "micro_batches": 2}
    jobs = [{"options": tight, "at": 40, "save": saved}, {"options": wide, "load": saved}]
    losses, plans, codes = run_jobs(tmp_path / "run", 2, jobs)
    assert codes == [0, 0]
    assert plans[0]["recomputed"][0] > 0
    _assert_same(losses[0], expected)
    _assert_same(losses[1], expected[40:])


def test_a_killed_pipeline_resumes_in_one_process(expected, tmp_path):
    saved = str(tmp_path / "saved")
    job = {"options": {"degrees": (1, 1, 2)}, "at": 10, "save": saved, "die": 14}
    losses, _, codes = run_jobs(tmp_path / "run", 2, [job])
    assert losses == []
    assert codes[1] == 9
    assert codes[0] not in (0, None)
    trainer, losses = do_job({"load": saved})
    assert trainer.steps == STEPS
    _assert_same(losses, expected[10:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "options"),
    [
        (2, {"degrees": (2, 1, 1)}),
        (2, {"degrees": (1, 2, 1)}),
        (4, {"degrees": (2, 1, 2)}),
        (4, {"degrees": (1, 2, 2)}),
        (4, {"degrees": (1, 2, 2), "schedule": "1f1b", "budget": 3.2e5}),
        (4, {"degrees": (2, 2, 1)}),
        (4, {"degrees": (1, 1, 4), "schedule": "shifted", "micro_batches": 8}),
        (3, {"degrees": (1, 1, 3), "schedule": "last-without-recompute", "budget": 3.5e5}),
    ],
)
def test_every_kind_of_parallelism_has_the_same_losses(world, options, expected, tmp_path):
    saved = str(tmp_path / "saved")
    losses, _, codes = run_jobs(tmp_path / "run", world, [{"options": options, "at": 30, "save": saved}])
    assert codes == [0] * world
    _assert_same(losses[0], expected)
    _assert_same(do_job({"load": saved})[1], expected[30:])


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [(2, 1, 2), (1, 2, 2), (4, 1, 1)])
def test_one_process_resumes_on_four(degrees, expected, tmp_path):
    saved = str(tmp_path / "saved")
    do_job({"until": 30, "at": 30, "save": saved})
    job = {"options": {"degrees": degrees}, "load": saved}
    losses, _, codes = run_jobs(tmp_path / "run", 4, [job])
    assert codes == [0] * 4
    _assert_same(losses[0], expected[30:])


def test_incomplete_checkpoints_change_nothing(tmp_path):
    do_job({"until": 2, "at": 2, "save": str(tmp_path / "saved")})
    trainer = make_trainer()
    before = {name: tensor.clone() for name, tensor in trainer.state_dict().items()}
    folder = tmp_path / "saved"
    contents = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in contents.items():
        flipped = content[:40] + bytes(byte ^ 1 for byte in content[40:44]) + content[44:]
        for spoilt in (None, content[:-100], flipped):
            path.unlink()
            if spoilt is not None:
                path.write_bytes(spoilt)
            with pytest.raises(ValueError, match=rf"\[S725\].*{re.escape(path.name)}"):
                trainer.load(folder)
            path.write_bytes(content)
    after = trainer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_checkpoints_of_another_model_are_refused(tmp_path):
    do_job({"until": 1, "at": 1, "save": str(tmp_path / "saved")})
    inputs = (torch.empty(4, LENGTH, dtype=torch.long, device="meta"),)
    model = make_model()
    model.encoder.layers = model.encoder.layers[:3]
    model.positions = torch.nn.Parameter(torch.zeros(LENGTH + 1, 32))
    with pytest.raises(ValueError, match=r"\[S726\].*layers\.3.* unexpected; model\.positions.* of another shape"):
        parallelize(model, inputs, mean_loss, optimizer=torch.optim.SGD).load(tmp_path / "saved")


def test_a_failed_save_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    trainer, _ = do_job({"until": 1, "at": 1, "save": str(tmp_path / "saved")})
    trainer.steps = 5

    def fail(state: dict, checkpoint_id: object, no_dist: bool) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(dcp, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            trainer.save(tmp_path / "saved")
    trainer.load(tmp_path / "saved")
    assert trainer.steps == 1
    # A process that died between the two renames of a second save.
    shutil.move(tmp_path / "saved", tmp_path / "saved.old")
    trainer.steps = 7
    trainer.load(tmp_path / "saved")
    assert trainer.steps == 1
    trainer.save(tmp_path / "saved")
    trainer.save(tmp_path / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def _with_dropout(**options: object) -> ParallelTrainer:
    model = make_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    inputs = (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),)
    return parallelize(model, inputs, mean_loss, optimizer=make_optimizer, **options)


def _steps(trainer: ParallelTrainer, until: int) -> list[float]:
    losses = []
    for inputs, targets in batches()[trainer.steps : until]:
        losses.append(trainer.step(inputs, targets))
        for group in trainer.optimizer.param_groups:
            group["lr"] *= 0.7
    return losses


def test_a_resume_has_the_same_dropout_and_the_same_learning_rate(tmp_path):
    expected = _steps(_with_dropout(), 6)
    assert _steps(_with_dropout(seed=1), 6) != expected
    first = _with_dropout(budget="1GiB")
    torch.manual_seed(123)
    state = torch.get_rng_state()
    losses = _steps(first, 3)
    assert torch.equal(torch.get_rng_state(), state)
    first.save(tmp_path / "saved")
    again = _with_dropout()
    again.load(tmp_path / "saved")
    assert losses + _steps(again, 6) == expected


INPUTS = (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),)
DIVERGED = 7


def _diverging_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """NaN for the targets `DIVERGED`, and finite with an endless gradient for those of one more."""
    loss = mean_loss(scores, targets)
    if (targets == DIVERGED).all():
        return loss * float("nan")
    return loss + (scores.sum() * 0).sqrt() if (targets == DIVERGED + 1).all() else loss


def _assert_survives(trainer: ParallelTrainer) -> list[float]:
    """Losses around steps that come to nothing."""
    rows = batches()
    losses = [trainer.step(*rows[0])]
    before = {name: tensor.clone() for name, tensor in trainer.state_dict().items()}
    for target in (DIVERGED, DIVERGED + 1):
        with pytest.raises(RuntimeError, match=r"\[S718\] The loss of step 2 is .*nan"):
            trainer.step(rows[1][0], torch.full_like(rows[1][1], target))
    after = trainer.state_dict()
    assert all(torch.equal(_whole(value), _whole(after[name])) for name, value in before.items())
    return [*losses, trainer.step(*rows[1])]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _diverge(folder: Path) -> None:
    for degrees in ((1, 1, 2), (2, 1, 1)):
        trainer = parallelize(make_model(), INPUTS, _diverging_loss, degrees=degrees, optimizer=make_optimizer)
        losses = _assert_survives(trainer)
        (folder / f"{degrees[0]}-{torch.distributed.get_rank()}.json").write_text(json.dumps(losses))


def test_a_loss_that_is_no_number_changes_nothing_in_any_process(expected, tmp_path):
    trainer = parallelize(make_model(), INPUTS, _diverging_loss, optimizer=make_optimizer)
    _assert_same(_assert_survives(trainer), expected[:2])
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _diverge, folder) == [0, 0]
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    assert len(found) == 4
    for losses in found:
        _assert_same(losses, expected[:2])


class _WithUnused(nn.Module):
    """Blocks with a parameter that nothing reads."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.linear, self.unused = nn.Linear(width, width), nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            """[rows, width] -> [rows, width]."""
            return torch.tanh(self.linear(x))

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.Block(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        for layer in self.layers:
            x = layer(x)
        return x


def _squares(found: Tensor, targets: Tensor) -> Tensor:
    return (found - targets).square().mean()


def test_parameters_without_a_gradient_do_not_hinder_a_checkpoint(tmp_path):
    def trainer() -> ParallelTrainer:
        torch.manual_seed(0)
        return parallelize(_WithUnused(), (torch.empty(4, 4, device="meta"),), _squares)

    batch = torch.ones(4, 4), torch.zeros(4, 4)
    first = trainer()
    first.step(*batch)
    first.save(tmp_path / "saved")
    again = trainer()
    again.load(tmp_path / "saved")
    assert again.state_dict().keys() == first.state_dict().keys()
    assert again.step(*batch) == first.step(*batch)
    # An optimizer that keeps more than the one before cannot go on from its checkpoint.
    plain = parallelize(_WithUnused(), (torch.empty(4, 4, device="meta"),), _squares, optimizer=torch.optim.SGD)
    plain.step(*batch)
    plain.save(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"\[S726\].*exp_avg.* missing"):
        trainer().load(tmp_path / "plain")


def _decaying_matrices(groups: Iterable[dict]) -> torch.optim.Optimizer:
    parameters = [p for group in groups for p in group["params"]]
    sides = [[p for p in parameters if (p.ndim > 1) == wide] for wide in (True, False)]
    return torch.optim.AdamW(
        [{"params": side, "weight_decay": decay, "lr": 3e-3} for side, decay in zip(sides, (0.5, 0.0))]
    )


def test_groups_of_an_optimizer_keep_their_own_settings(tmp_path):
    def trainer() -> ParallelTrainer:
        return make_trainer(optimizer=_decaying_matrices)

    first = trainer()
    first.step(*batches()[0])
    first.optimizer.param_groups[1]["lr"] = 1e-3
    first.save(tmp_path / "saved")
    again = trainer()
    again.load(tmp_path / "saved")
    assert [(g["weight_decay"], g["lr"]) for g in again.optimizer.param_groups] == [(0.5, 3e-3), (0.0, 1e-3)]
    assert again.step(*batches()[1]) == first.step(*batches()[1])
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in again.state_dict().items())
