"""What runs a pipeline's schedule, also where torch cannot run ours."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from parallel_model import do_job, reference_losses, run_processes
from samarkand.errors import SamarkandWarning
from torch.distributed.pipelining import schedules

STEPS = 3


def _work(folder: Path) -> None:
    """Train with a torch that lacks a part, then with one that lacks the whole runtime."""
    rank = torch.distributed.get_rank()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del schedules._PipelineScheduleRuntime.register_custom_function
        losses = [_losses("pre-recompute")]
        del schedules._PipelineScheduleRuntime
        losses += [_losses("last-without-recompute"), _losses("1f1b")]
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, SamarkandWarning)]
    (folder / f"{rank}.json").write_text(json.dumps({"losses": losses, "messages": messages}), encoding="utf-8")


def _losses(schedule: str) -> list[float]:
    trainer, losses = do_job({"options": {"degrees": (1, 1, 2), "budget": 4.4e5, "schedule": schedule}, "until": STEPS})
    assert trainer.plan.recomputed[0]
    return losses


def test_SW721_another_schedule_runs_and_is_named(tmp_path):
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _work, folder) == [0, 0]
    results = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    expected = pytest.approx(reference_losses()[:STEPS], abs=1e-5, rel=0)
    assert all(losses == expected for result in results for losses in result["losses"])
    part, whole = results[0]["messages"]
    runtime = "_PipelineScheduleRuntime"
    start = r"[SW721] The pipeline schedule {!r} cannot be run: torch {} has no {}. '1f1b' is run instead"
    assert part.startswith(start.format("pre-recompute", torch.__version__, f"{runtime}.register_custom_function"))
    assert whole.startswith(start.format("last-without-recompute", torch.__version__, runtime))
    assert not results[1]["messages"]
