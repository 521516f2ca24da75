"""Settings of `samarkand train-encoder` for sentence encoders."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .masked_lm import EncoderShape
from .mirror_views import ViewSettings
from .precision import TrainingPrecision
from .settings import require

# Settings that a resumed training may change. Pairs and texts are compared by what is in them.
FREE = ("output", "pairs", "texts", "training.log_steps", "training.save_steps", "training.workers")
# Settings that a stage of a distillation is the first to read, beside its own steps.
FIRST_READ = {
    "assistant": ("assistant.encoder", "assistant.layers"),
    "embedding": ("student",),
    "relation": ("relation", "begin"),
    "end": ("whitening",),
}
# Keys of the same file that belong to `samarkand prepare-pairs`.
PREPARATION = ("corpora", "sources", "open_only", "most", "longest", "held_out", "english", "vocabulary", "seed")


@dataclass(frozen=True)
class StepSettings:
    """How long and how fast a stage learns. The rate rises, and falls to nothing.

    steps (int): Steps of the optimizer; 0 leaves the stage out.
    batch_size (int): Sentences or pairs of a step, over all ranks.
    learn_rate (float): Highest learning rate.
    warmup (float): Share of the steps over which the rate rises.
    """

    steps: int
    batch_size: int = 64
    learn_rate: float = 1.6e-4
    warmup: float = 0.1

    def __post_init__(self) -> None:
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.learn_rate > 0, "learn_rate", self.learn_rate, "above 0")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "from 0 to below 1")


@dataclass(frozen=True)
class SentenceTrainingSettings:
    """What all stages share.

    max_length (int): Pieces of a sentence that are read.
    precision (str): "bf16" for autocast, "fp32", or "auto", see `takes_bf16`.
    weight_decay (float): Decoupled weight decay of matrices.
    clip (float): Greatest norm of a gradient.
    seed (int): Seed of weights and order.
    log_steps (int): Steps between lines of the log.
    save_steps (int): Steps between checkpoints.
    workers (int): Processes that cut text into pieces; 0 for none beside the training's own.
    """

    max_length: int = 128
    precision: TrainingPrecision = "auto"
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    log_steps: int = 50
    save_steps: int = 1000
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("log_steps", "save_steps"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        require(self.max_length >= 8, "training.max_length", self.max_length, "8 or more")
        require(self.clip > 0, "training.clip", self.clip, "above 0")
        for name in ("weight_decay", "seed", "workers"):
            require(getattr(self, name) >= 0, f"training.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True)
class SelfSupervisedSettings:
    """Mirror-BERT: an encoder that learns from raw text alone.

    objective (str): "mirror".
    output (str): Folder for the checkpoints and `encoder/`, the result.
    encoder (str): Encoder to begin with, by name or folder.
    texts (str): File of texts, one a line, plain or compressed.
    steps (StepSettings): How long and how fast.
    limit (int): Most texts, from the head of the file; quality is best with 10,000 to 20,000.
    pooling (str): "mean" or "cls".
    temperature (float): tau of the loss.
    positive_in_sum (bool): See `MirrorLoss`.
    dropout (float): Dropout of all layers, which makes views differ.
    dims (list[int]): Widths that the first components alone shall serve (Matryoshka); empty for the whole alone.
    views (ViewSettings): What is hidden of the second view.
    """

    objective: Literal["mirror"]
    output: str
    encoder: str
    texts: str
    steps: StepSettings
    limit: int = 10000
    pooling: Literal["mean", "cls"] = "mean"
    temperature: float = 0.04
    positive_in_sum: bool = True
    dropout: float = 0.1
    dims: list[int] = field(default_factory=list)
    views: ViewSettings = field(default_factory=ViewSettings)
    training: SentenceTrainingSettings = field(default_factory=SentenceTrainingSettings)

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        require(self.limit >= 2, "limit", self.limit, "2 or more")
        require(self.temperature > 0, "temperature", self.temperature, "above 0")
        require(0 < self.dropout < 1, "dropout", self.dropout, "between 0 and 1")


@dataclass(frozen=True)
class ContrastiveSettings:
    """Supervised contrastive training on pairs of sentences that mean the same.

    objective (str): "contrastive".
    output (str): Folder for the checkpoints and `encoder/`, the result.
    encoder (str): Encoder to begin with, by name or folder.
    pairs (str): Folder that `samarkand prepare-pairs` wrote.
    steps (StepSettings): How long and how fast.
    exponent (float): What one source has of one language, n pairs, is drawn in proportion to n ** exponent.
    weights (dict[str, float]): What the share of a source, by its name, is multiplied by.
    temperature (float): Of the softmax over the batch.
    dims (list[int]): Widths that the first components alone shall serve (Matryoshka); empty for the whole alone.
    """

    objective: Literal["contrastive"]
    output: str
    encoder: str
    pairs: str
    steps: StepSettings
    exponent: float = 0.5
    weights: dict[str, float] = field(default_factory=dict)
    temperature: float = 0.05
    dims: list[int] = field(default_factory=list)
    training: SentenceTrainingSettings = field(default_factory=SentenceTrainingSettings)

    def __post_init__(self) -> None:
        _check_shares(self)
        _check_steps(self.steps)
        require(self.temperature > 0, "temperature", self.temperature, "above 0")


@dataclass(frozen=True)
class AssistantSettings:
    """The assistant, as wide as the student and with its pieces.

    encoder (str): A BERT or ModernBERT to begin with, by name or folder; empty for random weights. One with another
        vocabulary than the pairs' gets theirs, by `transplant`.
    layers (list[int]): Which of its layers the assistant has, in this order; empty for all.
    shape (EncoderShape): Sizes of a random one, whose pieces alone learn in the first stage.
    """

    encoder: str = ""
    layers: list[int] = field(default_factory=list)
    shape: EncoderShape = field(default_factory=lambda: EncoderShape(layers=6, width=256, heads=4, hidden=768))


@dataclass(frozen=True)
class StudentSettings:
    """What the student stores.

    embedding_size (int): Width of its table of pieces.
    layers (int): Layers.
    repeats (int): Times that they run.
    skip (bool): Whether what the pieces alone mean, as learnt in the stage `pieces`, is added to the output of layers.
        For an assistant that is a BERT.
    """

    embedding_size: int = 128
    layers: int = 3
    repeats: int = 2
    skip: bool = False


@dataclass(frozen=True)
class StageSettings:
    """The stages, in their order.

    pieces (StepSettings): Before the first, and not of the paper: the pieces of an assistant with random weights learn
        from the teacher without its layers, in a small part of the time.
    assistant (StepSettings): 1, the assistant learns from the teacher.
    embedding (StepSettings): 2, the student's embedding layer learns from the assistant's.
    recurrence (StepSettings): 3, the student learns from the assistant.
    relation (StepSettings): 4, the student learns from the teacher, and how sentences of a batch relate.
    """

    pieces: StepSettings
    assistant: StepSettings
    embedding: StepSettings
    recurrence: StepSettings
    relation: StepSettings


@dataclass(frozen=True)
class DistillationSettings:
    """Multi-stage distillation (arXiv 2209.05869) of a teacher that reads English into a student that reads more.

    objective (str): "distill".
    output (str): Folder for the stages and `encoder/`, the result.
    teacher (str): Sentence encoder for English, by name or folder.
    pairs (str): Folder that `samarkand prepare-pairs` wrote.
    stages (StageSettings): How long and how fast each stage learns.
    exponent (float): What one source has of one language, n pairs, is drawn in proportion to n ** exponent.
    weights (dict[str, float]): What the share of a source, by its name, is multiplied by.
    relation (str): "mse" or "softmax", see `RelationLoss`.
    whitening (float): Exponent of a map that is fitted on sentences of the pairs and becomes one with the student's
        own at the end: 1 whitens, between 0 and 1 less so. 0 for none.
    begin (str): A student to go on with, by name or folder: then the last stage alone runs. Empty for a new one.
    """

    objective: Literal["distill"]
    output: str
    teacher: str
    pairs: str
    stages: StageSettings
    exponent: float = 0.5
    weights: dict[str, float] = field(default_factory=dict)
    relation: Literal["mse", "softmax"] = "mse"
    whitening: float = 0.0
    begin: str = ""
    assistant: AssistantSettings = field(default_factory=AssistantSettings)
    student: StudentSettings = field(default_factory=StudentSettings)
    training: SentenceTrainingSettings = field(default_factory=SentenceTrainingSettings)

    def __post_init__(self) -> None:
        _check_shares(self)
        require(0 <= self.whitening <= 1, "whitening", self.whitening, "from 0 to 1")


def stage_settings(settings: DistillationSettings, stage: str) -> dict[str, Any]:
    """The settings that the result of a stage depends on, those of the stages before it among them.

    settings (DistillationSettings): The recipe.
    stage (str): A field of `StageSettings`.
    RETURNS (dict[str, Any]): What is left of `asdict(settings)`; stages that are left out are not in it.
    """
    found = asdict(settings)
    names = [*found["stages"], "end"]
    last = names.index(stage)
    unread = [key for name in names[last + 1 :] for key in FIRST_READ.get(name, ())]
    unread += [f"stages.{name}" for name in names[last + 1 : -1]]
    if settings.begin:
        unread += ["assistant", "student", *(f"stages.{name}" for name in names[:last])]
    unread += [f"stages.{name}" for name, steps in found["stages"].items() if not steps["steps"]]
    for key in unread:
        section, _, name = key.rpartition(".")
        (found[section] if section else found).pop(name, None)
    return found


def _check_steps(settings: StepSettings) -> None:
    """Refuse to leave out the only stage that there is."""
    require(settings.steps >= 1, "steps.steps", settings.steps, "1 or more")


def _check_shares(settings: ContrastiveSettings | DistillationSettings) -> None:
    require(0 <= settings.exponent <= 1, "exponent", settings.exponent, "from 0 to 1")
    for source, weight in settings.weights.items():
        require(0 < weight < math.inf, f"weights.{source}", weight, "above 0")


OBJECTIVES = {
    "mirror": SelfSupervisedSettings,
    "contrastive": ContrastiveSettings,
    "distill": DistillationSettings,
}
