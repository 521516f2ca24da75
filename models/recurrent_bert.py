"""BERT that stores little: a narrow table of pieces, and few layers that run several times.

BERT norms after each sublayer, so that what a piece means by itself reaches the output only through all layers. A skip
brings it there directly: few layers then need not learn to pass on what a static encoder knows.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel
from transformers.modeling_outputs import BaseModelOutput

from ..errors import Errors
from .recurrent_parts import BottleneckEmbedding, NarrowTable, Projection, RepeatedLayers, sizes_of


@strict
class RecurrentBertConfig(BertConfig):
    """Settings of BERT, and three more.

    embedding_size (int): Width e of the table of pieces.
    repeats (int): Times m that the layers run.
    skip (bool): Add to the output at each piece its row of the table, through a map of its own.
    """

    model_type = "samarkand_recurrent_bert"

    embedding_size: int = 128
    repeats: int = 1
    skip: bool = False


class RecurrentBert(NarrowTable, BertModel):
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
        self.skip = Projection(config.embedding_size, config.hidden_size, bias=False) if config.skip else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **options: Any,
    ) -> BaseModelOutput:
        """BERT's output, and what skips the layers.

        input_ids (int64, [B, L]): The pieces.
        attention_mask (Optional[Tensor]): 0 where there is none. (B, L)
        token_type_ids (Optional[Tensor]): As BERT takes them. (B, L)
        options (Any): As BERT takes them.
        RETURNS (BaseModelOutput): `last_hidden_state` has the shape (B, L, h).
        """
        output = super().forward(input_ids, attention_mask, token_type_ids, **options)
        if self.skip is not None:
            output.last_hidden_state = output.last_hidden_state + self.skip(self.bottleneck.table(input_ids))
        return output

    @property
    def bottleneck(self) -> BottleneckEmbedding:
        """RETURNS (BottleneckEmbedding): The table and its projection."""
        return self.embeddings.word_embeddings

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Projection):
            module.spread()
        else:
            super()._init_weights(module)

    @classmethod
    def of(
        cls, assistant: BertModel, *, embedding_size: int, layers: int, repeats: int, skip: bool = False
    ) -> RecurrentBert:
        """A student with the weights of an assistant, but for the table and the skip. See `shrink`."""
        few = {"num_hidden_layers": layers, "embedding_size": embedding_size, "repeats": repeats, "skip": skip}
        # Its targets are vectors, each sentence comes about once: dropout would only blur what it gives for them.
        few |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        student = cls(RecurrentBertConfig(**sizes_of(assistant.config) | few))
        own = {name: value for name, value in assistant.state_dict().items() if "word_embeddings" not in name}
        student.load_state_dict({name: own[name] for name in student.state_dict() if name in own}, strict=False)
        return student

    def plain(self) -> BertModel:
        """The same layers in a plain BERT, each as often as it runs. See `unroll`."""
        if self.skip is not None:
            raise ValueError(Errors.S870)
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
