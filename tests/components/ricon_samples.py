"""A small `ricon_ner` network for tests."""

from __future__ import annotations

SMALL_ENCODER = {
    "@architectures": "samarkand.SubwordEncoder.v1",
    "width": 32,
    "embed_width": 24,
    "word_rows": 500,
    "piece_rows": 500,
    "bigram_rows": 500,
    "bigram_width": 8,
    "dropout": 0.0,
    "token_dropout": 0.0,
}
SMALL_MODEL = {
    "@architectures": "samarkand.Ricon.v1",
    "width": 32,
    "rank": 8,
    "hidden": 16,
    "dropout_in": 0.0,
    "dropout_out": 0.0,
    "tok2vec": SMALL_ENCODER,
}
