"""Tiny checkpoints of four encoder families, made in code: two layers of width 32, random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

FAMILIES = ("bert", "roberta", "xlm-roberta", "modernbert")
WIDTH = 32
MAX_PIECES = 40

SENTENCES = (
    "The quick brown fox visits Samarkand in spring, and the lazy dog stays at home.",
    "زارت ليلى مدينة سمرقند في الربيع، وبقي أخوها في البيت.",
    "我爱北京天安门，天安门上太阳升。她去年访问了撒马尔罕。",
    "Layla met 王小明 in بيروت on 12 May 2024 at the Grand Hotel.",
)

SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Make the kind of tokenizer that a family uses, the same one every time."""
    build = {"bert": _word_piece, "roberta": _byte_level, "xlm-roberta": _unigram, "modernbert": _byte_level}
    tokenizer, (cls, sep, pad, unk) = build[family]()
    ends = [(name, tokenizer.token_to_id(name)) for name in (sep, cls)]
    if family == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    else:
        template = f"{cls} $A {sep}"
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=cls, sep_token=sep, pad_token=pad, unk_token=unk
    )


def save_tokenizer(family: str, folder: Path) -> Path:
    """Save the tokenizer of a family alone."""
    make_tokenizer(family).save_pretrained(folder)
    return folder


def save_checkpoint(family: str, folder: Path, **settings: object) -> Path:
    """Save a checkpoint of a family, the same one every time."""
    tokenizer = make_tokenizer(family)
    # RoBERTa counts positions from the one after the padding index.
    unused = tokenizer.pad_token_id + 1 if "roberta" in family else 0
    sizes = {**SIZES, "max_position_embeddings": MAX_PIECES + unused, "local_attention": 8}
    pad = tokenizer.pad_token_id
    config = AutoConfig.for_model(family, **{**sizes, "vocab_size": len(tokenizer), "pad_token_id": pad, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModel.from_config(config)
        # Fresh weights are too small to tell a good vector from a wrong one.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_checkpoints(root: Path) -> dict[str, Path]:
    """Save a checkpoint of each family in a folder of its name."""
    return {family: save_checkpoint(family, root / family) for family in FAMILIES}


def _word_piece() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    words = _words(" ".join(SENTENCES).lower())
    chars = sorted(set("".join(words)))
    starts, inner = [w[:3] for w in words], [w[3:5] for w in words if len(w) > 3]
    pieces = [*names, *chars, *starts, *(f"##{piece}" for piece in [*chars, *inner])]
    tokenizer = Tokenizer(models.WordPiece(_numbered(pieces), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(names))
    return tokenizer, names


def _byte_level() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("<s>", "</s>", "<pad>", "<unk>")
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [word for sentence in SENTENCES for word, _ in splitter.pre_tokenize_str(sentence)]
    # Words grow from the left, a byte at a time, so that some pieces end within a character.
    merges = [(word[:n], word[n]) for word in words for n in range(1, min(len(word), 6))]
    merges = list(dict.fromkeys(merges))
    pieces = [*names, *sorted(splitter.alphabet()), *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE(_numbered(pieces), merges))
    tokenizer.pre_tokenizer = splitter
    tokenizer.add_special_tokens(list(names))
    return tokenizer, names


def _unigram() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("<s>", "</s>", "<pad>", "<unk>")
    words = _words(" ".join(SENTENCES))
    scores = dict.fromkeys(names, 0.0) | {"▁": -3.0} | dict.fromkeys(sorted(set("".join(words))), -4.0)
    scores |= {f"▁{word[:3]}": -5.0 for word in words} | {
        word[i : i + 2]: -5.0 for word in words for i in (3, 5) if len(word) > i + 1
    }
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=names.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.add_special_tokens(list(names))
    return tokenizer, names


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(text.split()))


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
