"""Pretrain the small encoder on the token ids of raw text.

`python -m samarkand.models.pretrain_encoder CORPUS OUTPUT --minutes 60` reads what `corpora.pretraining` wrote to
CORPUS and writes a folder that `samarkand.SubwordEncoder.v1` takes as `pretrained`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path

import torch

from .bidirectional_lm import BidirectionalLMSettings, train_bidirectional_lm
from .pretrained import EncoderSizes, load_sizes
from .token_corpus import TokenCorpus


def main(arguments: list[str] | None = None) -> None:
    """Command line, see the module's docstring."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.begin:
        sizes = load_sizes(options.begin, width=options.width)
    else:
        sizes = EncoderSizes(**{field.name: getattr(options, field.name) for field in fields(EncoderSizes)})
    settings = BidirectionalLMSettings(
        seconds=60 * options.minutes,
        steps=options.steps,
        batch_tokens=options.batch_tokens,
        learn_rate=options.learn_rate,
        seed=options.seed,
        begin=options.begin,
    )
    # The curve of an earlier training must not run on into this one's.
    log = options.output / "curve.jsonl"
    options.output.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    curve = train_bidirectional_lm(TokenCorpus.load(options.corpus), sizes, settings, options.output, log)
    if curve:
        print(", ".join(f"{name} {value:,}" for name, value in curve[-1].items()))


def _parser() -> argparse.ArgumentParser:
    from .subword_tok2vec import build_subword_encoder

    parser = argparse.ArgumentParser(
        prog="python -m samarkand.models.pretrain_encoder",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("corpus", type=Path, help="folder with tokens.txt, ids.npy and ends.npy")
    parser.add_argument("output", type=Path, help="folder for encoder.json, encoder.safetensors and curve.jsonl")
    parser.add_argument("--minutes", type=float, default=60.0, help="time to train for")
    parser.add_argument("--steps", type=int, default=0, help="steps to train for instead")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens of a batch")
    parser.add_argument("--learn-rate", type=float, default=BidirectionalLMSettings.learn_rate, help="the highest")
    parser.add_argument("--begin", default="", help="encoder to go on from, by name or folder; it brings its sizes")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 for torch's own choice")
    # Weights fit an encoder of the same sizes only, so the ones of the architecture are the ones to start from.
    architecture = signature(build_subword_encoder).parameters
    for field in fields(EncoderSizes):
        default = architecture[field.name].default
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(default), default=default, help="as in samarkand.SubwordEncoder.v1")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
