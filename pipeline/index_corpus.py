"""Indexing corpora: every record of the input is in the index, or accounted for with a reason."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..engine.byte_sizes import parse_size
from ..errors import Errors, SamarkandWarning, Warnings
from ..models.record_store import FILE
from ..models.search_index import SearchIndex
from ..models.sentence_model import SentenceModel
from .batches import batched
from .files import QUARANTINE, SUMMARY, write_aside, write_errors
from .index_entries import Entry, EntryMaker, encode_entries, refuse
from .option_checks import TXT_UNITS, at_least_one, check_folder, check_options, one_of
from .quarantine import Quarantine
from .readers import check_source, read_source
from .records import ReadOptions, Rejected
from .sentence_models import load_encoder
from .sources import Source, UsageError, find_sources, protect_inputs

UNITS = ("document", "sentence")


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """What `index_corpus` was asked for; see there."""

    unit: str = "document"
    text_field: str = "text"
    txt_unit: str = "line"
    id_field: str | None = None
    batch_size: int = 256
    limit: int | None = None


@dataclass
class IndexCounts:
    """What became of the records.

    added (int): In the index now.
    skipped (int): In the index before, by their ids.
    blank (int): Of those added, those that no search finds: the encoder gives them zeros.
    rejected (Counter[str]): In quarantine, by code.
    """

    added: int = 0
    skipped: int = 0
    blank: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def index_corpus(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    model: str | Path | SentenceModel,
    add: bool = False,
    metric: str = "cosine",
    factory: str = "auto",
    memory: int | str | None = None,
    unit: str = "document",
    text_field: str = "text",
    txt_unit: str = "line",
    id_field: str | None = None,
    batch_size: int = 256,
    limit: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Encode the records of files into a search index.

    Fields beside the text become metadata. What cannot be indexed goes to `quarantine.jsonl` in the folder of the
    index, and the rest goes on; `run.json` is the summary. Each batch is committed as it comes: a run that was killed
    is repeated with `add`, and goes on where it was.

    inputs (str | Path | Iterable[str | Path]): Files, folders (recursive), globs, or "-" for standard input.
    output (str | Path): Folder of the index.
    model (str | Path | SentenceModel): An encoder, or what `load_encoder` takes.
    add (bool): Add to the index if there is one; records whose ids are in it are passed over.
    metric (str): "cosine" or "ip", the inner product; of a new index, as the next two.
    factory (str): "auto" for the rule of `models.index_choice`, or a string for `faiss.index_factory`.
    memory (int | str | None): What "auto" may take, in bytes or such as "4GB"; half of the machine's by default.
    unit (str): "document" for an entry a record, "sentence" for an entry a sentence.
    text_field (str): Field or column that holds the text.
    txt_unit (str): What a record is in a .txt file: "line" or "file".
    id_field (str | None): Field or column that holds the id; by default it is the file and the number of the record.
    batch_size (int): Records encoded and committed at once.
    limit (int | None): Stop after this many records of the input.
    progress (bool): Show the progress on standard error when that is a terminal.
    RETURNS (dict): The summary: counts, seconds, what the index is.
    RAISES (UsageError): S501 to S507, S512, S516, S751, S821 before anything is written.
    RAISES (ValueError | OSError | RuntimeError): As `load_encoder`, `SearchIndex.create` and `open`.
    WARNS: SW820 when records have vectors of zeros.
    """
    options = IndexOptions(
        unit=unit, text_field=text_field, txt_unit=txt_unit, id_field=id_field, batch_size=batch_size, limit=limit
    )
    check_options(
        unit=one_of(unit, UNITS),
        txt_unit=one_of(txt_unit, TXT_UNITS),
        batch_size=at_least_one(batch_size),
        limit=at_least_one(limit),
    )
    try:
        limit_of_auto = None if memory is None else parse_size(memory)
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_folder(output)
    exists = (Path(output) / FILE).exists()
    if exists and not add:
        raise UsageError(Errors.S821.format(path=output))
    sources = find_sources([inputs] if isinstance(inputs, (str, Path)) else inputs, exclude=Path(output))
    protect_inputs(sources, [(Path(output), Path(output) / side) for side in (QUARANTINE, SUMMARY)])
    for source in sources:
        check_source(source, ReadOptions(text_field, txt_unit))
    encoder = load_encoder(model) if isinstance(model, (str, Path)) else model
    if exists:
        index = SearchIndex.open(output, fingerprint=encoder.fingerprint)
    else:
        name = str(model) if isinstance(model, (str, Path)) else ""
        about = {"metric": metric, "factory": factory, "memory": limit_of_auto, "encoder": name}
        index = SearchIndex.create(output, encoder.width, fingerprint=encoder.fingerprint, **about)
    # A bar that is neither asked for nor refused shows itself on a terminal only.
    with index, tqdm(unit=" records", disable=None if progress else True, leave=False) as bar:
        return _IndexRun(index, encoder, options, bar).execute(sources, Path(output), add)


