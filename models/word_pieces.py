"""Word-pieces of real text, and which of them make up each token.

The text is tokenised as it stands, never re-joined from words, and pieces meet tokens by their character
spans: a token gets every piece that shares a character with it, in order. What a piece covers:

- blanks at its ends do not count, so that the `Ġworld` of a byte-level model belongs to "world" alone;
- a piece that is all blank covers its blanks, and so belongs to blank tokens only;
- a SentencePiece mark `▁` put where the text has no blank covers nothing;
- byte-level pieces that share a character all cover it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Errors, first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IntArray = np.ndarray[Any, np.dtype[np.int64]]

BLANK_MARK = "▁"


@dataclass(frozen=True)
class Alignment:
    """The pieces of one document and the tokens they belong to.

    ids (IntArray): Vocabulary numbers, without special pieces. (n_pieces,)
    piece (IntArray): Piece of each (piece, token) pair; pairs are sorted by token, then by piece. (n_pairs,)
    token (IntArray): Token of each pair. (n_pairs,)
    n_tokens (int): Tokens in the document, with or without pieces.
    """

    ids: IntArray
    piece: IntArray
    token: IntArray
    n_tokens: int

    def first_pieces(self) -> Alignment:
        """RETURNS (Alignment): The same with only the first pair of each token."""
        first = np.ones(len(self.token), dtype=bool)
        first[1:] = self.token[1:] != self.token[:-1]
        return Alignment(self.ids, self.piece[first], self.token[first], self.n_tokens)


@dataclass
class WordPieces:
    """A word-piece tokenizer and the special pieces that its model expects around a window.

    tokenizer (Optional[Tokenizer]): Tokenizer of the `tokenizers` library; None until loaded.
    prefix (List[int]): Special pieces before the text, such as `[CLS]`.
    suffix (List[int]): Special pieces after the text, such as `[SEP]`.
    pad (int): The piece that fills a batch.
    """

    tokenizer: Tokenizer | None = None
    prefix: list[int] = field(default_factory=list)
    suffix: list[int] = field(default_factory=list)
    pad: int = 0

    @classmethod
    def from_pretrained(cls, name: str, *, revision: str | None = None) -> WordPieces:
        """Load the tokenizer of a checkpoint.

        name (str): Hub name or folder.
        revision (Optional[str]): Branch, tag or commit on the hub.
        RETURNS (WordPieces): The tokenizer.
        RAISES (OSError): S320 when it cannot be loaded.
        RAISES (ValueError): S324 when it does not report the character spans of its pieces, S335 as `from_tokenizer`.
        """
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        except Exception as err:
            raise OSError(Errors.S320.format(name=name, part="tokenizer", reason=first_line(err))) from err
        if not loaded.is_fast:
            raise ValueError(Errors.S324.format(name=name, found=type(loaded).__name__))
        pad = loaded.pad_token_id
        return cls.from_tokenizer(loaded.backend_tokenizer, pad=0 if pad is None else pad)

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer, *, pad: int = 0) -> WordPieces:
        """Take over a tokenizer of the `tokenizers` library; the given one is left as it is.

        tokenizer (Tokenizer): The tokenizer.
        pad (int): The piece that fills a batch.
        RETURNS (WordPieces): The tokenizer, without truncation, padding or trimming of its own.
        RAISES (ValueError): S335 when it puts special pieces around text and has no piece for any.
        """
        own = _copy(tokenizer.to_str())
        own.no_truncation()
        own.no_padding()
        prefix, suffix = _frame(own)
        # Byte-level post-processors empty the spans of blank pieces; the special pieces are known by now.
        own.post_processor = None
        return cls(own, prefix, suffix, pad)

    @property
    def n_special(self) -> int:
        """RETURNS (int): Special pieces around each window."""
        return len(self.prefix) + len(self.suffix)

    @property
    def vocab_size(self) -> int:
        """RETURNS (int): Rows that an embedding table needs for the ids of this tokenizer."""
        vocab = self._loaded().get_vocab(with_added_tokens=True)
        return max(vocab.values(), default=-1) + 1

    def align(self, texts: Sequence[str], tokens: Sequence[IntArray]) -> list[Alignment]:
        """Cut texts into pieces and say which pieces belong to each token.

        texts (Sequence[str]): The texts.
        tokens (Sequence[IntArray]): Character spans (start, end) of the tokens of each text, in order and
            without overlap. (n_tokens, 2)
        RETURNS (List[Alignment]): Pieces and pairs of each text.
        RAISES (ValueError): S322 before a tokenizer was loaded.
        """
        encodings = self._loaded().encode_batch(list(texts), add_special_tokens=False)
        marks = _mark_ids(self._loaded())
        aligned = []
        for text, encoding, token_spans in zip(texts, encodings, tokens):
            ids = np.asarray(encoding.ids, dtype=np.int64)
            offsets = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            spans = covered_spans(text, offsets, np.isin(ids, marks))
            aligned.append(Alignment(ids, *overlaps(spans, token_spans), n_tokens=len(token_spans)))
        return aligned

    def to_json(self) -> str:
        """RETURNS (str): The tokenizer and its special pieces; an empty object when none is loaded."""
        if self.tokenizer is None:
            return "{}"
        state = {"prefix": self.prefix, "suffix": self.suffix, "pad": self.pad}
        return json.dumps({"tokenizer": json.loads(self.tokenizer.to_str()), **state}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> WordPieces:
        """Read what `to_json` wrote.

        text (str): The JSON.
        RETURNS (WordPieces): The tokenizer.
        """
        state = json.loads(text)
        if not state:
            return cls()
        return cls(_copy(json.dumps(state["tokenizer"])), state["prefix"], state["suffix"], state["pad"])

    def _loaded(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError(Errors.S322)
        return self.tokenizer


def covered_spans(text: str, offsets: IntArray, is_mark: np.ndarray) -> IntArray:
    """The characters that each piece stands for (see the head of this file).

    text (str): The text.
    offsets (IntArray): Character spans as the tokenizer reports them. (n_pieces, 2)
    is_mark (ndarray[bool]): Whether a piece is nothing but blank marks. (n_pieces,)
    RETURNS (IntArray): Character spans; empty (start == end) where a piece covers nothing. (n_pieces, 2)
    """
    if not len(offsets):
        return offsets
    chars = np.frombuffer(text.encode(f"utf-32-{sys.byteorder[0]}e"), dtype=np.uint32)
    is_text = ~np.isin(chars, _blank_chars())
    # n_text[i] counts the visible characters before i; `seen` lists where they are.
    n_text = np.concatenate([[0], np.cumsum(is_text)])
    seen = np.flatnonzero(is_text)
    start, end = offsets.T
    before, after = n_text[start], n_text[end]
    has_text = after > before
    spans = offsets.copy()
    spans[has_text, 0] = seen[before[has_text]]
    spans[has_text, 1] = seen[after[has_text] - 1] + 1
    false_mark = is_mark & has_text
    false_mark[false_mark] = chars[start[false_mark]] != ord(BLANK_MARK)
    spans[false_mark, 1] = spans[false_mark, 0]
    return spans


def overlaps(pieces: IntArray, tokens: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs of a piece and a token that share a character.

    pieces (IntArray): Character spans in any order. (n_pieces, 2)
    tokens (IntArray): Character spans in order and without overlap. (n_tokens, 2)
    RETURNS (Tuple[IntArray, IntArray]): Piece and token of each pair, sorted by token, then by piece.
    """
    first = np.searchsorted(tokens[:, 1], pieces[:, 0], side="right")
    last = np.searchsorted(tokens[:, 0], pieces[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    piece = np.repeat(np.arange(len(pieces)), counts)
    within = np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts)
    token = np.repeat(first, counts) + within
    # Empty spans lie inside a range without sharing a character.
    shared = np.minimum(pieces[piece, 1], tokens[token, 1]) > np.maximum(pieces[piece, 0], tokens[token, 0])
    piece, token = piece[shared], token[shared]
    order = np.argsort(token, kind="stable")
    return piece[order], token[order]


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special pieces before and after a text."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    # Some tokenizers drop what their vocabulary lacks; what they have a piece for shows where text goes.
    for probe in ("a", *sorted(vocab, key=vocab.__getitem__)):
        framed = tokenizer.encode(probe)
        text = [i for i, special in enumerate(framed.special_tokens_mask) if not special]
        if text:
            return framed.ids[: text[0]], framed.ids[text[-1] + 1 :]
        if not framed.ids:
            return [], []
    raise ValueError(Errors.S335.format(pieces=" ".join(framed.tokens)))


@cache
def _blank_chars() -> np.ndarray:
    return np.array([c for c in range(sys.maxunicode + 1) if chr(c).isspace()], dtype=np.uint32)


def _mark_ids(tokenizer: Tokenizer) -> IntArray:
    marks = [BLANK_MARK * n for n in range(1, 17)]
    return np.array([i for i in map(tokenizer.token_to_id, marks) if i is not None], dtype=np.int64)


def _copy(state: str) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(state)
