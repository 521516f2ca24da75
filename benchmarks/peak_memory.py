"""Plans of recomputation on real modules: memory at the worst moment and time of a step, predicted and measured.

    python benchmarks/peak_memory.py

A budget is a share of the way from what it takes to recompute everything to what it takes to recompute nothing. Memory
is that of weights, gradients and activations, counted tensor by tensor while a forward and a backward pass run. Where a
planner fits no plan into a budget, it has no row.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.engine import plan_recompute
from samarkand.engine.live_memory import LiveMemory
from samarkand.engine.recompute import RecomputePlan
from samarkand.engine.schedule_plot import plot_frontier
from samarkand.models.masked_lm import EncoderShape, build_masked_lm
from torch import Tensor, nn
from torch_layers import TorchLayers

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
PLANNERS = ("none", "full", "selective", "checkmate", "heu", "mix")
SHARES = (0.1, 0.3, 0.6)
UNLIMITED = "1 TiB"
MEBIBYTE = 2**20
VOCABULARY, REPEATS = 1000, 3
DRAWN = "torch layers"

Sized = Callable[[int, int, int], nn.Module]


def _gpt2(layers: int, width: int, length: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": layers, "n_embd": width, "n_head": 4, "n_positions": length, "vocab_size": VOCABULARY}
    return GPT2LMHeadModel(GPT2Config(**sizes, use_cache=False, attn_implementation="eager"))


def _modern_bert(layers: int, width: int, length: int) -> nn.Module:
    shape = EncoderShape(layers=layers, width=width, heads=4, hidden=2 * width)
    return build_masked_lm(shape, vocabulary=VOCABULARY, length=length).model


def _torch(layers: int, width: int, length: int) -> nn.Module:
    return TorchLayers(layers=layers, width=width, vocabulary=VOCABULARY)


MODELS: dict[str, Sized] = {
    DRAWN: _torch,
    "transformers GPT-2": _gpt2,
    "transformers ModernBERT": _modern_bert,
}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    shares = SHARES
    if options.quick:
        options.layers, options.width, options.length, options.batch, shares = 3, 32, 16, 2, (0.3,)
    sizes = (options.layers, options.width, options.length)
    rows: list[dict[str, Any]] = []
    for name in options.model:
        torch.manual_seed(0)
        model = MODELS[name](*sizes).train()
        sample = torch.randint(VOCABULARY, (options.batch, options.length))
        train = f"{options.layers} layers of {options.width}, {options.batch} x {options.length} pieces"
        found, curves = measure(model, name, sample, shares, train)
        rows += found
        write_rows("peak_memory", rows, options.results)
        if name == DRAWN and not options.quick:
            plain = curves["none"][0][1]
            added = {planner: [(peak, s - plain) for peak, s in curve] for planner, curve in curves.items()}
            plot_frontier(added, FIGURES / "recompute_measured.svg")
    show(rows, "Recomputation of real modules")


def measure(
    model: nn.Module, name: str, sample: Tensor, shares: tuple[float, ...], train: str
) -> tuple[list[dict[str, Any]], dict[str, list[tuple[int, float]]]]:
    """Plan within each budget, and run the plans.

    model (Module): The model, in training mode.
    name (str): Name of the model in the rows.
    sample (int64, [B, L]): Its input.
    shares (tuple[float, ...]): Budgets, see the top of this file.
    train (str): Sizes, for the rows.
    RETURNS (tuple): The rows; and by planner, bytes and seconds that were measured.
    """
    least, most = (plan_recompute(model, sample, UNLIMITED, planner=p).peak_size for p in ("full", "none"))
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[tuple[int, float]]] = {}
    for planner in PLANNERS:
        # Plans that do not follow the budget are the same in all that they fit into.
        budgets = {"": most} if planner in ("none", "full", "selective") else {}
        budgets = budgets or {f"budget {share:g}": int(least + share * (most - least)) for share in shares}
        for split, budget in budgets.items():
            try:
                plan = plan_recompute(model, sample, budget, planner=planner)
            except ValueError:
                continue
            peak, seconds = run(model, sample, plan)
            curves.setdefault(planner, []).append((peak, seconds))
            about = {"split": split, "train": train, "command": "python benchmarks/peak_memory.py"}
            values = {
                ("peak", "MiB"): peak / MEBIBYTE,
                ("peak predicted", "MiB"): plan.peak_size / MEBIBYTE,
                ("peak over prediction", "x"): peak / plan.peak_size,
                ("step", "ms"): 1e3 * seconds,
                ("recompute predicted", "ms"): 1e3 * plan.recompute_seconds,
            }
            if split:
                values["peak over budget", "x"] = peak / budget
            system = f"samarkand/{planner}"
            rows += [row(system, name, metric, value, unit=unit, **about) for (metric, unit), value in values.items()]
    return rows, curves


def run(model: nn.Module, sample: Tensor, plan: RecomputePlan) -> tuple[int, float]:
    """Run steps that follow a plan.

    model (Module): The model.
    sample (int64, [B, L]): Its input.
    plan (RecomputePlan): The plan.
    RETURNS (tuple[int, float]): Bytes of weights, gradients and activations at the worst moment, and seconds of a
        step, the median of `REPEATS`.
    """
    tensors = [*model.parameters(), *model.buffers()]
    regions = plan.apply(model)
    try:
        with LiveMemory() as memory:
            memory.ignore((tensors, sample))
            memory.start_peak()
            _step(model, sample)
        model.zero_grad()
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            _step(model, sample)
            seconds.append(time.perf_counter() - began)
            model.zero_grad()
    finally:
        regions.remove()
    weights = sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
    return memory.peak + weights, statistics.median(seconds)


def _step(model: nn.Module, sample: Tensor) -> None:
    result = model(sample)
    value = result if isinstance(result, Tensor) else result[0]
    value.float().sum().backward()


if __name__ == "__main__":
    main()
