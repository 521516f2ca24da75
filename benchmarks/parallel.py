"""Automatic parallelism: balance of stages, simulated throughput, and losses on several processes against one.

    python benchmarks/parallel.py

Balance and throughput are of a transformer of 24 layers (width 1024, 32,000 pieces, 1024 a row, 2 rows a micro-batch)
with 4 micro-batches a stage, on the devices of `Machine()`; naive is as many layers on each stage. Losses are those of
50 steps of a small model on processes of this machine, against plain training in one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from options import benchmark_parser
from parallel_model import STEPS, reference_losses, run_jobs
from results_file import row, show, write_rows
from samarkand.engine.graph_costs import Machine, Unit, find_units
from samarkand.engine.graph_trace import trace
from samarkand.engine.partition import Memory, Partition, naive_bounds, partition, split
from samarkand.engine.schedules import SCHEDULES, build_schedule
from torch import Tensor, nn

OURS, NAIVE = "samarkand/parallelize", "equal layers"
WIDTH, LENGTH, PIECES, ROWS = 1024, 1024, 32_000, 2
BUDGET = 6e9
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "pipeline 2": (2, {"degrees": (1, 1, 2)}),
    "pipeline 2, recomputing": (2, {"degrees": (1, 1, 2), "budget": 4.4e5, "schedule": "pre-recompute"}),
    "data 2": (2, {"degrees": (2, 1, 1)}),
    "tensor 2": (2, {"degrees": (1, 2, 1)}),
    "data 2 x pipeline 2": (4, {"degrees": (2, 1, 2)}),
    "tensor 2 x pipeline 2": (4, {"degrees": (1, 2, 2)}),
    "pipeline 4, shifted": (4, {"degrees": (1, 1, 4), "schedule": "shifted"}),
}


class Transformer(nn.Module):
    """An encoder with a head.

    layers (int): Its layers.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PIECES, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 16, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, PIECES, bias=False)

    def forward(self, pieces: Tensor) -> Tensor:
        """Pieces [rows, length] -> scores [rows, length, pieces]."""
        values = self.embedding(pieces)
        for layer in self.layers:
            values = layer(values)
        return self.head(self.norm(values))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--stages", nargs="+", type=int, default=[2, 4, 6, 8])
    parser.add_argument("--run", nargs="*", choices=RUNS, default=list(RUNS), help="what to train on processes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    layers = 24
    if options.quick:
        layers, options.stages, options.run = 4, [2], []
    rows = simulated(layers, options.stages)
    write_rows("parallel", rows, options.results)
    for name in options.run:
        rows.append(trained(name))
        write_rows("parallel", rows[-1:], options.results)
    show(rows, "Automatic parallelism")


def simulated(layers: int, stages: list[int]) -> list[dict[str, Any]]:
    """Balance and throughput on paper.

    layers (int): Of the model.
    stages (list[int]): Numbers of stages.
    RETURNS (list[dict]): Rows: balance with unlimited memory, and with the budget too the throughput of each schedule
        over that of naive stages under plain 1F1B.
    """
    with torch.device("meta"):
        model, pieces = Transformer(layers), torch.empty(ROWS, LENGTH, dtype=torch.long)
    units = find_units(model, trace(model, (pieces,), inside_blocks=True), Machine())
    rows, about = [], {"split": "", "command": "python benchmarks/parallel.py"}
    for count in stages:
        name = f"{layers} layers, {count} stages"
        found, naive = _both(units, SCHEDULES[0], count, Memory())
        rows.append(row(OURS, name, "balance", found.balance, unit="x", note="slowest stage / mean", **about))
        rows.append(row(NAIVE, name, "balance", naive.balance, unit="x", note="slowest stage / mean", **about))
        for budget, memory in (("unlimited", Memory()), (f"{BUDGET / 1e9:.0f} GB", Memory(BUDGET))):
            base = _both(units, SCHEDULES[0], count, memory)[1]
            for schedule in SCHEDULES:
                for system, part in zip((OURS, NAIVE), _both(units, schedule, count, memory)):
                    gain = base.simulation.makespan / part.simulation.makespan if part.fits else 0.0
                    fits = "" if part.fits else "; does not fit"
                    note = f"over equal layers, 1f1b; bubble {part.simulation.bubble:.3f}{fits}"
                    about["note"] = note
                    rows.append(row(system, name, f"throughput, {schedule}, {budget}", gain, unit="x", **about))
            about.pop("note")
    return rows


def trained(name: str) -> dict[str, Any]:
    """Losses of training on processes.

    name (str): A key of `RUNS`.
    RETURNS (dict): Row: the greatest difference from plain training.
    """
    world, options = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        losses, _, codes = run_jobs(Path(folder) / "run", world, [{"options": options}])
    if any(codes):
        raise RuntimeError(f"{name}: processes ended with {codes}")
    expected = reference_losses()
    worst = max(abs(a - b) for a, b in zip(losses[0], expected))
    note = f"greatest difference of {STEPS} losses from {expected[0]:.2f} to {expected[-1]:.2f}, in 1e-6"
    command = f"python benchmarks/parallel.py --run '{name}'"
    return row(OURS, name, "loss difference", worst * 1e6, split="", unit="1e-6", command=command, note=note)


def _both(units: tuple[Unit, ...], schedule: str, count: int, memory: Memory) -> tuple[Partition, Partition]:
    """Our partition and the naive one."""
    order = build_schedule(schedule, count, 4 * count)
    naive = split(units, naive_bounds(units, count), order, memory, Machine())
    return partition(units, order, memory, Machine()), naive


if __name__ == "__main__":
    main()
