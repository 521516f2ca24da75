"""One small language model, the same text, several optimizers, each at its best learning rate.

    python benchmarks/convergence.py

A causal transformer reads bytes of the English raw text in SAMARKAND_DATA. The learning rate of each optimizer is found
on the development bytes with a seed of its own: the best of `RATES` after a third of the steps, then the best of it,
its half and its double after all of them. With it, each is trained from three seeds. A row is the loss on the test
bytes at the end. All take the same batches in order, warm up over a tenth of the steps and fall to nothing along a
cosine, and decay the weights of matrices alike.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from optimizers import ADAMW, CAME, MEBIBYTE, state_bytes
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora.files import numbered_lines
from samarkand.corpora.records import read_records
from samarkand.engine import Adapprox
from torch import Tensor, nn
from tqdm import tqdm

TEXT, TINY = "raw-en", "samples"
SAMPLES = Path(__file__).parent.parent / "corpora" / "samples"
CONTEXT, BATCH = 128, 16
TRAIN_BYTES, HELD_BYTES = 6_000_000, 200_000
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
WEIGHT_DECAY = 0.1
TUNING_SEED = 100


def _came(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    from came_pytorch import CAME as Came

    return Came(groups, lr=lr)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    ADAMW: partial(torch.optim.AdamW, betas=(0.9, 0.999)),
    "torch/Adafactor (no first moment)": torch.optim.Adafactor,
    CAME: _came,
    "samarkand/Adapprox": Adapprox,
    "samarkand/Adapprox, rank 1": partial(Adapprox, tolerance=1.0),
    "samarkand/Adapprox, greatest rank": partial(Adapprox, min_rank=2**30),
    "samarkand/Adapprox, not balanced": partial(Adapprox, balanced=False),
    "samarkand/Adapprox, cosine guidance": partial(Adapprox, cosine_guidance=True),
    "samarkand/Adapprox, no first moment": partial(Adapprox, betas=(0.0, 0.999)),
}


class ByteLM(nn.Module):
    """A causal transformer over bytes.

    layers, width, heads (int): Sizes.
    """

    def __init__(self, *, layers: int = 4, width: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, width), nn.Embedding(CONTEXT, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, x: Tensor) -> Tensor:
        """Bytes [B, L + 1] -> loss, in nats a byte."""
        inputs = x[:, :-1]
        h = self.bytes(inputs) + self.places.weight[: inputs.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1])
        for layer in self.layers:
            h = layer(h, src_mask=mask, is_causal=True)
        return F.cross_entropy(self.head(self.norm(h)).flatten(0, 1), x[:, 1:].flatten())


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--optimizer", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    dataset, rates = TEXT, RATES
    if options.quick:
        dataset, rates, options.steps, options.seed = TINY, (1e-3,), 4, [0]
    splits = read_splits(dataset)
    rows = []
    for name in options.optimizer:
        rows += measure(name, dataset, splits, rates, options.steps, options.seed)
        write_rows("convergence", rows, options.results)
    show(rows, f"Loss on test after {options.steps} steps, nats a byte")


def read_splits(dataset: str) -> dict[str, Tensor]:
    """Bytes of the text: the lines in turn go to train, but for every fiftieth, which go to dev and test.

    dataset (str): `TEXT`, or `TINY` for the bundled samples.
    RETURNS (dict[str, Tensor]): uint8 of "train", "dev" and "test".
    """
    if dataset == TINY:
        lines = [record["text"] for path in sorted(SAMPLES.glob("*.jsonl")) for record in read_records(path)]
        held = 4
    else:
        lines = [line for _, line in numbered_lines(Path(os.environ["SAMARKAND_DATA"]) / "raw" / "en.txt.xz")]
        held = 50
    parts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for k, line in enumerate(lines):
        parts[{0: "dev", held // 2: "test"}.get(k % held, "train")].append(line.strip())
    limits = {"train": TRAIN_BYTES, "dev": HELD_BYTES, "test": HELD_BYTES}
    return {
        name: torch.frombuffer(bytearray("\n".join(part).encode()), dtype=torch.uint8)[: limits[name]]
        for name, part in parts.items()
    }


def measure(
    name: str, dataset: str, splits: dict[str, Tensor], rates: tuple[float, ...], steps: int, seeds: list[int]
) -> list[dict[str, Any]]:
    """Tune and train one optimizer.

    name (str): Key of `OPTIMIZERS`.
    dataset (str): Name of the text in the rows.
    splits (dict[str, Tensor]): As from `read_splits`.
    rates (tuple[float, ...]): Learning rates to choose among.
    steps (int): Steps of a training.
    seeds (list[int]): A training each.
    RETURNS (list[dict]): Rows: test loss of each seed, and the state in MiB.
    """
    best = rates[0]
    if len(rates) > 1:
        coarse = tune(name, splits, rates, steps // 3)
        best = tune(name, splits, (coarse / 2, coarse, 2 * coarse), steps)
    rows, losses = [], []
    for seed in seeds:
        model, state = train(name, splits["train"], best, steps, seed)
        losses.append(evaluate(model, splits["test"]))
        about = {
            "seed": seed,
            "train": f"{steps} steps of {BATCH} x {CONTEXT} bytes",
            "command": f"python benchmarks/convergence.py --optimizer '{name}' --steps {steps} --seed {seed}",
            "note": f"learning rate {best:g}",
        }
        rows.append(row(name, dataset, "loss", losses[-1], unit="nats/byte", **about))
        rows.append(row(name, dataset, "state", state / MEBIBYTE, unit="MiB", **about))
    print(f"{name}: rate {best:g}, loss {statistics.mean(losses):.4f}", flush=True)
    return rows


def tune(name: str, splits: dict[str, Tensor], rates: tuple[float, ...], steps: int) -> float:
    """The best learning rate.

    name (str): Key of `OPTIMIZERS`.
    splits (dict[str, Tensor]): As from `read_splits`.
    rates (tuple[float, ...]): Rates to try.
    steps (int): Steps of a training.
    RETURNS (float): That with the lowest loss on the development bytes.
    """
    losses = {
        rate: evaluate(train(name, splits["train"], rate, steps, TUNING_SEED)[0], splits["dev"]) for rate in rates
    }
    tried = ", ".join(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items())
    print(f"{name}, loss on dev after {steps} steps: {tried}", flush=True)
    return min(losses, key=losses.__getitem__)


def train(name: str, text: Tensor, rate: float, steps: int, seed: int) -> tuple[ByteLM, int]:
    """Train the model.

    name (str): Key of `OPTIMIZERS`.
    text (uint8, [N]): The text.
    rate (float): Highest learning rate.
    steps (int): Steps.
    seed (int): Seed of weights and batches.
    RETURNS (tuple[ByteLM, int]): The model, and the bytes of the optimizer's state.
    """
    torch.manual_seed(seed)
    model, generator = ByteLM(), torch.Generator().manual_seed(seed)
    matrices, vectors = ([p for p in model.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = OPTIMIZERS[name](groups, lr=rate)
    for step in tqdm(range(steps), desc=f"{name}, {rate:g}", disable=None, leave=False):
        warm = min(1.0, (step + 1) / (0.1 * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        starts = torch.randint(len(text) - CONTEXT - 1, (BATCH, 1), generator=generator)
        model.zero_grad()
        model(text[starts + torch.arange(CONTEXT + 1)].long()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model, state_bytes(optimizer)


@torch.no_grad()
def evaluate(model: ByteLM, text: Tensor) -> float:
    """RETURNS (float): Mean loss over a text, in nats a byte."""
    pieces = text[: len(text) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1).long()
    return sum(len(batch) * model(batch).item() for batch in pieces.split(BATCH)) / len(pieces)


if __name__ == "__main__":
    main()
