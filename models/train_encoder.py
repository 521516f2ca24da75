"""Training of an encoder: by masked words, or by one of the objectives for sentences.

`python -m samarkand.models.train_encoder CONFIG [--resume] [--section.key value ...]`, plain or under `torchrun`,
reads what `samarkand prepare-text CONFIG` wrote, and writes a folder that `transformers` and
`samarkand.TransformerEncoder.v1` load. It needs torch, transformers, numpy and safetensors. With
`objective = "mirror"`, "contrastive" or "distill" in CONFIG it trains a sentence encoder, and needs
sentence-transformers and datasets too.

All chance comes from the seed and the number of the step, so that a training that was stopped and resumed takes
the same steps as one that never was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Errors, is_first_rank, tell
from ..replacing import file_in_the_way
from .checkpoints import checkpoints
from .encoder_base import base_shape
from .encoder_settings import PREPARATION, EncoderSettings
from .encoder_trainer import EncoderTrainer, Row
from .process_group import joined_ranks
from .settings import load_settings, read_settings

MASKED_LM = "masked-lm"


def train_encoder(
    config: Path, overrides: Sequence[str] = (), *, resume: bool = False, report: Callable[[Row], None] | None = None
) -> Row:
    """Train an encoder.

    config (Path): TOML file of `EncoderSettings`, or of the settings of its objective.
    overrides (Sequence[str]): `--section.key value` words.
    resume (bool): Whether to go on from the last checkpoint, if there is one.
    report (Optional[Callable]): Takes each line of the log, in the first rank.
    RETURNS (dict): The last line of the log, with the folder of the result as "encoder".
    RAISES (ValueError): S516 for an output that is a file, S730 to S732 for the settings, S735 and S736 for the text,
        S737 to S742 for what keeps the training from starting, S744 and S745 for the base.
    RAISES (RuntimeError): S740 when the loss is no number any more.
    """
    found = read_settings(config, overrides, EncoderSettings)
    row = _train(config, overrides, found, resume, report)
    return {**row, "encoder": str(Path(found["output"]) / "encoder")}


def _train(
    config: Path,
    overrides: Sequence[str],
    found: dict[str, Any],
    resume: bool,
    report: Callable[[Row], None] | None,
) -> Row:
    if in_the_way := file_in_the_way(Path(str(found.get("output", "")))):
        raise ValueError(Errors.S516.format(path=in_the_way))
    objective = found.get("objective", MASKED_LM)
    if objective != MASKED_LM:
        from .train_sentences import train_sentences

        return train_sentences(objective, config, overrides, resume=resume, report=report)
    settings = load_settings(EncoderSettings, config, overrides, others=PREPARATION)
    if settings.base:
        settings = replace(settings, model=base_shape(settings.base, found.get("model", {})))
    with joined_ranks() as ranks:
        output = Path(settings.output)
        saved = checkpoints(output / "checkpoints")
        is_done = (output / "encoder").exists()
        if resume and is_done and not saved:
            raise ValueError(Errors.S737.format(path=output))
        if not resume and (is_done or saved):
            raise ValueError(Errors.S741.format(path=output))
        trainer = EncoderTrainer(settings, ranks, report)
        if saved:
            trainer.load(saved[-1])
        return trainer.run()


def describe(row: Row) -> str:
    """RETURNS (str): A line of the log in words."""
    if "stage" in row:
        rounded = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
        return ", ".join(f"{key} {value}" for key, value in rounded.items())
    parts = [f"step {row['step']:,}", f"loss {row['loss']:.4f}", f"{row['pieces'] / 1e6:,.1f} M pieces"]
    parts += [f"{row['pieces_per_second']:,} pieces/s", f"{row['memory_mb']:,} MB", f"{row['left']:,} s left"]
    parts += [f"{row['share_of_peak']:.1%} of peak"] if "share_of_peak" in row else []
    parts += [f"held-out {row['held_out']['mean']:.4f}"] if row.get("held_out") else []
    return ", ".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Command line, see the module's docstring.

    arguments (Sequence[str]): Its words.
    RETURNS (int): Exit status: 0 for done, 1 for an error, 2 for a wrong call, 130 when interrupted.
    """
    words = [word for word in arguments if word != "--resume"]
    if not words or words[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        train_encoder(
            Path(words[0]),
            words[1:],
            resume="--resume" in arguments,
            report=lambda row: print(describe(row), file=sys.stderr, flush=True),
        )
    except (OSError, ValueError, RuntimeError, ImportError) as err:
        tell(err)
        return 1
    except KeyboardInterrupt:
        if is_first_rank():
            print("interrupted: go on with --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
