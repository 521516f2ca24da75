"""Documents whose mentions are given."""

from __future__ import annotations

import samarkand
from samarkand.pipeline.given_mentions import GROUP, mention_doc

NLP = samarkand.blank("xx")


def _mentions(count: int) -> tuple[str, list[dict]]:
    """Words of seven letters, each with a mention of its middle."""
    text = "abcdefg " * count
    return text, [{"start": 8 * i + 2, "end": 8 * i + 5} for i in range(count)]


def test_tokens_end_where_mentions_end():
    text, mentions = _mentions(3)
    doc = mention_doc(NLP, text, [*mentions, {"start": 0, "end": 12}])
    assert doc.text == text
    assert [span.text for span in doc.spans[GROUP]] == ["cde"] * 3 + ["abcdefg abcd"]
    assert [token.text for token in doc][:3] == ["ab", "cde", "fg"]
