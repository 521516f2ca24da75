"""Transformer encoders over documents of any length: windows of pieces in, one vector per token out.

`piece_windows` says which window each token is read from. Tokens without pieces get zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import Errors, first_line
from .hub_code import refuse_hub_code
from .piece_windows import WindowPlan
from .recompute_updates import RecomputeSettings, UpdatePlans
from .transformer_watch import TransformerWatch, attention_maps, layer_states
from .word_pieces import IntArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Layers = Literal["last", "mix"]
Precision = Literal["fp32", "bf16"]


class LayerMix(nn.Module):
    """A learned weighting of all layers, embeddings included: gamma * sum_l softmax(s)_l h_l.

    Peters et al. 2018, equation 1: https://aclanthology.org/N18-1202

    n_layers (int): Layers to mix.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_layers))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Mix layers.

        layers (Sequence[Tensor]): Outputs of the layers. (..., width) each
        RETURNS (Tensor): Their mixture. (..., width)
        """
        shares = self.weights.softmax(dim=0)
        mixed = sum(share * layer for share, layer in zip(shares, layers))
        return self.gamma * mixed


class TransformerNetwork(nn.Module):
    """Encode the windows of a plan and pool pieces to tokens.

    encoder (PreTrainedModel): Encoder of the `transformers` library.
    layers (str): "last" for the last layer, "mix" for a learned mixture of all.
    freeze (bool): Keep the encoder as it is: no gradients, no dropout. A mixture still learns.
    precision (str): "fp32", or "bf16" for autocast to bfloat16; a frozen encoder then holds bfloat16 weights.
    max_batch_pieces (int): Most pieces in a batch of windows, special pieces and padding included.
    pretrained (bool): Whether optimizers should use their learning rate for pretrained networks.
    recompute (Optional[RecomputeSettings]): Budget of an update, unless the encoder is frozen; None to keep all
        activations.
    RAISES (ValueError): S334 when there is a budget and the encoder has no layers to recompute.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        *,
        layers: Layers = "last",
        freeze: bool = False,
        precision: Precision = "fp32",
        max_batch_pieces: int = 4096,
        pretrained: bool = True,
        recompute: RecomputeSettings | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.mix = LayerMix(encoder.config.num_hidden_layers + 1) if layers == "mix" else None
        self.freeze = freeze
        self.autocast = precision == "bf16" and not freeze
        self.max_batch_pieces = max_batch_pieces
        self.pretrained = pretrained
        self.update_plans = None if recompute is None or freeze else UpdatePlans(recompute, encoder)
        if freeze:
            encoder.requires_grad_(False).eval()
            if precision == "bf16":
                # Buffers stay as they are: rotary frequencies lose their meaning in bfloat16.
                for parameter in encoder.parameters():
                    parameter.data = parameter.data.to(torch.bfloat16)

    @property
    def width(self) -> int:
        """RETURNS (int): Size of a token vector."""
        return self.encoder.config.hidden_size

    @property
    def max_positions(self) -> int | None:
        """RETURNS (Optional[int]): Most pieces, with special ones, that the encoder takes; None for any."""
        for name, module in self.encoder.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
                # RoBERTa and its kin count positions from the one after the padding index.
                unused = 0 if module.padding_idx is None else module.padding_idx + 1
                return module.num_embeddings - unused
        return getattr(self.encoder.config, "max_position_embeddings", None)

    def train(self, mode: bool = True) -> TransformerNetwork:
        """Switch training mode; a frozen encoder stays in evaluation mode.

        mode (bool): Whether to train.
        RETURNS (TransformerNetwork): Itself.
        """
        super().train(mode)
        if self.freeze:
            self.encoder.eval()
        return self

    def forward(self, plan: WindowPlan, watch: TransformerWatch | None = None) -> Tensor:
        """Encode a batch of documents.

        plan (WindowPlan): Windows, and where each token is read.
        watch (Optional[TransformerWatch]): Gets what it asks for, unless the pass recomputes.
        RETURNS (Tensor): The mean of each token's pieces, zeros for a token without any. (n_tokens, width)
        RAISES (ValueError): S754 or S755 when an update does not fit its budget.
        """
        if not plan.windows:
            return torch.zeros(len(plan.starts), self.width, device=self.encoder.device)
        update = list(plan.batches(self.max_batch_pieces)), plan.rows, plan.starts
        if self.update_plans is None or not torch.is_grad_enabled():
            return self.vectors(*update, watch)
        with self.update_plans.applied(self, *update):
            return self.vectors(*update)

    def vectors(
        self,
        batches: Sequence[Sequence[IntArray]],
        rows: IntArray,
        starts: IntArray,
        watch: TransformerWatch | None = None,
    ) -> Tensor:
        """Encode batches of windows and pool pieces to tokens.

        batches (Sequence[Sequence[IntArray]]): The windows of a plan, in batches.
        rows, starts (IntArray): Where each token is read, as in `WindowPlan`.
        watch (Optional[TransformerWatch]): Gets what it asks for.
        RETURNS (Tensor): The mean of each token's pieces. (n_tokens, width)
        """
        return pool_pieces(torch.cat([self.encode(batch, watch) for batch in batches]), rows, starts)

    def encode(self, windows: Sequence[IntArray], watch: TransformerWatch | None = None) -> Tensor:
        """Run the encoder over one padded batch.

        windows (Sequence[IntArray]): Piece ids of each window. (n_pieces,) each
        watch (Optional[TransformerWatch]): Gets what it asks for.
        RETURNS (Tensor): Vectors of all pieces, window after window. (sum of n_pieces, width)
        """
        ids, mask = self._pad(windows)
        wanted: dict[str, Any] = {"output_hidden_states": self.mix is not None or watch is not None}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze), self._autocast():
            if watch is None or watch.block is None:
                output = self.encoder(input_ids=ids, attention_mask=mask, **wanted)
            else:
                with attention_maps(self.encoder):
                    output = self.encoder(input_ids=ids, attention_mask=mask, output_attentions=True, **wanted)
        is_piece = mask.bool()
        if watch is not None:
            watch.take(output, is_piece)
        if self.mix is None:
            return output.last_hidden_state[is_piece].float()
        return self.mix([layer[is_piece].float() for layer in layer_states(output)])

    def _pad(self, windows: Sequence[IntArray]) -> tuple[Tensor, Tensor]:
        pad = self.encoder.config.pad_token_id or 0
        ids = np.full((len(windows), max(map(len, windows))), pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, window in enumerate(windows):
            ids[i, : len(window)] = window
            mask[i, : len(window)] = 1
        device = self.encoder.device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=self.autocast)


