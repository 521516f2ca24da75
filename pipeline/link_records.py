"""Linking texts with given mentions: the same records with links, one after another, or with a reason why not."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import Errors, is_coded
from .batches import annotate_batch, batched
from .encoders import Encoded, to_json
from .files import write_aside, write_errors
from .given_mentions import mention_doc, read_mentions, told_links
from .option_checks import at_least_one, check_options
from .quarantine import Quarantine
from .readers import read_source
from .records import ReadOptions, Record, Rejected, reject
from .sources import STDIN, Source, UsageError, find_sources
from .text_zone import text_zone

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

REJECTED = ".quarantine.jsonl"


def link_records(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path | None,
    nlp: Language,
    *,
    mentions_field: str = "spans",
    text_field: str = "text",
    batch_size: int = 64,
    limit: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Link the mentions of JSON lines, and write the same records with what they mean.

    inputs (str | Path | Iterable[str | Path]): JSONL files, plain or compressed; folders, globs, or "-" for standard
        input.
    output (Optional[str | Path]): A JSONL file; None for standard output. What cannot be linked goes to
        OUTPUT.quarantine.jsonl, or is counted alone.
    nlp (Language): A pipeline that `load_linker` or `prepare_linker` made ready.
    mentions_field (str): Field with the mentions: objects with "start" and "end", in characters, and "label" if known.
    text_field (str): Field with the text.
    batch_size (int): Records linked at once.
    limit (Optional[int]): Stop after this many records.
    force (bool): Replace an output that exists.
    RETURNS (dict): "records", "mentions", "linked", "nil" by reason, "quarantined", "reasons", "seconds".
    RAISES (UsageError): S501 to S504, S507, S512, S953, before anything is read.
    RAISES (OSError): S511 and S512 when a file fails.
    """
    check_options(batch_size=at_least_one(batch_size), limit=at_least_one(limit))
    sources = _sources(inputs)
    path = None if output is None else Path(output)
    if path is not None and path.exists() and not force:
        raise UsageError(Errors.S504.format(paths=path))
    options = ReadOptions(text_field)
    quarantine = None if path is None else Quarantine(Path(f"{path}{REJECTED}"))
    counts: Counter[str] = Counter()
    nil: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    started = time.perf_counter()
    try:
        with _opened(path) as file, write_errors(path or Path("standard output")):
            left = limit
            for source in sources:
                items = (_prepared(nlp, item, mentions_field, text_field) for item in read_source(source, options))
                for outcome in _linked(nlp, islice(items, left), batch_size, mentions_field, text_field):
                    left = None if left is None else left - 1
                    if isinstance(outcome, Rejected):
                        reasons[outcome.code] += 1
                        if quarantine is not None:
                            quarantine.add(source, outcome)
                        continue
                    counts["records"] += 1
                    line, answers = outcome.payload
                    file.write(line)
                    counts["mentions"] += len(answers)
                    counts["linked"] += sum(answer["kb_id"] is not None for answer in answers)
                    nil.update(answer["nil_reason"] for answer in answers if answer["kb_id"] is None)
                if quarantine is not None:
                    quarantine.keep()
        if quarantine is not None:
            quarantine.commit()
    except BaseException:
        if quarantine is not None:
            quarantine.discard()
        raise
    return {
        **{name: counts[name] for name in ("records", "mentions", "linked")},
        "nil": dict(nil),
        "quarantined": reasons.total(),
        "reasons": dict(sorted(reasons.items())),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _sources(inputs: str | Path | Iterable[str | Path]) -> list[Source]:
    named = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    sources = find_sources(named)
    for source in sources:
        if source.kind != "jsonl" and source.path != STDIN:
            raise UsageError(Errors.S953.format(path=source))
    return [replace(source, kind="jsonl") for source in sources]


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with write_aside(path) as file:
        yield file


def _prepared(nlp: Language, item: Record | Rejected, mentions_field: str, text_field: str) -> Record | Rejected:
    """The record as a document with its mentions; rejected when it has none that can be used."""
    if isinstance(item, Rejected):
        return item
    given = {kept: name for name, kept in item.renamed.items()}
    raw = {text_field: item.text, **{given.get(kept, kept): value for kept, value in item.fields.items()}}
    if len(item.text) > nlp.max_length:
        return reject(item.position, "S527", raw, length=len(item.text), max_length=nlp.max_length)
    field = item.kept_name(mentions_field)
    if field not in item.fields:
        return reject(item.position, "S955", raw, field=mentions_field)
    try:
        mentions = read_mentions(item.text, item.fields[field])
    except ValueError as error:
        if not is_coded(error):
            raise
        code, _, reason = str(error).removeprefix("[").partition("] ")
        return Rejected(item.position, code, reason, raw)
    # Strings of the texts would otherwise stay in the vocabulary for ever.
    with text_zone(nlp):
        return replace(item, doc=mention_doc(nlp, item.text, mentions).to_bytes())


def _linked(
    nlp: Language, items: Iterable[Record | Rejected], batch_size: int, mentions_field: str, text_field: str
) -> Iterator[Encoded | Rejected]:
    encode = _encoder(mentions_field, text_field)
    for batch in batched(items, batch_size):
        answered = iter(annotate_batch(nlp, [item for item in batch if isinstance(item, Record)], encode))
        for item in batch:
            yield item if isinstance(item, Rejected) else next(answered)


def _encoder(mentions_field: str, text_field: str) -> Callable[[Doc, Record], Encoded]:
    """Makes a line of a document; the payload is the line and the answers in it."""

    def encode(doc: Doc, record: Record) -> Encoded:
        hidden = record.kept_name(mentions_field)
        answers = told_links(doc)
        spans = [{**mention, **answer} for mention, answer in zip(record.fields[hidden], answers)]
        fields = {name: value for name, value in record.fields.items() if name != hidden}
        line = to_json({text_field: record.text, **fields, mentions_field: spans})
        return Encoded((line, answers), len(doc), len(answers), len(answers))

    return encode
