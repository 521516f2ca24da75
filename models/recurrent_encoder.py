"""Small sentence encoders that store little: a narrow table of pieces, and few layers that run several times.

The student of multi-stage distillation (Ding et al. 2022, arXiv 2209.05869) on ModernBERT's layers: the table E in
R^{V x h} is a product of E_b in R^{V x e} and P in R^{e x h}, and n layers run m times over. Storage shrinks, the
work of the layers does not. Importing this module makes `transformers` load its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, ModernBertConfig, ModernBertModel
from transformers import initialization as init

from ..errors import Errors


@strict
class RecurrentEncoderConfig(ModernBertConfig):
    """Settings of ModernBERT, and two more.

    embedding_size (int): Width e of the table of pieces.
    repeats (int): Times m that the layers run.
    """

    model_type = "samarkand_recurrent"

    embedding_size: int = 128
    repeats: int = 1


class RecurrentEncoder(ModernBertModel):
    """The encoder. Its output is ModernBERT's.

    config (RecurrentEncoderConfig): The sizes.
    """

    config: RecurrentEncoderConfig
    config_class = RecurrentEncoderConfig

    def __init__(self, config: RecurrentEncoderConfig) -> None:
        super().__init__(config)
        table = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embeddings.tok_embeddings = BottleneckEmbedding(table, config.hidden_size)
        # ModernBERT's first layer reads what the embedding has normalized; when it runs again, nothing has.
        self.again_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)
        self.layers = RepeatedLayers(self.layers, config.repeats, self.again_norm)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """RETURNS (nn.Module): The table of pieces."""
        return self.embeddings.tok_embeddings.table

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the table of pieces.

        value (nn.Module): The table.
        """
        self.embeddings.tok_embeddings.table = value

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Projection):
            # So the product has the spread that ModernBERT gives its table. Loaded weights are left alone.
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif not hasattr(module, "tok_embeddings"):
            super()._init_weights(module)


class Projection(nn.Linear):
    """P, from the width of the table to that of the layers."""


