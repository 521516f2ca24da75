"""Encoders and variants of transfer training, and how a task is learnt and scored."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ner import CONFIGS, train_best
from samarkand.corpora.cats_corpus import CatsCorpus
from samarkand.corpora.records import write_records
from samarkand.corpora.scoring import doc_spans, evaluate_spans, record_spans
from samarkand.corpora.sentence_files import json_rows
from samarkand.models.pretrained import PACKAGES
from samarkand.models.sentence_metrics import retrieval_accuracy, unit_vectors
from samarkand.models.sentence_model import load_sentence_model
from samarkand.models.text_pairs import join_pair
from scipy.stats import spearmanr
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_config
from thinc.api import Config, Model, fix_random_seed
from transfer_tasks import ENGLISH, SAME, Record, Task, Translations

VARIANTS: dict[str, dict[str, float]] = {
    "plain": {},
    "robust": {"robust": 1.0},
    "push": {"push": 0.1},
    "pull": {"pull": 1.0},
    "robust, push": {"robust": 1.0, "push": 0.1},
    "all three": {"robust": 1.0, "push": 0.1, "pull": 1.0},
}
TRANSFORMER, SUBWORD = "samarkand.TransformerEncoder.v1", "samarkand.SubwordEncoder.v1"
TINY = {"width": 32, "embed_width": 16, "word_rows": 500, "piece_rows": 500, "bigram_rows": 0, "context": "attention"}
ENCODERS: dict[str, dict[str, Any]] = {
    "subword_base": {"@architectures": SUBWORD, "pretrained": "subword_base", "word_dropout": 0.4},
    "xx_sentence_sm": {"@architectures": TRANSFORMER, "name": str(PACKAGES / "xx_sentence_sm")},
    "tiny": {"@architectures": SUBWORD, **TINY},
}
# Highest learning rate of a transformer that is trained on; its head has that of the recipe.
PRETRAINED_RATE = 1e-4
PIPES = {"classes": "transfer_textcat", "pairs": "transfer_textcat", "entities": "ricon_ner"}
METRICS = {"classes": "macro F", "pairs": "Spearman", "entities": "ents_f"}
# Neighbours of a word for swaps: as many as in the paper, of words as common as these.
NEIGHBOURS, LEAST_COSINE, WORDS, BLOCK = 8, 0.6, 8000, 1000
BATCH = 256


def encoder_block(name: str) -> dict[str, Any]:
    """Config of an encoder.

    name (str): Key of `ENCODERS`, a folder that pretraining wrote, or one of a transformer.
    RETURNS (dict[str, Any]): The block.
    """
    if name in ENCODERS:
        return dict(ENCODERS[name])
    if (Path(name) / "encoder.json").is_file():
        return {**ENCODERS["subword_base"], "pretrained": name}
    return {"@architectures": TRANSFORMER, "name": name}


def shows_attention(block: dict[str, Any]) -> bool:
    """RETURNS (bool): Whether the encoder of a block shows its attention, so that it can be pulled."""
    return block["@architectures"] == TRANSFORMER or block.get("context") == "attention"


def variants_for(block: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): The variants that the encoder of a block can be trained by."""
    return [name for name, weights in VARIANTS.items() if "pull" not in weights or shows_attention(block)]


