"""Labelling functions: rules of every kind and file, votes of callables, summaries against a slow count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import samarkand
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from samarkand.corpora.labelling_functions import Votes, apply_functions, summarize_votes
from samarkand.corpora.labelling_rules import make_keyword_labels, make_pattern_labels, make_regex_labels
from samarkand.corpora.pipeline_labels import PipelineLabels, make_pipeline_labels
from samarkand.models.label_model import ABSTAIN
from spacy import registry
from spacy.language import Language

NLP = samarkand.blank("xx")


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def votes_on(function, *texts: str) -> list[str | None]:
    return [function(NLP(text)) for text in texts]


def test_keywords_are_whole_words_in_any_script(tmp_path):
    path = write(tmp_path, "words.tsv", "good\tfine\ngood\t好\nbad\tawful mess\nbad\tسيئ\n\nbad\tC++\n")
    function = make_keyword_labels(path)
    assert votes_on(function, "Fine!", "refined", "这个很好", "An AWFUL mess.", "هذا سيّئ", "c++ again", "", "c+") == [
        *("good", None, "good", "bad", "bad", "bad", None, None)
    ]
    assert votes_on(function, "fine, awful mess", "fine fine, awful mess") == [None, "good"]


def test_keyword_files_of_every_kind_are_the_same(tmp_path):
    paths = [
        write(tmp_path, "a.txt", "sun\nrain\n"),
        write(tmp_path, "a.tsv", "weather\tsun\nweather\train\n"),
        write(tmp_path, "a.jsonl", '{"keyword": "sun"}\n{"label": "weather", "keyword": "rain"}\n'),
    ]
    for path in paths:
        function = make_keyword_labels(path, label="weather")
        assert votes_on(function, "the Sun", "no rain", "snow") == ["weather", "weather", None]


def test_regular_expressions(tmp_path):
    path = write(tmp_path, "rules.tsv", "price\t\\$\\d+\nprice\tx*\nshout\t[A-Z]{4,}\n")
    assert votes_on(make_regex_labels(path), "only $5", "LOUD $5", "HELLO", "quiet") == ["price", None, "shout", None]


def test_patterns_of_tokens_and_phrases(tmp_path):
    rules = [
        {"label": "travel", "pattern": "New York"},
        {"label": "travel", "pattern": [{"LOWER": "fly"}, {"LOWER": "to"}, {}]},
        {"label": "food", "pattern": [{"NORM": {"IN": ["bread", "rice"]}}]},
    ]
    function = make_pattern_labels(write(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rules))))
    texts = ["I love New York", "We FLY to Cairo", "Bread and rice", "new bread", "fly"]
    assert votes_on(function, *texts) == ["travel", "travel", "food", "food", None]
    other = samarkand.blank("en")
    assert function(other("bread in English")) == "food"


@pytest.mark.parametrize(
    ("make", "name", "text", "reason"),
    [
        (make_keyword_labels, "a.txt", "sun\n", "no label"),
        (make_keyword_labels, "a.tsv", "x\ty\nno tab\n", "line 2: there is no keyword"),
        (make_keyword_labels, "a.tsv", "x\t\u0640\n", "nothing is left"),
        (make_keyword_labels, "a.tsv", "\n", "no rules"),
        (make_keyword_labels, "a.jsonl", '{"label": 1, "keyword": "x"}', "no label"),
        (make_keyword_labels, "a.jsonl", '{"label": "x", "keyword": ["x"]}', "no keyword"),
        (make_regex_labels, "a.tsv", "x\t(\n", "no regular expression"),
        (make_pattern_labels, "a.jsonl", '{"label": "x", "pattern": [{"LOWR": "a"}]}', "no pattern.*LOWR"),
        (make_pattern_labels, "a.jsonl", '{"label": "x", "pattern": []}', "there is no pattern"),
    ],
)
def test_rules_that_cannot_be_used_name_their_line(tmp_path, make, name, text, reason):
    with pytest.raises(ValueError, match=rf"S1100.*{reason}"):
        make(write(tmp_path, name, text))


def test_an_expression_that_takes_for_ever_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("samarkand.corpora.labelling_rules.MOST_SECONDS", 0.2)
    function = make_regex_labels(write(tmp_path, "a.tsv", "x\t^(a|aa)+$\n"))
    assert votes_on(function, "aaa") == ["x"]
    with pytest.raises(ValueError, match=r"S1106.*0\.2 seconds on 'aaa"):
        function(NLP("a" * 60 + "b"))


def test_missing_rules_and_unknown_levels(tmp_path):
    for make in (make_keyword_labels, make_regex_labels, make_pattern_labels):
        with pytest.raises(OSError, match="S841"):
            make(str(tmp_path / "none.tsv"))
    with pytest.raises(ValueError, match="S101"):
        make_keyword_labels("any", norm="most")
    with pytest.raises(ValueError, match="S842"):
        make_keyword_labels(write(tmp_path, "a.jsonl", "{"))


@Language.component("test_cats")
def _cats(doc):
    if len(doc):
        doc.cats = {"long": min(1.0, len(doc) / 4), "short": 1 - min(1.0, len(doc) / 4)}
    return doc


def test_another_pipeline_votes_where_it_is_sure(tmp_path):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("test_cats")
    nlp.to_disk(tmp_path / "model")
    function = make_pipeline_labels(str(tmp_path / "model"), threshold=0.75, labels={"short": None})
    docs = [NLP(text) for text in ("a b c d", "a b", "a", "")]
    assert list(function.pipe(docs)) == ["long", None, None, None]
    assert [function(doc) for doc in docs] == list(function.pipe(docs))
    assert PipelineLabels(nlp, labels={"short": "brief"})(NLP("a")) == "brief"
    with pytest.raises(ValueError, match=r"S1103.*none"):
        make_pipeline_labels(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="S1105"):
        make_pipeline_labels("any", threshold=2)


def _a_first(doc):
    return "a" if doc.text.startswith("a") else None


def _last(doc):
    return doc.text[-1]


def test_votes_of_callables():
    docs = [NLP(text) for text in ("ab", "b", "aa")]
    votes = apply_functions({"first": _a_first, "last": _last}, docs)
    assert votes.labels == ("a", "b")
    assert votes.matrix.tolist() == [[0, 1], [ABSTAIN, 1], [0, 0]]
    assert apply_functions({"last": _last}, docs, ["b", "x", "a"]).matrix.tolist() == [[0], [0], [2]]
    assert apply_functions({"last": _last}, [], ["a"]).matrix.shape == (0, 1)
    with pytest.raises(ValueError, match=r"S1101.*'last'.*'b'"):
        apply_functions({"last": _last}, docs, ["a"])


def _short(docs):
    return iter(())


def test_functions_that_fail_are_named():
    with pytest.raises(ValueError, match=r"S1102.*'divide' failed on 'text': ZeroDivisionError"):
        apply_functions({"divide": lambda doc: 1 / 0}, [NLP("text")])
    with pytest.raises(ValueError, match=r"S1102.*gave 3"):
        apply_functions({"number": lambda doc: 3}, [NLP("text")])
    few = PipelineLabels(NLP)
    few.pipe = _short
    with pytest.raises(ValueError, match="S1102"):
        apply_functions({"few": few}, [NLP("text")])
    with pytest.raises(ValueError, match="S1104"):
        apply_functions({}, [])
    with pytest.raises(ValueError, match="S1104"):
        apply_functions({"x": "words"}, [])


@given(
    arrays(int, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.integers(ABSTAIN, 2)),
    st.integers(0, 99),
)
def test_summaries_are_the_slow_count(matrix, seed):
    gold = np.random.default_rng(seed).integers(ABSTAIN, 3, len(matrix))
    names = tuple("fghi"[: matrix.shape[1]])
    rows = summarize_votes(Votes(matrix, names, ("a", "b", "c")), gold)
    for j, row in enumerate(rows):
        voted = [i for i in range(len(matrix)) if matrix[i][j] != ABSTAIN]
        others = {i: [v for k, v in enumerate(matrix[i]) if k != j and v != ABSTAIN] for i in voted}
        known = [i for i in voted if gold[i] != ABSTAIN]
        assert row.name == names[j]
        assert row.labels == tuple("abc"[v] for v in sorted({matrix[i][j] for i in voted}))
        assert row.coverage == pytest.approx(len(voted) / len(matrix))
        assert row.overlap == pytest.approx(sum(bool(others[i]) for i in voted) / len(matrix))
        assert row.conflict == pytest.approx(
            sum(any(v != matrix[i][j] for v in others[i]) for i in voted) / len(matrix)
        )
        right = sum(matrix[i][j] == gold[i] for i in known)
        assert row.accuracy == (pytest.approx(right / len(known)) if known else None)
    assert all(row.accuracy is None for row in summarize_votes(Votes(matrix, names, ("a", "b", "c"))))


def test_configs_name_functions(tmp_path):
    path = write(tmp_path, "a.tsv", "x\tsun\n")
    made = registry.resolve({"f": {"@misc": "samarkand.KeywordLabels.v1", "path": path}})["f"]
    assert made(NLP("sun")) == "x"
