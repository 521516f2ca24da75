"""What a linker of a pipeline is asked, and the token vectors that it reads: of texts, and of options, kept by id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors
from .shared_encoder import listeners

# Distinct options whose texts and vectors are held at once.
GROUP_OPTIONS = 2048

TokenEncoder = Model[list[Doc], list[Floats2d]]


@dataclass(frozen=True)
class OptionText:
    """What is read of an option.

    doc (Doc): Its text.
    segments (int64, [tokens]): See `joint_reader.SEGMENTS`.
    """

    doc: Doc
    segments: np.ndarray


@dataclass(frozen=True)
class LinkQuestions:
    """Mentions of some documents, and what each can mean.

    docs (list[Doc]): The documents.
    mentions (int64, [N, 3]): Document, first token and last exclusive.
    order (int64, [N]): Turn of the mention within its document.
    options (int64, [N, K]): Places among `keys`; -1 for padding.
    ids (int64, [N, K]): As in `M3Batch`.
    features (float32, [N, K, F]): As in `M3Batch`.
    keys (list[Hashable]): Of the distinct options; options of one key have one text.
    read (Callable): Gives the texts of some keys.
    beta, theta (float): What decides, see `M3`.
    told (Optional[int64, [N]]): What is remembered of each mention, see `m3_turns.answer`; None for what is answered.
    """

    docs: list[Doc]
    mentions: np.ndarray
    order: np.ndarray
    options: np.ndarray
    ids: np.ndarray
    features: np.ndarray
    keys: list[Hashable]
    read: Callable[[Sequence[Hashable]], list[OptionText]]
    beta: float
    theta: float
    told: np.ndarray | None = None

    @property
    def asked(self) -> np.ndarray:
        """RETURNS (int64, [M]): Mentions that have options."""
        return np.flatnonzero((self.options >= 0).any(1))


class OptionCache:
    """Token vectors of options that were read lately, in half precision. Pickles empty.

    size (int): Options to keep; 0 for none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[Hashable, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def __reduce__(self) -> tuple[type[OptionCache], tuple[int]]:
        return OptionCache, (self.size,)

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all: the encoder is another one."""
        self._kept.clear()

    def vectors(
        self, keys: Sequence[Hashable], encode: Callable[[Sequence[Hashable]], list[tuple[np.ndarray, np.ndarray]]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Vectors and segments of options.

        keys (Sequence[Hashable]): The options.
        encode (Callable): Gives those of options that are not here.
        RETURNS (list): Of each, vectors (float16, [tokens, E]) and segments (int64, [tokens]).
        """
        missing = [key for key in keys if key not in self._kept]
        found = dict(zip(missing, encode(missing))) if missing else {}
        for key in keys:
            if key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
        for key in missing:
            self._kept[key] = found[key]
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return [found[key] for key in keys]


@dataclass(frozen=True)
class OptionTokens:
    """Tokens of some options, one after another.

    vectors (float32, [R, E]): The tokens.
    places (int64, [U, S]): Those of each option; -1 for padding.
    segments (int64, [U, S]): As in `OptionText`.
    """

    vectors: np.ndarray
    places: np.ndarray
    segments: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """RETURNS (int64, [U]): Tokens of each option."""
        return (self.places >= 0).sum(1)


def encode_options(
    encoder: TokenEncoder, questions: LinkQuestions, which: np.ndarray, *, longest: int, cache: OptionCache
) -> OptionTokens:
    """Tokens of options, without gradients.

    encoder (Model): Their encoder.
    questions (LinkQuestions): What is asked.
    which (int64, [U]): Places among its keys.
    longest (int): Tokens of an option that are read, at most.
    cache (OptionCache): Where they are kept.
    RETURNS (OptionTokens): Their tokens.
    """

    def encode(keys: Sequence[Hashable]) -> list[tuple[np.ndarray, np.ndarray]]:
        texts = cut_options(questions.read(keys), longest)
        vectors = encoder.predict([text.doc for text in texts])
        # Kept or not, options are read in half precision, so that all runs agree.
        halves = [encoder.ops.to_numpy(rows).astype(np.float16) for rows in vectors]
        return [(rows, text.segments) for rows, text in zip(halves, texts)]

    found = cache.vectors([questions.keys[i] for i in which.tolist()], encode)
    return lay_out([rows for rows, _ in found], [segments for _, segments in found])


def cut_options(texts: list[OptionText], longest: int) -> list[OptionText]:
    """The first tokens of each option.

    texts (list[OptionText]): The options.
    longest (int): Tokens of an option, at most.
    RETURNS (list[OptionText]): They, shortened.
    """
    return [
        text if len(text.doc) <= longest else OptionText(text.doc[:longest].as_doc(), text.segments[:longest])
        for text in texts
    ]


def lay_out(vectors: list[np.ndarray], segments: list[np.ndarray]) -> OptionTokens:
    """Options one after another: vectors [tokens, E] and segments [tokens] of each -> `OptionTokens`."""
    lengths = np.array([len(rows) for rows in vectors], dtype=np.int64)
    places = ragged(lengths.cumsum() - lengths, lengths)
    told = np.zeros_like(places)
    told[places >= 0] = np.concatenate(segments)
    return OptionTokens(np.concatenate(vectors).astype(np.float32), places, told)


def ragged(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Consecutive places from each start: [B], [B] -> [B, longest], -1 for padding."""
    steps = np.arange(lengths.max(initial=0))
    return np.where(steps < lengths[:, None], starts[:, None] + steps, -1)


def query_windows(
    questions: LinkQuestions, rows: np.ndarray, firsts: np.ndarray, *, window: int, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens around mentions: bounded on each side. Of a mention that is longer than all, both ends are kept.

    questions (LinkQuestions): What is asked.
    rows (int64, [M]): Which mentions.
    firsts (int64, [D]): Place of the first token of each document among all tokens.
    window (int): Tokens on each side, at most.
    longest (int): Tokens of a mention, at most.
    RETURNS: places among all tokens (int64, [M, L]), -1 for padding, and marks (int64, [M, L]), 1 for the mention.
    """
    documents, starts, ends = questions.mentions[rows].T
    sizes = np.array([len(doc) for doc in questions.docs], dtype=np.int64)
    lefts, rights = np.maximum(starts - window, 0), np.minimum(ends + window, sizes[documents])
    left_out = np.maximum(ends - starts - longest, 0)
    places = ragged(lefts, rights - lefts - left_out)
    # What follows the first half of a long mention is its second half.
    halves = starts + (longest + 1) // 2
    places += np.where((places >= halves[:, None]) & (left_out > 0)[:, None], left_out[:, None], 0)
    marks = (places >= starts[:, None]) & (places < ends[:, None])
    return np.where(places >= 0, places + firsts[documents][:, None], -1), marks.astype(np.int64)


def option_groups(questions: LinkQuestions, rows: np.ndarray, most: int = GROUP_OPTIONS) -> Iterator[np.ndarray]:
    """Consecutive mentions with so many distinct options together.

    questions (LinkQuestions): What is asked.
    rows (int64, [M]): Mentions.
    most (int): Distinct options of a group; a mention with more is one by itself.
    YIELDS (int64): Mentions of a group.
    """
    first, seen = 0, set()
    for place, row in enumerate(rows.tolist()):
        own = set(questions.options[row].tolist()) - {-1}
        if place > first and len(seen | own) > most:
            yield rows[first:place]
            first, seen = place, set()
        seen |= own
    if first < len(rows):
        yield rows[first:]


def check_own_encoder(encoder: TokenEncoder) -> None:
    """Make sure that an encoder can read options: a listener hears of the texts of the pipeline alone.

    encoder (Model): The encoder.
    RAISES (ValueError): S935 for a listener.
    """
    if listeners(encoder):
        raise ValueError(Errors.S935)
