"""Settings of `samarkand train-encoder`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .masked_lm import EncoderShape
from .masking import MaskingSettings
from .precision import TrainingPrecision
from .settings import require

# Sections of the same file that belong to `samarkand prepare-text`.
PREPARATION = ("text", "cleaning", "vocabulary")


@dataclass(frozen=True)
class ReadingSettings:
    """How the prepared text is read.

    length (int): Pieces of a sequence, the `<s>` at its head included.
    exponent (float): A group of n pieces is drawn in proportion to n ** exponent.
    weights (dict[str, float]): Factors of the shares of groups, by name.
    held_out (int): Most sequences of each group to hold out; never more than a twentieth of it.
    """

    length: int = 256
    exponent: float = 0.5
    weights: dict[str, float] = field(default_factory=dict)
    held_out: int = 64

    def __post_init__(self) -> None:
        require(self.length >= 8, "reading.length", self.length, "8 or more")
        require(0 <= self.exponent <= 1, "reading.exponent", self.exponent, "from 0 to 1")
        require(self.held_out >= 0, "reading.held_out", self.held_out, "0 or more")
        for name, weight in self.weights.items():
            require(weight >= 0, f"reading.weights.{name}", weight, "0 or more")


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer.

    name (str): "adamw", or "adapprox" for the engine's.
    learn_rate (float): Highest learning rate.
    betas (tuple[float, float]): Decay of the first and the second moment.
    eps (float): Added to the root of the second moment.
    weight_decay (float): Decoupled weight decay of matrices.
    clip (float): Greatest norm of a gradient.
    """

    name: Literal["adamw", "adapprox"] = "adamw"
    learn_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.01
    clip: float = 1.0

    def __post_init__(self) -> None:
        require(self.learn_rate > 0, "optimizer.learn_rate", self.learn_rate, "above 0")
        require(all(0 <= beta < 1 for beta in self.betas), "optimizer.betas", self.betas, "from 0 to below 1")
        require(self.eps > 0, "optimizer.eps", self.eps, "above 0")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        require(self.clip > 0, "optimizer.clip", self.clip, "above 0")


@dataclass(frozen=True)
class ScheduleSettings:
    """How long to train, and how the learning rate goes.

    minutes (float): Wall time of the training, over which the rate falls; 0 to go by steps.
    steps (int): Steps of the training, which come out the same again; 0 to go by the time. Given both, what comes
        first ends it.
    shape (str): "cosine" or "linear" fall to zero, or "wsd": constant, then a linear fall over the last part.
    warmup (int): Steps of linear warm-up.
    decay (float): Share of the training over which "wsd" falls.
    """

    minutes: float = 0.0
    steps: int = 0
    shape: Literal["cosine", "linear", "wsd"] = "cosine"
    warmup: int = 200
    decay: float = 0.2

    def __post_init__(self) -> None:
        require(self.minutes >= 0, "schedule.minutes", self.minutes, "0 or more")
        require(self.steps >= 0, "schedule.steps", self.steps, "0 or more")
        require(bool(self.minutes or self.steps), "schedule.steps", self.steps, "above 0, or minutes have to be")
        require(self.warmup >= 0, "schedule.warmup", self.warmup, "0 or more")
        require(0 < self.decay <= 1, "schedule.decay", self.decay, "above 0 and at most 1")

    def progress(self, step: int, seconds: float) -> float:
        """RETURNS (float): Share of the training that is done after so many steps and seconds; 1 or more at its end."""
        by_steps = step / self.steps if self.steps else 0.0
        return max(by_steps, seconds / (60 * self.minutes)) if self.minutes else by_steps

    def rate(self, step: int, progress: float) -> float:
        """RETURNS (float): Factor of the learning rate of a step, counted from 0, at a share of the training."""
        left = max(0.0, 1 - progress)
        fall = {"linear": left, "wsd": min(1.0, left / self.decay), "cosine": (1 - math.cos(math.pi * left)) / 2}
        return min(1.0, (step + 1) / max(1, self.warmup)) * fall[self.shape]


@dataclass(frozen=True)
class TrainingSettings:
    """Batches, precision and what is kept.

    batch_size (int): Sequences of a step, over all ranks.
    micro_batch (int): Most sequences that a device takes at once; the rest of a step is accumulated.
    precision (str): "bf16" for autocast, "fp32", or "auto", see `takes_bf16`.
    compile (bool): Whether to compile the network with torch.
    seed (int): Seed of weights, masks and order.
    log_steps (int): Steps between lines of the log.
    evaluations (int): Times to score the held-out sequences, evenly over the training.
    save_minutes (float): Minutes between checkpoints; 0 for none by time.
    save_steps (int): Steps between checkpoints; 0 for none by steps. Checkpoints fall on lines of the log.
    keep (int): Checkpoints to keep.
    peak_tflops (float): Dense peak of a device in TFLOP/s, to log the share of it; 0 if unknown.
    """

    batch_size: int = 32
    micro_batch: int = 32
    precision: TrainingPrecision = "auto"
    compile: bool = False
    seed: int = 0
    log_steps: int = 10
    evaluations: int = 10
    save_minutes: float = 5.0
    save_steps: int = 0
    keep: int = 2
    peak_tflops: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "micro_batch", "log_steps", "keep"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        for name in ("seed", "evaluations", "save_minutes", "save_steps", "peak_tflops"):
            require(getattr(self, name) >= 0, f"training.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True)
class ResultSettings:
    """How the encoder is saved.

    weights (str): "fp16" or "fp32".
    file_mb (int): Megabytes of a file of weights above which they are split; a single tensor never is.
    """

    weights: Literal["fp16", "fp32"] = "fp16"
    file_mb: int = 5000

    def __post_init__(self) -> None:
        require(self.file_mb >= 1, "result.file_mb", self.file_mb, "1 or more")


@dataclass(frozen=True)
class EncoderSettings:
    """The whole recipe.

    data (str): Folder that `samarkand prepare-text` wrote.
    output (str): Folder for the log, the checkpoints and `encoder/`, the result.
    objective (str): "masked-lm"; others have settings of their own, see `sentence_settings`.
    base (str): Folder of an encoder that `train-encoder` wrote, to go on from; it brings its sizes. Empty for random
        weights.
    """

    data: str
    output: str
    schedule: ScheduleSettings
    objective: Literal["masked-lm"] = "masked-lm"
    base: str = ""
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    model: EncoderShape = field(default_factory=EncoderShape)
    masking: MaskingSettings = field(default_factory=MaskingSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    result: ResultSettings = field(default_factory=ResultSettings)

    def __post_init__(self) -> None:
        fits = self.masking.rate * (self.reading.length - 1) >= 1
        require(fits, "masking.rate", self.masking.rate, "so large that a piece of each sequence is hidden")
