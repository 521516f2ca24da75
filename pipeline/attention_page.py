"""Where an encoder looks while it reads a text, as one page to explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spacy.tokens import Doc

from .. import DEFAULT_ENCODER, blank
from ..models.attention_aggregation import across_heads
from ..models.attention_frames import Unit
from ..models.attention_reading import AttentionReading, read_attention
from ..models.transformer_tok2vec import token_spans
from .files import write_aside, write_errors
from .offline_page import html_table, offline_page, packed
from .pages import direction_of
from .run_options import refuse_existing

BODY = """<p class="about">Attention shows where an encoder looks. It does not explain what it decides.</p>
<svg id="frame" width="0" height="0" aria-hidden="true"></svg>
<main id="explorer"></main>
<h2>Values</h2>
<div class="values">{table}</div>"""


def show_attention(
    text: str, output: str | Path, *, model: str = DEFAULT_ENCODER, revision: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write a page of the attention over a text that opens in any browser, without a network.

    text (str): The text; one that does not fit is read in windows.
    output (str | Path): The page.
    model (str): Hub name, folder or bundled name of a transformers encoder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    force (bool): Replace a page that exists.
    RETURNS (dict): "page", "model", "layers", "heads", "windows", "pieces", "words".
    RAISES (UsageError): S504 before anything is loaded.
    RAISES (OSError): S320 when the encoder cannot be loaded, S511 when the page cannot be written.
    RAISES (ValueError): As `read_attention`.
    """
    path = Path(output)
    if not force:
        refuse_existing([path])
    doc = blank()(text)
    reading = read_attention(model, text, token_spans(doc), revision=revision)
    units = [_unit(unit, window, doc) for unit, window in zip(reading.units, reading.windows)]
    data = page_data(reading, units) | {"dir": direction_of(text)}
    page = offline_page(f"Attention of {model}", _last_layer(reading, units), "attention.js", data)
    with write_aside(path) as file, write_errors(path):
        file.write(page.encode())
    return {
        "page": str(path),
        "model": model,
        "layers": data["layers"],
        "heads": data["heads"],
        "windows": reading.windows[-1] + 1,
        "pieces": reading.pieces,
        "words": sum(not unit["special"] for unit in units),
    }


def page_data(reading: AttentionReading, units: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page carries of a reading.

    reading (AttentionReading): The reading.
    units (list[dict]): What is shown of its units.
    RETURNS (dict): "units"; "layers" and "heads", how many there are; and packed arrays: "measures" by name, then by
        layer, head and unit; "aggregates" by measure and name, then by layer and unit; "rollout" by unit; the heaviest
        keys of each query and their shares, "keys" and "shares" by layer, head (the last is the mean of all) and unit,
        "rollout_keys" and "rollout_shares" by unit.
    """
    layers, heads, _ = reading.measures["received"].shape
    return {
        "units": units,
        "layers": layers,
        "heads": heads,
        "measures": {name: packed(values) for name, values in reading.measures.items()},
        "aggregates": {
            name: {aggregate: packed(found) for aggregate, found in across_heads(values).items()}
            for name, values in reading.measures.items()
        },
        "rollout": packed(reading.rollout),
        "keys": packed(reading.keys),
        "shares": packed(reading.shares),
        "rollout_keys": packed(reading.rollout_keys),
        "rollout_shares": packed(reading.rollout_shares),
    }


def _unit(unit: Unit, window: int, doc: Doc) -> dict[str, Any]:
    text = unit.piece if unit.word is None else doc[unit.word].text
    return {"text": text, "special": unit.word is None, "window": window}


def _last_layer(reading: AttentionReading, units: list[dict[str, Any]]) -> str:
    """What can be read without the script."""
    means = [(name, reading.measures[name][-1].mean(dim=0).tolist()) for name in reading.measures]
    greatest = ("received, greatest", reading.measures["received"][-1].amax(dim=0).tolist())
    columns = [*((f"{name}, mean of heads", values) for name, values in means), greatest]
    columns.append(("rollout", reading.rollout.tolist()))
    rows = list(zip((unit["text"] for unit in units), *(values for _, values in columns)))
    names = ("word", *(name for name, _ in columns))
    return BODY.format(table=html_table("Last layer, and all layers together", names, rows))
