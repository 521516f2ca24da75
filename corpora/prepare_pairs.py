"""Pairs of sentences to the folder that `samarkand train-encoder` reads for sentence encoders.

`samarkand prepare-pairs CONFIG` gathers the parallel corpora at hand, and English sentences that stand for
themselves, drops what is blank, too long, double or held out, and trains a vocabulary on both sides.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Errors, first_line
from ..models.checkpoints import replace_folder
from ..models.sentence_pairs import HELD_OUT, PAIRS, TOKENIZER
from ..models.settings import load_settings, require
from ..models.vocabulary import train_vocabulary, wrap_tokenizer
from .sentence_splitting import make_splitter
from .text_sources import TextSource, find_groups, read_texts
from .training_pairs import TRAINING_SOURCES, TrainingPair, training_pairs

# Keys of the same file that belong to `samarkand train-encoder`.
TRAINING = ("objective", "output", "teacher", "stages", "exponent", "relation", "assistant", "student", "training")
TRAINING += ("encoder", "steps", "temperature", "dims", "weights", "whitening", "begin")
REPORT = "preparation.json"
ENGLISH, ITSELF = "en", "english text"


@dataclass(frozen=True)
class EnglishText:
    """English text whose sentences stand for themselves on both sides: they keep what the teacher knows.

    sources (list[TextSource]): Where it is.
    sentences (int): Most sentences, spread evenly.
    """

    sources: list[TextSource] = field(default_factory=list)
    sentences: int = 100000


@dataclass(frozen=True)
class PairVocabulary:
    """The vocabulary.

    folder (str): Folder of a tokenizer to take instead of training one, such as that of a pretrained encoder.
    size (int): Most pieces.
    sentences (int): Sentences of each language to train it on.
    """

    folder: str = ""
    size: int = 32000
    sentences: int = 60000


@dataclass(frozen=True)
class PairSettings:
    """The recipe of the pairs.

    pairs (str): Folder to write.
    corpora (str): Folder of the parallel corpora; environment variables are filled in.
    sources (list[str]): Names of parallel corpora; empty for all whose terms allow it.
    open_only (bool): Leave out corpora for research alone.
    most (int): Most pairs of a corpus and language, spread evenly.
    longest (int): Most characters of a side.
    held_out (int): Pairs of each language that are set aside.
    english (EnglishText): English text.
    vocabulary (PairVocabulary): The vocabulary.
    seed (int): Of what is held out.
    """

    pairs: str
    corpora: str = "$SAMARKAND_DATA"
    sources: list[str] = field(default_factory=list)
    open_only: bool = True
    most: int = 300000
    longest: int = 250
    held_out: int = 200
    english: EnglishText = field(default_factory=EnglishText)
    vocabulary: PairVocabulary = field(default_factory=PairVocabulary)
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.sources if name not in TRAINING_SOURCES]
        require(not unknown, "sources", unknown, "some of " + ", ".join(TRAINING_SOURCES))
        for name in ("most", "longest", "held_out"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


def prepare_pairs(config: Path, overrides: Sequence[str] = (), *, force: bool = False) -> dict[str, Any]:
    """Gather pairs and write them, with a vocabulary.

    config (Path): TOML file of `PairSettings`; keys of `samarkand train-encoder` may stand in it too.
    overrides (Sequence[str]): `--section.key value` words.
    force (bool): Whether to replace a folder that exists.
    RETURNS (dict): What was kept and dropped, by corpus; it is written to `preparation.json` too.
    RAISES (ValueError): S217 for a folder that exists, S730 to S732 for the settings, S867 when nothing is left, and
        what `training_pairs` raises.
    """
    settings = load_settings(PairSettings, config, overrides, others=TRAINING)
    target = Path(settings.pairs)
    if target.exists() and not force:
        raise ValueError(Errors.S217.format(path=target))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    pairs = _thinned(_clean(_all_pairs(settings), settings.longest, counts), settings.most, counts)
    if not pairs:
        dropped = sum(counts.values(), Counter())
        reasons = ", ".join(f"{count:,} dropped as {reason!r}" for reason, count in dropped.items())
        raise ValueError(Errors.S867.format(reasons=reasons or "the corpora are empty"))
    train, held_out = _split(pairs, settings)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write(train, partial / PAIRS)
        _write(held_out, partial / HELD_OUT)
        size = _save_tokenizer(train, settings.vocabulary, partial / TOKENIZER)
        report = {"vocabulary": size, "pairs": len(train), "held_out": len(held_out)}
        report |= {"languages": dict(Counter(pair.lang for pair in train).most_common())}
        report |= {"sources": {name: dict(count) for name, count in counts.items()}, "settings": asdict(settings)}
        (partial / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def describe(report: dict[str, Any]) -> str:
    """RETURNS (str): What was prepared, in words, a line a corpus."""
    languages = ", ".join(f"{lang} {count:,}" for lang, count in report["languages"].items())
    lines = [
        f"{report['pairs']:,} pairs, {report['held_out']:,} held out, vocabulary of {report['vocabulary']:,} pieces"
    ]
    lines.append(f"by language: {languages}")
    lines += [", ".join([name, *(f"{k} {n:,}" for k, n in c.items())]) for name, c in report["sources"].items()]
    return "\n".join(lines)


def _all_pairs(settings: PairSettings) -> Iterator[TrainingPair]:
    folder = os.path.expandvars(settings.corpora)
    yield from training_pairs(folder, settings.sources or None, open_only=settings.open_only)
    if settings.english.sources:
        for sentence in _spread(list(_english_sentences(settings.english.sources)), settings.english.sentences):
            yield TrainingPair(sentence, sentence, ENGLISH, ITSELF)


def _english_sentences(sources: list[TextSource]) -> Iterator[str]:
    """Sentences of texts, as spaCy's rules part them."""
    split = make_splitter(ENGLISH)
    for group in find_groups(sources):
        for text in read_texts(group.path, group.column):
            yield from split(text)


