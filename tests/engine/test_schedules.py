"""Schedules: each can run, and each is no slower than the one before."""

from __future__ import annotations

import csv
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.engine.schedule_simulator import StageTimes, simulate
from samarkand.engine.schedules import (
    BACKWARD,
    FORWARD,
    RECOMPUTE,
    SCHEDULES,
    Action,
    build_schedule,
    check_schedule,
    write_csv,
)
from torch.distributed.pipelining import schedules as torch_schedules

SIZES = [(p, m) for p in (1, 2, 3, 4, 5, 8) for m in (4, 5, 8, 9, 16) if m >= p]
Seconds = st.floats(0.1, 4)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("stages", "micro_batches"), SIZES)
def test_schedules_can_run(name, stages, micro_batches):
    schedule = build_schedule(name, stages, micro_batches)
    check_schedule(schedule.stages, micro_batches)
    for stage in range(stages):
        shifted = name == "shifted" and stage == stages - 2
        assert schedule.in_flight(stage) == min(stages - stage + shifted, micro_batches)


@pytest.mark.parametrize("name", SCHEDULES)
def test_torch_reads_the_csv(name, tmp_path):
    schedule = build_schedule(name, 4, 8)
    write_csv(schedule, tmp_path / "schedule.csv")
    with open(tmp_path / "schedule.csv", encoding="utf-8") as file:
        rows = [[torch_schedules._Action.from_str(cell) for cell in row] for row in csv.reader(file)]
    assert torch_schedules._validate_schedule(dict(enumerate(rows)), 4, 4, 8) == {s: s for s in range(4)}
    kinds = [[a.kind for a in order if a.kind != RECOMPUTE] for order in schedule.stages]
    assert [[a.computation_type.value for a in row] for row in rows] == kinds


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([(p, m) for p, m in SIZES if p > 1]), Seconds, Seconds, Seconds, st.floats(0, 0.2))
def test_each_schedule_is_no_slower_than_the_one_before(size, forward, extra, recompute, send):
    # A backward pass takes no less than the forward pass, and a recomputation no more.
    times = (StageTimes(forward, forward + extra, min(recompute, forward), send * forward),) * size[0]
    spans = [simulate(build_schedule(name, *size), times).makespan for name in SCHEDULES]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(spans))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SIZES), st.data())
def test_recomputing_ahead_never_takes_longer(size, data):
    times = tuple(StageTimes(*(data.draw(Seconds) for _ in range(4))) for _ in range(size[0]))
    plain, ahead = (simulate(build_schedule(name, *size), times).makespan for name in SCHEDULES[:2])
    assert ahead <= plain * (1 + 1e-9)


def test_the_simulator_counts_time_and_memory():
    # By hand, two stages: F0 F1 . . . . B0 . . B1 and . F0 B0 F1 B1; the first recomputes 1 s before each B of 2 s.
    times = (StageTimes(1, 2, 1, 0, held=10, rebuilt=5, static=100), StageTimes(1, 4, 0, 0, held=8, static=50))
    plain = simulate(build_schedule("1f1b", 2, 2), times)
    assert plain.ends[1, Action(BACKWARD, 0)] == 6
    assert plain.ends[0, Action(BACKWARD, 0)] == 9
    assert plain.makespan == 11 + 3
    assert plain.busy == (8, 10)
    assert plain.bubble == pytest.approx(1 - 18 / 28)
    assert plain.peak == (125, 58)
    # The last recomputation is done while the gradient is awaited.
    assert simulate(build_schedule("pre-recompute", 2, 2), times).makespan == 11 + 2


def test_the_shift_exchanges_one_pair():
    plain, shifted = (build_schedule(name, 4, 8).stages for name in SCHEDULES[2:])
    assert [a == b for a, b in zip(plain, shifted)] == [True, True, False, True]
    assert list(shifted[2][:5]) == [Action(FORWARD, 0), Action(FORWARD, 1), Action(FORWARD, 2), *shifted[2][3:5]]
    assert [str(a.kind) + str(a.micro_batch) for a in shifted[2][3:6]] == ["B0", "B1", "F3"]


@pytest.mark.parametrize(
    ("name", "stages", "micro_batches"), [("1f1b", 4, 3), ("shifted", 2, 3), ("zero-bubble", 2, 4)]
)
def test_impossible_schedules_are_refused(name, stages, micro_batches):
    with pytest.raises(ValueError, match=r"\[S727\]"):
        build_schedule(name, stages, micro_batches)


F0, F1, B0, B1, R0 = (Action(kind, i) for kind, i in (("F", 0), ("F", 1), ("B", 0), ("B", 1), ("R", 0)))


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([[F0, B0, F1, B1], [F1, B1, F0, B0]], "wait for each other for ever: 0B0, 1F1"),
        ([[F0, F1, B0], [F0, B0, F1, B1]], "stage 0 lacks B1"),
        ([[F0, F0, F1, B0, B1]], "stage 0 does F0 twice"),
        ([[B0, F0, F1, B1]], "stage 0 does F0 too late"),
        ([[F0, B0, R0, F1, B1]], "stage 0 does R0 too late"),
    ],
)
def test_what_cannot_run_is_named(stages, reason):
    with pytest.raises(ValueError, match=r"\[S724\].*" + reason):
        check_schedule(stages, 2)
