"""What a pretraining leaves: a `transformers` folder with a card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .checkpoints import replace_folder
from .training_record import RECORD, write_record
from .vocabulary import wrap_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

    from .encoder_settings import EncoderSettings

# What `samarkand prepare-text` tells of its text, in the folder of the text.
PREPARATION = "preparation.json"
TYPES = {"fp16": torch.float16, "fp32": torch.float32}


def save_result(
    output: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    settings: EncoderSettings,
    curve: Sequence[Mapping[str, Any]],
) -> Path:
    """Write `encoder/`: weights, config, tokenizer, settings and card; the model itself is left as it is.

    output (Path): Folder of the training.
    model (PreTrainedModel): The model.
    tokenizer (Tokenizer): Its tokenizer.
    settings (EncoderSettings): The recipe.
    curve (Sequence[Mapping]): Lines of the log.
    RETURNS (Path): The folder.
    """
    partial = output / ".encoder.partial"
    shutil.rmtree(partial, ignore_errors=True)
    saved = deepcopy(model).to("cpu", TYPES[settings.result.weights])
    saved.save_pretrained(partial, max_shard_size=f"{settings.result.file_mb}MB")
    wrap_tokenizer(tokenizer, settings.reading.length).save_pretrained(partial)
    write_record(partial, asdict(settings))
    text = card(model, settings, curve, read_sources(Path(settings.data)))
    (partial / "README.md").write_text(text, encoding="utf-8")
    replace_folder(partial, output / "encoder")
    return output / "encoder"


def read_sources(data: Path) -> dict[str, dict[str, Any]]:
    """What the prepared text was made of.

    data (Path): Folder of the prepared text.
    RETURNS (dict): File, language, licence, documents and pieces of each group, by name; empty when the folder does not
        tell, as one that `prepare-text` did not write.
    """
    try:
        groups = json.loads((data / PREPARATION).read_text(encoding="utf-8"))["groups"]
        return {
            name: {key: group[key] for key in ("file", "language", "licence", "kept", "pieces")}
            for name, group in groups.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A training that is over is saved, whatever has become of the report on its text.
        return {}


def card(
    model: PreTrainedModel,
    settings: EncoderSettings,
    curve: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Mapping[str, Any]],
) -> str:
    """The model card.

    model (PreTrainedModel): The model.
    settings (EncoderSettings): The recipe.
    curve (Sequence[Mapping]): Lines of the log.
    sources (Mapping[str, Mapping]): What `read_sources` gave.
    RETURNS (str): Markdown.
    """
    last, shape = curve[-1], settings.model
    begun = f"Trained on from `{Path(settings.base).name}`" if settings.base else "Pretrained"
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    lines = [
        "# Encoder",
        "",
        f"ModernBERT with full attention, {shape.layers} layers of width {shape.width}, {size:.1f} M parameters, "
        f"vocabulary of {model.config.vocab_size:,} pieces, sequences of up to {settings.reading.length}. "
        f"{begun} by `samarkand train-encoder` with masked words ({settings.masking.rate:.0%}) for "
        f"{last['step']:,} steps, {last['pieces'] / 1e6:,.1f} M pieces, {last['seconds'] / 60:.1f} minutes. "
        f"All settings are in `{RECORD}`.",
        "",
        *_source_lines(sources),
        "| step | M pieces | loss | held-out loss | pieces/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in curve[:: max(1, len(curve) // 20)] if len(curve) > 20 else curve:
        cells = [f"{row['step']:,}", f"{row['pieces'] / 1e6:,.1f}", f"{row['loss']:.4f}"]
        cells += [str(row.get("held_out", {}).get("mean", "")), f"{row['pieces_per_second']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    scored = [row["held_out"] for row in curve if row.get("held_out")]
    if scored:
        lines += ["", "| held-out text | loss in nats a hidden piece |", "| --- | --- |"]
        lines += [f"| {name} | {loss} |" for name, loss in scored[-1].items()]
    return "\n".join(lines) + "\n"


def _source_lines(sources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of the texts, and a line of their languages."""
    texts = [source for source in sources.values() if source["pieces"]]
    if not texts:
        return []
    languages = sorted({source["language"] for source in texts})
    lines = [f"Languages of its text, {len(languages)}: {', '.join(languages)}.", ""]
    lines += ["| text | language | documents | pieces | licence |", "| --- | --- | --- | --- | --- |"]
    for source in texts:
        cells = [f"`{source['file']}`", source["language"], f"{source['kept']:,}", f"{source['pieces']:,}"]
        lines.append(f"| {' | '.join([*cells, source['licence'] or 'not stated'])} |")
    return [*lines, ""]
