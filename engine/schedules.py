"""Pipeline schedules as lists of actions, one list a stage, and a check that they can run.

The order of actions follows Merak (arXiv 2206.04959). P stages s = 0 .. P - 1, M micro-batches. Each schedule adds to
the one before:
    1f1b                    P - s - 1 forwards to warm up, then a forward and a backward in turn, then the rest
    pre-recompute           while the last P - s - 1 gradients are awaited, what they need is recomputed
    last-without-recompute  the last stage keeps its activations: it never has more than one micro-batch of them
    shifted                 the stage before the last does its third forward before its first backward
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import Errors

FORWARD, BACKWARD, RECOMPUTE = "F", "B", "R"
SCHEDULES = ("1f1b", "pre-recompute", "last-without-recompute", "shifted")


class Action(NamedTuple):
    """What a stage does with a micro-batch.

    kind (str): `FORWARD`, `BACKWARD`, or `RECOMPUTE`: the recomputation ahead of the gradient. Without it, a backward
        pass recomputes for itself.
    micro_batch (int): Which one.
    """

    kind: str
    micro_batch: int


@dataclass(frozen=True)
class Schedule:
    """A schedule.

    name (str): One of `SCHEDULES`.
    micro_batches (int): How many there are.
    stages (tuple[tuple[Action, ...], ...]): Actions of each stage, in order.
    recomputes (tuple[bool, ...]): Whether each stage may recompute.
    """

    name: str
    micro_batches: int
    stages: tuple[tuple[Action, ...], ...]
    recomputes: tuple[bool, ...]

    def in_flight(self, stage: int) -> int:
        """Micro-batches whose activations a stage holds at once.

        stage (int): The stage.
        RETURNS (int): The most of them.
        """
        held = most = 0
        for action in self.stages[stage]:
            held += {FORWARD: 1, BACKWARD: -1, RECOMPUTE: 0}[action.kind]
            most = max(most, held)
        return most


def build_schedule(name: str, stages: int, micro_batches: int) -> Schedule:
    """Make a schedule.

    name (str): One of `SCHEDULES`.
    stages (int): P.
    micro_batches (int): M, at least P; at least 4 as well for "shifted".
    RETURNS (Schedule): It.
    RAISES (ValueError): S727 for an unknown name or too few micro-batches.
    """
    if name not in SCHEDULES:
        raise ValueError(Errors.S727.format(name=name, rule=f"it has to be one of: {', '.join(SCHEDULES)}"))
    least = max(stages, 4) if name == "shifted" else stages
    if micro_batches < least:
        rule = f"{stages} stages need {least} micro-batches or more, not {micro_batches}: raise micro_batches"
        raise ValueError(Errors.S727.format(name=name, rule=rule))
    level = SCHEDULES.index(name)
    keeps = level >= SCHEDULES.index("last-without-recompute")
    orders = []
    for stage in range(stages):
        order = _one_forward_one_backward(stages - stage - 1, micro_batches)
        if name == "shifted" and stage == stages - 2:
            _shift(order)
        if level:
            order = _recompute_ahead(order, stages - stage - 1)
        orders.append(tuple(order))
    return Schedule(name, micro_batches, tuple(orders), tuple(not keeps or s < stages - 1 for s in range(stages)))


def check_schedule(stages: Sequence[Sequence[Action]], micro_batches: int) -> None:
    """Check that each stage does its work once and that no stage waits for ever.

    stages (Sequence[Sequence[Action]]): Actions of each stage.
    micro_batches (int): How many micro-batches there are.
    RAISES (ValueError): S724 with the first action that is missing, repeated, out of order or never ready.
    """
    for stage, order in enumerate(stages):
        _check_complete(stage, order, micro_batches)
    done: set[tuple[int, Action]] = set()
    places = [0] * len(stages)
    moved = True
    while moved:
        moved = False
        for stage, order in enumerate(stages):
            while places[stage] < len(order) and all(
                need in done for need in needs(stage, order[places[stage]], len(stages))
            ):
                done.add((stage, order[places[stage]]))
                places[stage] += 1
                moved = True
    stuck = [
        f"{s}{''.join(map(str, order[at]))}" for s, (order, at) in enumerate(zip(stages, places)) if at < len(order)
    ]
    if stuck:
        raise ValueError(Errors.S724.format(reason=f"these wait for each other for ever: {', '.join(stuck)}"))


def needs(stage: int, action: Action, stages: int) -> list[tuple[int, Action]]:
    """What has to be done before an action, beside what its stage does before.

    stage (int): The action's stage.
    action (Action): The action.
    stages (int): P.
    RETURNS (list[tuple[int, Action]]): Stages and their actions.
    """
    if action.kind == FORWARD:
        return [(stage - 1, action)] if stage else []
    own = [(stage, Action(FORWARD, action.micro_batch))]
    return [*own, (stage + 1, action)] if action.kind == BACKWARD and stage < stages - 1 else own


def write_csv(schedule: Schedule, path: str | Path) -> None:
    """Write a schedule as `torch.distributed.pipelining` reads it, a row a stage: 0F0, 0F1, 0B0 ...

    It has no word for a recomputation, which is left out.

    schedule (Schedule): The schedule.
    path (Union[str, Path]): The file.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        for stage, order in enumerate(schedule.stages):
            csv.writer(file).writerow(f"{stage}{a.kind}{a.micro_batch}" for a in order if a.kind != RECOMPUTE)


def _one_forward_one_backward(warm_up: int, micro_batches: int) -> list[Action]:
    forwards = [Action(FORWARD, i) for i in range(micro_batches)]
    backwards = [Action(BACKWARD, i) for i in range(micro_batches)]
    paired = [action for pair in zip(forwards[warm_up:], backwards) for action in pair]
    return forwards[:warm_up] + paired + backwards[micro_batches - warm_up :]


def _shift(order: list[Action]) -> None:
    """Exchange the first backward and the third forward, which follow each other."""
    first, third = order.index(Action(BACKWARD, 0)), order.index(Action(FORWARD, 2))
    order[first], order[third] = order[third], order[first]


def _recompute_ahead(order: list[Action], last: int) -> list[Action]:
    """Put the recomputation before the last so many backward passes."""
    ahead = {action for action in order[len(order) - last :] if action.kind == BACKWARD}
    pairs = ([Action(RECOMPUTE, a.micro_batch), a] if a in ahead else [a] for a in order)
    return [action for pair in pairs for action in pair]


def _check_complete(stage: int, order: Sequence[Action], micro_batches: int) -> None:
    seen: set[Action] = set()
    for action in order:
        if action in seen:
            raise ValueError(Errors.S724.format(reason=f"stage {stage} does {action.kind}{action.micro_batch} twice"))
        after = {FORWARD: (BACKWARD, RECOMPUTE), RECOMPUTE: (BACKWARD,), BACKWARD: ()}[action.kind]
        if any(Action(kind, action.micro_batch) in seen for kind in after):
            reason = f"stage {stage} does {action.kind}{action.micro_batch} too late"
            raise ValueError(Errors.S724.format(reason=reason))
        seen.add(action)
    for kind in (FORWARD, BACKWARD):
        for i in range(micro_batches):
            if Action(kind, i) not in seen:
                raise ValueError(Errors.S724.format(reason=f"stage {stage} lacks {kind}{i}"))
