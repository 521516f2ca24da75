"""A small language model, its training in one process, and the same in many."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from samarkand.engine.parallel_run import ParallelTrainer, parallelize
from torch import Tensor, nn

ROWS, LENGTH, VOCABULARY, STEPS = 16, 8, 50, 50
DEADLINE = 240
# At 1e-2 steps amplify the rounding of sums in another order beyond what is compared.
make_optimizer = partial(torch.optim.AdamW, lr=3e-3)


class TinyModel(nn.Module):
    """A causal transformer whose embedding and head share their weights."""

    def __init__(self, layers: int = 4, width: int = 32, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.1 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, pieces: Tensor) -> Tensor:
        """Pieces [rows, length] -> scores [rows, length, vocabulary]."""
        length = pieces.shape[1]
        mask = torch.triu(torch.full((length, length), float("-inf"), device=pieces.device), 1)
        return self.head(self.encoder(self.embedding(pieces) + self.positions[:length], mask=mask))


def make_model() -> TinyModel:
    """The model, always with the same weights."""
    torch.manual_seed(0)
    return TinyModel()


def mean_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def batches() -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of each step."""
    data = torch.randint(0, VOCABULARY, (STEPS, ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    return [(batch[:, :-1], batch[:, 1:]) for batch in data]


def reference_losses() -> list[float]:
    """Losses of plain training."""
    model, losses = make_model(), []
    optimizer = make_optimizer(model.parameters())
    for inputs, targets in batches():
        loss = mean_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def make_trainer(**options: Any) -> ParallelTrainer:
    """A trainer of the model."""
    inputs = (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),)
    return parallelize(make_model(), inputs, mean_loss, **{"optimizer": make_optimizer, **options})


def do_job(job: dict[str, Any]) -> tuple[ParallelTrainer, list[float]]:
    """Train from step `load` (a folder), to step `until`, save to `save` after step `at`, die after step `die`.

    What was loaded is saved to `again` as it is.
    """
    trainer = make_trainer(**job.get("options", {}))
    if "load" in job:
        trainer.load(job["load"])
    if "again" in job:
        trainer.save(job["again"])
    losses = []
    for inputs, targets in batches()[trainer.steps : job.get("until", STEPS)]:
        losses.append(trainer.step(inputs, targets))
        if trainer.steps == job.get("at"):
            trainer.save(job["save"])
        if trainer.steps == job.get("die") and dist.get_rank() == dist.get_world_size() - 1:
            os._exit(9)
    return trainer, losses


def run_jobs(
    folder: Path, world: int, jobs: list[dict[str, Any]]
) -> tuple[list[list[float]], list[dict[str, Any]], list[int]]:
    """Do jobs in new processes: losses and plans of each job, and how the processes ended."""
    codes = run_processes(folder, world, _do_jobs, folder, jobs)
    lines = (folder / "results").read_text().splitlines() if (folder / "results").exists() else []
    results = [json.loads(line) for line in lines]
    return [r["losses"] for r in results], [r["plan"] for r in results], codes


def run_processes(folder: Path, world: int, work: Callable[..., None], *args: Any) -> list[int]:
    """Call a function of a module in new processes that can talk to each other: how they ended."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(rank, world, folder, work, args)) for rank in range(world)]
    for process in processes:
        process.start()
    end = time.monotonic() + DEADLINE
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def _work(rank: int, world: int, folder: Path, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    work(*args)
    dist.barrier()
    dist.destroy_process_group()


def _do_jobs(folder: Path, jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        trainer, losses = do_job(job)
        if dist.get_rank() == 0:
            with open(folder / "results", "a", encoding="utf-8") as file:
                file.write(json.dumps({"losses": losses, "plan": asdict(trainer.plan)}) + "\n")
