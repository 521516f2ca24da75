"""ModernBERT that stores little: a narrow table of pieces, and few layers that run several times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, ModernBertConfig, ModernBertModel

from .recurrent_parts import BottleneckEmbedding, NarrowTable, Projection, RepeatedLayers, sizes_of


@strict
class RecurrentModernBertConfig(ModernBertConfig):
    """Settings of ModernBERT, and two more.

    embedding_size (int): Width e of the table of pieces.
    repeats (int): Times m that the layers run.
    """

    model_type = "samarkand_recurrent"

    embedding_size: int = 128
    repeats: int = 1


class RecurrentModernBert(NarrowTable, ModernBertModel):
    """The encoder. Its output is ModernBERT's.

    config (RecurrentModernBertConfig): The sizes.
    """

    config: RecurrentModernBertConfig
    config_class = RecurrentModernBertConfig

    def __init__(self, config: RecurrentModernBertConfig) -> None:
        super().__init__(config)
        table = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embeddings.tok_embeddings = BottleneckEmbedding(table, config.hidden_size)
        # ModernBERT's first layer reads what the embedding has normalized; when it runs again, nothing has.
        self.again_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)
        self.layers = _Layers(self.layers, config.repeats, self.again_norm)
        self.post_init()

    @property
    def bottleneck(self) -> BottleneckEmbedding:
        """RETURNS (BottleneckEmbedding): The table and its projection."""
        return self.embeddings.tok_embeddings

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Projection):
            module.spread()
        elif not hasattr(module, "tok_embeddings"):
            super()._init_weights(module)

    @classmethod
    def of(cls, assistant: ModernBertModel, *, embedding_size: int, layers: int, repeats: int) -> RecurrentModernBert:
        """A student with the weights of an assistant, but for the table. See `shrink`."""
        sizes = assistant.config
        few = {"num_hidden_layers": layers, "layer_types": list(sizes.layer_types[:layers])}
        settings = sizes_of(sizes) | few | {"embedding_size": embedding_size, "repeats": repeats}
        student = cls(RecurrentModernBertConfig(**settings))
        own = {name: value for name, value in assistant.state_dict().items() if "tok_embeddings" not in name}
        student.load_state_dict({name: own[name] for name in student.state_dict() if name in own}, strict=False)
        if sizes.num_hidden_layers > layers:
            # What the assistant's next layer reads its input through.
            student.again_norm.load_state_dict(assistant.layers[layers].attn_norm.state_dict())
        return student

    def plain(self) -> ModernBertModel:
        """The same layers in a plain ModernBERT, each as often as it runs. See `unroll`."""
        sizes = self.config
        settings = sizes_of(sizes) | {"num_hidden_layers": sizes.num_hidden_layers * sizes.repeats}
        plain = ModernBertModel(ModernBertConfig(**settings | {"layer_types": list(sizes.layer_types) * sizes.repeats}))
        plain.embeddings.norm.load_state_dict(self.embeddings.norm.state_dict())
        plain.final_norm.load_state_dict(self.final_norm.state_dict())
        stored = self.layers.stored
        for i, layer in enumerate(plain.layers):
            weights = stored[i % len(stored)].state_dict()
            if i and not i % len(stored):
                weights |= {f"attn_norm.{name}": value for name, value in self.again_norm.state_dict().items()}
            layer.load_state_dict(weights)
        return plain


class _Layers(RepeatedLayers):
    """ModernBERT's layers, several times.

    layers (ModuleList): The layers.
    repeats (int): How many times.
    norm (LayerNorm): What the first layer's attention reads its input through when it runs again.
    """

    def __init__(self, layers: nn.ModuleList, repeats: int, norm: nn.LayerNorm) -> None:
        super().__init__(layers, repeats)
        # In a list, so that its weights stay the encoder's and are not saved twice.
        self._norm = [norm]

    def _again(self) -> Iterator[Any]:
        first, *others = self.stored
        yield _Again(first, self._norm[0])
        yield from others


class _Again:
    """The first layer, with a norm before its attention."""

    def __init__(self, layer: nn.Module, norm: Callable[[Tensor], Tensor]) -> None:
        self.layer, self.norm = layer, norm
        self.attention_type = layer.attention_type

    def __call__(self, hidden_states: Tensor, **options: Any) -> Tensor:
        attended, _ = self.layer.attn(self.norm(hidden_states), **options)
        hidden_states = hidden_states + attended
        return hidden_states + self.layer.mlp(self.layer.mlp_norm(hidden_states))


AutoConfig.register(RecurrentModernBertConfig.model_type, RecurrentModernBertConfig, exist_ok=True)
AutoModel.register(RecurrentModernBertConfig, RecurrentModernBert, exist_ok=True)
