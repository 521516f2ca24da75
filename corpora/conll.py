"""CoNLL files: a token a line, its tag in the last column, a blank line after each sentence."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Errors, SamarkandWarning, Warnings
from ..replacing import replace_file
from .files import create_text, numbered_lines
from .tags import SCHEMES, is_tag, nested_tags_to_spans, spans_to_tags, tags_to_spans

__all__ = ["read_conll", "write_conll"]

Record = dict[str, Any]

_KEY = re.compile(r"# ([\w.:-]+(?: [\w.:-]+)?) = ?(.*)")
# Direction marks and soft hyphens that hide in a token; ZWNJ and ZWJ are spelling in many scripts and stay.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


@dataclass
class _Sentence:
    """The lines of one sentence, as read."""

    rows: int = 0
    words: list[str] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def drop(self, words: Collection[str]) -> None:
        """Leave tokens out, with their tags."""
        kept = [i for i, word in enumerate(self.words) if word not in words]
        self.words = [self.words[i] for i in kept]
        self.tags = [self.tags[i] for i in kept]


def read_conll(
    path: str | Path,
    *,
    joiner: str = " ",
    nested: bool = False,
    strip_marks: bool = False,
    ignored: Collection[str] = (),
) -> Iterator[Record]:
    """Stream the sentences of a CoNLL file as records.

    Columns are separated by tabs or blanks; the first is the token and the last its tag, in any scheme of
    `tags.SCHEMES`. Files of five columns or more that number their tokens have token and tag in columns two
    and three, as Universal NER has. Tokens are aligned with the text of a `# text = ...` line where one is.

    path (Union[str, Path]): The file, plain or compressed.
    joiner (str): What joins the tokens of a sentence without a `# text` line.
    nested (bool): Every column after the first is a tag, so that spans may overlap.
    strip_marks (bool): Remove zero-width direction marks, soft hyphens and blanks at the edges from tokens.
    ignored (Collection[str]): Tokens that mark something else than text, to leave out.
    YIELDS (Dict[str, Any]): Records with `text`, `spans`, `tokens`, and `id` from a `# sent_id` line.
    RAISES (ValueError): S209 for a line that is neither a comment nor a token with its tag.
    """
    path = Path(path)
    problems: Counter[str] = Counter()
    for sentence in _sentences(path, nested, strip_marks, problems):
        if ignored:
            sentence.drop(ignored)
        yield _record(sentence, joiner, nested, problems)
    for problem, message in (("text", Warnings.SW205), ("token", Warnings.SW206)):
        if problems[problem]:
            text = message.format(count=problems[problem], path=path)
            warnings.warn(text, SamarkandWarning, stacklevel=2)


def write_conll(
    path: str | Path,
    records: Iterable[Record],
    *,
    scheme: str = "IOB2",
    tokenize: Callable[[str], list[tuple[int, int]]] | None = None,
) -> int:
    """Write records as a CoNLL file of two columns, separated by a tab, with `# text` lines.

    path (Union[str, Path]): The file; it appears when it is complete.
    records (Iterable[Dict[str, Any]]): The records. Spans that cannot be tags (overlapping, or off the
        tokens' edges) are left out and counted.
    scheme (str): A name in `tags.SCHEMES`.
    tokenize (Optional[Callable[[str], List[Tuple[int, int]]]]): Token offsets of a text, for records without
        `tokens`; None splits at blanks.
    RETURNS (int): Number of records written.
    RAISES (ValueError): S211 for an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(Errors.S211.format(scheme=scheme, schemes=", ".join(SCHEMES)))
    path = Path(path)
    count = lost = 0
    with replace_file(path) as temporary, create_text(temporary) as file:
        for record in records:
            tokens = record.get("tokens") or (tokenize or _split_at_blanks)(record["text"])
            lines, left_out = _tagged_lines(record, tokens, scheme)
            file.write("\n".join(lines) + "\n\n")
            lost += left_out
            count += 1
    if lost:
        warnings.warn(Warnings.SW207.format(count=lost, path=path), SamarkandWarning, stacklevel=2)
    return count


def _sentences(path: Path, nested: bool, strip_marks: bool, problems: Counter[str]) -> Iterator[_Sentence]:
    sentence = _Sentence()
    for number, line in numbered_lines(path):
        if not line.strip(" \t"):
            # A sentence of no tokens still counts when its text line says that it is one.
            if sentence.words or "text" in sentence.keys:
                yield sentence
            sentence = _Sentence()
            continue
        if not sentence.words and _read_comment(line, sentence):
            continue
        if not sentence.words and line.startswith("-DOCSTART-"):
            continue
        sentence.rows += 1
        word, tags = _columns(line, sentence.rows, nested)
        if not tags or not all(map(is_tag, tags)):
            raise ValueError(Errors.S209.format(path=path, line=number, found=line[:60]))
        # A text line holds the marks too, and its tokens are found as they are.
        if strip_marks and "text" not in sentence.keys:
            word = _INVISIBLE.sub("", word).strip()
        if not word:
            problems["token"] += 1
            continue
        sentence.words.append(word)
        sentence.tags.append(tags)
    if sentence.words or "text" in sentence.keys:
        yield sentence


def _read_comment(line: str, sentence: _Sentence) -> bool:
    """Take in a comment before a sentence; a token such as "#" or a hash tag, with its tag, is none."""
    if not line.startswith("#"):
        return False
    if match := _KEY.fullmatch(line):
        sentence.keys[match[1]] = match[2]
        return True
    return not is_tag(re.split(r"[ \t]", line)[-1])


def _columns(line: str, position: int, nested: bool) -> tuple[str, list[str]]:
    """The token of a line and its tags; an empty list where there are none."""
    # Only tabs and plain blanks separate: a no-break space is part of its token.
    columns = line.split("\t") if "\t" in line else line.split(" ")
    columns = [columns[0], *(column.strip(" ") for column in columns[1:] if column.strip(" "))]
    if nested:
        return columns[0], columns[1:]
    if "\t" in line and len(columns) >= 5 and columns[0] == str(position) and is_tag(columns[2]):
        return columns[1], [columns[2]]
    return columns[0], columns[-1:] if len(columns) > 1 else []


def _record(sentence: _Sentence, joiner: str, nested: bool, problems: Counter[str]) -> Record:
    text = sentence.keys.get("text")
    tokens = None if text is None else _align(sentence.words, text)
    if tokens is None:
        problems["text"] += text is not None
        text, tokens = _join(sentence.words, joiner)
    found = nested_tags_to_spans(sentence.tags) if nested else tags_to_spans(t[0] for t in sentence.tags)
    spans = [{"start": tokens[i][0], "end": tokens[j - 1][1], "label": label} for i, j, label in found]
    record: Record = {"text": text, "spans": spans, "tokens": tokens}
    if "sent_id" in sentence.keys:
        record["id"] = sentence.keys["sent_id"]
    return record


def _align(words: list[str], text: str) -> list[list[int]] | None:
    """Offsets of the tokens in their text, None unless the text is the tokens and blanks."""
    tokens = []
    end = 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(word)
        tokens.append([start, end])
    return None if text[end:].strip() else tokens


def _join(words: list[str], joiner: str) -> tuple[str, list[list[int]]]:
    tokens = []
    start = 0
    for word in words:
        tokens.append([start, start + len(word)])
        start += len(word) + len(joiner)
    return joiner.join(words), tokens


def _split_at_blanks(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def _tagged_lines(record: Record, tokens: Iterable[tuple[int, int]], scheme: str) -> tuple[list[str], int]:
    """The lines of a record and the number of spans that no tags can say."""
    text = record["text"]
    # Tokenizers may make tokens of blanks; the text line keeps those.
    tokens = [(start, end) for start, end in tokens if text[start:end].strip()]
    starts = {start: i for i, (start, _) in enumerate(tokens)}
    ends = {end: i + 1 for i, (_, end) in enumerate(tokens)}
    spans: list[tuple[int, int, str]] = []
    taken: set[int] = set()
    for span in sorted(record["spans"], key=_longest_first):
        start, end = starts.get(span["start"], 0), ends.get(span["end"], 0)
        if span["start"] in starts and start < end and taken.isdisjoint(range(start, end)):
            spans.append((start, end, span["label"]))
            taken.update(range(start, end))
    tags = spans_to_tags(spans, len(tokens), scheme=scheme)
    lines = [f"# sent_id = {record['id']}"] if record.get("id") else []
    # A line cannot hold a line break: such a text comes back as its tokens joined.
    if "\n" not in text and "\r" not in text:
        lines.append(f"# text = {text}")
    lines += [f"{text[start:end]}\t{tag}" for (start, end), tag in zip(tokens, tags)]
    return lines, len(record["spans"]) - len(spans)


def _longest_first(span: dict[str, Any]) -> tuple[int, int]:
    return span["start"] - span["end"], span["start"]
