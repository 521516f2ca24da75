"""The data of the bundled pipeline: open corpora only, outermost spans, joined records that keep their offsets."""

from __future__ import annotations

import random
from dataclasses import replace
from types import MappingProxyType

import pytest
from samarkand.corpora import bundle
from samarkand.corpora.assets import corpora


def test_learns_from_open_corpora_only(tmp_path, monkeypatch):
    assert all(corpora()[name].open for name, source in bundle.SOURCES.items() if source.train)
    closed = {"en-btc": replace(corpora()["en-btc"], open=False)}
    monkeypatch.setattr(bundle, "corpora", lambda: MappingProxyType(closed))
    monkeypatch.setattr(bundle, "SOURCES", {"en-btc": bundle.Source()})
    with pytest.raises(ValueError, match=r"\[S229\] en-btc \(.+\) does not allow"):
        bundle.write_bundle(tmp_path)
    assert not list(tmp_path.iterdir())


def test_joined_records_keep_every_span_and_its_words():
    records = [
        {"text": f"w{k} 北京", "spans": [{"start": len(f"w{k} "), "end": len(f"w{k} ") + 2, "label": "LOC"}]}
        for k in range(200)
    ]
    joined = list(bundle.join_some(records, random.Random(0)))
    assert 100 < len(joined) < 200
    words = [r["text"][s["start"] : s["end"]] for r in joined for s in r["spans"]]
    assert words == ["北京"] * 200
    assert list(bundle.join_some(records, random.Random(0))) == joined


def test_of_spans_within_one_another_the_outermost_stays(monkeypatch, tmp_path):
    spans = [(0, 2, "ORG"), (0, 4, "ORG"), (3, 6, "LOC"), (6, 8, "DATE")]
    record = {
        "text": "北京大学城里今天",
        "lang": "zh",
        "spans": [dict(zip(("start", "end", "label"), s)) for s in spans],
    }
    monkeypatch.setattr(bundle, "corpus_path", lambda name, split: tmp_path)
    monkeypatch.setattr(bundle, "read_records", lambda path: [record])
    (taken,) = bundle.take("en-btc", "train")
    assert [(s["start"], s["end"], s["label"]) for s in taken["spans"]] == [(0, 4, "ORG")]
    assert taken["source"] == "en-btc"
