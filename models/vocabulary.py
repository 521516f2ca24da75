"""A vocabulary of word-pieces trained from raw text: BPE whose unknown characters fall back to bytes.

What it takes from a text before it looks up pieces: compatibility forms become plain ones (NFKC), any blank a
space, and Arabic vowel marks and tatweel are dropped. Offsets still count the characters of the text. Ideographs,
digits, punctuation and symbols stand alone, so that no piece spans two tokens of Samarkand's tokenizer.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIALS = ("<s>", "</s>", "<pad>", "<unk>", "<mask>")
BEGIN, END, PAD, UNKNOWN, MASK = range(len(SPECIALS))
N_BYTES = 256
# A piece occurs so often in what it is learnt from, and has at most so many characters.
MIN_COUNT, MAX_PIECE = 2, 16
BLANK = "▁"
IDEOGRAPHS = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
IDEOGRAPHS += "\U00020000-\U0003ffff"
ARABIC_MARKS = "\u0640\u064b-\u0652\u0670"
# A mark of blank belongs to the sign that follows it, but is a symbol itself.
ALONE = rf"[{IDEOGRAPHS}]|{BLANK}?[\p{{N}}[\p{{P}}\p{{S}}&&[^{BLANK}]]]"


def train_vocabulary(texts: Iterable[str], size: int) -> Tokenizer:
    """Train a vocabulary.

    texts (Iterable[str]): The text, in any pieces; all of it is kept in memory for the while.
    size (int): Most pieces, the special ones and those of single bytes included; little text gives fewer.
    RETURNS (Tokenizer): The tokenizer, which frames a text as `<s> ... </s>`.
    """
    from tokenizers import models, processors, trainers

    tokenizer = _untrained(models.BPE())
    n_fixed = len(SPECIALS) + N_BYTES
    trainer = trainers.BpeTrainer(
        vocab_size=size - n_fixed,
        initial_alphabet=[chr(code) for code in range(33, 127)],
        min_frequency=MIN_COUNT,
        max_token_length=MAX_PIECE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_rare(texts, tokenizer, (size - n_fixed) // 3), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    # Given to the trainer as special pieces, bytes would be found in a text that spells them out.
    pieces = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(N_BYTES)), *trained["vocab"]]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in trained["merges"]]
    model = models.BPE(vocab, merges, unk_token=SPECIALS[UNKNOWN], byte_fallback=True, fuse_unk=False)
    tokenizer = _untrained(model)
    tokenizer.add_special_tokens(list(SPECIALS))
    ends = [(SPECIALS[i], i) for i in (BEGIN, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def _without_rare(texts: Iterable[str], tokenizer: Tokenizer, limit: int) -> list[str]:
    """Texts with a blank for each character that is not among the commonest.

    The trainer's own limit breaks ties by chance, so that no two trainings would come out alike.
    """
    kept = [tokenizer.normalizer.normalize_str(text) for text in texts]
    counts: Counter[str] = Counter()
    for text in kept:
        counts.update(text)
    ranked = sorted(counts, key=lambda char: (-counts[char], char))
    rare = dict.fromkeys(map(ord, [*ranked[limit:], *(char for char in ranked[:limit] if counts[char] < 2)]), " ")
    return [text.translate(rare) for text in kept]


def wrap_tokenizer(tokenizer: Tokenizer, length: int) -> PreTrainedTokenizerFast:
    """The tokenizer as `transformers` has it, to be saved beside a model.

    tokenizer (Tokenizer): The tokenizer.
    length (int): Most pieces that the model takes, special ones included.
    RETURNS (PreTrainedTokenizerFast): The same.
    """
    from transformers import PreTrainedTokenizerFast

    begin, end, pad, unknown, mask = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        cls_token=begin,
        sep_token=end,
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        model_max_length=length,
    )


def word_flags(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Which pieces begin a word, and after which the next piece begins one.

    tokenizer (Tokenizer): The tokenizer.
    RETURNS (tuple[ndarray, ndarray]): Two flags for each piece. bool, [vocabulary] each
    """
    pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    alone = np.array([i < len(SPECIALS) or _stands_alone(piece) for i, piece in enumerate(pieces)])
    marked = np.array([piece.startswith(BLANK) for piece in pieces])
    return alone | marked, alone


def _stands_alone(piece: str) -> bool:
    char = piece.removeprefix(BLANK)
    if len(char) != 1:
        return False
    return unicodedata.category(char)[0] in "NPS" or re.match(f"[{IDEOGRAPHS}]", char) is not None


def _untrained(model: object) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(f"[{ARABIC_MARKS}]"), ""),
            normalizers.Replace(Regex(r"\s"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(BLANK, prepend_scheme="always"), pre_tokenizers.Split(Regex(ALONE), "isolated")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer
