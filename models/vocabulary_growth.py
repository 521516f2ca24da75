"""More pieces for a vocabulary, learnt from new text; its own pieces stay, and keep their numbers.

Characters that the text has and the vocabulary has not come first; else they would be read byte by byte. Then the
merging of BPE goes on from where the vocabulary stopped: the commonest pair of neighbouring pieces becomes one.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from .vocabulary import MAX_PIECE, MIN_COUNT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pair = tuple[str, str]


def grow_vocabulary(tokenizer: Tokenizer, texts: Iterable[str], size: int) -> Tokenizer:
    """Add pieces to a vocabulary.

    tokenizer (Tokenizer): As `train_vocabulary` makes it; left as it is.
    texts (Iterable[str]): The new text.
    size (int): Most pieces, those that are there included; little text gives fewer.
    RETURNS (Tokenizer): The grown tokenizer. It cuts text as before, and then joins what makes a new piece.
    """
    words = _count_words(tokenizer, texts)
    grown = _with_pieces(tokenizer, _new_characters(tokenizer, words, size), [])
    merges = _new_merges(grown, words, size - grown.get_vocab_size())
    return _with_pieces(grown, [left + right for left, right in merges], merges)


def _count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return words


def _new_characters(tokenizer: Tokenizer, words: Counter[str], size: int) -> list[str]:
    """Characters without a piece, the commonest first."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    known = tokenizer.get_vocab()
    found = [char for char, count in counts.items() if char not in known and count >= MIN_COUNT]
    found.sort(key=lambda char: (-counts[char], char))
    return found[: max(0, size - len(known))]


def _new_merges(tokenizer: Tokenizer, words: Counter[str], limit: int) -> list[Pair]:
    """Pairs of pieces to join, in order; of pairs that are equally common, the first by alphabet."""
    cut = {word: [token.value for token in tokenizer.model.tokenize(word)] for word in words}
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[str]] = defaultdict(set)
    for word, pieces in cut.items():
        for pair in pairwise(pieces):
            counts[pair] += words[word]
            places[pair].add(word)
    known = set(tokenizer.get_vocab())
    # Entries whose count is no longer true are passed over.
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < limit:
        count, pair = heapq.heappop(heap)
        if -count != counts[pair] or not _is_fit(pair, -count, known):
            continue
        merges.append(pair)
        known.add("".join(pair))
        changed: set[Pair] = set()
        for word in places.pop(pair):
            before = cut[word]
            cut[word] = after = _merged(before, pair)
            for sign, pieces in ((-1, before), (1, after)):
                for other in pairwise(pieces):
                    counts[other] += sign * words[word]
                    changed.add(other)
                    if sign > 0:
                        places[other].add(word)
        for other in changed:
            heapq.heappush(heap, (-counts[other], other))
    return merges


def _is_fit(pair: Pair, count: int, known: set[str]) -> bool:
    """Bytes spell what has no piece, and stay bytes."""
    piece = "".join(pair)
    is_bytes = any(part.startswith("<0x") for part in pair)
    return count >= MIN_COUNT and len(piece) <= MAX_PIECE and piece not in known and not is_bytes


def _merged(pieces: list[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    i = 0
    while i < len(pieces):
        is_pair = tuple(pieces[i : i + 2]) == pair
        joined.append("".join(pair) if is_pair else pieces[i])
        i += 2 if is_pair else 1
    return joined


def _with_pieces(tokenizer: Tokenizer, pieces: list[str], merges: list[Pair]) -> Tokenizer:
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    vocab |= {piece: number for number, piece in enumerate(pieces, start=len(vocab))}
    content["model"]["merges"] += [list(merge) for merge in merges]
    return Tokenizer.from_str(json.dumps(content))
