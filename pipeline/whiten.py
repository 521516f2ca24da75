"""Fitting a whitening map on the texts of a corpus, and writing the encoder with it as one model."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from .option_checks import TXT_UNITS, at_least_one, check_folder, check_options, one_of
from .readers import check_source, read_source
from .records import ReadOptions, Record
from .sources import Source, UsageError, find_sources

if TYPE_CHECKING:
    from ..models.sentence_model import SentenceTransformerModel
    from ..models.whitening import VectorStatistics

# Batches that are read at once: texts of like length are then encoded together.
BATCHES = 16


def whiten(
    model: str | Path,
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    dim: int | str | None = "auto",
    retained: float = 0.95,
    shrinkage: float | str = 0.0,
    exponent: float = 1.0,
    pooling: str | None = None,
    text_field: str = "text",
    txt_unit: str = "line",
    limit: int | None = None,
    batch_size: int = 64,
    max_length: int | None = None,
    device: str | None = None,
    force: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Fit a map on texts in one pass, and write a folder that plain `sentence-transformers` loads.

    The folder has the encoder with the map as its last layer, and the map beside it in `whitening.safetensors`. A
    `Normalize` at the end of the model is left out: the map is fitted on the vectors before it.

    model (str | Path): Name on the hub, or folder, of a sentence encoder.
    inputs (str | Path | Iterable[str | Path]): Files as `annotate` reads them, a text a record.
    output (str | Path): Folder to write.
    dim (Optional[int | str]): Dimensions to keep, None for all, "auto" for as many as retain the variance.
    retained (float): Share of the variance that "auto" keeps.
    shrinkage (float | str): Weight of the round covariance, 0 to 1, or "oas".
    exponent (float): 1 whitens, 0 only rotates.
    pooling (Optional[str]): As `load_sentence_model` takes it.
    text_field (str): Field or column that holds the text.
    txt_unit (str): What a text is in a .txt file: "line" or "file".
    limit (Optional[int]): Stop after this many texts.
    batch_size (int): Texts encoded at once.
    max_length (Optional[int]): Pieces of a text that are read at once.
    device (Optional[str]): Such as "cuda"; None for a GPU where there is one.
    force (bool): Replace a folder that an earlier call wrote.
    progress (bool): Show a bar on standard error when that is a terminal.
    RETURNS (dict): The summary: sentences, blank and skipped ones, widths, share of the variance, seconds.
    RAISES (UsageError): S501 to S507, S516, S817, before anything is read.
    RAISES (ValueError): S732 for settings, S800 and S801 for the model, S811 to S814 for the vectors.
    RAISES (OSError): S512 for a file that fails.
    """
    from ..models.sentence_model import SentenceTransformerModel, load_sentence_model
    from ..models.whitening import VectorStatistics, check_dim, check_whitening
    from ..models.whitening_exports import append_whitening, without_normalize

    check_whitening(dim, retained, shrinkage, exponent, 0.0)
    check_options(batch_size=at_least_one(batch_size), limit=at_least_one(limit), txt_unit=one_of(txt_unit, TXT_UNITS))
    inputs, output = [str(item) for item in ([inputs] if isinstance(inputs, (str, Path)) else inputs)], Path(output)
    options = ReadOptions(text_field, txt_unit)
    sources = _plan(inputs, output, options, force)
    loaded = load_sentence_model(model, pooling=pooling, device=device, max_length=max_length)
    encoder = SentenceTransformerModel(without_normalize(loaded.model))
    check_dim(dim, encoder.width)
    began = time.perf_counter()
    statistics, counts = VectorStatistics(), Counter()
    texts = islice(_texts(sources, options, counts), limit)
    _fit(encoder, texts, statistics, batch_size, progress)
    if not statistics.count:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.items()) or "no records"
        raise ValueError(Errors.S813.format(inputs=", ".join(inputs), reasons=reasons))
    whitening = statistics.whitening(
        dim,
        retained=retained,
        shrinkage=shrinkage,
        exponent=exponent,
        fingerprint=encoder.fingerprint,
        pooling=pooling or "",
    )
    _write(append_whitening(encoder.model, whitening), whitening, output)
    return {
        "model": str(model),
        "output": str(output),
        "sentences": statistics.count,
        "blank": counts.pop("blank", 0),
        "skipped": dict(counts),
        "width": whitening.width,
        "dim": whitening.dim,
        "explained_variance": whitening.explained,
        "shrinkage": whitening.shrinkage,
        "seconds": time.perf_counter() - began,
    }


def _plan(inputs: list[str], output: Path, options: ReadOptions, force: bool) -> list[Source]:
    """Find the sources, and refuse what would go wrong later."""
    check_folder(output)
    sources = find_sources(inputs, exclude=output)
    _check_output(output, sources, force)
    for source in sources:
        check_source(source, options)
    return sources


def _check_output(output: Path, sources: list[Source], force: bool) -> None:
    """Refuse to write over what is there, unless it is ours and the user wants it."""
    from ..models.whitening_map import FILE

    if not output.exists():
        return
    if any(output.iterdir()) and not (output / FILE).is_file():
        raise UsageError(Errors.S817.format(path=output))
    if any(output.iterdir()) and not force:
        raise UsageError(Errors.S504.format(paths=output))
    for source in sources:
        if Path(os.path.realpath(source.path)).is_relative_to(output.resolve()):
            raise UsageError(Errors.S505.format(source=output, path=source))


def _texts(sources: list[Source], options: ReadOptions, counts: Counter[str]) -> Iterator[str]:
    """Texts of all sources; blank ones and records without a text are counted by reason."""
    for source in sources:
        for record in read_source(source, options):
            if not isinstance(record, Record):
                counts[record.code] += 1
            elif not record.text.strip():
                counts["blank"] += 1
            else:
                yield record.text


def _fit(
    encoder: SentenceTransformerModel,
    texts: Iterator[str],
    statistics: VectorStatistics,
    batch_size: int,
    progress: bool,
) -> None:
    from tqdm import tqdm

    # A bar whose `disable` is None shows on a terminal alone.
    with tqdm(desc="encoding", unit=" sentences", unit_scale=True, disable=None if progress else True) as bar:
        while block := list(islice(texts, BATCHES * batch_size)):
            statistics.update(encoder.encode(block, batch_size=batch_size).astype("float64"))
            bar.update(len(block))


def _write(model: Any, whitening: Any, output: Path) -> None:
    """Write the model and the map aside, and move them into place as one."""
    from ..models.checkpoints import replace_folder
    from ..models.whitening_map import FILE

    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save(str(partial), create_model_card=False)
        whitening.save(partial / FILE)
        replace_folder(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
