"""One run over a corpus, unit by unit.

The unit of work is one source: a file, a split, standard input. It is committed when all of it is written: the
output takes its name, and what was rejected in it is kept. A run that stops leaves what it has committed.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import SamarkandWarning, Warnings, first_line
from .batches import LocalAnnotator, Outcome
from .encoders import Encoded
from .files import write_aside, write_errors
from .loading import PipelineSpec
from .progress import ProgressBar
from .quarantine import Quarantine
from .readers import arrow_schema, read_source
from .records import ReadOptions, Record, Rejected
from .sources import Source
from .workers import PoolAnnotator
from .writers import FORMATS, Writer, make_encoder

if TYPE_CHECKING:
    from spacy.language import Language

QUARANTINE = "quarantine.jsonl"
SUMMARY = "run.json"
# Characters of text that close a batch before it has its number of documents.
BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `samarkand.pipeline.annotate.annotate` was asked for; see there."""

    inputs: list[str]
    output: str
    output_format: str
    text_field: str
    txt_unit: str
    spans_key: str | None
    code: str | None
    n_process: int
    batch_size: int
    gpu_id: int
    limit: int | None
    force: bool

    @property
    def reading(self) -> ReadOptions:
        """What concerns the readers."""
        return ReadOptions(self.text_field, self.txt_unit)


