"""The command `samarkand whiten`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_tools import JsonOption, TxtUnit, echo_summary, reported


def whiten_cli(
    model: Annotated[str, typer.Argument(help="Sentence encoder: folder, or name on the hub.", show_default=False)],
    corpus: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, or - for standard input, as annotate reads.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.", show_default=False)],
    dim: Annotated[str, typer.Option(help="Dimensions to keep: a number, auto (by --retained) or full.")] = "auto",
    retained: Annotated[float, typer.Option(help="Share of the variance that auto keeps.")] = 0.95,
    shrinkage: Annotated[str, typer.Option(help="For few texts: oas, or a weight from 0 to 1.")] = "0",
    exponent: Annotated[float, typer.Option(help="1 whitens, 0 only rotates; less than 1 for tuned encoders.")] = 1.0,
    pooling: Annotated[str | None, typer.Option(help="mean, cls, weighted or first-last, not the model's own.")] = None,
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text",
    txt_unit: Annotated[TxtUnit, typer.Option(help="What a text is in a .txt file.")] = TxtUnit.line,
    limit: Annotated[int | None, typer.Option(help="Stop after this many texts.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Texts encoded at once.")] = 64,
    max_length: Annotated[int | None, typer.Option(help="Pieces of a text that are read at once.")] = None,
    device: Annotated[str | None, typer.Option(help="Such as cuda; by itself a GPU where there is one.")] = None,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a folder that this command wrote.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a whitening map on a corpus, and write the encoder with it as a sentence-transformers model.

    Good for encoders that were not tuned for similarity, and to make vectors shorter. The same text must be encoded
    with the same model: vectors from before do not compare.
    """
    with reported("nothing was written"):
        from .whiten import whiten

        summary = whiten(
            model,
            corpus,
            output,
            dim=_dim(dim),
            retained=retained,
            shrinkage=_shrinkage(shrinkage),
            exponent=exponent,
            pooling=pooling,
            text_field=text_field,
            txt_unit=txt_unit.value,
            limit=limit,
            batch_size=batch_size,
            max_length=max_length,
            device=device,
            force=force,
            progress=True,
        )
    echo_summary(summary, _in_words(summary), as_json)


def _dim(value: str) -> int | str | None:
    """The option as `whiten` takes it; what it does not know is refused there."""
    return None if value == "full" else int(value) if value.isdecimal() else value


def _shrinkage(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _in_words(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['sentences']:,} sentences in {summary['seconds']:.1f} s; {summary['width']} dimensions to "
        f"{summary['dim']}, with {100 * summary['explained_variance']:.1f} % of the variance",
        f"the model is in {summary['output']}",
    ]
    left_out = {"blank": summary["blank"], **summary["skipped"]}
    if any(left_out.values()):
        counts = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items() if count)
        lines.insert(1, f"left out: {counts}")
    return "\n".join(lines)
