"""The hand-written samples: enough of each kind, with exact offsets that the tokenizer can say."""

from collections import Counter
from pathlib import Path

import pytest
import regex
import samarkand
from samarkand.corpora.readers import SpanCorpus
from samarkand.corpora.records import read_records

SAMPLES = Path(samarkand.__file__).parent / "corpora" / "samples"
FLAT = ("ar", "zh", "en", "mixed")
RECORDS = {name: list(read_records(SAMPLES / f"{name}.jsonl")) for name in (*FLAT, "nested")}


@pytest.mark.parametrize("name", RECORDS)
def test_spans_are_exact(name):
    for record in RECORDS[name]:
        for span in record["spans"]:
            words = record["text"][span["start"] : span["end"]]
            assert words, record["id"]
            assert words == words.strip(), record["id"]
            assert span["label"] in {"PER", "LOC", "ORG", "MISC"}


def test_there_are_enough_of_each_kind():
    flat = [record for name in FLAT for record in RECORDS[name]]
    assert len(flat) >= 44
    assert len(RECORDS["nested"]) == 12
    ids = [record["id"] for records in RECORDS.values() for record in records]
    assert len(set(ids)) == len(ids)
    labels = Counter(span["label"] for record in flat for span in record["spans"])
    assert all(labels[label] >= 40 for label in ("PER", "LOC", "ORG"))
    assert max(len(record["text"]) for record in flat) >= 3000


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{Script=Arabic}.*\p{Script=Latin}",
        r"\p{Script=Han}.*\p{Script=Latin}",
        r"\p{Script=Han}.*\p{Script=Arabic}",
        r"[\u064b-\u0652]",  # vowel signs
        "\u0640",  # tatweel
        "[٠-٩]",
        "[Ａ-Ｚ]",
        r"\p{Emoji_Presentation}",
        "[“«]",
        "臺",
    ],
)
def test_hard_cases_are_there(pattern):
    assert any(regex.search(pattern, record["text"]) for name in FLAT for record in RECORDS[name])


def test_nested_samples_nest():
    for record in RECORDS["nested"]:
        bounds = [(span["start"], span["end"]) for span in record["spans"]]
        inside = [(a, b) for a in bounds for b in bounds if a != b and b[0] <= a[0] and a[1] <= b[1]]
        assert inside, record["id"]


@pytest.mark.parametrize("lang", ["xx", "ar", "zh", "en"])
@pytest.mark.parametrize("name", RECORDS)
def test_the_tokenizer_can_say_every_span(name, lang):
    corpus = SpanCorpus(SAMPLES / f"{name}.jsonl", spans_key="sc")
    assert sum(1 for _ in corpus(samarkand.blank(lang))) == len(RECORDS[name])
    assert corpus.report.n_problems == 0
