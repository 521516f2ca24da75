"""Hand-written sentences in the shape of the real sets: scored pairs, and translations in three languages."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from .parallel_sets import Bitext
from .sentence_files import json_rows
from .sentence_sets import StsSet

__all__ = ["SAMPLES", "sample_bitexts", "sample_sts"]

SAMPLES = "samples"
LANGUAGES = ("en", "ar", "zh")
LICENCE = "MIT"
_FILE = Path(__file__).parent / "sentences.jsonl"


def sample_sts() -> list[StsSet]:
    """Scored pairs: "samples/en", "samples/ar" and "samples/zh".

    RETURNS (list[StsSet]): The sets, scored from 0 to 5.
    """
    rows = [row for _, row in json_rows(_FILE) if "score" in row]
    sets = []
    for lang in LANGUAGES:
        own = [row for row in rows if row["lang"] == lang]
        first, second, scores = ([row[key] for row in own] for key in ("first", "second", "score"))
        sets.append(StsSet(f"{SAMPLES}/{lang}", lang, "test", first, second, scores, LICENCE, True))
    return sets


def sample_bitexts() -> list[Bitext]:
    """Translations: "samples/en-ar", "samples/en-zh" and "samples/ar-zh".

    RETURNS (list[Bitext]): The bitexts.
    """
    rows = [row for _, row in json_rows(_FILE) if "score" not in row]
    sides = {lang: [row[lang] for row in rows] for lang in LANGUAGES}
    return [
        Bitext(f"{SAMPLES}/{first}-{second}", first, second, sides[first], sides[second], LICENCE, True)
        for first, second in combinations(LANGUAGES, 2)
    ]
