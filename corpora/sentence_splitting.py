"""Cutting text into sentences by punctuation."""

from __future__ import annotations

from collections.abc import Callable


def make_splitter(lang: str = "xx") -> Callable[[str], list[str]]:
    """A function that cuts a text into sentences, in memory that does not grow with the texts.

    lang (str): Language code; "xx" for mixed text.
    RETURNS (Callable[[str], list[str]]): Takes a text, and gives its sentences, without blank ones.
    """
    from .. import blank

    nlp = blank(lang)
    nlp.add_pipe("sentencizer")

    def split(text: str) -> list[str]:
        with nlp.memory_zone():
            sentences = [sentence.text.strip() for sentence in nlp(text).sents]
        return [sentence for sentence in sentences if sentence]

    return split