class _IndexRun:
    """Brings sources into an index, one after another."""

    def __init__(self, index: SearchIndex, encoder: SentenceModel, options: IndexOptions, bar: tqdm) -> None:
        self._index, self._encoder, self._options, self._bar = index, encoder, options, bar
        self._maker = EntryMaker(options.id_field, by_sentence=options.unit == "sentence")
        self._counts = IndexCounts()
        self._read = 0
        self._started = time.perf_counter()

    def execute(self, sources: list[Source], output: Path, add: bool) -> dict[str, Any]:
        quarantine = Quarantine(output / QUARANTINE)
        try:
            for source in sources:
                self._bar.set_description(str(source))
                for rejected in self._source(source, add):
                    self._counts.rejected[rejected.code] += 1
                    quarantine.add(source, rejected)
                quarantine.keep()
            self._index.optimize()
        finally:
            quarantine.commit()
        summary = self._summary(sources)
        with write_aside(output / SUMMARY) as file, write_errors(output / SUMMARY):
            file.write(json.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n")
        if self._counts.blank:
            message = Warnings.SW820.format(n=self._counts.blank, total=self._counts.added)
            warnings.warn(message, SamarkandWarning, stacklevel=4)
        return summary

    def _source(self, source: Source, add: bool) -> Iterator[Rejected]:
        """Bring a source in, and give back what cannot be."""
        left = None if self._options.limit is None else self._options.limit - self._read
        reading = ReadOptions(self._options.text_field, self._options.txt_unit)
        for batch in batched(islice(read_source(source, reading), left), self._options.batch_size):
            self._read += len(batch)
            entries: list[Entry] = []
            for item in batch:
                made = [item] if isinstance(item, Rejected) else self._maker.entries(source, item)
                yield from (entry for entry in made if isinstance(entry, Rejected))
                entries += (entry for entry in made if isinstance(entry, Entry))
            yield from self._add(entries, add)
            self._bar.update(len(batch))

    def _add(self, entries: list[Entry], add: bool) -> list[Rejected]:
        """Add entries whose ids are new; what cannot be encoded is given back."""
        known = self._index.known(entry.id for entry in entries)
        new: list[Entry] = []
        rejected: list[Rejected] = []
        for entry in entries:
            if entry.id not in known:
                known.add(entry.id)
                new.append(entry)
            elif add:
                self._counts.skipped += 1
            else:
                rejected.append(refuse(entry.record, f"the id {entry.id!r} is there already"))
        encoded, refused = encode_entries(self._encoder, new, self._options.batch_size)
        if encoded:
            vectors = np.stack([vector for _, vector in encoded])
            kept = [entry for entry, _ in encoded]
            self._index.add([e.id for e in kept], vectors, [e.text for e in kept], [e.metadata for e in kept])
            self._counts.added += len(kept)
            self._counts.blank += int((~vectors.any(axis=1)).sum())
        return rejected + refused

    def _summary(self, sources: list[Source]) -> dict[str, Any]:
        counts, state = vars(self._counts), self._index.state
        reasons = dict(sorted(self._counts.rejected.items()))
        return {
            **{name: counts[name] for name in ("added", "skipped", "blank")},
            "quarantined": sum(reasons.values()),
            "reasons": reasons,
            "seconds": round(time.perf_counter() - self._started, 3),
            "records": len(self._index),
            "factory": self._index.factory,
            **{name: getattr(state, name) for name in ("width", "metric", "encoder", "fingerprint")},
            "inputs": [str(source) for source in sources],
        }
