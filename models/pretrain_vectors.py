"""Train the fixed vectors of the small encoder on the token ids of raw text.

`python -m samarkand.models.pretrain_vectors CORPUS OUTPUT` reads what `corpora.pretraining` wrote to CORPUS and writes
`vectors.safetensors` to OUTPUT, which `pretrain_encoder --vectors OUTPUT` builds on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch

from .pretrained import save_vectors
from .skip_gram import SkipGramSettings, train_skip_gram
from .token_corpus import TokenCorpus


def main(arguments: list[str] | None = None) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m samarkand.models.pretrain_vectors",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("corpus", type=Path, help="folder with tokens.txt, ids.npy and ends.npy")
    parser.add_argument("output", type=Path, help="folder for vectors.safetensors")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 for torch's own choice")
    for field in fields(SkipGramSettings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = SkipGramSettings(**{field.name: getattr(options, field.name) for field in fields(SkipGramSettings)})
    save_vectors(train_skip_gram(TokenCorpus.load(options.corpus), settings, progress=True), options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
