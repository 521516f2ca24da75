"""Annotating one shard and committing it: the function that every process runs, on one machine or on many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors
from .batches import Outcome, annotate_batch, batches_by_length
from .counts import Counts
from .encoders import Encoded
from .files import write_aside, write_errors
from .identity import file_digest, stamp
from .ledger import Ledger
from .parts import open_part
from .plan import Shard
from .quarantine import quarantine_line
from .readers import arrow_schema, read_lazily
from .records import Place, ReadOptions, Record, Rejected, Unread, reject
from .sources import Source
from .state import write_json
from .store_state import open_state
from .writers import FORMATS, make_encoder

if TYPE_CHECKING:
    from spacy.language import Language

# Called with the counts of what was done since the last call.
Report = Callable[[Counts], None]


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What a process has to know beside the pipeline.

    output (str): Folder of the output, or its URL.
    scratch (Optional[str]): Folder where this machine makes files for a URL.
    reading (ReadOptions): How to find the texts.
    output_format (str): As `RunOptions` has it, and the next three.
    compression (str): Of text formats.
    spans_key (Optional[str]): Group of spans that CoNLL shows.
    batch_size (int): Documents that a component gets at once.
    timeout (float): Seconds that a batch, or a document alone, may take; a supervisor sees to it.
    """

    output: str
    reading: ReadOptions
    output_format: str
    compression: str
    spans_key: str | None
    batch_size: int
    timeout: float
    scratch: str | None = None


