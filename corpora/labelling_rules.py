"""Labelling functions that read rules from files: keywords, regular expressions, and patterns of spaCy's matchers.

A text can fit rules of several labels: the label with most matches has the vote, and a tie is none.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import groupby
from pathlib import Path

import regex
from spacy import registry
from spacy.matcher import Matcher, PhraseMatcher
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import Errors, first_finding
from ..normalization import check_level, normalize
from .labelling_files import read_rules

__all__ = ["PatternLabels", "TextLabels", "make_keyword_labels", "make_pattern_labels", "make_regex_labels"]

# Most time for one expression on one text, in seconds: some take time that doubles with each letter.
MOST_SECONDS = 10.0
# Letters of scripts that put no blanks between words: a keyword may stand inside of a run of them.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")


class TextLabels:
    """Votes by regular expressions over the normalised text.

    patterns (dict[str, list[regex.Pattern]]): Expressions by label.
    norm (str): How a text is normalised before it is searched: see `normalization`.
    """

    def __init__(self, patterns: dict[str, list[regex.Pattern]], *, norm: str) -> None:
        self.patterns = patterns
        self.norm = norm

    def __call__(self, doc: Doc) -> str | None:
        """Vote.

        doc (Doc): The document; only its text counts.
        RETURNS (Optional[str]): The label with most matches.
        RAISES (ValueError): S1106 for an expression that takes too long.
        """
        text = normalize(doc.text, self.norm)
        return _most(
            {label: sum(_count(pattern, text) for pattern in patterns) for label, patterns in self.patterns.items()}
        )


class PatternLabels:
    """Votes by patterns of tokens or phrases, as spaCy's rulers have them.

    rules (list[tuple[str, str | list[dict]]]): Label, and a phrase or a pattern of tokens.
    attr (str): Attribute by which phrases are compared, such as "NORM" or "LOWER".
    """

    def __init__(self, rules: list[tuple[str, str | list[dict]]], *, attr: str) -> None:
        self.rules = rules
        self.attr = attr
        self._vocab: Vocab | None = None

    def __call__(self, doc: Doc) -> str | None:
        """Vote.

        doc (Doc): The document, with the annotations that the patterns ask for.
        RETURNS (Optional[str]): The label with most matches.
        """
        if doc.vocab is not self._vocab:
            self.build(doc.vocab)
        found = {(name, start, end) for matcher in self._matchers for name, start, end in matcher(doc)}
        return _most(Counter(self._vocab.strings[name] for name, _, _ in found))

    def build(self, vocab: Vocab) -> None:
        """Make the matchers.

        vocab (Vocab): Vocabulary of the documents to come.
        RAISES (ValueError): As spaCy's matchers raise for a pattern that none can read.
        """
        tokens, phrases = Matcher(vocab, validate=True), PhraseMatcher(vocab, attr=self.attr)
        for label, rules in groupby(sorted(self.rules, key=_label), key=_label):
            rules = [rule for _, rule in rules]
            if patterns := [rule for rule in rules if not isinstance(rule, str)]:
                tokens.add(label, patterns)
            words = (_tokenizer()(rule) for rule in rules if isinstance(rule, str))
            if docs := [_copied(vocab, doc) for doc in words]:
                phrases.add(label, docs)
        # spaCy warns of a matcher without patterns.
        self._matchers, self._vocab = [matcher for matcher in (tokens, phrases) if len(matcher)], vocab


@registry.misc("samarkand.KeywordLabels.v1")
def make_keyword_labels(path: str, label: str | None = None, norm: str = "full") -> TextLabels:
    """Vote for the label whose keywords occur most often. Case, and what `norm` drops, do not count.

    A keyword is found as whole words; in scripts without blanks between words, anywhere.

    path (str): TSV with a label, a tab and a keyword a line; JSONL with "label" and "keyword"; or TXT, keywords alone.
    label (Optional[str]): The label of keywords that have none.
    norm (str): How texts and keywords are normalised: "none", "light" or "full".
    RETURNS (TextLabels): The function.
    RAISES (OSError): S841 without such a file.
    RAISES (ValueError): S1100 for a line that is no rule, S842 for one that is no JSON, S101 for an unknown `norm`.
    """
    check_level(norm)
    words: dict[str, list[str]] = {}
    for place, name, keyword in read_rules(Path(path), "keyword", label):
        if not (word := normalize(keyword, norm).strip()):
            raise ValueError(place.refuse("nothing is left of the keyword"))
        words.setdefault(name, []).append(_bounded(word))
    patterns = {name: [regex.compile("|".join(words[name]), regex.IGNORECASE | regex.FULLCASE)] for name in words}
    return TextLabels(patterns, norm=norm)


@registry.misc("samarkand.RegexLabels.v1")
def make_regex_labels(path: str, label: str | None = None, norm: str = "none") -> TextLabels:
    """Vote for the label whose regular expressions match most often.

    path (str): TSV with a label, a tab and an expression a line; JSONL with "label" and "regex"; or TXT.
    label (Optional[str]): The label of expressions that have none.
    norm (str): How texts are normalised: "none", "light" or "full".
    RETURNS (TextLabels): The function.
    RAISES (OSError): S841 without such a file.
    RAISES (ValueError): S1100 for a line that is no rule, S842 for one that is no JSON, S101 for an unknown `norm`.
    """
    check_level(norm)
    patterns: dict[str, list[regex.Pattern]] = {}
    for place, name, expression in read_rules(Path(path), "regex", label):
        try:
            pattern = regex.compile(expression)
        except regex.error as error:
            raise ValueError(place.refuse(f"no regular expression: {error}")) from None
        patterns.setdefault(name, []).append(pattern)
    return TextLabels(patterns, norm=norm)


@registry.misc("samarkand.PatternLabels.v1")
def make_pattern_labels(path: str, label: str | None = None, attr: str = "NORM") -> PatternLabels:
    """Vote for the label whose patterns match most often.

    path (str): JSONL with "label" and "pattern": a phrase, or a list of tokens as spaCy's Matcher takes it.
    label (Optional[str]): The label of patterns that have none.
    attr (str): Attribute by which phrases are compared.
    RETURNS (PatternLabels): The function.
    RAISES (OSError): S841 without such a file.
    RAISES (ValueError): S1100 for a line that is no rule, S842 for one that is no JSON.
    """
    rules = []
    vocab = Vocab()
    for place, name, pattern in read_rules(Path(path), "pattern", label, or_list=True):
        try:
            PatternLabels([(name, pattern)], attr=attr).build(vocab)
        except Exception as error:  # the matchers raise several kinds
            raise ValueError(place.refuse(f"no pattern: {first_finding(error)}")) from None
        rules.append((name, pattern))
    return PatternLabels(rules, attr=attr)


def _most(counts: dict[str, int]) -> str | None:
    """The label with most matches; none when there is a tie or no match."""
    best = max(counts.values(), default=0)
    labels = [label for label, count in counts.items() if count == best]
    return labels[0] if best and len(labels) == 1 else None


def _count(pattern: regex.Pattern, text: str) -> int:
    """Matches with something in them: an empty one would be found everywhere."""
    try:
        return sum(match.end() > match.start() for match in pattern.finditer(text, timeout=MOST_SECONDS))
    except TimeoutError:
        message = Errors.S1106.format(expression=pattern.pattern[:80], seconds=MOST_SECONDS, text=text[:40])
        raise ValueError(message) from None


def _bounded(word: str) -> str:
    """An expression for a keyword where it begins and ends as a word does."""
    before = "" if _UNSPACED.match(word[0]) else r"(?<!\w)"
    after = "" if _UNSPACED.match(word[-1]) else r"(?!\w)"
    return f"{before}{regex.escape(word)}{after}"


@cache
def _tokenizer() -> Tokenizer:
    """What cuts phrases: made once, since files have thousands of them."""
    from .. import blank

    return blank("xx").tokenizer


def _label(rule: tuple[str, str | list[dict]]) -> str:
    return rule[0]


def _copied(vocab: Vocab, doc: Doc) -> Doc:
    """A document with the same words in another vocabulary."""
    return Doc(vocab, words=[token.text for token in doc], spaces=[bool(token.whitespace_) for token in doc])
