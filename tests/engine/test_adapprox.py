"""Adapprox: against its reference, and what an optimizer of torch has to keep."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from adapprox_reference import ReferenceAdapprox
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parallel_model import LENGTH, ROWS, batches, make_model, mean_loss, run_processes
from samarkand.engine import Adapprox, parallelize
from torch import Tensor, nn

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "clip_threshold": 1.0}


def _gradients(shape: tuple[int, ...], steps: int, seed: int = 0) -> Tensor:
    """Gradients of one parameter over some steps, of two strong directions and noise."""
    generator = torch.Generator().manual_seed(seed)
    m, n = shape[0], int(torch.tensor(shape[1:]).prod()) if len(shape) > 1 else 1
    scale = torch.rand(m, 2, generator=generator) @ torch.rand(2, n, generator=generator)
    return (scale * torch.randn(steps, m, n, generator=generator)).view(steps, *shape)


def _run(parameters: list[Tensor], gradients: list[Tensor], **settings: object) -> Adapprox:
    optimizer = Adapprox(parameters, **{**SETTINGS, **settings})
    for step in range(len(gradients[0])):
        for parameter, grads in zip(parameters, gradients):
            parameter.grad = grads[step].to(parameter.dtype).clone()
        optimizer.step()
    return optimizer


def _state_bytes(optimizer: Adapprox) -> int:
    return sum(t.numel() * t.element_size() for state in optimizer.state.values() for t in state.values())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(9, 30),
    st.integers(9, 30),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.9]),
    st.booleans(),
    st.integers(0, 99),
)
# The factors of a step have a column whose sum is below 0.
@example(26, 23, 1, 0.0, True, 95)
def test_steps_are_those_of_the_reference(m, n, rank, beta1, balanced, seed):
    gradients = _gradients((m, n), 6, seed)
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
    options = {**SETTINGS, "betas": (beta1, 0.99), "power_steps": 3, "oversampling": 2, "seed": seed}
    options["balanced"] = balanced
    expected = ReferenceAdapprox(weight.clone(), rank=rank, **options)
    for grad in gradients:
        expected.step(grad)
    parameter = nn.Parameter(weight.clone())
    optimizer = _run([parameter], [gradients], **options, min_rank=rank, tolerance=1.0)
    torch.testing.assert_close(parameter.data, expected.weight, atol=1e-4, rtol=1e-4)
    state = optimizer.state[parameter]
    torch.testing.assert_close(state["rows"] @ state["columns"].T, expected.q @ expected.u.T, atol=1e-4, rtol=1e-3)


def test_whole_second_moments_make_it_adam_with_a_clipped_update():
    gradients, parameter = _gradients((4, 3), 5), nn.Parameter(torch.ones(4, 3))
    _run([parameter], [gradients], max_rank=1.0)
    weight, first, second = torch.ones(4, 3), torch.zeros(4, 3), torch.zeros(4, 3)
    for step, grad in enumerate(gradients):
        second = 0.99 * second + 0.01 * grad**2
        update = grad / ((second / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
        first = 0.9 * first + 0.1 * update / max(1.0, float(update.square().mean().sqrt()))
        weight -= 1e-2 * (first + 0.1 * weight)
    torch.testing.assert_close(parameter.data, weight)


def test_squares_of_rank_one_are_factored_as_adafactor_does():
    row, column = torch.rand(20, 1) + 0.1, torch.rand(1, 12) + 0.1
    signs = torch.randint(0, 2, (6, 20, 12)) * 2.0 - 1
    parameter = nn.Parameter(torch.zeros(20, 12))
    state = _run([parameter], [signs * (row @ column).sqrt()], tolerance=0.0).state[parameter]
    second = (1 - 0.99**6) * row @ column
    adafactor = second.mean(1, keepdim=True) * second.mean(0, keepdim=True) / second.mean()
    torch.testing.assert_close(state["rows"] @ state["columns"].T, adafactor, atol=1e-6, rtol=1e-4)


def test_ranks_follow_the_error():
    noisy, plain = torch.randn(11, 40, 40), torch.ones(11, 40, 40)
    parameters = [nn.Parameter(torch.zeros(40, 40)) for _ in range(2)]
    optimizer = _run(parameters, [noisy, plain], tolerance=0.05)
    ranks = [optimizer.state[p]["rows"].shape[1] for p in parameters]
    assert ranks == [10, 1]
    # What was noise turns plain: the old squares are forgotten, and the rank falls.
    optimizer.param_groups[0]["betas"] = (0.9, 0.5)
    for _ in range(30):
        parameters[0].grad = torch.ones(40, 40)
        optimizer.step()
    assert optimizer.state[parameters[0]]["rows"].shape[1] == 1


@pytest.mark.parametrize("tolerance", [0.05, 0.15, 0.3, 0.5])
def test_matrices_of_one_shape_grow_each_at_its_own_pace(tolerance):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(16, 3, 48, 48, generator=generator)
    gradients = list(1 + torch.linspace(0, 2, 16)[:, None, None, None] * noise)
    parameters = [nn.Parameter(torch.zeros(48, 48)) for _ in gradients]
    optimizer = _run(parameters, gradients, tolerance=tolerance, interval=1, max_rank=0.45)
    ranks = [optimizer.state[p]["rows"].shape[1] for p in parameters]
    assert ranks[0] == 1
    assert len(set(ranks)) > 1
    assert max(ranks) <= 21


def test_state_takes_the_bytes_that_the_ranks_say():
    shapes = [(64, 48), (64, 48), (100, 16), (64,), (8, 4, 6)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for betas in ((0.9, 0.99), (0.0, 0.99)):
        optimizer = _run(parameters, [_gradients(shape, 3) for shape in shapes], betas=betas, tolerance=1.0)
        first = sum(p.numel() for p in parameters) if betas[0] else 0
        factored = sum(m + n for m, n in ((64, 48), (64, 48), (100, 16), (8, 24)))
        assert _state_bytes(optimizer) == 4 * (first + factored + 64)
    assert "first" not in optimizer.state[parameters[0]]


def test_matrices_of_one_shape_are_stepped_as_each_alone():
    gradients = [_gradients((30, 20), 4, seed) for seed in range(5)]
    together = [nn.Parameter(torch.ones(30, 20)) for _ in gradients]
    _run(together, gradients, cosine_guidance=True)
    for parameter, grads in zip(together, gradients):
        alone = nn.Parameter(torch.ones(30, 20))
        _run([alone], [grads], cosine_guidance=True)
        torch.testing.assert_close(parameter.data, alone.data, atol=1e-5, rtol=1e-5)


def test_large_matrices_are_stepped_in_blocks(monkeypatch):
    gradients, whole, blocks = (
        _gradients((50, 12), 5),
        nn.Parameter(torch.ones(50, 12)),
        nn.Parameter(torch.ones(50, 12)),
    )
    _run([whole], [gradients], cosine_guidance=True)
    monkeypatch.setattr("samarkand.engine.adapprox_step.CPU_BLOCK", 100)
    _run([blocks], [gradients], cosine_guidance=True)
    torch.testing.assert_close(blocks.data, whole.data, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_that_is_saved_and_loaded_goes_on_bit_by_bit(dtype):
    shapes = [(24, 16), (24, 16), (10,), (6, 2, 5)]
    gradients = [_gradients(shape, 8, seed) for seed, shape in enumerate(shapes)]
    one = [nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in shapes]
    first = _run(one, [g[:5] for g in gradients], tolerance=0.3, interval=2)
    two = [nn.Parameter(p.detach().clone()) for p in one]
    second = Adapprox(two, **SETTINGS, tolerance=0.3, interval=2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert all(t.dtype == torch.float32 for s in second.state.values() for k, t in s.items() if k != "first")
    for step in range(5, 8):
        for optimizer, parameters in ((first, one), (second, two)):
            for parameter, grads in zip(parameters, gradients):
                parameter.grad = grads[step].to(dtype)
            optimizer.step()
    for a, b in zip(one, two):
        assert torch.equal(a, b)
        assert all(torch.equal(first.state[a][k], second.state[b][k]) for k in first.state[a])


def test_guidance_lengthens_steps_that_agree_and_shortens_those_that_do_not():
    steps = {}
    for guided in (False, True):
        parameter = nn.Parameter(torch.zeros(20, 20))
        settings = {"cosine_guidance": guided, "weight_decay": 0.0, "clip_threshold": 10.0}
        optimizer = _run([parameter], [torch.ones(5, 20, 20)], **settings)
        for name, grad in (("agrees", torch.ones(20, 20)), ("contradicts", -torch.ones(20, 20))):
            before = parameter.detach().clone()
            parameter.grad = grad
            optimizer.step()
            steps[guided, name] = float((parameter.detach() - before).norm())
    assert steps[True, "agrees"] > 1.5 * steps[False, "agrees"]
    assert steps[True, "contradicts"] < 0.8 * steps[False, "contradicts"]


def test_the_clip_bounds_the_first_step():
    parameter = nn.Parameter(torch.zeros(30, 30))
    _run([parameter], [1e3 * torch.randn(1, 30, 30)], weight_decay=0.0, betas=(0.0, 0.999))
    assert float(parameter.detach().square().mean().sqrt()) <= 1e-2 * 1.001


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6, 1e6])
@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-8])
def test_gradients_of_any_scale_leave_finite_weights(scale, eps):
    parameters = [nn.Parameter(torch.ones(20, 20)), nn.Parameter(torch.ones(7)), nn.Parameter(torch.tensor(1.0))]
    _run(parameters, [scale * torch.randn(12, *p.shape) for p in parameters], cosine_guidance=True, eps=eps)
    assert all(p.isfinite().all() for p in parameters)


def test_parameters_of_any_layout():
    shapes = [(), (5,), (6, 3, 4, 2), (0, 4), (16, 12)]
    torch.manual_seed(0)
    plain = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    other = [nn.Parameter(p.detach().clone()) for p in plain]
    other[2].data = other[2].data.to(memory_format=torch.channels_last)
    other[4].data = other[4].data.T.contiguous().T
    gradients = [torch.randn(4, *shape) for shape in shapes]
    _run(plain, gradients, max_rank=0.1)
    _run(other, gradients, max_rank=0.1)
    for a, b in zip(plain, other):
        # Columns in another order meet other random ones.
        torch.testing.assert_close(a, b, atol=2e-3 if a.ndim == 4 else 1e-6, rtol=0)


def test_parameters_without_gradients_stay():
    still, moved = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    optimizer = Adapprox([still, moved], lr=0.1)
    moved.grad = torch.ones(4, 4)
    assert optimizer.step(lambda: torch.tensor(3.0)) == 3.0
    assert torch.equal(still, torch.ones(4, 4))
    assert still not in optimizer.state
    assert not torch.equal(moved, torch.ones(4, 4))


def test_groups_have_settings_of_their_own():
    a, b = nn.Parameter(torch.ones(9, 9)), nn.Parameter(torch.ones(9, 9))
    optimizer = Adapprox([{"params": [a], "lr": 0.0}, {"params": [b], "betas": (0.0, 0.9)}], lr=0.1)
    a.grad = b.grad = torch.ones(9, 9)
    optimizer.step()
    assert torch.equal(a, torch.ones(9, 9))
    assert "first" in optimizer.state[a]
    assert "first" not in optimizer.state[b]


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -1.0},
        {"betas": (1.0, 0.9)},
        {"betas": (0.0, 0.9), "cosine_guidance": True},
        {"max_rank": 0.0},
        {"min_rank": 0},
        {"tolerance": 2.0},
        {"clip_threshold": 0.0},
        {"seed": 2**32},
    ],
)
def test_S701_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="S701"):
        Adapprox([nn.Parameter(torch.ones(2, 2))], **settings)


def test_a_small_network_learns_as_with_adamw():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 32, generator=generator)
    y = torch.tanh(x @ torch.randn(32, 32, generator=generator) / 6)
    losses = {}
    for name, make in (("adamw", torch.optim.AdamW), ("adapprox", Adapprox)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        optimizer = make(network.parameters(), lr=5e-3, weight_decay=0.0)
        for _ in range(200):
            optimizer.zero_grad()
            loss = (network(x) - y).square().mean()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["adapprox"] <= 1.2 * losses["adamw"]


def test_the_maths_compiles():
    from samarkand.engine.low_rank import Balance, subspace_iteration

    def renew(second: Tensor, start: Tensor) -> Tensor:
        balance = Balance.of(second.sum(2, keepdim=True), second.sum(1).unsqueeze(2))
        return balance.restore(subspace_iteration(lambda: [(slice(None), second)], start, 1, balance)).columns

    second, start = torch.rand(2, 9, 7), torch.rand(2, 7, 3)
    compiled = torch.compile(renew, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(second, start), renew(second, start))


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step():
    x, steps = torch.randn(16, 32, generator=torch.Generator().manual_seed(0)), []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32))
        optimizer = Adapprox(network.parameters(), lr=1e-2)
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for _ in range(3):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            step()
        steps.append(list(network.parameters()))
    for expected, found in zip(*steps):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def _train_in_bfloat16(folder: Path) -> None:
    inputs = (torch.empty(ROWS, LENGTH, dtype=torch.long, device="meta"),)
    found = {}
    for beta1 in (0.9, 0.0):
        optimizer = partial(Adapprox, lr=3e-3, betas=(beta1, 0.999))
        for dtype in (torch.float32, torch.bfloat16):
            model = make_model().to(dtype)
            trainer = parallelize(model, inputs, mean_loss, degrees=(2, 1, 1), optimizer=optimizer)
            found[f"{beta1} {dtype}"] = [trainer.step(*batch) for batch in batches()[:8]]
            assert all(p.dtype == dtype for p in trainer.module.parameters())
    if dist.get_rank() == 0:
        (folder / "losses.json").write_text(json.dumps(found), encoding="utf-8")


def test_bfloat16_shards_learn_as_float32_ones(tmp_path):
    folder = tmp_path / "run"
    assert run_processes(folder, 2, _train_in_bfloat16, folder) == [0, 0]
    losses = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
    for beta1 in (0.9, 0.0):
        exact, rounded = (losses[f"{beta1} {dtype}"] for dtype in (torch.float32, torch.bfloat16))
        assert exact[-1] < 0.9 * exact[0]
        assert rounded == pytest.approx(exact, rel=0.03)