class BottleneckEmbedding(nn.Module):
    """A table of pieces through a narrow width.

    table (Embedding): E_b, weight of shape (pieces, e).
    width (int): Width h of the result.
    """

    def __init__(self, table: nn.Embedding, width: int) -> None:
        super().__init__()
        self.table = table
        self.project = Projection(table.embedding_dim, width, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Vectors of pieces.

        input_ids (int64, [B, L]): The pieces.
        RETURNS (Tensor): Shape (B, L, h).
        """
        return self.project(self.table(input_ids))

    @torch.no_grad()
    def factorize(self, table: Tensor) -> None:
        """Become the best approximation of a whole table: E_b = U S^(1/2), P = S^(1/2) V^T of its largest values.

        table (Tensor): Shape (pieces, h).
        RAISES (ValueError): S860 if it has other sizes.
        """
        own = (self.table.num_embeddings, self.project.out_features)
        if tuple(table.shape) != own:
            raise ValueError(Errors.S860.format(found=tuple(table.shape), own=own))
        size = self.table.embedding_dim
        # The eigenvectors of E^T E are the right singular vectors of E, and far fewer than its rows.
        values, vectors = torch.linalg.eigh(table.double().T @ table.double())
        right, roots = vectors[:, -size:], values[-size:].clamp_min(1e-12) ** 0.25
        self.table.weight.copy_(table.double() @ right / roots)
        self.project.weight.copy_(right * roots)


class RepeatedLayers(nn.ModuleList):
    """Layers whose iteration goes over them several times.

    layers (ModuleList): The layers, ModernBERT's.
    repeats (int): How many times.
    norm (LayerNorm): What the first layer's attention reads its input through when it runs again.
    """

    def __init__(self, layers: nn.ModuleList, repeats: int, norm: nn.LayerNorm) -> None:
        super().__init__(list(layers))
        self.repeats = repeats
        # In a list, so that its weights stay the encoder's and are not saved twice.
        self._norm = [norm]

    def __iter__(self) -> Iterator[Any]:
        layers = list(self._modules.values())
        yield from layers
        for _ in range(self.repeats - 1):
            yield _Again(layers[0], self._norm[0])
            yield from layers[1:]


class _Again:
    """The first layer, with a norm before its attention."""

    def __init__(self, layer: nn.Module, norm: Callable[[Tensor], Tensor]) -> None:
        self.layer, self.norm = layer, norm
        self.attention_type = layer.attention_type

    def __call__(self, hidden_states: Tensor, **options: Any) -> Tensor:
        attended, _ = self.layer.attn(self.norm(hidden_states), **options)
        hidden_states = hidden_states + attended
        return hidden_states + self.layer.mlp(self.layer.mlp_norm(hidden_states))


@torch.no_grad()
def shrink(assistant: ModernBertModel, *, embedding_size: int, layers: int, repeats: int) -> RecurrentEncoder:
    """A student from an assistant: its table factorized, and its first layers.

    assistant (ModernBertModel): The assistant, width h.
    embedding_size (int): Width e of the student's table, at most h.
    layers (int): Layers n to keep.
    repeats (int): Times m that they run.
    RETURNS (RecurrentEncoder): The student.
    RAISES (ValueError): S861 for more than the assistant has.
    """
    sizes = assistant.config
    if not (1 <= embedding_size <= sizes.hidden_size and 1 <= layers <= sizes.num_hidden_layers and repeats >= 1):
        asked = f"width {embedding_size}, {layers} layers, {repeats} times"
        raise ValueError(Errors.S861.format(asked=asked, width=sizes.hidden_size, layers=sizes.num_hidden_layers))
    settings = sizes.to_dict() | {"num_hidden_layers": layers, "layer_types": list(sizes.layer_types[:layers])}
    settings = {key: value for key, value in settings.items() if key not in ("model_type", "architectures")}
    student = RecurrentEncoder(RecurrentEncoderConfig(**settings, embedding_size=embedding_size, repeats=repeats))
    own = {name: value for name, value in assistant.state_dict().items() if "tok_embeddings" not in name}
    student.load_state_dict({name: own[name] for name in student.state_dict() if name in own}, strict=False)
    student.embeddings.tok_embeddings.factorize(assistant.embeddings.tok_embeddings.weight)
    if sizes.num_hidden_layers > layers:
        # What the assistant's next layer reads its input through.
        student.again_norm.load_state_dict(assistant.layers[layers].attn_norm.state_dict())
    return student


@torch.no_grad()
def unroll(student: RecurrentEncoder) -> ModernBertModel:
    """The same encoder as a plain ModernBERT, for programs without Samarkand: larger, with equal outputs.

    student (RecurrentEncoder): The student.
    RETURNS (ModernBertModel): Its table multiplied out, its layers repeated.
    """
    sizes = student.config
    settings = {key: value for key, value in sizes.to_dict().items() if key not in ("embedding_size", "repeats")}
    settings |= {"num_hidden_layers": sizes.num_hidden_layers * sizes.repeats}
    settings |= {"layer_types": list(sizes.layer_types) * sizes.repeats}
    settings = {key: value for key, value in settings.items() if key not in ("model_type", "architectures")}
    plain = ModernBertModel(ModernBertConfig(**settings))
    plain.embeddings.norm.load_state_dict(student.embeddings.norm.state_dict())
    bottleneck = student.embeddings.tok_embeddings
    plain.embeddings.tok_embeddings.weight.copy_(bottleneck.table.weight @ bottleneck.project.weight.T)
    plain.final_norm.load_state_dict(student.final_norm.state_dict())
    stored = list(student.layers._modules.values())
    for i, layer in enumerate(plain.layers):
        weights = stored[i % len(stored)].state_dict()
        if i and not i % len(stored):
            weights |= {f"attn_norm.{name}": value for name, value in student.again_norm.state_dict().items()}
        layer.load_state_dict(weights)
    return plain


AutoConfig.register(RecurrentEncoderConfig.model_type, RecurrentEncoderConfig, exist_ok=True)
AutoModel.register(RecurrentEncoderConfig, RecurrentEncoder, exist_ok=True)
