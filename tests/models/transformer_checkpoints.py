"""Tiny checkpoints of four encoder families, made in code: two layers of width 32, random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
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
    """Train the kind of tokenizer that a family uses."""
    build = {"bert": _word_piece, "roberta": _byte_level, "xlm-roberta": _unigram, "modernbert": _byte_level}
    tokenizer, names = build[family]()
    cls, sep, pad, unk = names
    ends = [(name, tokenizer.token_to_id(name)) for name in (sep, cls)]
    if family == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(
            *ends, trim_offsets=True, add_prefix_space=False
        )
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
    config = AutoConfig.for_model(
        family, **{**sizes, "vocab_size": len(tokenizer), "pad_token_id": pad, **settings}
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModel.from_config(config)
        # Fresh weights are too small to tell a good vector from a wrong one.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: save_checkpoint(family, root / family) for family in FAMILIES}


def _word_piece() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(tokenizer, trainers.WordPieceTrainer(vocab_size=200, special_tokens=[*names], show_progress=False))
    return tokenizer, names


def _byte_level() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("<s>", "</s>", "<pad>", "<unk>")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, special_tokens=[*names], show_progress=False
        ),
    )
    return tokenizer, names


def _unigram() -> tuple[Tokenizer, tuple[str, ...]]:
    names = ("<s>", "</s>", "<pad>", "<unk>")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    _train(
        tokenizer,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=[*names], unk_token="<unk>", show_progress=False
        ),
    )
    return tokenizer, names


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer) -> None:
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