class ShardAnnotator:
    """Annotates shards one after another with one pipeline.

    A shard that is finished is not touched. The same shard gives the same bytes in every process and at every attempt.

    nlp (Language): The pipeline.
    options (ShardOptions): What to do.
    report (Callable): Told of each batch.
    """

    def __init__(self, nlp: Language, options: ShardOptions, report: Report) -> None:
        self._nlp = nlp
        self._options = options
        self._report = report
        self._state = open_state(options.output, options.scratch)
        self._encode = make_encoder(options.output_format, options.spans_key)
        self._cursor = Cursor(options.reading)

    def __call__(self, shard: Shard, plan: str) -> dict[str, Any]:
        """Annotate a shard and commit it: its data first, then what was rejected, then the mark.

        shard (Shard): The shard.
        plan (str): Digest of the plan.
        RETURNS (dict): The mark.
        RAISES (OSError): S511, S512, S543, S552, S553 when a file fails or an input has changed.
        """
        mark = self._state.finished(shard.id, plan)
        if mark is not None:
            # Whoever finished it died before it could say so.
            self._report(Counts.from_dict(mark))
            return mark
        began = time.perf_counter()
        ledger = self._state.attempts(shard.id)
        ledger.begin()
        try:
            ledger.start("reading")
            items = self._read(shard)
            counts, outcomes = Counts(), self._outcomes(items, ledger)
            for outcome in outcomes:
                counts.add(outcome)
            ledger.start("writing")
            about = {"plan": plan, "shard": shard.id, **counts.as_dict(), "attempts": ledger.attempts}
            mark = self._commit(shard, outcomes, {**about, "seconds": round(time.perf_counter() - began, 3)})
        except (Exception, KeyboardInterrupt):
            # The first error is the one to report.
            with suppress(OSError):
                ledger.stop()
            raise
        self._state.withdraw(self._state.ledger(shard.id))
        return mark

    def _read(self, shard: Shard) -> list[Record | Rejected]:
        """The records; none is lost when the input is changed in between."""
        self._check_input(shard)
        items = self._cursor.read(shard.source, shard.start, shard.stop, shard.place)
        if len(items) != shard.stop - shard.start:
            raise OSError(Errors.S543.format(path=shard.shown))
        self._check_input(shard)
        return items

    def _check_input(self, shard: Shard) -> None:
        try:
            now = stamp(shard.source.path)
        except OSError as error:
            raise OSError(Errors.S512.format(path=shard.shown, reason=error.strerror or error)) from error
        if now != tuple(shard.stamp):
            raise OSError(Errors.S543.format(path=shard.shown))

    def _outcomes(self, items: list[Record | Rejected], ledger: Ledger) -> list[Outcome]:
        outcomes: list[Outcome | None] = [item if isinstance(item, Rejected) else None for item in items]
        self._tell([outcome for outcome in outcomes if outcome is not None])
        waiting = [position for position, item in enumerate(items) if isinstance(item, Record)]
        lengths = [len(items[position].text) for position in waiting]
        for number, batch in enumerate(batches_by_length(lengths, self._options.batch_size)):
            positions = [waiting[index] for index in batch]
            unit = f"batch {number}"
            if ledger.condemned(unit):
                done = [self._alone(items[position], position, ledger) for position in positions]
            else:
                ledger.start(unit)
                done = annotate_batch(self._nlp, [items[position] for position in positions], self._encode)
                self._tell(done)
            for position, outcome in zip(positions, done):
                outcomes[position] = outcome
        return outcomes

    def _alone(self, record: Record, position: int, ledger: Ledger) -> Outcome:
        """Annotate a document of a batch that kills its process, unless the document has done so alone."""
        unit = f"record {position}"
        if ledger.condemned(unit):
            cause = ledger.cause(unit)
            values = {"death": cause["death"], "seconds": self._options.timeout}
            outcome: Outcome = reject(record.position, cause["code"], {**record.fields, "text": record.text}, **values)
        else:
            ledger.start(unit)
            (outcome,) = annotate_batch(self._nlp, [record], self._encode)
        self._tell([outcome])
        return outcome

    def _tell(self, outcomes: list[Outcome]) -> None:
        counts = Counts()
        for outcome in outcomes:
            counts.add(outcome)
        self._report(counts)

    def _commit(self, shard: Shard, outcomes: list[Outcome], mark: dict[str, Any]) -> dict[str, Any]:
        output_format = FORMATS[self._options.output_format]
        columns: Any = shard.columns
        if output_format.columns and columns is None:
            columns = arrow_schema(shard.source, self._options.reading)
            # The columns are those of the records only when the input is still the same.
            self._check_input(shard)
        path = self._state.data(shard.id)
        with write_aside(path) as file, write_errors(path), open_part(file, self._options.compression) as part:
            writer = output_format.writer(part, columns)
            for outcome in outcomes:
                if isinstance(outcome, Encoded):
                    writer.write(outcome.payload)
            writer.close()
        mark["data"] = _told(path)
        self._state.publish(path, keep=False)
        mark["rejected"] = None
        path = self._state.rejected(shard.id)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        if refused:
            with write_aside(path) as file, write_errors(path):
                file.writelines(quarantine_line(shard.shown, shard.source.unit, outcome) for outcome in refused)
            mark["rejected"] = _told(path)
            self._state.publish(path, keep=False)
        else:
            # An attempt that ended before its mark may have rejected what this one has written.
            with write_errors(path):
                self._state.withdraw(path)
        path = self._state.mark(shard.id)
        write_json(path, mark)
        self._state.publish(path)
        return mark


class Cursor:
    """Reads ranges of records. One that begins at a known place, or where the one before ended, costs no way there.

    options (ReadOptions): How to find the texts.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._source: Source | None = None
        self._stream: Iterator[Unread] = iter(())
        self._at = 0

    def read(self, source: Source, start: int, stop: int, place: Place | None = None) -> list[Record | Rejected]:
        """Read some records.

        source (Source): Where to read.
        start (int): First record, from 0.
        stop (int): The one after the last.
        place (Optional[Place]): Where the first record begins, if that is known.
        RETURNS (list[Record | Rejected]): The records; fewer when the source ends before.
        RAISES (OSError): S512 when the source cannot be read.
        """
        if source != self._source or start < self._at or (place and start > self._at):
            self._source, self._stream = source, read_lazily(source, self._options, place)
            self._at = start if place else 0
        for _ in islice(self._stream, start - self._at):
            pass
        items = [unread.make() for unread in islice(self._stream, stop - start)]
        self._at = stop
        return items


def _told(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}
