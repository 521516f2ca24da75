"""Planners of recomputation on descriptions of GPT: search time, and the step time that a simulated pipeline gets.

    python benchmarks/recompute.py

Nothing runs on a device: operators cost what data sheets and arithmetic say. A budget is a share of the way from the
least that any plan of the worst stage needs to what it takes to recompute nothing there, and the same for all stages.
Where a planner fits no plan into it, it has no row, but for `none`, which is given what it needs.
Searching is counted in seconds of the processor, from nothing.
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.engine import recompute_solver
from samarkand.engine.gpt_costs import GPT_SIZES, HARDWARE, gpt_stage
from samarkand.engine.recompute_policy import keep_all, peak_size, rebuild_all
from samarkand.engine.recompute_simulator import Event, simulate_pipeline, simulate_stage
from samarkand.engine.recompute_solver import PLANNERS
from samarkand.engine.schedule_plot import plot_frontier, plot_timeline
from samarkand.engine.stage_costs import StageCosts

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SHARES = (0.1, 0.2, 0.5)
TENSOR, PIPELINE, MICRO_BATCH, MICRO_BATCHES = 4, 4, 4, 16
GIBIBYTE = 2**30
SEARCHED = ("heu", "mix", "opt")
BASELINES = ("full", "selective", "checkmate")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--model", nargs="+", choices=GPT_SIZES, default=list(GPT_SIZES))
    parser.add_argument("--hardware", nargs="+", choices=HARDWARE, default=["a100-nvlink", "a100-pcie"])
    options = parser.parse_args(arguments)
    shares, layers = SHARES, None
    if options.quick:
        options.model, options.hardware, shares, layers = ["1.3b"], ["a100-nvlink"], (0.2,), 3
    rows = []
    for hardware in options.hardware:
        for model in options.model:
            stages = describe(model, hardware, layers)
            for share in shares:
                rows += measure(model, hardware, stages, share)
            write_rows("recompute", rows, options.results)
    if not options.quick:
        plot_frontier(frontier_curves(describe("7b", "a100-nvlink")[0]), FIGURES / "recompute_frontier.svg")
        # Three layers are enough to see what is recomputed while the link is busy.
        stage = describe("7b", "a100-pcie", 3)[0]
        plot_timeline(backward_events(stage, SHARES[0]), FIGURES / "recompute_timeline.svg")
    show(rows, "Recomputation, simulated")


def describe(model: str, hardware: str, layers: int | None = None) -> list[StageCosts]:
    """The stages of a model.

    model (str): Key of `GPT_SIZES`.
    hardware (str): Key of `HARDWARE`.
    layers (Optional[int]): Take only the first layers of each stage.
    RETURNS (list[StageCosts]): The stages.
    """
    sizes = {"micro_batch": MICRO_BATCH, "micro_batches": MICRO_BATCHES, "tensor": TENSOR}
    stages = [gpt_stage(model, HARDWARE[hardware], stage=i, stages=PIPELINE, **sizes) for i in range(PIPELINE)]
    return [StageCosts(stage.layers[:layers], stage.in_flight, stage.static_size, stage.slowdown) for stage in stages]


def measure(model: str, hardware: str, stages: list[StageCosts], share: float) -> list[dict[str, Any]]:
    """Plan and simulate a model within one budget.

    model, hardware (str): As in `describe`.
    stages (list[StageCosts]): The stages.
    share (float): What the budget is, see the top of this file.
    RETURNS (list[dict]): Rows: the time of a search for the first stage; of what that stage recomputes for a
        micro-batch; of a step; memory of the worst stage; and how many times as fast as others `mix` is.
    """
    bounds = [_bounds(stage) for stage in stages]
    least, most = (max(column) for column in zip(*bounds))
    budget = int(least + share * (most - least))
    about = {"split": f"{hardware}, budget {share:g}", "command": f"python benchmarks/recompute.py --model {model}"}
    rows, steps = [], {}

    def add(planner: str, metric: str, value: float, unit: str, note: str = "") -> None:
        rows.append(row(f"samarkand/{planner}", f"gpt-{model}", metric, value, unit=unit, note=note, **about))

    for planner in PLANNERS:
        allowed = most if planner == "none" else budget
        try:
            began = _forget()
            plans = [PLANNERS[planner](stages[0], allowed)]
            search = time.process_time() - began
            # OPT takes long: it is there to measure the others by, on the stage that recomputes most.
            plans += [PLANNERS[planner](stage, allowed) for stage in stages[1:] if planner != "opt"]
        except ValueError as error:
            if "S710" not in str(error):
                raise
            continue
        if planner in SEARCHED:
            add(planner, "search", 1e3 * search, "ms")
        add(planner, "recompute", 1e3 * plans[0].recompute_seconds, "ms")
        if planner == "opt":
            continue
        steps[planner] = simulate_pipeline(stages, plans, MICRO_BATCHES).seconds
        add(planner, "step", 1e3 * steps[planner], "ms")
        peak = max(plan.peak_size for plan in plans)
        add(planner, "peak", peak / GIBIBYTE, "GiB", f"{allowed / GIBIBYTE:.2f} GiB allowed")
    for planner in (*BASELINES, "heu"):
        if planner in steps:
            add("mix", f"throughput over {planner}", steps[planner] / steps["mix"], "x")
    return rows


def frontier_curves(stage: StageCosts, points: int = 24) -> dict[str, list[tuple[int, float]]]:
    """What planners add to the backward pass of a micro-batch, by budget.

    stage (StageCosts): The stage.
    points (int): Budgets between the least that any plan needs and what it takes to recompute nothing.
    RETURNS (dict[str, list[tuple[int, float]]]): By planner, budgets in bytes and seconds.
    """
    least, most = _bounds(stage)
    budgets = [least + k * (most - least) // (points - 1) for k in range(points)]
    curves: dict[str, list[tuple[int, float]]] = {}
    for planner in ("full", "selective", "checkmate", "heu", "mix"):
        for budget in budgets:
            try:
                seconds = PLANNERS[planner](stage, budget).recompute_seconds
            except ValueError:
                continue
            curves.setdefault(planner, []).append((budget, seconds))
    return curves


def backward_events(stage: StageCosts, share: float) -> list[Event]:
    """What happens in the backward pass of a micro-batch under the default plan.

    stage (StageCosts): The stage.
    share (float): What the budget is, see the top of this file.
    RETURNS (list[Event]): The events.
    """
    least, most = _bounds(stage)
    return list(simulate_stage(stage, PLANNERS["mix"](stage, int(least + share * (most - least)))).events)


def _bounds(stage: StageCosts) -> tuple[int, int]:
    """The least that any plan needs, and what it takes to recompute nothing."""
    least, most = ([policy(layer) for layer in stage.layers] for policy in (rebuild_all, keep_all))
    return peak_size(stage, least), peak_size(stage, most)


def _forget() -> float:
    """Forget what was solved, load the solver, and look at the processor's clock."""
    recompute_solver.frontier.cache_clear()
    recompute_solver.fastest.cache_clear()
    import_module("scipy.optimize")
    return time.process_time()


if __name__ == "__main__":
    main()
