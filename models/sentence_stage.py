"""One training of a sentence encoder on the trainer of `sentence-transformers`: checkpoints, resume, torchrun."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from ..errors import Errors
from .precision import takes_bf16
from .process_group import Ranks
from .sentence_settings import FREE, SentenceTrainingSettings, StepSettings
from .training_record import check_record, write_record

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

Row = dict[str, Any]
Report = Callable[[Row], None]
CHECKPOINTS, ENCODER = "checkpoints", "encoder"


@dataclass(frozen=True)
class Stage:
    """What a stage needs of its training.

    name (str): Its name, for the log.
    folder (Path): Where its checkpoints and its encoder are.
    steps (StepSettings): How long and how fast.
    training (SentenceTrainingSettings): What stages share.
    ranks (Ranks): This process among its fellows.
    report (Optional[Report]): Takes each line of the log, in the first rank.
    settings (Mapping[str, Any]): All that its result depends on, JSON types, saved beside its checkpoints.
    """

    name: str
    folder: Path
    steps: StepSettings
    training: SentenceTrainingSettings
    ranks: Ranks
    report: Report | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoder(self) -> Path:
        """RETURNS (Path): Folder of the result, which is there once the stage is done."""
        return self.folder / ENCODER

    def check(self) -> None:
        """Refuse to go on with what other settings have made.

        RAISES (ValueError): S738 when it does not say what has made it, S742 when that is other settings.
        """
        if self.encoder.exists() or (self.steps.steps and self._last_checkpoint):
            check_record(self.folder, self.settings, FREE)

    def run(
        self,
        model: SentenceTransformer,
        loss: nn.Module,
        data: Dataset,
        *,
        distinct: bool = False,
        lengths: np.ndarray | None = None,
    ) -> None:
        """Train a model in place, from the last checkpoint where there is one.

        model (SentenceTransformer): The model.
        loss (Module): The loss over it.
        data (Dataset): Columns of text, and perhaps "label".
        distinct (bool): No text comes twice in a batch.
        lengths (Optional[np.ndarray]): Length of each row, for batches of like length.
        RAISES (ValueError): S863 for a batch that ranks cannot share, S872 for one larger than there are distinct
            texts.
        RAISES (RuntimeError): S740 when the loss is no number any more, S873 when no batch of distinct texts is found
            before the last step.
        """
        from sentence_transformers import SentenceTransformerTrainer

        arguments = self._arguments(distinct, lengths)
        if distinct:
            _check_distinct(data, arguments.per_device_train_batch_size)
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=data,
            loss=loss,
            callbacks=[_Log(self)],
        )
        # It writes to standard output, which is the summary's.
        trainer.remove_callback(PrinterCallback)
        if self.ranks.is_first:
            write_record(self.folder, self.settings)
        trainer.train(resume_from_checkpoint=self._last_checkpoint)
        # Rows share texts with several others, and which of them come first differs from epoch to epoch.
        if trainer.state.global_step < self.steps.steps:
            about = {"done": trainer.state.global_step, "steps": self.steps.steps}
            raise RuntimeError(Errors.S873.format(**about, batch=arguments.per_device_train_batch_size))

    @property
    def _checkpoints(self) -> str:
        return str(self.folder / CHECKPOINTS)

    @property
    def _last_checkpoint(self) -> str | None:
        return get_last_checkpoint(self._checkpoints) if Path(self._checkpoints).is_dir() else None

    def _arguments(self, distinct: bool, lengths: np.ndarray | None) -> TrainingArguments:
        from sentence_transformers import SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.training_args import BatchSamplers

        from .length_batches import LengthBatchSampler

        share, rest = divmod(self.steps.batch_size, self.ranks.world)
        if rest:
            raise ValueError(Errors.S863.format(batch=self.steps.batch_size, world=self.ranks.world))
        settings = self.training
        sampler = BatchSamplers.NO_DUPLICATES if distinct else BatchSamplers.BATCH_SAMPLER
        return SentenceTransformerTrainingArguments(
            output_dir=self._checkpoints,
            max_steps=self.steps.steps,
            per_device_train_batch_size=share,
            learning_rate=self.steps.learn_rate,
            warmup_steps=math.ceil(self.steps.warmup * self.steps.steps),
            lr_scheduler_type="linear",
            weight_decay=settings.weight_decay,
            adam_epsilon=1e-6,
            max_grad_norm=settings.clip,
            bf16=takes_bf16(settings.precision, self.ranks.device),
            use_cpu=self.ranks.device.type == "cpu",
            seed=settings.seed,
            logging_steps=settings.log_steps,
            logging_nan_inf_filter=False,
            save_steps=settings.save_steps,
            save_total_limit=2,
            dataloader_num_workers=settings.workers,
            dataloader_drop_last=True,
            batch_sampler=sampler if lengths is None else partial(LengthBatchSampler, lengths=lengths),
            report_to="none",
            disable_tqdm=True,
            ddp_find_unused_parameters=True,
        )


def _check_distinct(data: Dataset, batch: int) -> None:
    """Refuse rows of which no batch without repetitions can be made: the trainer would end at once, without a word."""
    seen: set[str] = set()
    found = 0
    for row in data:
        if seen.isdisjoint(row.values()):
            seen.update(row.values())
            found += 1
        if found == batch:
            return
    raise ValueError(Errors.S872.format(batch=batch, found=found))


class _Log(TrainerCallback):
    """Hands lines of the log on, and ends a training whose loss is no number."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Row | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss + norm):
            about = {"loss": loss, "norm": norm, "step": state.global_step}
            about["last"] = get_last_checkpoint(args.output_dir) or "none"
            mend = f"Lower its learn_rate or raise its warmup, remove {self.stage.folder}, and --resume"
            raise RuntimeError(Errors.S740.format(**about, mend=mend))
        if self.stage.report and self.stage.ranks.is_first:
            row = {"stage": self.stage.name, "step": state.global_step, "steps": state.max_steps}
            self.stage.report(row | {"loss": loss, "norm": norm, "rate": logs["learning_rate"]})


def pooled_model(
    encoder: nn.Module, tokenizer: PreTrainedTokenizerBase, *, width: int, max_length: int
) -> SentenceTransformer:
    """An encoder as a sentence encoder: the mean of its pieces, and a linear map to the width of the teacher.

    encoder (PreTrainedModel): The encoder.
    tokenizer (PreTrainedTokenizerBase): Its pieces.
    width (int): Width of a sentence's vector.
    max_length (int): Pieces that are read.
    RETURNS (SentenceTransformer): The model.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    # `sentence-transformers` reads an encoder from files alone.
    with tempfile.TemporaryDirectory() as folder:
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=max_length)
    own = encoder.config.hidden_size
    head = Dense(own, width, bias=False, activation_function=nn.Identity())
    return SentenceTransformer(modules=[transformer, Pooling(own, "mean"), head], device="cpu")
