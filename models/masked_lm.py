"""The network of masked-LM pretraining: ModernBERT with full attention and a tied output layer.

ModernBERT (Warner et al. 2024, arXiv 2412.13663) for its rotary positions and gated feed-forward layers; all layers
see the whole sequence, which at a few hundred pieces is the fast path of torch's attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from .masking import IGNORED
from .settings import require
from .vocabulary import BEGIN, END, PAD

if TYPE_CHECKING:
    from transformers import ModernBertForMaskedLM


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder.

    layers (int): Layers.
    width (int): Width of a piece's vector.
    heads (int): Attention heads of a layer.
    hidden (int): Width inside the feed-forward layers.
    """

    layers: int = 6
    width: int = 384
    heads: int = 6
    hidden: int = 1024

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "hidden"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "1 or more")
        fits = self.width % (2 * self.heads) == 0
        require(fits, "model.heads", self.heads, f"a divisor of width = {self.width} that leaves heads of even width")


def build_masked_lm(shape: EncoderShape, *, vocabulary: int, length: int) -> ModernBertForMaskedLM:
    """Make a model with random weights.

    shape (EncoderShape): Its sizes.
    vocabulary (int): Pieces.
    length (int): Most pieces of a sequence, special ones included.
    RETURNS (ModernBertForMaskedLM): The model, in float32.
    """
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    rotary = {"rope_type": "default", "rope_theta": 10000.0}
    config = ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=length,
        layer_types=["full_attention"] * shape.layers,
        # No layer is local, but a mask for local ones would be made, unless they reach over the whole sequence.
        local_attention=2 * length,
        rope_parameters={"full_attention": rotary, "sliding_attention": dict(rotary)},
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        cls_token_id=BEGIN,
        eos_token_id=END,
        sep_token_id=END,
        attn_implementation="sdpa",
    )
    return ModernBertForMaskedLM(config)


class MaskedLMLoss(nn.Module):
    """The model and its loss at the positions that are asked for; no others are scored.

    model (ModernBertForMaskedLM): The model.
    """

    def __init__(self, model: ModernBertForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
        """Losses of a batch.

        inputs (int64, [B, L]): The pieces to read. No attention is masked: pieces see across the documents of a
            sequence, and the few short sequences see their padding.
        positions (int64, [B, M]): Positions that are asked for.
        labels (int64, [B, M]): The pieces that belong there, `IGNORED` for none.
        RETURNS (float32, [B, M]): Cross-entropies in nats, 0 where nothing is asked.
        """
        # Asked for a mask of its own, the model makes one while it is compiled, which hides nothing and costs the fused
        # attention.
        unmasked = {"full_attention": None, "sliding_attention": None}
        hidden = self.model.model(input_ids=inputs, attention_mask=unmasked).last_hidden_state
        asked = hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        logits = self.model.decoder(self.model.head(asked)).float()
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        return losses.view_as(labels)


def flops_per_piece(shape: EncoderShape, *, vocabulary: int, length: int, asked: int) -> float:
    """Floating-point operations of a training step a piece, matrix products alone, forwards and backwards.

    shape (EncoderShape): Sizes of the encoder.
    vocabulary (int): Pieces of the vocabulary.
    length (int): Pieces of a sequence.
    asked (int): Pieces of a sequence that are asked for.
    RETURNS (float): The operations; a multiplication and an addition count as two.
    """
    layer = 4 * shape.width**2 + 3 * shape.width * shape.hidden + 2 * length * shape.width
    head = (shape.width**2 + shape.width * vocabulary) * asked / length
    return 6 * (shape.layers * layer + head)