@dataclass
class Counts:
    """What was done.

    documents (int): Documents written.
    tokens (int): Their tokens.
    entities (int): Their entities in `doc.ents`.
    spans (int): Their spans in the groups of `doc.spans`.
    unwritten (int): Annotations that the output format cannot hold.
    rejected (Counter[str]): Records in quarantine, by code.
    """

    documents: int = 0
    tokens: int = 0
    entities: int = 0
    spans: int = 0
    unwritten: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one record.

        outcome (Encoded | Rejected): What became of it.
        """
        if isinstance(outcome, Rejected):
            self.rejected[outcome.code] += 1
            return
        self.documents += 1
        self.tokens += outcome.tokens
        self.entities += outcome.entities
        self.spans += outcome.spans
        self.unwritten += outcome.unwritten

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = vars(self), vars(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """The counts as a summary shows them.

        RETURNS (dict): "quarantined" is the number of records, "reasons" the same by code.
        """
        counts = dict(vars(self))
        reasons = dict(sorted(counts.pop("rejected").items()))
        return {**counts, "quarantined": sum(reasons.values()), "reasons": reasons}


class Run:
    """Annotates units of work one after another, and says what became of them.

    options (RunOptions): What was asked for.
    bar (ProgressBar): Where to show the progress.
    """

    def __init__(self, options: RunOptions, bar: ProgressBar) -> None:
        self._options = options
        self._bar = bar
        self._output = Path(options.output)
        self._quarantine = Quarantine(self._output / QUARANTINE)
        self._counts = Counts()
        self._files: list[dict[str, Any]] = []
        self._pipeline: dict[str, Any] = {}
        self._started = self._loaded = time.perf_counter()

    def execute(self, units: list[tuple[Source, Path]], pipeline: Language | PipelineSpec) -> dict[str, Any]:
        """Annotate the units.

        units (list[tuple[Source, Path]]): Sources, and where the output of each goes.
        pipeline (Language | PipelineSpec): The pipeline, or how to load it.
        RETURNS (dict): The summary.
        """
        try:
            with self._annotator(pipeline) as annotator:
                self._loaded = time.perf_counter()
                name = pipeline.model if isinstance(pipeline, PipelineSpec) else ""
                self._pipeline = {"model": name, **annotator.meta}
                for source, target in units:
                    if self._left() != 0:
                        self._annotate(source, target, annotator)
            self._quarantine.commit()
            summary = self._summary("complete")
            self._write_summary(summary)
        except BaseException as error:
            self._stop(error)
            raise
        self._warn_unwritten()
        return summary

    def _annotator(self, pipeline: Language | PipelineSpec) -> LocalAnnotator | PoolAnnotator:
        encode = make_encoder(self._options.output_format, self._options.spans_key)
        if self._options.n_process > 1:
            return PoolAnnotator(pipeline, encode, self._options.n_process)
        return LocalAnnotator(pipeline.load() if isinstance(pipeline, PipelineSpec) else pipeline, encode)

    def _annotate(self, source: Source, target: Path, annotator: LocalAnnotator | PoolAnnotator) -> None:
        """Annotate one unit and commit it."""
        output_format = FORMATS[self._options.output_format]
        schema = arrow_schema(source, self._options.reading) if output_format.columns else None
        counts = Counts()
        with write_aside(target) as file:
            writer = output_format.writer(file, schema)
            for outcomes in self._outcomes(source, annotator):
                self._write(source, target, writer, outcomes, counts)
                self._show(source, self._counts + counts)
            with write_errors(target):
                writer.close()
        self._quarantine.keep()
        self._counts += counts
        place = target.relative_to(self._output).as_posix()
        self._files.append({"input": str(source), "output": place, **counts.as_dict()})

    def _write(self, source: Source, target: Path, writer: Writer, outcomes: list[Outcome], counts: Counts) -> None:
        for outcome in outcomes:
            counts.add(outcome)
            if isinstance(outcome, Rejected):
                self._quarantine.add(source, outcome)
        with write_errors(target):
            for outcome in outcomes:
                if isinstance(outcome, Encoded):
                    writer.write(outcome.payload)

    def _show(self, source: Source, counts: Counts) -> None:
        seconds = time.perf_counter() - self._loaded
        self._bar.update(str(source), counts.documents, counts.tokens, seconds)

    def _outcomes(self, source: Source, annotator: LocalAnnotator | PoolAnnotator) -> Iterator[list[Outcome]]:
        """What became of the records of a source, batch by batch, in their order."""
        items = islice(read_source(source, self._options.reading), self._left())
        # What is rejected when it is read waits here for its turn: no annotator has to see it.
        read: deque[list[Record | Rejected]] = deque()
        for annotated in annotator.map(_records(batched(items, self._options.batch_size), read), source):
            results = iter(annotated)
            yield [item if isinstance(item, Rejected) else next(results) for item in read.popleft()]

    def _left(self) -> int | None:
        """Records that may still be read."""
        if self._options.limit is None:
            return None
        return self._options.limit - self._counts.documents - self._counts.rejected.total()

    def _summary(self, status: str) -> dict[str, Any]:
        now = time.perf_counter()
        return {
            "status": status,
            **self._counts.as_dict(),
            "seconds": round(now - self._loaded, 3),
            "loading_seconds": round(self._loaded - self._started, 3),
            "pipeline": self._pipeline,
            "options": asdict(self._options),
            "versions": {"samarkand": __version__, "python": platform.python_version(), **_spacy_version()},
            "files": self._files,
        }

    def _write_summary(self, summary: dict[str, Any]) -> None:
        path = self._output / SUMMARY
        with write_aside(path) as file, write_errors(path):
            file.write(json.dumps(summary, ensure_ascii=False, indent=2).encode() + b"\n")

    def _stop(self, error: BaseException) -> None:
        """Leave a true account of the units that were committed, or nothing when there are none."""
        if not self._files:
            self._quarantine.discard()
            return
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        # The first error is the one to report, and a full disk makes these fail too.
        with suppress(OSError):
            self._quarantine.commit()
            self._write_summary({**self._summary(status), "error": first_line(error)})

    def _warn_unwritten(self) -> None:
        if self._counts.unwritten:
            layer = f"doc.spans[{self._options.spans_key!r}]" if self._options.spans_key else "doc.ents"
            message = Warnings.SW502.format(n=self._counts.unwritten, layer=layer)
            warnings.warn(message, SamarkandWarning, stacklevel=2)


def batched(
    items: Iterable[Record | Rejected], size: int, characters: int = BATCH_CHARACTERS
) -> Iterator[list[Record | Rejected]]:
    """Cut a stream into batches that are bounded in number and in text.

    items (Iterable[Record | Rejected]): The stream.
    size (int): Most items of a batch.
    characters (int): Characters of text after which a batch is closed.
    YIELDS (list[Record | Rejected]): The batches.
    """
    batch: list[Record | Rejected] = []
    length = 0
    for item in items:
        batch.append(item)
        length += len(item.text) if isinstance(item, Record) else 0
        if len(batch) >= size or length >= characters:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _records(
    batches: Iterable[list[Record | Rejected]], read: deque[list[Record | Rejected]]
) -> Iterator[list[Record]]:
    for batch in batches:
        read.append(batch)
        yield [item for item in batch if isinstance(item, Record)]


def _spacy_version() -> dict[str, str]:
    import spacy

    return {"spacy": spacy.__version__}
