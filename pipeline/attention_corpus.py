"""What heads look at over a stream of documents."""

from __future__ import annotations

from typing import Any

import numpy as np
from spacy.tokens import Doc

from ..models.attention_reading import AttentionReader, WindowAttention
from ..models.attention_statistics import AttentionStatistics, HeadSimilarity
from ..models.transformer_tok2vec import token_spans

# Those that are shares of a whole are told in even shares: 1 is what a unit has when all have alike, so that long and
# short texts can be compared.
SHARES = ("received", "influence")
MEASURES = (*SHARES, "diagonal", "spread")


class CorpusAttention:
    """A measure of attention over many documents, by word, by label of mentions and by head.

    reader (AttentionReader): Reads the documents.
    measure (str): One of `MEASURES`.
    """

    def __init__(self, reader: AttentionReader, measure: str) -> None:
        self._reader, self._measure = reader, measure
        layers, heads = reader.heads
        self.by_word = AttentionStatistics(layers * heads)
        self.by_label = AttentionStatistics(layers * heads)
        self.similarity = HeadSimilarity(layers * heads)
        self.documents = self.blank = self.words = 0

    def add(self, doc: Doc, mentions: Any) -> None:
        """Read a document.

        doc (Doc): Its words, which are counted without case.
        mentions (Any): Dicts with "start" and "end" in characters and "label"; what is none of these is passed over.
        RAISES (ValueError): S1182 when the encoder gives no attention.
        """
        aligned = self._reader.align(doc.text, token_spans(doc))
        if not len(aligned.piece):
            self.blank += 1
            return
        labels = _labels(doc, mentions)
        self.documents += 1
        for window in self._reader.windows(aligned, gradients=self._measure == "influence"):
            words, values = self._values(window)
            self.words += len(words)
            self.by_word.add([doc[word].lower_ for word in words], values)
            self.similarity.add(values)
            for label, inside in labels.items():
                places = [place for place, word in enumerate(words) if word in inside]
                self.by_label.add([label] * len(places), values[:, places])

    def _values(self, window: WindowAttention) -> tuple[list[int], np.ndarray]:
        """The words that belong to a window, and the measure of each. (G, W)"""
        frame = window.frame
        values = window.measures()[self._measure]
        layers, heads, units = values.shape
        if self._measure in SHARES:
            values = values * units * (heads if self._measure == "influence" else 1)
        places = [n for n, unit in enumerate(frame.units) if frame.own[n] and unit.word is not None]
        words = [frame.units[place].word for place in places]
        return words, values.reshape(layers * heads, units)[:, places].numpy()


def _labels(doc: Doc, mentions: Any) -> dict[str, set[int]]:
    """The words in mentions of each label."""
    found: dict[str, set[int]] = {}
    for mention in mentions if isinstance(mentions, list) else ():
        if not isinstance(mention, dict) or not isinstance(mention.get("label"), str):
            continue
        start, end = mention.get("start"), mention.get("end")
        if type(start) is int and type(end) is int and 0 <= start < end <= len(doc.text):
            span = doc.char_span(start, end, alignment_mode="expand")
            found.setdefault(mention["label"], set()).update(token.i for token in span)
    return found
