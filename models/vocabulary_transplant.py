"""A pretrained encoder under another vocabulary, without training.

Pieces that both vocabularies have keep their vectors. Any other piece gets a mean of vectors of such pieces, weighted
by similarity in a space that holds pieces of all languages: WECHSEL (Minixhofer et al. 2022, arXiv 2112.06598,
equations 2 and 3), here with the static vectors that distillation learns first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..errors import Errors
from .recurrent_encoder import Assistant

NEIGHBOURS, TEMPERATURE = 10, 0.1
# Pieces that are rarer in the language of the encoder say little of it.
LEAST_COUNT = 5
BLOCK = 2048
ROLES = ("cls_token", "sep_token", "unk_token", "pad_token", "mask_token")
SPACE = "▁"


@torch.no_grad()
def transplant(
    encoder: Assistant,
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    static: Tensor,
    sentences: Iterable[str],
) -> None:
    """Give an encoder another vocabulary.

    encoder (Union[BertModel, ModernBertModel]): The encoder, changed in place.
    old (PreTrainedTokenizerBase): Its tokenizer.
    new (PreTrainedTokenizerBase): The tokenizer that it gets, whose words begin with "▁".
    static (Tensor): Vectors of the new pieces in one space, shape (new pieces, any width).
    sentences (Iterable[str]): Of the language that the encoder reads.
    RAISES (ValueError): S868 when no piece of the sentences is in the old vocabulary.
    """
    shared = _shared_pieces(old, new, sentences)
    if not shared:
        raise ValueError(Errors.S868)
    table, places = encoder.get_input_embeddings().weight, torch.tensor(list(shared))
    known = table[torch.tensor(list(shared.values()))]
    unit = F.normalize(static.float(), dim=1)
    grown = torch.cat([_mixed(block, unit[places], known) for block in unit.split(BLOCK)])
    grown[places] = known
    for role in ROLES:
        before, after = getattr(old, f"{role}_id"), getattr(new, f"{role}_id")
        if before is not None and after is not None:
            grown[after] = table[before]
    padding = new.pad_token_id
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(grown, freeze=False, padding_idx=padding))
    encoder.config.vocab_size, encoder.config.pad_token_id = len(grown), padding
    for name in ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"):
        if getattr(encoder.config, name, None) is not None:
            setattr(encoder.config, name, getattr(new, name))


def _mixed(vectors: Tensor, anchors: Tensor, known: Tensor) -> Tensor:
    """Means of the vectors of the closest pieces: [n, w], [k, w], [k, h] -> [n, h]."""
    nearest = (vectors @ anchors.T).topk(min(NEIGHBOURS, len(anchors)), dim=1)
    return torch.einsum("nk,nkh->nh", (nearest.values / TEMPERATURE).softmax(1), known[nearest.indices])


def _shared_pieces(
    old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, sentences: Iterable[str]
) -> dict[int, int]:
    """Pieces of the sentences under the new vocabulary that the old one has too: new number -> old number."""
    counts: Counter[int] = Counter()
    for encoding in new.backend_tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False):
        counts.update(encoding.ids)
    vocabulary, normalizer = old.get_vocab(), old.backend_tokenizer.normalizer
    shared = {}
    for piece, count in counts.items():
        name = new.convert_ids_to_tokens(piece)
        text = name.removeprefix(SPACE)
        if count < LEAST_COUNT or not text:
            continue
        text = normalizer.normalize_str(text) if normalizer else text
        found = (vocabulary[form] for form in _forms(text, name.startswith(SPACE)) if form in vocabulary)
        if (number := next(found, None)) is not None:
            shared[piece] = number
    return shared


def _forms(text: str, begins: bool) -> tuple[str, ...]:
    """How vocabularies write a piece: those of words with spaces ahead, and those of pieces within words with ##."""
    if begins or not text.isalpha():
        return SPACE + text, f"Ġ{text}", text
    return f"##{text}", text
