"""Recomputation by brute force: every policy of every layer is tried. And tiny stages to try it on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st
from samarkand.engine.recompute_policy import DEMAND, KEEP
from samarkand.engine.stage_costs import LAYER_INPUT, LayerCosts, Operator, StageCosts


def sound(layer: LayerCosts, choices: tuple[int, ...]) -> bool:
    """Whether everything is there when it is read, window by window, and at last on demand."""
    there = {LAYER_INPUT} | {j for j, choice in enumerate(choices) if choice == KEEP and layer.operators[j].size}
    for moment in (*range(len(layer.windows)), DEMAND):
        for j, operator in enumerate(layer.operators):
            if choices[j] == moment:
                if not there.issuperset(operator.inputs) or (operator.collective and moment != DEMAND):
                    return False
                there.add(j)
    return True


def outcomes(layer: LayerCosts, slowdown: float) -> Iterator[tuple[int, int, float]]:
    """Of every sound policy of a layer: bytes kept, bytes held while it goes backwards, and seconds."""
    for choices in itertools.product((KEEP, DEMAND, *range(len(layer.windows))), repeat=len(layer.operators)):
        if not sound(layer, choices):
            continue
        pairs = list(zip(layer.operators, choices))
        seconds = sum(operator.seconds for operator, choice in pairs if choice == DEMAND)
        for window, length in enumerate(layer.windows):
            work = sum(operator.seconds for operator, choice in pairs if choice == window)
            seconds += max(0, slowdown * work - length)
        kept = sum(operator.size for operator, choice in pairs if choice == KEEP)
        rebuilt = sum(operator.size for operator, choice in pairs if choice != KEEP)
        yield kept, rebuilt + layer.working_size, seconds


def least_seconds(stage: StageCosts, budget: int) -> float:
    """What the best plan of a stage costs; infinite when none fits."""
    best = float("inf")
    inputs = sum(layer.input_size for layer in stage.layers)
    for chosen in itertools.product(*(_fastest(layer, stage.slowdown) for layer in stage.layers)):
        held = stage.in_flight * (inputs + sum(kept for kept, _, _ in chosen))
        if stage.static_size + held + max(transient for _, transient, _ in chosen) <= budget:
            best = min(best, sum(seconds for _, _, seconds in chosen))
    return best


def _fastest(layer: LayerCosts, slowdown: float) -> list[tuple[int, int, float]]:
    """The fastest outcome for each amount of memory."""
    best: dict[tuple[int, int], float] = {}
    for kept, transient, seconds in outcomes(layer, slowdown):
        best[kept, transient] = min(seconds, best.get((kept, transient), seconds))
    return [(*sizes, seconds) for sizes, seconds in best.items()]


@st.composite
def tiny_layers(draw: st.DrawFn, most: int = 4, windows: int = 2) -> LayerCosts:
    """Layers of a few operators, in whole seconds and bytes."""
    operators = []
    for j in range(draw(st.integers(1, most))):
        inputs = draw(st.sets(st.integers(LAYER_INPUT, j - 1), min_size=1, max_size=2))
        size = draw(st.sampled_from([0, 0, 1, 2, 3, 5, 8]))
        operators.append(
            Operator(f"operator {j}", float(draw(st.integers(0, 9))), size, tuple(sorted(inputs)), draw(st.booleans()))
        )
    lengths = tuple(float(draw(st.integers(0, 9))) for _ in range(draw(st.integers(0, windows))))
    seconds = 2 * sum(operator.seconds for operator in operators) + sum(lengths)
    return LayerCosts(tuple(operators), draw(st.integers(0, 4)), seconds, lengths, draw(st.integers(0, 4)))


@st.composite
def tiny_stages(draw: st.DrawFn, most: int = 4, windows: int = 2, kinds: int = 2, layers: int = 3) -> StageCosts:
    """Stages of a few layers, of which some are equal."""
    distinct = draw(st.lists(tiny_layers(most, windows), min_size=1, max_size=kinds))
    chosen = draw(st.lists(st.sampled_from(distinct), min_size=1, max_size=layers))
    return StageCosts(
        tuple(chosen), draw(st.integers(1, 3)), draw(st.integers(0, 5)), draw(st.sampled_from([1.0, 1.25]))
    )
