"""Raw text to the folder that `samarkand train-encoder` reads: cleaned, with its own vocabulary, as word-pieces.

`samarkand prepare-text CONFIG` takes the sections `text`, `cleaning` and `vocabulary` of the config of
`train-encoder`. Text streams: what stays in memory are hashes of documents and the sample that the vocabulary is
trained on. Cleaned text waits in a temporary folder for the vocabulary and the pieces.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from ..models.checkpoints import replace_folder
from ..models.encoder_base import base_tokenizer
from ..models.encoder_result import PREPARATION
from ..models.packed_corpus import MAX_VOCABULARY, PIECES, TOKENIZER, write_corpus
from ..models.settings import load_settings, require
from ..models.transliteration import Transliterator
from ..models.vocabulary import N_BYTES, SPECIALS, train_vocabulary, wrap_tokenizer
from ..models.vocabulary_growth import grow_vocabulary
from .text_cleaning import CleaningRules, TextCleaner
from .text_keys import read_held_out
from .text_sources import TextGroup, TextSource, find_groups, read_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAINING = ("output", "reading", "model", "masking", "optimizer", "schedule", "training", "result")


@dataclass(frozen=True)
class TextSettings:
    """The raw text.

    sources (list[TextSource]): Where it is.
    """

    sources: list[TextSource]

    def __post_init__(self) -> None:
        require(bool(self.sources), "text.sources", self.sources, "one source or more")


@dataclass(frozen=True)
class VocabularySettings:
    """The vocabulary.

    size (int): Most pieces. With a base, whose pieces stay, new ones are added up to it.
    sample_mb (float): Megabytes of text to train it on.
    exponent (float): Groups of n bytes are taken in proportion to n ** exponent.
    """

    size: int = 32000
    sample_mb: float = 100.0
    exponent: float = 0.5

    def __post_init__(self) -> None:
        least = len(SPECIALS) + N_BYTES + 100
        fits = least <= self.size <= MAX_VOCABULARY
        require(fits, "vocabulary.size", self.size, f"from {least} to {MAX_VOCABULARY:,}, to fit 16 bits")
        require(self.sample_mb > 0, "vocabulary.sample_mb", self.sample_mb, "above 0")
        require(0 <= self.exponent <= 1, "vocabulary.exponent", self.exponent, "from 0 to 1")


@dataclass(frozen=True)
class PreparationSettings:
    """The recipe of the text.

    data (str): Folder to write.
    base (str): Folder of an encoder that `train-encoder` wrote and will go on from; empty for none.
    """

    data: str
    text: TextSettings
    base: str = ""
    cleaning: CleaningRules = field(default_factory=CleaningRules)
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)


def prepare_text(config: Path, overrides: Sequence[str] = (), *, force: bool = False) -> dict[str, Any]:
    """Clean text, train a vocabulary and write the text as word-pieces.

    config (Path): TOML file of `PreparationSettings`.
    overrides (Sequence[str]): `--section.key value` words.
    force (bool): Whether to replace a folder that exists.
    RETURNS (dict): What was kept and dropped, by group; it is written to `preparation.json` too.
    RAISES (ValueError): S217 for a folder that exists, S730 to S732 for the settings, S733, S734 and S743 for the
        text, S744 for the base, S747 for texts to exclude, S640 to S642 for tables of transliteration.
    RAISES (ImportError): S746 when languages are to be told apart without py3langid.
    """
    settings = load_settings(PreparationSettings, config, overrides, others=TRAINING)
    base = _base(settings)
    groups = find_groups(settings.text.sources)
    target = Path(settings.data)
    if target.exists() and not force:
        raise ValueError(Errors.S217.format(path=target))
    held_out = read_held_out(settings.cleaning.exclude)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    texts = partial / "texts"
    texts.mkdir(parents=True)
    try:
        counts = _clean(groups, TextCleaner(settings.cleaning, held_out), texts)
        if not any(count["kept"] for count in counts.values()):
            dropped = sum((Counter(count["dropped"]) for count in counts.values()), Counter())
            reasons = ", ".join(f"{count:,} dropped as {reason!r}" for reason, count in dropped.most_common())
            raise ValueError(Errors.S743.format(reasons=reasons or "the files are empty"))
        sample, size = _sample(groups, settings.vocabulary, texts), settings.vocabulary.size
        tokenizer = grow_vocabulary(base, sample, size) if base else train_vocabulary(sample, size)
        wrap_tokenizer(tokenizer, sys.maxsize).save_pretrained(partial / TOKENIZER)
        written = write_corpus(partial, ((g.name, g.language, _pieces(texts / g.name, tokenizer)) for g in groups))
        shutil.rmtree(texts)
        for group in written:
            counts[group.name] |= {"pieces": group.pieces}
        report = {"vocabulary": tokenizer.get_vocab_size(), "bytes": (partial / PIECES).stat().st_size}
        report |= {"held_out": len(held_out), "groups": counts, "settings": asdict(settings)}
        (partial / PREPARATION).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _base(settings: PreparationSettings) -> Tokenizer | None:
    if not settings.base:
        return None
    tokenizer = base_tokenizer(settings.base)
    least, size = tokenizer.get_vocab_size(), settings.vocabulary.size
    require(size >= least, "vocabulary.size", size, f"{least} or more, as many as the base has")
    return tokenizer


def _clean(groups: list[TextGroup], cleaner: TextCleaner, texts: Path) -> dict[str, dict[str, Any]]:
    """Write the cleaned documents of each group to a file of its name, one a line as JSON."""
    counts: dict[str, dict[str, Any]] = {}
    for group in groups:
        cleaner.start()
        transliterator = Transliterator(group.tables)
        with (texts / group.name).open("w", encoding="utf-8", newline="\n") as file:
            for text in cleaner.clean(read_texts(group.path, group.column), group.language):
                text = transliterator(text).text if group.tables else text
                file.write(json.dumps(text, ensure_ascii=False) + "\n")
        counts[group.name] = {"file": group.path.name, "language": group.language, "licence": group.licence}
        counts[group.name] |= {"kept": cleaner.kept, "dropped": dict(cleaner.dropped)}
        counts[group.name] |= {f"characters {name}": count for name, count in cleaner.characters.items()}
    return counts


def _sample(groups: list[TextGroup], settings: VocabularySettings, texts: Path) -> Iterator[str]:
    """Evenly spread documents of each group, up to its share of the sample."""
    sizes = {group.name: (texts / group.name).stat().st_size for group in groups}
    shares = {name: size**settings.exponent if size else 0.0 for name, size in sizes.items()}
    total = sum(shares.values())
    for name, size in sizes.items():
        wanted = settings.sample_mb * 1e6 * shares[name] / total if total else 0.0
        part, due = min(1.0, wanted / size) if size else 0.0, 0.0
        for text in _lines(texts / name):
            due += part
            if due >= 1 - 1e-9:
                due -= 1
                yield text


def _pieces(path: Path, tokenizer: Tokenizer) -> Iterator[list[int]]:
    # A text that spells out a special piece must not become one.
    tokenizer.encode_special_tokens = True
    lines = _lines(path)
    while batch := list(islice(lines, 1000)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def describe(report: dict[str, Any]) -> str:
    """RETURNS (str): What was prepared, in words, a line a group."""
    lines = [f"vocabulary of {report['vocabulary']:,} pieces, {report['bytes'] / 2**20:.1f} MiB"]
    lines += [f"{report['held_out']:,} texts to exclude"] if report["held_out"] else []
    for name, counts in report["groups"].items():
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in counts["dropped"].items()) or "none"
        lines.append(f"{name}: {counts['kept']:,} documents, {counts['pieces']:,} pieces; dropped: {dropped}")
    return "\n".join(lines)
