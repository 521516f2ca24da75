"""Sentences of a text: punctuation of several scripts, nothing lost, nothing kept."""

from __future__ import annotations

import pytest
import samarkand
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.sentence_splitting import make_splitter

SPLIT = make_splitter()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("The sun shines. It rains!\nWho waits?", ["The sun shines.", "It rains!", "Who waits?"]),
        ("هل وصلت؟ نعم.", ["هل وصلت؟", "نعم."]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("No end", ["No end"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_sentences(text, sentences):
    assert SPLIT(text) == sentences


def test_the_rules_of_a_language():
    text = "He leaves at 5 p.m. with her."
    assert SPLIT(text) == [text]
    assert make_splitter("de")(text) == ["He leaves at 5 p.m.", "with her."]


@settings(deadline=None)
@given(st.text())
def test_nothing_is_lost(text):
    sentences = SPLIT(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


def test_words_are_forgotten(monkeypatch):
    made = []
    blank = samarkand.blank
    monkeypatch.setattr(samarkand, "blank", lambda *names: made.append(blank(*names)) or made[-1])
    split = make_splitter()
    assert split("Unheardofword is here.") == ["Unheardofword is here."]
    assert "Unheardofword" not in made[0].vocab.strings
