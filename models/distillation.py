"""Multi-stage distillation of a small cross-lingual sentence encoder (Ding et al. 2022, arXiv 2209.05869).

A teacher that reads English teaches an assistant of many languages; the student takes over the assistant's embedding
layer through a bottleneck, then its layers by running few of them several times, and at last learns from the teacher
how sentences relate. Before the stages of the paper, the assistant's pieces learn without its layers, which costs a
small part of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..errors import Errors
from .assistant import fit_head, load_encoder
from .checkpoints import replace_folder
from .masked_lm import build_masked_lm
from .precision import takes_bf16
from .process_group import Ranks
from .recurrent_encoder import shrink
from .sentence_losses import (
    AssistantVectors,
    EmbeddingLoss,
    PieceVectors,
    RelationLoss,
    TeacherTable,
    VectorLoss,
    final_piece_vectors,
)
from .sentence_metrics import retrieval_accuracy
from .sentence_model import SentenceTransformerModel, load_sentence_model
from .sentence_pairs import SentencePairs, pairs_fingerprint
from .sentence_settings import DistillationSettings, StepSettings, stage_settings
from .sentence_stage import ENCODER, Report, Row, Stage, pooled_model
from .skip_beginning import begin_skip
from .teacher_table import teacher_table
from .training_record import write_record
from .vocabulary_transplant import transplant
from .whitening import VectorStatistics
from .whitening_exports import append_whitening, without_normalize

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

STATIC = "static"
# Sentences that the map from an assistant's vectors to its teacher's is fitted to at the beginning.
HEAD_SENTENCES = 4096
# Pairs that a map of the student's vectors is fitted to at the end.
MAP_SENTENCES = 8192


class Distillation:
    """A run of all stages in one rank.

    settings (DistillationSettings): The recipe.
    ranks (Ranks): This process among its fellows.
    report (Optional[Report]): Takes lines of the log, in the first rank.
    RAISES (ValueError): S862 for pairs that cannot be read, S732 for weights of unknown sources, S800 for a
        teacher or a student that cannot be read, S871 for a student of another width than the teacher.
    """

    def __init__(self, settings: DistillationSettings, ranks: Ranks, report: Report | None = None) -> None:
        self.settings, self.ranks, self.report = settings, ranks, report
        self.output = Path(settings.output)
        self.pairs = SentencePairs.load(Path(settings.pairs))
        self.pairs.check_sources(settings.weights)
        self.teacher = load_sentence_model(settings.teacher, device=str(ranks.device))
        self.rows: list[Row] = []
        self._known = {"pairs": pairs_fingerprint(Path(settings.pairs))}
        self._stages = {name: self._make_stage(name, steps) for name, steps in vars(settings.stages).items()}

    def run(self) -> Row:
        """Train all stages that are not done yet, and save the student.

        RETURNS (Row): How well translations of held-out sentences are found after each stage that was not left out, by
            language.
        RAISES (ValueError): S738 and S742 for a stage that cannot be gone on with, as `Stage.check`.
        RAISES (RuntimeError): S740 when a loss is no number any more.
        """
        for name, stage in self._stages.items():
            if name == "relation" or not self.settings.begin:
                stage.check()
        torch.manual_seed(self.settings.training.seed)
        student = self._earlier_student() if self.settings.begin else self._new_student()
        # A table takes long, and no stage may need one.
        student = self._stage("relation", lambda: student, self._relation_loss)
        if self.ranks.is_first:
            write_record(self.output, {**asdict(self.settings), "data": self._known})
            save_encoder(self._whitened(student) if self.settings.whitening else student, self.output / ENCODER)
        self.ranks.wait()
        return {"stages": {row["stage"]: row["held_out"] for row in self.rows}, "steps": _steps(self.settings.stages)}

    def _relation_loss(self, model: SentenceTransformer) -> RelationLoss:
        return RelationLoss(model, TeacherTable(self._table), self.settings.relation)

    def _whitened(self, student: SentenceTransformer) -> SentenceTransformer:
        """The student with a map on its own, fitted on sentences of both sides, drawn as a stage draws them.

        The similarities that it learnt leave its vectors crowded in few directions, most of all those of sentences
        that it knows little of, which then are close to everything.
        """
        own, statistics = self.settings, VectorStatistics()
        drawn = self.pairs.draw(MAP_SENTENCES, exponent=own.exponent, seed=own.training.seed, weights=own.weights)
        encoder = SentenceTransformerModel(student)
        chosen = self.pairs.train.select(drawn)
        for side in ("english", "other"):
            statistics.update(encoder.encode(chosen[side][:]))
        # A narrow table leaves directions without any variance: shrinkage keeps them from being noise scaled up.
        spread = statistics.whitening(shrinkage="oas", exponent=own.whitening, fingerprint=encoder.fingerprint)
        return append_whitening(student, spread)

    def _new_student(self) -> SentenceTransformer:
        """What all stages but the last make."""
        stages, teacher = self.settings.stages, TeacherTable(self._table)
        pieces = self._stage("pieces", self._pieces, lambda model: VectorLoss(PieceVectors(model), teacher))
        if stages.pieces.steps and self.ranks.is_first and not self._static.exists():
            _save(static_encoder(pieces), self._static)
        self.ranks.wait()
        assistant = self._stage("assistant", lambda: self._assistant(pieces), lambda model: VectorLoss(model, teacher))
        student = self._stage(
            "embedding", lambda: self._student(assistant), lambda model: EmbeddingLoss(model, assistant)
        )
        return self._stage("recurrence", lambda: student, lambda model: VectorLoss(model, AssistantVectors(assistant)))

    def _earlier_student(self) -> SentenceTransformer:
        """The student to go on with, whose vectors are as wide as the teacher's."""
        name = self.settings.begin
        found = load_sentence_model(name, device=str(self.ranks.device), max_length=self.settings.training.max_length)
        if found.width != self.teacher.width:
            raise ValueError(Errors.S871.format(name=name, width=found.width, wanted=self.teacher.width))
        return without_normalize(found.model)

    def _make_stage(self, name: str, steps: StepSettings) -> Stage:
        record = {**stage_settings(self.settings, name), "data": self._known}
        about = {"ranks": self.ranks, "report": self.report, "settings": record}
        return Stage(name, self.output / name, steps, self.settings.training, **about)

    def _stage(
        self,
        name: str,
        begin: Callable[[], SentenceTransformer],
        loss: Callable[[SentenceTransformer], nn.Module],
    ) -> SentenceTransformer:
        """The model after a stage: trained now, or loaded if an earlier run was done with it."""
        from sentence_transformers import SentenceTransformer

        stage = self._stages[name]
        if stage.encoder.exists():
            model = SentenceTransformer(str(stage.encoder), device=str(self.ranks.device))
            self._look(name, model)
            return model
        model = begin().to(self.ranks.device)
        model.requires_grad_(True)
        if stage.steps.steps:
            data, lengths = self._data(stage.steps, name)
            stage.run(model, loss(model), data, lengths=lengths)
            if self.ranks.is_first:
                _save(model, stage.encoder)
            self.ranks.wait()
            self._look(name, model)
        return model

    def _data(self, steps: StepSettings, name: str) -> tuple[Dataset, np.ndarray]:
        """Rows of a stage, and how many pieces each has."""
        seed = np.random.SeedSequence([self.settings.training.seed, *name.encode()]).generate_state(1)[0]
        count = steps.steps * steps.batch_size
        own = self.settings
        drawn = self.pairs.draw(count, exponent=own.exponent, seed=int(seed), weights=own.weights)
        chosen = self.pairs.train.select(drawn).select_columns(["english", "other"])
        return chosen.add_column("label", self._english[1][drawn]), self._lengths[drawn]

    @cached_property
    def _english(self) -> tuple[list[str], np.ndarray]:
        """English sentences once each, and of each pair which of them it is."""
        numbers: dict[str, int] = {}
        rows = [numbers.setdefault(text, len(numbers)) for text in self.pairs.train["english"]]
        return list(numbers), np.array(rows, dtype=np.int64)

    @cached_property
    def _lengths(self) -> np.ndarray:
        """Pieces of each pair, both sides together, as far as they are read."""
        most, total = self.settings.training.max_length, np.zeros(len(self.pairs.train), dtype=np.int64)
        for side in ("english", "other"):
            total += [min(count, most) for count in self.pairs.piece_counts(side)]
        return total

    @cached_property
    def _table(self) -> np.ndarray:
        """The teacher's vectors of all English sentences; the first rank computes them."""
        path = self.output / "teacher.npy"
        self.output.mkdir(parents=True, exist_ok=True)
        if not self.ranks.is_first:
            self.ranks.wait()
        device = self.ranks.device
        with torch.autocast(device.type, torch.bfloat16, enabled=takes_bf16(self.settings.training.precision, device)):
            table = teacher_table(self.teacher, self._english[0], path, self._report_table)
        if self.ranks.is_first:
            self.ranks.wait()
        return table

    def _report_table(self, done: int, total: int) -> None:
        if self.report and self.ranks.is_first:
            self.report({"stage": "teacher", "step": done, "steps": total})

    @property
    def _static(self) -> Path:
        return self.output / "pieces" / STATIC

    def _pieces(self) -> SentenceTransformer:
        vocabulary, length = len(self.pairs.tokenizer), self.settings.training.max_length
        encoder = build_masked_lm(self.settings.assistant.shape, vocabulary=vocabulary, length=length).model
        return self._pooled(encoder, self.pairs.tokenizer)

    def _assistant(self, pieces: SentenceTransformer) -> SentenceTransformer:
        """The assistant to begin with: of random weights but for its pieces, or pretrained."""
        settings, tokenizer = self.settings.assistant, self.pairs.tokenizer
        if not settings.encoder:
            return pieces
        encoder, own_tokenizer = load_encoder(settings.encoder, settings.layers)
        english = self._english[0]
        if own_tokenizer.get_vocab() != tokenizer.get_vocab():
            transplant(encoder, own_tokenizer, tokenizer, self._static_table(), english)
        assistant = self._pooled(encoder, tokenizer)
        fit_head(assistant, *self._sample())
        return assistant

    def _static_table(self) -> Tensor:
        """What the pieces alone mean, shape (pieces, teacher's width)."""
        from sentence_transformers import SentenceTransformer

        if not self._static.exists():
            raise ValueError(Errors.S869)
        return SentenceTransformer(str(self._static), device="cpu")[0].embedding.weight.detach()

    def _sample(self) -> tuple[list[str], np.ndarray]:
        """Some English sentences, and their teacher's vectors."""
        english = self._english[0]
        chance = np.random.default_rng(self.settings.training.seed)
        chosen = np.sort(chance.permutation(len(english))[:HEAD_SENTENCES])
        return [english[i] for i in chosen], self._table[chosen]

    def _student(self, assistant: SentenceTransformer) -> SentenceTransformer:
        sizes = self.settings.student
        student = self._pooled(shrink(assistant[0].model, **vars(sizes)), assistant.tokenizer)
        student[-1].load_state_dict(assistant[-1].state_dict())
        if sizes.skip:
            begin_skip(student, assistant[0].model, self._static_table(), *self._sample())
        return student

    def _pooled(self, encoder: nn.Module, tokenizer: PreTrainedTokenizerBase) -> SentenceTransformer:
        length = self.settings.training.max_length
        return pooled_model(encoder, tokenizer, width=self.teacher.width, max_length=length)

    def _look(self, name: str, model: SentenceTransformer) -> None:
        """Score held-out pairs: the share of sentences whose translation is the closest, mean of both directions."""
        model.eval()
        scores: dict[str, float] = {}
        pairs, langs = self.pairs.held_out, np.array(self.pairs.held_out["lang"])
        for lang in np.unique(langs).tolist():
            chosen = pairs.select(np.flatnonzero(langs == lang))
            sides = [model.encode(list(chosen[side]), show_progress_bar=False) for side in ("english", "other")]
            scores[lang] = round(float(np.mean(retrieval_accuracy(*sides))), 4)
        self.rows.append({"stage": name, "held_out": scores})
        if self.report and self.ranks.is_first:
            self.report(self.rows[-1])


@torch.no_grad()
def static_encoder(model: SentenceTransformer) -> SentenceTransformer:
    """The pieces of an encoder alone: a table and a mean, the fastest of encoders.

    model (SentenceTransformer): ModernBERT, a mean, and a linear map.
    RETURNS (SentenceTransformer): A static one; pieces that frame a text have no part in it.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    pieces = torch.arange(model[0].model.config.vocab_size, device=model.device)
    table = model[-1]({"sentence_embedding": final_piece_vectors(model, pieces)})["sentence_embedding"]
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, table.cpu()), Normalize()])


def save_encoder(model: SentenceTransformer, folder: Path) -> None:
    """Save a sentence encoder whose vectors have length one, in float16.

    model (SentenceTransformer): The model; it is changed.
    folder (Path): Folder to write, whole or not at all.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize

    if not isinstance(model[-1], Normalize):
        model.append(Normalize())
    _save(model.half(), folder)


def _save(model: SentenceTransformer, folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.partial")
    model.save(str(aside), create_model_card=False)
    replace_folder(aside, folder)


def _steps(stages: object) -> dict[str, int]:
    return {name: steps.steps for name, steps in vars(stages).items()}
