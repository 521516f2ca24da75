"""Small sentence encoders that store little, made of larger ones, and the way back to plain ones.

The student of multi-stage distillation (Ding et al. 2022, arXiv 2209.05869) on the layers of BERT or ModernBERT: the
table E in R^{V x h} is a product of E_b in R^{V x e} and P in R^{e x h}, and n layers run m times over. Storage
shrinks, the work of the layers does not. Importing this module makes `transformers` load its checkpoints.
"""

from __future__ import annotations

import torch
from transformers import BertModel, ModernBertModel

from ..errors import Errors
from .recurrent_bert import RecurrentBert
from .recurrent_modernbert import RecurrentModernBert

Assistant = BertModel | ModernBertModel
Student = RecurrentBert | RecurrentModernBert
STUDENTS: dict[type[Assistant], type[Student]] = {BertModel: RecurrentBert, ModernBertModel: RecurrentModernBert}


@torch.no_grad()
def shrink(assistant: Assistant, *, embedding_size: int, layers: int, repeats: int, skip: bool = False) -> Student:
    """A student from an assistant: its table factorized, and its first layers.

    assistant (Union[BertModel, ModernBertModel]): The assistant, width h.
    embedding_size (int): Width e of the student's table, at most h.
    layers (int): Layers n to keep.
    repeats (int): Times m that they run.
    skip (bool): Whether a student of BERT has a skip, see `RecurrentBertConfig`; ModernBERT passes pieces on by itself.
    RETURNS (Union[RecurrentBert, RecurrentModernBert]): The student.
    RAISES (ValueError): S861 for more than the assistant has.
    """
    sizes = assistant.config
    if not (1 <= embedding_size <= sizes.hidden_size and 1 <= layers <= sizes.num_hidden_layers and repeats >= 1):
        asked = f"width {embedding_size}, {layers} layers, {repeats} times"
        raise ValueError(Errors.S861.format(asked=asked, width=sizes.hidden_size, layers=sizes.num_hidden_layers))
    kind = STUDENTS[type(assistant)]
    options = {"skip": skip} if kind is RecurrentBert else {}
    student = kind.of(assistant, embedding_size=embedding_size, layers=layers, repeats=repeats, **options)
    student.bottleneck.factorize(assistant.get_input_embeddings().weight)
    return student


@torch.no_grad()
def unroll(student: Student) -> Assistant:
    """The same encoder as a plain one, for programs without Samarkand: larger, with equal outputs.

    student (Union[RecurrentBert, RecurrentModernBert]): The student.
    RETURNS (Union[BertModel, ModernBertModel]): Its table multiplied out, its layers repeated.
    RAISES (ValueError): S870 for one with a skip.
    """
    plain = student.plain()
    plain.get_input_embeddings().weight.copy_(student.bottleneck.product())
    return plain