def learn(
    task: Task, block: dict[str, Any], weights: dict[str, float], swaps: dict[str, Any], *, seed: int, steps: int
) -> Language:
    """Train a pipeline on a task.

    task (Task): The task.
    block (dict[str, Any]): Config of the encoder.
    weights (dict[str, float]): Weights of transfer training.
    swaps (dict[str, Any]): Config of what copies are made by.
    seed (int): Seed of weights, order and swaps.
    steps (int): Steps.
    RETURNS (Language): The pipeline at its best step on the task's dev split.
    """
    config = make_config(task, block, weights, {**swaps, "seed": seed}, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        # On little data a lucky first step must not end a training.
        return train_best(config, Path(folder), seed=seed, steps=steps, patience=0)


def make_config(
    task: Task, block: dict[str, Any], weights: dict[str, float], swaps: dict[str, Any], *, steps: int
) -> Config:
    """The recipe of a task, with its own encoder below the head. Arguments as in `learn`."""
    pipe = PIPES[task.kind]
    recipe = "ricon_flat.cfg" if task.kind == "entities" else "transfer_textcat.cfg"
    overrides = {"paths.train": str(task.train), "paths.dev": str(task.dev)}
    config = load_config(CONFIGS / recipe, overrides, interpolate=False)
    config["nlp"]["pipeline"] = [pipe]
    config["components"].pop("tok2vec", None)
    settings = config["components"][pipe]
    settings["transfer"] = {"robust": 0.0, "push": 0.0, "pull": 0.0, **weights}
    settings["swaps"] = swaps
    settings["model"]["tok2vec"] = block
    if task.kind == "pairs":
        settings["exclusive"] = False
        settings["model"].update(pair=True, hidden=64)
    schedule = config["training"]["optimizer"]["learn_rate"]
    schedule["warmup_steps"] = max(1, steps // 10)
    if block["@architectures"] == TRANSFORMER:
        config["training"]["optimizer"]["pretrained_learn_rate"] = {**schedule, "initial_rate": PRETRAINED_RATE}
    return config


def score(nlp: Language, task: Task) -> dict[str, float]:
    """Score a pipeline on each test of a task.

    nlp (Language): The pipeline.
    task (Task): The task.
    RETURNS (dict[str, float]): By language or set, macro F, Spearman's correlation or micro F, from 0 to 1.
    """
    if task.kind == "classes":
        return _score_classes(nlp, task.tests)
    return {
        name: (_score_pairs if task.kind == "pairs" else _score_entities)(nlp, records)
        for name, records in task.tests.items()
    }


def alignment(tok2vec: Model, nlp: Language, translations: Translations) -> tuple[float, float]:
    """How near an encoder has translations of sentences, by the mean vectors of their tokens.

    tok2vec (Model): The encoder.
    nlp (Language): Gives the tokenizer.
    translations (Translations): The same sentences in English and in other languages.
    RETURNS (tuple[float, float]): Cosine of translations less that of other sentences, and how often the nearest
        sentence is the translation, both ways; means over languages, from 0 to 1.
    """
    vectors = {
        lang: unit_vectors(_mean_vectors(tok2vec, list(map(nlp.make_doc, texts))))
        for lang, texts in translations.items()
    }
    english = vectors.pop(ENGLISH)
    gaps, found = [], []
    for other in vectors.values():
        cosines = english @ other.T
        own, n = np.trace(cosines), len(cosines)
        gaps.append(own / n - (cosines.sum() - own) / (n * (n - 1)))
        found.append(np.mean(retrieval_accuracy(english, other)))
    return float(np.mean(gaps)), float(np.mean(found))


def untrained(block: dict[str, Any], seed: int) -> Model:
    """RETURNS (Model): The encoder of a block as training with a seed finds it."""
    fix_random_seed(seed)
    model = registry.resolve({"model": block})["model"]
    model.initialize()
    return model


def write_neighbours(task: Task, path: Path) -> dict[str, Any]:
    """Write which words of the training texts stand for one another, by the bundled sentence encoder.

    task (Task): The task.
    path (Path): The file.
    RETURNS (dict[str, Any]): Config of the swaps.
    """
    counts: Counter[str] = Counter()
    for _, record in json_rows(task.train):
        for text in filter(None, (record["text"], record.get("text_b"))):
            counts.update(word for word in map(_bare, text.lower().split()) if word.isalpha() and len(word) > 2)
    words = sorted(word for word, _ in counts.most_common(WORDS))
    vectors = unit_vectors(load_sentence_model("xx_sentence_sm").encode(words))
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(words), BLOCK):
            cosines = vectors[start : start + BLOCK] @ vectors.T
            for row, word in zip(cosines, words[start : start + BLOCK]):
                near = np.argsort(-row, kind="stable")[: NEIGHBOURS + 1]
                others = [words[i] for i in near if row[i] >= LEAST_COSINE and words[i] != word]
                file.write(f"{word}\t{' '.join(others)}\n")
    return {"@misc": "samarkand.NeighbourSwaps.v1", "path": str(path)}


def _bare(word: str) -> str:
    return word.strip(".,;:!?\"'()[]")


def _score_classes(nlp: Language, tests: dict[str, list[Record]]) -> dict[str, float]:
    """As `spacy evaluate` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tests.jsonl"
        write_records(path, (record for records in tests.values() for record in records))
        return nlp.evaluate(CatsCorpus(path)(nlp), batch_size=BATCH)["cats_macro_f_per_lang"]


def _score_pairs(nlp: Language, records: Sequence[Record]) -> float:
    docs = nlp.pipe((join_pair(record["text"], record["text_b"]) for record in records), batch_size=BATCH)
    return float(spearmanr([doc.cats[SAME] for doc in docs], [record["cats"][SAME] for record in records])[0])


def _score_entities(nlp: Language, records: Sequence[Record]) -> float:
    docs = nlp.pipe((record["text"] for record in records), batch_size=BATCH)
    predicted = [doc_spans(doc) for doc in docs]
    return evaluate_spans([record_spans(record) for record in records], predicted).micro.f1


def _mean_vectors(tok2vec: Model, docs: list[Doc]) -> np.ndarray:
    return np.stack([rows.mean(axis=0) for rows in tok2vec.predict(docs)])
