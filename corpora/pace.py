"""How much of the corpus a curriculum has opened after a number of steps: from `start` to all of it.

Competence c(t) is the share of the examples, easiest first, that may be drawn at step t. It never falls, and is 1 from
`steps` on. The functions are those of Platanios et al. (2019, https://arxiv.org/abs/1903.09848) and Soviany et al.
(2022, https://arxiv.org/abs/2101.10382).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from spacy import registry

from ..errors import Errors

__all__ = ["Pace", "make_exponential_pace", "make_root_pace", "make_step_pace"]

Pace: TypeAlias = Callable[[int], float]


@registry.misc("samarkand.RootPace.v1")
def make_root_pace(steps: int, start: float = 0.2, power: float = 2.0) -> Pace:
    """c(t) = (t / steps (1 - start^power) + start^power)^(1 / power): new examples come ever more slowly.

    steps (int): Step from which on everything is open; half of the training is a good choice.
    start (float): Share that is open from the first step on.
    power (float): 1 opens at an even rate, 2 in proportion to the root of time.
    RETURNS (Pace): Competence by step.
    RAISES (ValueError): S1105 for a setting out of range.
    """
    _check(steps, start)
    _require("power", power, power >= 1, "1 or more")
    return partial(_root, steps=steps, start=start, power=power)


@registry.misc("samarkand.ExponentialPace.v1")
def make_exponential_pace(steps: int, start: float = 0.2) -> Pace:
    """c(t) = start^(1 - t / steps): most examples come late.

    steps (int): Step from which on everything is open.
    start (float): Share that is open from the first step on.
    RETURNS (Pace): Competence by step.
    RAISES (ValueError): S1105 for a setting out of range.
    """
    _check(steps, start)
    return partial(_exponential, steps=steps, start=start)


@registry.misc("samarkand.StepPace.v1")
def make_step_pace(steps: int, start: float = 0.2, stages: int = 5) -> Pace:
    """Baby steps: examples come in equal parts, each after an equal time.

    steps (int): Step from which on everything is open.
    start (float): Share that is open from the first step on.
    stages (int): Levels of competence, the first and the last among them.
    RETURNS (Pace): Competence by step.
    RAISES (ValueError): S1105 for a setting out of range.
    """
    _check(steps, start)
    _require("stages", stages, stages >= 2, "2 or more")
    return partial(_stepwise, steps=steps, start=start, stages=stages)


def _root(step: int, *, steps: int, start: float, power: float) -> float:
    if step >= steps:
        return 1.0
    least = start**power
    return max(start, min(1.0, (step / steps * (1 - least) + least) ** (1 / power)))


def _exponential(step: int, *, steps: int, start: float) -> float:
    return 1.0 if step >= steps else start ** (1 - step / steps)


def _stepwise(step: int, *, steps: int, start: float, stages: int) -> float:
    last = stages - 1
    return 1.0 if step >= steps else start + (1 - start) * (step * last // steps) / last


def _check(steps: int, start: float) -> None:
    _require("steps", steps, steps >= 1, "1 or more")
    _require("start", start, 0 < start <= 1, "a share above 0, up to 1")


def _require(name: str, value: float, fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(Errors.S1105.format(name=name, what="the pace", value=value, expected=expected))