def _clean(pairs: Iterator[TrainingPair], longest: int, counts: dict[str, Counter[str]]) -> Iterator[TrainingPair]:
    """Pairs with text of a good length on both sides, each once."""
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        pair = pair._replace(english=pair.english.strip(), other=pair.other.strip())
        both = (pair.english, pair.other)
        reason = "kept"
        if not all(any(map(str.isalnum, side)) for side in both):
            reason = "without words"
        elif max(map(len, both)) > longest:
            reason = "too long"
        elif both in seen:
            reason = "double"
        counts[pair.source][reason] += 1
        if reason == "kept":
            seen.add(both)
            yield pair


def _thinned(pairs: Iterator[TrainingPair], most: int, counts: dict[str, Counter[str]]) -> list[TrainingPair]:
    """At most so many pairs of each corpus and language."""
    groups: dict[tuple[str, str], list[TrainingPair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.source, pair.lang].append(pair)
    kept = []
    for (source, _), group in groups.items():
        kept += _spread(group, most)
        if len(group) > most:
            counts[source].update({"kept": most - len(group), "above the most": len(group) - most})
    return kept


def _spread(rows: list[Any], most: int) -> list[Any]:
    """At most so many rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return [rows[i * len(rows) // most] for i in range(most)]


def _split(pairs: list[TrainingPair], settings: PairSettings) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Pairs to train on, and some of each language whose sentences are nowhere among them."""
    chance = random.Random(settings.seed)
    by_lang: dict[str, list[TrainingPair]] = defaultdict(list)
    for pair in pairs:
        if pair.lang != ENGLISH:
            by_lang[pair.lang].append(pair)
    held_out: list[TrainingPair] = []
    for lang in sorted(by_lang):
        # A small language gives a tenth at most. Of equal sentences one is enough: no other may be its translation.
        distinct = list({pair.other: pair for pair in {pair.english: pair for pair in by_lang[lang]}.values()}.values())
        held_out += chance.sample(distinct, min(settings.held_out, len(distinct) // 10))
    hidden = {side for pair in held_out for side in (pair.english, pair.other)}
    return [pair for pair in pairs if hidden.isdisjoint((pair.english, pair.other))], held_out


def _write(pairs: list[TrainingPair], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*pairs)) or [()] * len(TrainingPair._fields)
    table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(TrainingPair._fields, columns)})
    pq.write_table(table, path, compression="zstd")


def _save_tokenizer(pairs: list[TrainingPair], settings: PairVocabulary, folder: Path) -> int:
    """Write the tokenizer, and return its number of pieces."""
    if settings.folder:
        from transformers import PreTrainedTokenizerFast

        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(settings.folder)
        except (OSError, ValueError) as error:
            raise ValueError(Errors.S735.format(path=settings.folder, reason=first_line(error))) from None
    else:
        tokenizer = wrap_tokenizer(train_vocabulary(_sample(pairs, settings.sentences), settings.size), sys.maxsize)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _sample(pairs: list[TrainingPair], most: int) -> Iterator[str]:
    """Sentences of each language, English once each."""
    by_lang: dict[str, list[str]] = defaultdict(list)
    by_lang[ENGLISH] = list(dict.fromkeys(pair.english for pair in pairs))
    for pair in pairs:
        if pair.lang != ENGLISH:
            by_lang[pair.lang].append(pair.other)
    for lang in sorted(by_lang):
        yield from _spread(by_lang[lang], most)
