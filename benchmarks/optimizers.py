"""Optimizers on the shapes of GPT-2: bytes of state, and seconds a step, in the same run.

    python benchmarks/optimizers.py --model gpt2-117m --threads 2

State is what an optimizer holds after its steps, summed over its tensors. Gradients are random with a strong direction,
the same for every optimizer. Steps are timed in turn, one of each optimizer a round; a row is the median.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.engine import Adapprox
from torch import Tensor, nn

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Shapes:
    """Sizes of a GPT-2 (fused attention weights, tied head).

    layers, width, vocabulary, context (int): As usual.
    """

    layers: int
    width: int
    vocabulary: int = 50257
    context: int = 1024

    def all(self) -> list[tuple[int, ...]]:
        """RETURNS (list[tuple[int, ...]]): Shape of every parameter."""
        w = self.width
        layer = [(w, 3 * w), (3 * w,), (w, w), (w,), (w, 4 * w), (4 * w,), (4 * w, w), *[(w,)] * 5]
        return [(self.vocabulary, w), (self.context, w), *layer * self.layers, (w,), (w,)]


MODELS = {"gpt2-117m": Shapes(12, 768), "gpt2-345m": Shapes(24, 1024)}
TINY = Shapes(2, 32, vocabulary=100, context=16)
ADAMW, CAME = "torch/AdamW", "came-pytorch/CAME"


def _came(parameters: list[nn.Parameter], **kwargs: Any) -> torch.optim.Optimizer:
    from came_pytorch import CAME as Came

    return Came(parameters, lr=1e-4, **kwargs)


_first = partial(Adapprox, lr=1e-4, tolerance=1.0)
_second = partial(_first, betas=(0.0, 0.999))
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    ADAMW: partial(torch.optim.AdamW, lr=1e-4, foreach=True),
    "torch/Adafactor (no first moment)": partial(torch.optim.Adafactor, lr=1e-4, foreach=True),
    CAME: _came,
    "samarkand/Adapprox, rank 1": _first,
    "samarkand/Adapprox, greatest rank": partial(_first, min_rank=2**30),
    "samarkand/Adapprox, rank 1, no first moment": _second,
    "samarkand/Adapprox, greatest rank, no first moment": partial(_second, min_rank=2**30),
}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--optimizer", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each; 0 for the state alone")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    models = {name: MODELS[name] for name in options.model}
    if options.quick:
        models, options.rounds = {"tiny": TINY}, 2
    names = [ADAMW, *(name for name in options.optimizer if name != ADAMW)]
    rows = []
    for model, shapes in models.items():
        rows += measure(model, shapes, names, options.rounds)
        write_rows("optimizers", rows, options.results)
    show(rows, f"Optimizers, {options.threads} threads")


def measure(model: str, shapes: Shapes, names: Iterable[str], rounds: int) -> list[dict[str, Any]]:
    """Measure optimizers on the shapes of one model.

    model (str): Its name in the rows.
    shapes (Shapes): Its shapes.
    names (Iterable[str]): Keys of `OPTIMIZERS`, AdamW first.
    rounds (int): Timed steps of each.
    RETURNS (list[dict]): Rows: state in MiB and what is saved of AdamW's, seconds a step and their ratio to AdamW's.
    """
    parameters = _parameters(shapes)
    state, seconds = {}, {}
    for name in names:
        # One after another: the states of all together would be more than most machines hold.
        optimizer = OPTIMIZERS[name](parameters)
        optimizer.step()
        seconds[name] = [_timed(optimizer) for _ in range(rounds)]
        state[name] = state_bytes(optimizer)
        del optimizer
        gc.collect()
    command = f"python benchmarks/optimizers.py --model {model}"
    rows = []
    for name in state:
        about = {"split": "", "command": command}
        rows.append(row(name, model, "state", state[name] / MEBIBYTE, unit="MiB", **about))
        rows.append(row(name, model, "state saved", 100 * (1 - state[name] / state[ADAMW]), **about))
        if rounds:
            step = statistics.median(seconds[name])
            about["note"] = f"median of {rounds} steps, {torch.get_num_threads()} threads"
            rows.append(row(name, model, "step", step, unit="s", **about))
            rows.append(row(name, model, "step ratio", step / statistics.median(seconds[ADAMW]), unit="x", **about))
    return rows


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the tensors that an optimizer keeps from step to step, counters (single numbers) apart.

    optimizer (Optimizer): The optimizer, after a step.
    RETURNS (int): Bytes.
    """
    tensors = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.numel() > 1)


def _parameters(shapes: Shapes) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)

    def random(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator)

    parameters = []
    for shape in shapes.all():
        parameter = nn.Parameter(0.02 * random(shape))
        scale = random((shape[0], *[1] * (len(shape) - 1))) * random((1, *shape[1:])) if len(shape) > 1 else 1.0
        parameter.grad = 1e-3 * scale * random(shape)
        parameters.append(parameter)
    return parameters


def _timed(optimizer: torch.optim.Optimizer) -> float:
    began = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
