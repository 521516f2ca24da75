"""Tiny sentence encoders with random weights, made by the tests."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", ".", ","]
WORDS += ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park", "قط", "كلب", "猫", "狗"]
WIDTH = 16


def make_encoder_folder(folder: Path, *, seed: int = 0, width: int = WIDTH, layers: int = 3) -> str:
    """Write a small BERT with its tokenizer.

    folder (Path): Folder to write.
    seed (int): Of the weights.
    width (int): Of the vectors.
    layers (int): Blocks.
    RETURNS (str): The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return str(folder)
