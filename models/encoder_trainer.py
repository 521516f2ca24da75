"""The training loop of `samarkand train-encoder`."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engine import Adapprox
from ..errors import Errors, first_line
from ..replacing import replace_file
from .checkpoints import checkpoints, load_checkpoint, read_state, save_checkpoint
from .encoder_base import load_base
from .encoder_result import save_result
from .encoder_settings import EncoderSettings
from .heap import return_free_memory
from .masked_lm import MaskedLMLoss, build_masked_lm, flops_per_piece
from .masking import MaskedBatch, WordMasker
from .packed_corpus import TOKENIZER, PackedCorpus, SequenceReader, SequenceSampler
from .precision import takes_bf16
from .process_group import Ranks
from .stop_signals import StopSignals
from .training_record import check_same
from .vocabulary import word_flags

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Row = dict[str, Any]
# Settings that a resumed training may change: they leave its data and its model what they are.
FREE = ("output", "schedule", "result", "optimizer.learn_rate", "optimizer.clip", "training.compile", "training.keep")
FREE += ("training.log_steps", "training.evaluations", "training.save_minutes", "training.save_steps")
FREE += ("training.peak_tflops", "training.micro_batch")


class EncoderTrainer:
    """A training in one rank.

    settings (EncoderSettings): The recipe.
    ranks (Ranks): This process among its fellows.
    report (Optional[Callable]): Takes each line of the log, in the first rank.
    RAISES (ValueError): S735 and S736 for the text, S739 for batches that do not divide, S744 and S745 for the base.
    """

    def __init__(self, settings: EncoderSettings, ranks: Ranks, report: Callable[[Row], None] | None = None) -> None:
        self.settings, self.ranks, self.report = settings, ranks, report
        self.output = Path(settings.output)
        reading, training = settings.reading, settings.training
        self.share, rest = divmod(training.batch_size, ranks.world)
        self.micro_batch = min(training.micro_batch, self.share)
        if rest or not self.share or self.share % self.micro_batch:
            sizes = {"batch": training.batch_size, "micro": training.micro_batch, "world": ranks.world}
            raise ValueError(Errors.S739.format(**sizes))
        corpus = PackedCorpus.load(Path(settings.data))
        self.tokenizer = load_tokenizer(Path(settings.data))
        self.sampler = SequenceSampler(
            corpus,
            length=reading.length - 1,
            batch_size=training.batch_size,
            exponent=reading.exponent,
            weights=reading.weights,
            held_out=reading.held_out,
            seed=training.seed,
        )
        self.reader = SequenceReader(corpus, reading.length - 1, ranks.device)
        self.masker = WordMasker(*word_flags(self.tokenizer), settings.masking, ranks.device)
        torch.manual_seed(training.seed)
        vocabulary = self.tokenizer.get_vocab_size()
        if settings.base:
            model = load_base(settings.base, self.tokenizer, reading.length)
        else:
            model = build_masked_lm(settings.model, vocabulary=vocabulary, length=reading.length)
        self.model = model.to(ranks.device)
        self.network = self._network()
        self.optimizer = make_optimizer(settings, self.model)
        asked = settings.masking.most(reading.length)
        self.flops = flops_per_piece(settings.model, vocabulary=vocabulary, length=reading.length, asked=asked)
        self.step, self.seconds, self.curve = 0, 0.0, []
        self._began = time.monotonic()

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        path (Path): The checkpoint.
        RAISES (ValueError): S738 for a damaged checkpoint, S742 for one of other settings or other text.
        """
        state = read_state(path, ("step", "seconds", "curve", "settings", "position", "text"))
        # The same text may lie elsewhere.
        saved = {**state["settings"], "data": state["text"]}
        check_same(path, saved, {**asdict(self.settings), "data": self._text}, FREE)
        load_checkpoint(path, self.model, self.optimizer)
        self.sampler.load_state(state["position"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self._began = time.monotonic() - self.seconds

    def run(self) -> Row:
        """Train to the end and save the result.

        RETURNS (dict): The last line of the log.
        RAISES (RuntimeError): S740 when the loss is no number any more.
        RAISES (KeyboardInterrupt): After a checkpoint, when a signal asked to stop.
        """
        if self.ranks.is_first:
            self.output.mkdir(parents=True, exist_ok=True)
            _write_lines(self.output / "log.jsonl", self.curve)
        schedule, saved, saved_step = self.settings.schedule, self.seconds, self.step
        with StopSignals() as stop:
            while (progress := schedule.progress(self.step, self.seconds)) < 1:
                self._log(self._window(progress), progress)
                if self.ranks.any(stop.asked):
                    self.save()
                    raise KeyboardInterrupt
                waited = self.seconds - saved, self.step - saved_step
                if self._is_due(*waited) and schedule.progress(self.step, self.seconds) < 1:
                    self.save()
                    saved, saved_step = self.seconds, self.step
            self.save()
        if self.ranks.is_first:
            save_result(self.output, self.model, self.tokenizer, self.settings, self.curve)
        self.ranks.wait()
        return self.curve[-1]

    def save(self) -> None:
        """Write a checkpoint, in the first rank."""
        if self.ranks.is_first:
            state = {"step": self.step, "seconds": self.seconds, "curve": self.curve}
            state |= {"settings": asdict(self.settings), "position": self.sampler.state()}
            state["text"] = self._text
            keep = self.settings.training.keep
            save_checkpoint(self.output / "checkpoints", self.step, self.model, self.optimizer, state, keep=keep)

    def evaluate(self) -> dict[str, float]:
        """Score the held-out sequences, always with the same words hidden.

        RETURNS (dict[str, float]): Loss of each group in nats a piece, by name, and their mean as "mean".
        """
        spans, groups = self.sampler.held_out()
        names = [group.name for group in self.sampler.corpus.groups]
        sums = torch.zeros(2, len(names), dtype=torch.float64, device=self.ranks.device)
        size = self.micro_batch
        self.network.eval()
        everything = self._masked(spans, stream=1, number=0) if len(spans) else None
        for number in range(self.ranks.rank, -(-len(spans) // size), self.ranks.world):
            rows = np.arange(number * size, (number + 1) * size)
            # A last batch of the same size: its repeated rows are not counted.
            batch = everything.rows(torch.from_numpy(rows % len(spans)).to(sums.device))
            with torch.no_grad():
                losses = self._losses(batch)
            real = int((rows < len(spans)).sum())
            index = torch.from_numpy(groups[rows[:real]]).to(sums.device)
            sums[0].index_add_(0, index, losses[:real].double().sum(1))
            sums[1].index_add_(0, index, batch.asked[:real].double().sum(1))
        self.network.train()
        totals, counts = self.ranks.sum(sums).tolist()
        scores = {name: total / count for name, total, count in zip(names, totals, counts) if count}
        return scores | ({"mean": sum(scores.values()) / len(scores)} if scores else {})

    def _network(self) -> nn.Module:
        network = MaskedLMLoss(self.model).train()
        if self.settings.training.compile:
            network.compile()
        if self.ranks.world > 1:
            on_gpu = self.ranks.device.type == "cuda"
            devices = [self.ranks.device] if on_gpu else None
            return nn.parallel.DistributedDataParallel(
                network, devices, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        return network

    def _window(self, progress: float) -> Row:
        """Steps up to the next line of the log."""
        schedule, began = self.settings.schedule, time.monotonic()
        count = self.settings.training.log_steps
        count = min(count, schedule.steps - self.step) if schedule.steps else count
        sums = torch.zeros(2, device=self.ranks.device)
        for _ in range(count):
            done = max(progress, schedule.progress(self.step, 0.0))
            rate = self.settings.optimizer.learn_rate * schedule.rate(self.step, done)
            sums += self._step(rate)
            self.step += 1
        # Here the device is waited for; a checkpoint comes after it, so that none holds what a bad step left.
        loss, norm = (sums / count).tolist()
        if not np.isfinite(loss + norm):
            last = checkpoints(self.output / "checkpoints")
            about = {"loss": loss, "norm": norm, "step": self.step, "last": last[-1] if last else "none"}
            mend = "Lower optimizer.learn_rate or raise schedule.warmup, and start again or --resume"
            raise RuntimeError(Errors.S740.format(**about, mend=mend))
        self._look_at_clock()
        return {
            "loss": round(loss, 5),
            "norm": round(norm, 4),
            "rate": rate,
            **self._speed(count, time.monotonic() - began),
        }

    def _look_at_clock(self) -> None:
        """All ranks go by the first one's time, so that they stop together."""
        self.seconds = self.ranks.from_first(time.monotonic() - self._began)

    def _speed(self, steps: int, seconds: float) -> Row:
        training = self.settings.training
        pieces = training.batch_size * self.settings.reading.length
        speed = steps * pieces / seconds
        row: Row = {"pieces": self.step * pieces, "pieces_per_second": round(speed), "memory_mb": _peak_memory()}
        if training.peak_tflops:
            row["share_of_peak"] = round(speed * self.flops / (training.peak_tflops * 1e12 * self.ranks.world), 4)
        return row

    def _step(self, rate: float) -> Tensor:
        """One step of the optimizer; returns the loss over all ranks, and the norm of its gradient before clipping."""
        ranks = self.ranks
        # Every rank hides the words of the whole step, so that these depend on neither ranks nor micro-batches.
        whole = self._masked(self.sampler.next_batch(), stream=0, number=self.step)
        asked = whole.asked.sum().clamp_min(1)
        first = self.share * ranks.rank
        starts = range(first, first + self.share, self.micro_batch)
        total = torch.zeros((), device=ranks.device)
        for start in starts:
            is_last = start == starts[-1]
            with nullcontext() if is_last or ranks.world == 1 else self.network.no_sync():
                loss = self._losses(whole.rows(slice(start, start + self.micro_batch))).sum() / asked
                # DistributedDataParallel takes the mean over ranks.
                (loss * ranks.world).backward()
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return_free_memory()
        return torch.stack([ranks.sum(total), norm])

    @cached_property
    def _text(self) -> str:
        """What tells prepared text from other text."""
        vocabulary = zlib.crc32(self.tokenizer.to_str().encode())
        return f"{self.sampler.corpus.fingerprint()}-{vocabulary:08x}"

    def _masked(self, spans: np.ndarray, *, stream: int, number: int) -> MaskedBatch:
        seed = np.random.SeedSequence([self.settings.training.seed, stream, number]).generate_state(1, np.uint64)
        generator = torch.Generator(self.ranks.device).manual_seed(int(seed[0]) >> 1)
        return self.masker.mask(self.reader.read(spans), generator)

    def _losses(self, batch: MaskedBatch) -> Tensor:
        device = self.ranks.device
        enabled = takes_bf16(self.settings.training.precision, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            return self.network(batch.inputs, batch.positions, batch.labels)

    def _log(self, row: Row, before: float) -> None:
        """Write a line of the log, with the scores of the held-out text when their time has come."""
        progress = min(1.0, self.settings.schedule.progress(self.step, self.seconds))
        left = self.seconds * (1 - progress) / progress
        row = {"step": self.step, "seconds": round(self.seconds, 2), "left": round(left), **row}
        times = self.settings.training.evaluations
        if int(progress * times) > int(before * times):
            row["held_out"] = {name: round(loss, 4) for name, loss in self.evaluate().items()}
            self._look_at_clock()
        self.curve.append(row)
        if self.ranks.is_first:
            with (self.output / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            if self.report:
                self.report(row)

    def _is_due(self, seconds: float, steps: int) -> bool:
        training = self.settings.training
        by_time = training.save_minutes and seconds >= 60 * training.save_minutes
        return bool(by_time or (training.save_steps and steps >= training.save_steps))


def make_optimizer(settings: EncoderSettings, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a training.

    settings (EncoderSettings): The recipe.
    model (Module): The model; its vectors, such as norms and biases, do not decay.
    RETURNS (Optimizer): The optimizer.
    """
    chosen = settings.optimizer
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": chosen.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if chosen.name == "adapprox":
        return Adapprox(groups, chosen.learn_rate, chosen.betas, chosen.eps, seed=settings.training.seed)
    return torch.optim.AdamW(groups, chosen.learn_rate, chosen.betas, chosen.eps, fused=True)


def load_tokenizer(data: Path) -> Tokenizer:
    """RETURNS (Tokenizer): The tokenizer of prepared text; S735 when it cannot be read."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(data / TOKENIZER / "tokenizer.json"))
    except Exception as err:
        raise ValueError(Errors.S735.format(path=data, reason=first_line(err))) from None


def _write_lines(path: Path, rows: list[Row]) -> None:
    """Lines that a killed training logged after its last checkpoint go."""
    with replace_file(path) as aside:
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _peak_memory() -> int:
    """RETURNS (int): Most memory in use so far, in MB: the device's, or the process's without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
