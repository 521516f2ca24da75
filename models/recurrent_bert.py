"""BERT that stores little: a narrow table of pieces, and few layers that run several times."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from .recurrent_parts import BottleneckEmbedding, Projection, RepeatedLayers, sizes_of


@strict
class RecurrentBertConfig(BertConfig):
    """Settings of BERT, and two more.

    embedding_size (int): Width e of the table of pieces.
    repeats (int): Times m that the layers run.
    """

    model_type = "samarkand_recurrent_bert"

    embedding_size: int = 128
    repeats: int = 1


class RecurrentBert(BertModel):
    """The encoder. Its output is BERT's, without the pooler's.

    config (RecurrentBertConfig): The sizes.
    """

    config: RecurrentBertConfig
    config_class = RecurrentBertConfig

    def __init__(self, config: RecurrentBertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        table = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embeddings.word_embeddings = BottleneckEmbedding(table, config.hidden_size)
        self.encoder.layer = RepeatedLayers(self.encoder.layer, config.repeats)
        self.post_init()

    @property
    def bottleneck(self) -> BottleneckEmbedding:
        """RETURNS (BottleneckEmbedding): The table and its projection."""
        return self.embeddings.word_embeddings

    def get_input_embeddings(self) -> nn.Module:
        """RETURNS (nn.Module): The table of pieces."""
        return self.bottleneck.table

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the table of pieces.

        value (nn.Module): The table.
        """
        self.bottleneck.table = value

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Projection):
            module.spread()
        else:
            super()._init_weights(module)

    @classmethod
    def of(cls, assistant: BertModel, *, embedding_size: int, layers: int, repeats: int) -> RecurrentBert:
        """A student with the weights of an assistant, but for the table. See `shrink`."""
        few = {"num_hidden_layers": layers, "embedding_size": embedding_size, "repeats": repeats}
        student = cls(RecurrentBertConfig(**sizes_of(assistant.config) | few))
        own = {name: value for name, value in assistant.state_dict().items() if "word_embeddings" not in name}
        student.load_state_dict({name: own[name] for name in student.state_dict() if name in own}, strict=False)
        return student

    def plain(self) -> BertModel:
        """The same layers in a plain BERT, each as often as it runs. See `unroll`."""
        sizes = self.config
        settings = sizes_of(sizes) | {"num_hidden_layers": sizes.num_hidden_layers * sizes.repeats}
        plain = BertModel(BertConfig(**settings), add_pooling_layer=False)
        own = {name: value for name, value in self.embeddings.state_dict().items() if "word_embeddings" not in name}
        plain.embeddings.load_state_dict(own, strict=False)
        stored = self.encoder.layer.stored
        for i, layer in enumerate(plain.encoder.layer):
            layer.load_state_dict(stored[i % len(stored)].state_dict())
        return plain


AutoConfig.register(RecurrentBertConfig.model_type, RecurrentBertConfig, exist_ok=True)
AutoModel.register(RecurrentBertConfig, RecurrentBert, exist_ok=True)
