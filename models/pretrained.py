"""Sizes and weights of the small encoder on disk: `encoder.json` and `encoder.safetensors`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch

from ..errors import Errors
from .subword_encoder import SubwordEncoder
from .subword_features import FeatureSizes
from .weights import load_weights

PACKAGES = Path(__file__).parent / "packages"


@dataclass(frozen=True)
class EncoderSizes:
    """Everything that decides a shape of the encoder; see `samarkand.SubwordEncoder.v1`."""

    width: int
    embed_width: int
    word_rows: int
    piece_rows: int
    bigram_rows: int
    bigram_width: int
    context: str
    depth: int

    def build(self, *, dropout: float = 0.0, token_dropout: float = 0.0) -> SubwordEncoder:
        """RETURNS (SubwordEncoder): The network, with random weights."""
        rest = {k: v for k, v in asdict(self).items() if k not in ("word_rows", "piece_rows")}
        sizes = FeatureSizes(self.word_rows, self.piece_rows)
        return SubwordEncoder(sizes=sizes, dropout=dropout, token_dropout=token_dropout, **rest)


def save_encoder(
    encoder: SubwordEncoder, sizes: EncoderSizes, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write an encoder.

    encoder (SubwordEncoder): The encoder.
    sizes (EncoderSizes): Its sizes.
    folder (Path): Where to; made when missing.
    dtype (torch.dtype): Type of the stored weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().to(dtype).contiguous() for name, value in encoder.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps(asdict(sizes), indent=1) + "\n", encoding="utf-8")


def load_encoder(encoder: SubwordEncoder, sizes: EncoderSizes, name: str) -> None:
    """Put saved weights into an encoder.

    encoder (SubwordEncoder): The encoder.
    sizes (EncoderSizes): Its sizes.
    name (str): A folder, or the name of a bundled encoder.
    RAISES (OSError): S302 when there is none; (ValueError): S303 when it has other sizes.
    """
    folder = PACKAGES / name if (PACKAGES / name / "encoder.json").is_file() else Path(name)
    if not (folder / "encoder.json").is_file():
        bundled = ", ".join(sorted(p.parent.name for p in PACKAGES.glob("*/encoder.json"))) or "none"
        raise OSError(Errors.S302.format(name=name, bundled=bundled))
    found = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    other = [f"{k}={found.get(k)!r}" for k, v in asdict(sizes).items() if found.get(k) != v]
    if other:
        raise ValueError(Errors.S303.format(name=name, sizes=", ".join(other)))
    load_weights(encoder, safetensors.torch.load_file(folder / "encoder.safetensors"))
