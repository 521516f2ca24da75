"""Searching an index by text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..models.record_filter import Filter, is_scalar
from ..models.search_index import SearchIndex
from ..models.sentence_model import SentenceModel
from .readers import check_source, read_source
from .records import ReadOptions, Rejected
from .sentence_models import load_encoder
from .sources import UsageError, find_sources

BATCH = 256
_CONDITION = re.compile(r"([^<>=!]+)(<=|>=|!=|<|>|=)(.*)", re.DOTALL)


def search_corpus(
    index: str | Path,
    texts: Iterable[str] = (),
    *,
    queries: str | Path | None = None,
    k: int = 10,
    conditions: Sequence[str] = (),
    model: str | Path | SentenceModel | None = None,
    text_field: str = "text",
    verify: bool = False,
) -> Iterator[dict[str, Any]]:
    """Find the nearest records of texts.

    index (str | Path): Folder of the index.
    texts (Iterable[str]): The texts.
    queries (str | Path | None): File of more texts, as `samarkand annotate` reads them.
    k (int): Neighbours of each.
    conditions (Sequence[str]): On the metadata, see `read_conditions`.
    model (str | Path | SentenceModel | None): The encoder; that of the index by default.
    text_field (str): Field or column of the file that holds the text.
    verify (bool): Compare all files of the index with their checksums first.
    YIELDS (dict): "text", and "neighbours": dictionaries of "id", "score", "text" and "metadata".
    RAISES (UsageError): S507 for a bad condition, S835 without texts or for a bad k, S501 to S506 for the file.
    RAISES (ValueError | OSError): As `load_encoder` and `SearchIndex.open`.
    """
    texts = list(texts)
    if not texts and queries is None:
        raise UsageError(Errors.S835.format(name="texts", value=texts, expected="one text or more, or a file of them"))
    if k < 1:
        raise UsageError(Errors.S835.format(name="k", value=k, expected="1 or more"))
    wanted = read_conditions(conditions)
    every = iter(texts) if queries is None else _with_file(texts, queries, text_field)
    with SearchIndex.open(index, verify=verify) as opened:
        encoder = encoder_of(opened, index, model)
        while batch := list(islice(every, BATCH)):
            for text, hits in zip(batch, opened.search(encoder.encode(batch), k, filter=wanted)):
                yield {"text": text, "neighbours": [asdict(hit) for hit in hits]}


def encoder_of(index: SearchIndex, folder: str | Path, model: str | Path | SentenceModel | None) -> SentenceModel:
    """The encoder of the queries of an index.

    index (SearchIndex): The index, open.
    folder (str | Path): Its folder.
    model (str | Path | SentenceModel | None): The encoder, or its name; that of the index by default.
    RETURNS (SentenceModel): The encoder.
    RAISES (UsageError): S839 when no encoder is known.
    RAISES (ValueError | OSError): As `load_encoder`, and for an encoder of other vectors.
    """
    name = model or index.state.encoder
    if not name:
        raise UsageError(Errors.S839.format(path=folder))
    encoder = load_encoder(name) if isinstance(name, (str, Path)) else name
    index.check_fingerprint(encoder.fingerprint)
    return encoder


def read_conditions(conditions: Sequence[str]) -> Filter | None:
    """A filter as the command line has it.

    conditions (Sequence[str]): Such as "lang=ar", "year>=2020", "topic!=law". Several of `=` for one field ask for
        any of them. A value that is a number in JSON is compared as one; `=` finds the same text too.
    RETURNS (Filter | None): The filter; None without conditions.
    RAISES (UsageError): S507 for anything else.
    """
    wanted: dict[str, Any] = {}
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if not match:
            expected = "a field, one of = != < <= > >=, and a value, such as lang=ar"
            raise UsageError(Errors.S507.format(name="filter", value=condition, expected=expected))
        name, sign, text = match[1].strip(), match[2], match[3].strip()
        value = _value(text)
        kept = wanted.setdefault(name, [] if sign == "=" else {})
        if isinstance(kept, list) != (sign == "="):
            expected = "either = or comparisons, for one field"
            raise UsageError(Errors.S507.format(name="filter", value=condition, expected=expected))
        if sign == "=":
            kept += [value, text] if not isinstance(value, str) and is_scalar(value) else [text]
        else:
            kept[sign] = value
    return wanted or None


def _value(text: str) -> str | int | float | bool:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _with_file(texts: list[str], queries: str | Path, text_field: str) -> Iterator[str]:
    options = ReadOptions(text_field)
    sources = find_sources([queries])
    for source in sources:
        check_source(source, options)

    def read() -> Iterator[str]:
        yield from texts
        for source in sources:
            for item in read_source(source, options):
                if isinstance(item, Rejected):
                    raise ValueError(f"[{item.code}] {source}, {source.unit} {item.position}: {item.reason}")
                yield item.text

    return read()
