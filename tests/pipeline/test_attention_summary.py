"""The page of attention over a corpus."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import samarkand
from report_corpora import INJECTIONS, Parsed
from samarkand.models.attention_reading import AttentionReader
from samarkand.pipeline.attention_corpus import MEASURES, CorpusAttention
from samarkand.pipeline.attention_summary import summarize_attention, summary_data
from samarkand.pipeline.cli import app
from samarkand.pipeline.sources import UsageError
from sentence_checkpoints import make_encoder_folder
from typer.testing import CliRunner

TEXTS = ["the cat sat, the dog ran.", "قط 猫 the cat", "The cats ran in the park"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def annotated(text, part, label):
    start = text.index(part)
    return {"text": text, "entities": [{"start": start, "end": start + len(part), "label": label}]}


@pytest.mark.parametrize("measure", MEASURES)
def test_statistics_are_those_of_the_windows(encoder, measure):
    """Word by word from the windows, without a stream."""
    reader, nlp = AttentionReader(encoder), samarkand.blank()
    corpus = CorpusAttention(reader, measure)
    slow: dict[str, list[np.ndarray]] = {}
    for text in TEXTS:
        doc = nlp(text)
        corpus.add(doc, None)
        spans = np.array([(token.idx, token.idx + len(token)) for token in doc])
        (window,) = reader.windows(reader.align(text, spans), gradients=True)
        values = window.measures()[measure].numpy()
        even = {"received": values.shape[-1], "influence": values.shape[-1] * values.shape[1]}.get(measure, 1)
        for place, unit in enumerate(window.frame.units):
            if unit.word is not None:
                slow.setdefault(doc[unit.word].text.lower(), []).append(even * values[:, :, place].ravel())
    assert (corpus.documents, corpus.words) == (3, sum(map(len, slow.values())))
    assert set(corpus.by_word.names) == set(slow)
    for name, count, means, highs in zip(
        corpus.by_word.names, corpus.by_word.counts, corpus.by_word.means, corpus.by_word.highs
    ):
        assert count == len(slow[name])
        np.testing.assert_allclose(means, np.mean(slow[name], axis=0), rtol=1e-6)
        np.testing.assert_allclose(highs, np.max(slow[name], axis=0), rtol=1e-6)


def test_mentions_are_counted_by_label(encoder):
    corpus, nlp = CorpusAttention(AttentionReader(encoder), "received"), samarkand.blank()
    good = {"start": 4, "end": 11, "label": "ANIMAL"}
    bad = [None, {"label": "X"}, {**good, "label": 3}, {**good, "start": 7, "end": 4}, {**good, "end": 99}]
    corpus.add(nlp("the cat sat"), [good, *bad, {**good, "start": True}])
    corpus.add(nlp("the cat"), "no list")
    assert dict(zip(corpus.by_label.names, corpus.by_label.counts)) == {"ANIMAL": 2}
    rows = [corpus.by_word.names.index(name) for name in ("cat", "sat")]
    # "cat" of the second document is in no mention.
    assert not np.allclose(corpus.by_label.means[0], corpus.by_word.means[rows].mean(axis=0))
    assert corpus.by_label.lows[0].min() >= corpus.by_word.lows[rows].min()


def test_lists_are_sorted_and_leave_out_the_rare(encoder):
    corpus, nlp = CorpusAttention(AttentionReader(encoder), "received"), samarkand.blank()
    for text in TEXTS:
        corpus.add(nlp(text), None)
    data = summary_data(corpus, (3, 2), top=2, min_count=2)
    assert len(data["lists"]) == 1 + 3 + 6
    frequent = {name for name, n in zip(corpus.by_word.names, corpus.by_word.counts) if n >= 2}
    for rows in data["lists"]:
        assert len(rows) == 2
        assert {row[0] for row in rows} <= frequent
        assert rows[0][2] >= rows[1][2]
    row = corpus.by_word.names.index(data["lists"][0][0][0])
    assert data["lists"][0][0][2] == pytest.approx(corpus.by_word.means[row].mean(), abs=1e-4)
    best = max(corpus.by_word.means[corpus.by_word.names.index(name), 5] for name in frequent)
    assert data["lists"][-1][0][2] == pytest.approx(best, abs=1e-4)
    # Spread over occurrences and heads is that of all values together.
    _, _, mean, spread, *_ = data["lists"][0][0]
    means, variances = corpus.by_word.means[row], corpus.by_word.variances[row]
    assert spread**2 == pytest.approx((variances + means**2).mean() - mean**2, abs=1e-3)
    assert summary_data(corpus, (3, 2), top=2, min_count=99)["lists"][0] == []


def test_page(encoder, tmp_path):
    records = [annotated(TEXTS[0], "cat", "ANIMAL"), annotated(TEXTS[2], "park", "LOC"), {"text": " "}, {"no": "text"}]
    corpus = write(tmp_path / "in.jsonl", records)
    summary = summarize_attention(corpus, tmp_path / "a.html", model=encoder, min_count=1)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (summary["documents"], summary["blank"], summary["rejected"]) == (2, 1, 1)
    assert (summary["words"], summary["different"]) == (14, 10)
    parsed = Parsed(page)
    assert [row[0] for row in parsed.rows if row and row[0] in ("ANIMAL", "LOC")] == ["ANIMAL", "LOC"]
    assert sorted(parsed.data["order"]) == list(range(6))
    assert not re.search("https?://", page)
    assert not any(name in ("src", "href", "style") for _, tag in parsed.tags for name in tag)
    limited = summarize_attention(corpus, tmp_path / "b.html", model=encoder, limit=1)
    assert limited["documents"] == 1


def test_labels_of_a_corpus_annotated_twice_are_the_new_ones(encoder, tmp_path):
    """What the first annotation left under "input_entities" was read instead."""
    new, old = annotated(TEXTS[0], "cat", "NEW"), annotated(TEXTS[0], "cat", "OLD")
    records = [{**new, "input_entities": old["entities"]}, {"text": TEXTS[0], "input_entities": old["entities"]}]
    summarize_attention(write(tmp_path / "in.jsonl", records), tmp_path / "a.html", model=encoder, min_count=1)
    parsed = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert [row[:2] for row in parsed.rows if row and row[0] in ("NEW", "OLD")] == [["NEW", "1"]]


def test_hostile_corpus_stays_data(encoder, tmp_path):
    records = [{"text": f"cat {bad}", "entities": [{"start": 0, "end": 3, "label": bad}]} for bad in INJECTIONS]
    summarize_attention(write(tmp_path / "in.jsonl", records), tmp_path / "a.html", model=encoder, min_count=1)
    parsed = Parsed((tmp_path / "a.html").read_text(encoding="utf-8"))
    known = "html head meta title style body h1 p div main table caption thead tr th tbody td bdi script"
    assert {name for name, _ in parsed.tags} == set(known.split())
    assert [name for name, _ in parsed.tags].count("script") == 2


def test_command(encoder, tmp_path):
    corpus, page = write(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "page.html"
    run = CliRunner().invoke
    call = ["attention-summary", str(corpus), "-m", encoder, "-o", str(page)]
    result = run(app, call)
    assert result.exit_code == 0, result.output
    assert "3 documents, 18 words" in result.output
    with pytest.raises(UsageError, match=r"\[S504\]"):
        summarize_attention(corpus, page, model="not looked at")
    with pytest.raises(UsageError, match=r"\[S505\]"):
        summarize_attention(corpus, corpus, model="not looked at", force=True)
    result = run(app, [*call, "-F", "--json", "--measure", "influence", "--limit", "2"])
    assert json.loads(result.stdout)["documents"] == 2
    with pytest.raises(UsageError, match=r"\[S507\]"):
        summarize_attention(corpus, tmp_path / "b.html", model="not looked at", measure="other")
    write(corpus, [{"text": " "}])
    result = run(app, [*call[:-1], str(tmp_path / "none.html")])
    assert result.exit_code == 1
    assert "[S1183]" in result.output
    assert not (tmp_path / "none.html").exists()
