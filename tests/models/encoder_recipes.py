"""Prepared text and settings for tests of pretraining: a few groups of made-up text, a model of two layers."""

from __future__ import annotations

import json
import random
from pathlib import Path

from samarkand.models.packed_corpus import TOKENIZER, write_corpus
from samarkand.models.vocabulary import train_vocabulary, wrap_tokenizer

LANGUAGES = {"en": "abcdefgh", "ar": "ابتثجحخد", "zh": "我爱北京天安门上太阳升"}

RECIPE = """
data = "{data}"
output = "{output}"
[reading]
length = 32
held_out = 8
[model]
layers = 2
width = 32
heads = 2
hidden = 48
[optimizer]
learn_rate = 1e-2
[schedule]
steps = 6
warmup = 2
[training]
batch_size = 8
micro_batch = 4
precision = "fp32"
log_steps = 2
evaluations = 3
save_steps = 2
save_minutes = 0
[result]
weights = "fp32"
"""


def make_texts(language: str, count: int, seed: int = 0) -> list[str]:
    """Sentences of a small grammar: each word is one of sixty, and the next one mostly follows from it."""
    rng, alphabet = random.Random(seed), LANGUAGES[language]
    words = ["".join(rng.choices(alphabet, k=rng.randint(2, 5))) for _ in range(60)]
    texts = []
    for _ in range(count):
        place, sentence = rng.randrange(60), []
        for _ in range(rng.randint(4, 12)):
            sentence.append(words[place])
            place = (place * 7 + 1) % 60 if rng.random() < 0.9 else rng.randrange(60)
        texts.append(("" if language == "zh" else " ").join(sentence) + ".")
    return texts


def write_prepared(folder: Path, count: int = 400) -> Path:
    """Write what `prepare-text` would, without cleaning."""
    texts = {language: make_texts(language, count) for language in LANGUAGES}
    tokenizer = train_vocabulary([text for group in texts.values() for text in group], 500)
    folder.mkdir(parents=True)
    wrap_tokenizer(tokenizer, 32).save_pretrained(folder / TOKENIZER)
    encoded = (
        (name, name, (tokenizer.encode(text, add_special_tokens=False).ids for text in group))
        for name, group in texts.items()
    )
    write_corpus(folder, encoded)
    return folder


def write_recipe(folder: Path, data: Path) -> Path:
    """Write a recipe whose output is `folder/run`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "recipe.toml"
    config.write_text(RECIPE.format(data=data, output=folder / "run"), encoding="utf-8")
    return config


def read_log(folder: Path) -> list[dict]:
    """Lines of the log of `folder/run`."""
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
