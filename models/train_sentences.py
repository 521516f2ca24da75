"""Training of sentence encoders: the objectives of `samarkand train-encoder` beside masked-LM pretraining."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..compression import COMPRESSIONS, damage_errors, open_compressed
from ..errors import Errors, first_line
from .distillation import Distillation, save_encoder
from .mirror_views import hide_span
from .process_group import Ranks, joined_ranks
from .sentence_losses import MirrorLoss
from .sentence_model import load_sentence_model
from .sentence_pairs import SentencePairs, pairs_fingerprint
from .sentence_settings import (
    OBJECTIVES,
    PREPARATION,
    ContrastiveSettings,
    DistillationSettings,
    SelfSupervisedSettings,
)
from .sentence_stage import Report, Row, Stage
from .settings import load_settings, require

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

SentenceSettings = SelfSupervisedSettings | ContrastiveSettings | DistillationSettings


def train_sentences(
    objective: str,
    config: Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    report: Report | None = None,
) -> Row:
    """Train a sentence encoder, alone or under torchrun.

    objective (str): One of `OBJECTIVES`.
    config (Path): TOML file of its settings.
    overrides (Sequence[str]): `--section.key value` words.
    resume (bool): Whether to go on with what is in the output, if anything is.
    report (Optional[Report]): Takes lines of the log, in the first rank.
    RETURNS (Row): What the training says at its end.
    RAISES (ValueError): S730 to S732 for the settings, S741 for an output that exists, S738 and S742 for one that
        cannot be gone on with, and what the objective raises.
    RAISES (RuntimeError): S740 when the loss is no number any more, and as `Stage.run`.
    """
    require(objective in OBJECTIVES, "objective", objective, "one of masked-lm, " + ", ".join(OBJECTIVES))
    settings = load_settings(OBJECTIVES[objective], config, overrides, others=PREPARATION)
    output = Path(settings.output)
    if not resume and output.exists() and any(output.iterdir()):
        raise ValueError(Errors.S741.format(path=output))
    run: dict[str, Callable[[Any, Ranks, Report | None], Row]] = {
        "mirror": _mirror,
        "contrastive": _contrastive,
        "distill": lambda *arguments: Distillation(*arguments).run(),
    }
    with joined_ranks() as ranks:
        return run[objective](settings, ranks, report)


def _mirror(settings: SelfSupervisedSettings, ranks: Ranks, report: Report | None) -> Row:
    model = load_sentence_model(settings.encoder, pooling=settings.pooling, device=str(ranks.device)).model
    set_dropout(model, settings.dropout)
    loss = _matryoshka(model, MirrorLoss(model, settings.temperature, settings.positive_in_sum), settings.dims)
    mask = _mask(settings, model)
    texts = read_lines(settings.texts, settings.limit)
    fingerprint = zlib.crc32("\n".join(texts).encode())
    known = {"texts": f"{fingerprint:08x}"}
    return _train(settings, ranks, report, model, loss, _views(settings, texts, mask), known)


def _contrastive(settings: ContrastiveSettings, ranks: Ranks, report: Report | None) -> Row:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = load_sentence_model(settings.encoder, device=str(ranks.device)).model
    pairs = SentencePairs.load(Path(settings.pairs))
    count = settings.steps.steps * settings.steps.batch_size
    seed = settings.training.seed
    drawn = pairs.draw(count, exponent=settings.exponent, seed=seed, weights=settings.weights)
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    loss = MultipleNegativesRankingLoss(model, scale=1 / settings.temperature, **both)
    data = pairs.train.select(drawn).select_columns(["english", "other"])
    known = {"pairs": pairs_fingerprint(Path(settings.pairs))}
    return _train(settings, ranks, report, model, _matryoshka(model, loss, settings.dims), data, known)


def _train(
    settings: SelfSupervisedSettings | ContrastiveSettings,
    ranks: Ranks,
    report: Report | None,
    model: SentenceTransformer,
    loss: nn.Module,
    data: Dataset,
    known: Mapping[str, str],
) -> Row:
    """Train an encoder in a single stage; `known` are the fingerprints of what it learns from."""
    name, record = settings.objective, {**asdict(settings), "data": known}
    stage = Stage(name, Path(settings.output), settings.steps, settings.training, ranks, report, record)
    stage.check()
    torch.manual_seed(settings.training.seed)
    model.max_seq_length = settings.training.max_length
    model.requires_grad_(True)
    # The same text among the negatives of itself would teach that it is unlike itself.
    stage.run(model, loss, data, distinct=True)
    if ranks.is_first:
        save_encoder(model.eval(), stage.encoder)
    ranks.wait()
    return {"stage": name, "step": settings.steps.steps, "rows": len(data)}


def _mask(settings: SelfSupervisedSettings, model: SentenceTransformer) -> str:
    # A table of pieces has a tokenizer that knows of no mask.
    mask = getattr(model.tokenizer, "mask_token", None)
    if mask is None:
        raise ValueError(Errors.S874.format(encoder=settings.encoder))
    return mask


def _views(settings: SelfSupervisedSettings, texts: list[str], mask: str) -> Dataset:
    """Texts beside their other views, as many as the steps take, each view drawn anew."""
    from datasets import Dataset

    need = settings.steps.steps * settings.steps.batch_size
    rows: dict[str, list[str]] = {"text": [], "view": []}
    chance = random.Random(settings.training.seed)
    while len(rows["text"]) < need:
        for text in chance.sample(texts, min(len(texts), need - len(rows["text"]))):
            rows["text"].append(text)
            rows["view"].append(hide_span(text, mask, settings.views, chance))
    return Dataset.from_dict(rows)


def read_lines(path: str, limit: int) -> list[str]:
    """Distinct lines of a file, stripped, blank ones left out.

    path (str): The file, UTF-8, plain or compressed.
    limit (int): Most lines.
    RETURNS (list[str]): The lines, in their order.
    RAISES (ValueError): S865 when the file cannot be read or has fewer than two.
    """
    lines: dict[str, None] = {}
    try:
        with open_compressed(path, COMPRESSIONS.get(Path(path).suffix, "")) as file:
            for line in file:
                if len(lines) == limit:
                    break
                if text := line.decode("utf-8").strip():
                    lines[text] = None
    except (OSError, UnicodeDecodeError, *damage_errors()) as error:
        raise ValueError(Errors.S865.format(path=path, reason=first_line(error))) from None
    if len(lines) < 2:
        raise ValueError(Errors.S865.format(path=path, reason="it has fewer than two lines"))
    return list(lines)


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set the dropout of all layers, attention included.

    model (Module): The model.
    rate (float): Share of what is dropped.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = rate


def _matryoshka(model: SentenceTransformer, loss: nn.Module, dims: list[int]) -> nn.Module:
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    width = int(model.get_embedding_dimension())
    if not dims:
        return loss
    if not all(1 <= dim <= width for dim in dims):
        raise ValueError(Errors.S866.format(dims=", ".join(map(str, dims)), width=width))
    return MatryoshkaLoss(model, loss, sorted({width, *dims}, reverse=True))
