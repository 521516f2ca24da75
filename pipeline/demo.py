"""The first thing a person sees: the bundled samples annotated, as a table, as JSONL and as a page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import DEFAULT_PIPELINE
from ..errors import Errors
from .batches import annotate_batch, batched
from .encoders import encode_jsonl
from .files import write_aside, write_errors
from .loading import PipelineSpec
from .pages import language_of, render_page
from .readers import read_source
from .records import ReadOptions, Rejected
from .sources import find_sources

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from spacy.language import Language

SAMPLES = Path(__file__).parent.parent / "corpora" / "samples"
# Nested annotations are there for the tests; the demo shows one flat layer.
LEFT_OUT = frozenset({"nested"})
BATCH_SIZE = 32


def demo(
    output: str | Path = "out", *, model: str | Path = DEFAULT_PIPELINE, console: Console | None = None
) -> list[dict[str, Any]]:
    """Annotate the samples, print a table of entities, and write `demo.jsonl` and `demo.html`.

    output (str | Path): Folder of the two files.
    model (str | Path): Folder, package or bundled name of the pipeline.
    console (Console | None): Where to print, standard output by default.
    RETURNS (list[dict]): The annotated records.
    RAISES (OSError): S001, S508 when the pipeline does not load, S511 when a file cannot be written.
    RAISES (RuntimeError): S515 when a sample cannot be annotated.
    """
    from rich.console import Console

    console = console or Console()
    lines_path, page_path = Path(output) / "demo.jsonl", Path(output) / "demo.html"
    started = time.perf_counter()
    nlp = PipelineSpec(str(model)).load()
    loaded = time.perf_counter()
    lines = annotate_samples(nlp)
    done = time.perf_counter()
    records = [json.loads(line) for line in lines]
    console.print(entity_table(records))
    _write(lines_path, b"".join(lines))
    _write(page_path, render_page(records, title="Samarkand demo").encode())
    console.print(f"{len(records)} documents: loading {loaded - started:.1f} s, annotating {done - loaded:.1f} s")
    console.print(f"{lines_path}\n{page_path}", markup=False, highlight=False, soft_wrap=True)
    return records


def annotate_samples(nlp: Language) -> list[bytes]:
    """Annotate the bundled samples.

    nlp (Language): The pipeline.
    RETURNS (list[bytes]): A line of JSON for each document.
    RAISES (RuntimeError): S515 when a sample cannot be annotated.
    """
    lines = []
    for source in find_sources([SAMPLES]):
        if source.name in LEFT_OUT:
            continue
        batches = (
            [_sound(item) for item in batch] for batch in batched(read_source(source, ReadOptions()), BATCH_SIZE)
        )
        for batch in batches:
            lines += [_sound(outcome).payload for outcome in annotate_batch(nlp, batch, encode_jsonl)]
    return lines


def entity_table(records: list[dict[str, Any]]) -> Table:
    """The entities of annotated records as a table.

    records (list[dict]): The records.
    RETURNS (Table): A row for each entity, and one for each document without any.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table("document", "language", "entity", "label", "score", title="Entities in the samples")
    for record in records:
        document, language = Text(str(record.get("id", ""))), Text(language_of(record))
        for entity in record["entities"] or [None]:
            if entity is None:
                table.add_row(document, language, Text("none", style="dim"), "", "")
                continue
            score = f"{entity['score']:.2f}" if "score" in entity else ""
            # Isolated, so that a right-to-left name does not reorder the cells of its row.
            table.add_row(document, language, Text(f"\u2068{entity['text']}\u2069"), Text(entity["label"]), score)
    return table


def _sound(item: Any) -> Any:
    if isinstance(item, Rejected):
        raise RuntimeError(Errors.S515.format(position=item.position, reason=item.reason))
    return item


def _write(path: Path, content: bytes) -> None:
    with write_aside(path) as file, write_errors(path):
        file.write(content)