def pool_pieces(pieces: Tensor, rows: IntArray, starts: IntArray) -> Tensor:
    """The mean of each token's pieces.

    pieces (Tensor): Vectors of all pieces of a plan. (n_pieces, width)
    rows, starts (IntArray): Where each token is read, as in `WindowPlan`.
    RETURNS (Tensor): Zeros for a token without pieces. (n_tokens, width)
    """
    places, begins = (torch.from_numpy(array).to(pieces.device) for array in (rows, starts))
    return F.embedding_bag(places, pieces, begins, mode="mean")


def register_encoders() -> None:
    """Let `transformers` load the encoders of this project, such as the bundled one of sentences."""
    from . import recurrent_encoder  # noqa: F401


def load_encoder(
    name: str, *, revision: str | None = None, overrides: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """Load a pretrained encoder in float32, from safetensors weights only.

    name (str): Hub name or folder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    overrides (Optional[Mapping]): Settings of the checkpoint's config to replace, such as dropouts.
    RETURNS (PreTrainedModel): The encoder, without a pooler.
    RAISES (OSError): S320 when the checkpoint cannot be loaded.
    RAISES (ValueError): S325 when weights of the encoder are missing in it, S326 when it has a decoder, S332
        when its config has no such setting to replace, S336 when its config asks for code from the hub.
    """
    from transformers import AutoConfig, AutoModel

    source: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        config, unknown = AutoConfig.from_pretrained(name, return_unused_kwargs=True, **source, **(overrides or {}))
    except Exception as err:
        raise OSError(Errors.S320.format(name=name, part="config", reason=first_line(err))) from err
    if unknown:
        raise ValueError(Errors.S332.format(name=name, unknown=", ".join(sorted(unknown))))
    refuse_hub_code(config)
    try:
        encoder, report = AutoModel.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **source,
        )
    except Exception as err:
        raise OSError(Errors.S320.format(name=name, part="weights", reason=first_line(err))) from err
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(Errors.S325.format(name=name, missing=", ".join(missing)))
    return _encoder_only(encoder)


def make_encoder(config: Mapping[str, Any]) -> PreTrainedModel:
    """Make an encoder with random weights.

    config (Mapping): Settings of a `transformers` config, `model_type` among them.
    RETURNS (PreTrainedModel): The encoder, in float32, without a pooler.
    RAISES (ValueError): S327 when `transformers` rejects the settings, S326 for a model with a decoder, S336 when they
        ask for code from the hub.
    """
    from transformers import AutoConfig, AutoModel

    register_encoders()
    try:
        settings = AutoConfig.for_model(**config)
    except Exception as err:
        raise ValueError(Errors.S327.format(found=dict(config), reason=first_line(err))) from err
    refuse_hub_code(settings)
    try:
        encoder = AutoModel.from_config(settings, dtype=torch.float32, trust_remote_code=False)
    except Exception as err:
        raise ValueError(Errors.S327.format(found=dict(config), reason=first_line(err))) from err
    return _encoder_only(encoder)


def encoder_config(encoder: PreTrainedModel) -> dict[str, Any]:
    """What `make_encoder` needs to make an encoder of the same shape, without where it was loaded from.

    encoder (PreTrainedModel): The encoder.
    RETURNS (Dict[str, Any]): Its settings, JSON types only.
    """
    settings = encoder.config.to_dict()
    return {key: value for key, value in settings.items() if key not in ("_name_or_path", "auto_map")}


def _encoder_only(encoder: PreTrainedModel) -> PreTrainedModel:
    if encoder.config.is_encoder_decoder:
        raise ValueError(Errors.S326.format(found=encoder.config.model_type))
    # No token vector passes through the pooler; it would be saved and never trained.
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder
