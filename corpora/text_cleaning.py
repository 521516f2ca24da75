"""Cleaning raw text before pretraining: normal forms, rules of quality and of language, no text twice.

After the pipeline of AraMUS (arXiv 2306.06800) and FineWeb-2: a document is kept or dropped by itself alone, except
for duplicates, and each drop is counted under its reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import regex

from ..language_scripts import LANGUAGE_SCRIPTS
from ..models.settings import require
from .text_keys import TextKeys
from .text_languages import is_other_language, load_model
from .text_repetition import UNSPACED, has_repeated_lines, has_repeated_ngrams, word_units

# Control characters, marks of direction, joiners that show nothing, halves of surrogate pairs; not \n and \t, nor
# the joiners of Persian (U+200C) and of emoji (U+200D).
_DROPPED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0640\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\ud800-\udfff]"
)
_PRESENTATION = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]+")
_LETTERS = regex.compile(r"\p{L}")
_WORD_KEY = regex.compile(r"[\p{L}\p{N}]+")


@dataclass(frozen=True)
class CleaningRules:
    """What a document needs to be kept.

    min_letters (int): Letters; a letter of a script without blanks between words counts as three.
    max_characters (int): Characters after which a document is cut, at a blank where there is one.
    word_share (float): Least share of its words that have a letter.
    script_share (float): Least share of its letters that are of the scripts of its language.
    max_word (float): Greatest mean length of its words, in letters, in scripts with blanks.
    duplicate_lines (float): Greatest share of its lines that repeat another.
    duplicate_characters (float): Greatest share of its characters in such lines.
    top_ngrams (list[float]): Greatest shares of its characters in the most frequent run of 2, 3, ... words, from 20
        words on.
    duplicate_ngrams (list[float]): Greatest shares in runs of 5, 6, ... words that repeat earlier ones.
    near_duplicates (bool): Whether to drop what is nearly another document of the language too (MinHash).
    language (bool): Whether to drop what is of another language; needs py3langid.
    language_score (float): How sure of another language its model has to be.
    exclude (list[str]): Files of texts, such as those of dev and test splits, that no document may equal or have as a
        sentence, however written; environment variables are filled in.
    RAISES (ImportError): S746 when the language is asked for and py3langid not installed.
    """

    min_letters: int = 10
    max_characters: int = 20000
    word_share: float = 0.6
    script_share: float = 0.5
    max_word: float = 15.0
    duplicate_lines: float = 0.304
    duplicate_characters: float = 0.1
    top_ngrams: list[float] = field(default_factory=lambda: [0.197, 0.172, 0.146])
    duplicate_ngrams: list[float] = field(default_factory=lambda: [0.165, 0.153, 0.142, 0.131, 0.12, 0.109])
    near_duplicates: bool = True
    language: bool = False
    language_score: float = 0.7
    exclude: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("min_letters", "max_characters", "max_word"):
            require(getattr(self, name) >= 1, f"cleaning.{name}", getattr(self, name), "1 or more")
        for name in ("word_share", "script_share", "duplicate_lines", "duplicate_characters", "language_score"):
            require(0 <= getattr(self, name) <= 1, f"cleaning.{name}", getattr(self, name), "from 0 to 1")
        for name in ("top_ngrams", "duplicate_ngrams"):
            shares = getattr(self, name)
            require(all(0 <= share <= 1 for share in shares), f"cleaning.{name}", shares, "from 0 to 1 each")
        if self.language:
            # What is not installed is told of before any text is read.
            load_model()


def normalise(text: str) -> str:
    """The normal form of a text: NFC, no control characters, no tatweel, plain Arabic letters, single blanks.

    text (str): The text.
    RETURNS (str): Its normal form, which is its own normal form.
    """
    text = _PRESENTATION.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.replace("\r", "\n"))
    text = unicodedata.normalize("NFC", _DROPPED.sub("", text))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def shorten(text: str, limit: int) -> str:
    """The beginning of a text.

    text (str): The text.
    limit (int): Most characters.
    RETURNS (str): The text up to the last blank within the limit, or cut at the limit.
    """
    if len(text) <= limit:
        return text
    head = text[:limit]
    blank = max(head.rfind(" "), head.rfind("\n"))
    return head[:blank] if blank > limit // 2 else head


def reason_to_drop(text: str, language: str, rules: CleaningRules) -> str | None:
    """Why a document is of no use.

    text (str): Its normal form.
    language (str): Its language code; the script of an unknown one is not judged.
    rules (CleaningRules): The rules.
    RETURNS (Optional[str]): "short", "script", "words", "long words", "lines", "repeated" or "language"; None to keep
        it.
    """
    letters = "".join(_LETTERS.findall(text))
    unspaced = len(UNSPACED.findall(letters))
    if len(letters) + 2 * unspaced < rules.min_letters:
        return "short"
    if not _is_written_in(letters, LANGUAGE_SCRIPTS.get(language, ()), rules.script_share):
        return "script"
    words = text.split()
    if sum(map(_has_letter, words)) < rules.word_share * len(words):
        return "words"
    if len(letters) - unspaced > rules.max_word * len(words):
        return "long words"
    if has_repeated_lines(text, rules.duplicate_lines, rules.duplicate_characters):
        return "lines"
    if has_repeated_ngrams(text, rules.top_ngrams, rules.duplicate_ngrams):
        return "repeated"
    return "language" if rules.language and is_other_language(text, language, rules.language_score) else None


@dataclass
class TextCleaner:
    """Cleans a stream of documents and counts what it dropped and why.

    rules (CleaningRules): The rules.
    held_out (TextKeys): Texts that no document may equal or have as a sentence.
    dropped (Counter): Documents dropped, by reason; "cut" are kept, but shortened.
    characters (Counter): Characters by "in" and "out".
    kept (int): Documents kept.
    """

    rules: CleaningRules = field(default_factory=CleaningRules)
    held_out: TextKeys = field(default_factory=TextKeys)
    dropped: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    _seen: set[bytes] = field(default_factory=set, repr=False)
    _near: dict[str, NearDuplicates] = field(default_factory=dict, repr=False)

    def start(self) -> None:
        """Count from zero again; what was seen stays known, so that duplicates are found across files."""
        self.dropped, self.characters, self.kept = Counter(), Counter(), 0

    def clean(self, texts: Iterable[str], language: str) -> Iterator[str]:
        """Clean documents of one language.

        texts (Iterable[str]): Raw documents.
        language (str): Their language code.
        YIELDS (str): Documents to keep, in normal form.
        """
        for raw in texts:
            self.characters["in"] += len(raw)
            text = normalise(raw)
            if len(text) > self.rules.max_characters:
                text = shorten(text, self.rules.max_characters)
                self.dropped["cut"] += 1
            reason = reason_to_drop(text, language, self.rules) or self._known(text, language)
            if reason:
                self.dropped[reason] += 1
                continue
            self.kept += 1
            self.characters["out"] += len(text)
            yield text

    def _known(self, text: str, language: str) -> str | None:
        if self.held_out.has_part_of(text):
            return "held out"
        key = " ".join(_WORD_KEY.findall(text.casefold()))
        digest = blake2b(key.encode(), digest_size=8).digest()
        if digest in self._seen:
            return "duplicate"
        self._seen.add(digest)
        if self.rules.near_duplicates and self._near.setdefault(language, NearDuplicates()).seen(key):
            return "near duplicate"
        return None


class NearDuplicates:
    """Finds documents that share most of their runs of five words with an earlier one (MinHash).

    14 bands of 8 hashes, as FineWeb-2 has them: two documents that share 80% are found with probability 0.92, 50%
    with 0.05. Documents of fewer than `shortest` words are left alone: one word of them is a difference.

    run (int): Words of a run.
    shortest (int): Words that a document needs.
    """

    bands, rows = 14, 8

    def __init__(self, *, run: int = 5, shortest: int = 20) -> None:
        self.run, self.shortest = run, shortest
        factors = np.random.default_rng(0).integers(2**63, size=(2, self.bands * self.rows, 1), dtype=np.uint64)
        self._factors, self._shifts = factors[0] * np.uint64(2) + np.uint64(1), factors[1]
        self._met: set[int] = set()

    def seen(self, text: str) -> bool:
        """Whether a document is nearly one that was seen; it is remembered.

        text (str): The document, in a form that is the same for like documents.
        RETURNS (bool): Whether it is.
        """
        words = word_units(text)
        if len(words) < self.shortest:
            return False
        runs = {" ".join(words[i : i + self.run]) for i in range(len(words) - self.run + 1)}
        digests = b"".join(blake2b(run.encode(), digest_size=8).digest() for run in runs)
        values = np.frombuffer(digests, dtype=np.uint64)
        least = (values * self._factors + self._shifts).min(axis=1).reshape(self.bands, self.rows)
        keys = {hash((i, *band)) for i, band in enumerate(least.tolist())}
        found = not keys.isdisjoint(self._met)
        self._met |= keys
        return found


def _is_written_in(letters: str, scripts: tuple[str, ...], share: float) -> bool:
    """Whether a share of the letters is of some scripts; of none, or of any, all letters are."""
    if not scripts or "Zzzz" in scripts:
        return True
    pattern = "".join(rf"\p{{sc={script}}}" for script in scripts)
    return len(regex.findall(f"[{pattern}]", letters)) >= share * len(letters)


def _has_letter(word: str) -> bool:
    return any(map(str.isalpha, word))
