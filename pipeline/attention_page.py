"""Where an encoder looks while it reads a text, as one page to explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import blank
from ..models.attention_aggregation import across_heads
from ..models.attention_reading import AttentionReading, Unit, read_attention
from ..models.transformer_tok2vec import token_spans
from .files import write_aside, write_errors
from .offline_page import html_table, offline_page
from .pages import direction_of
from .run_options import refuse_existing

# Keys of a query that the page carries, the heaviest first; digits of a share.
KEYS, DIGITS = 8, 4
BODY = """<p class="about">Attention shows where an encoder looks. It does not explain what it decides.</p>
<svg id="frame" width="0" height="0" aria-hidden="true"></svg>
<main id="explorer"></main>
<h2>Values</h2>
<div class="values">{table}</div>"""


def show_attention(
    text: str, output: str | Path, *, model: str, revision: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write a page of the attention over a text that opens in any browser, without a network.

    text (str): The text, of at most as many pieces as the encoder reads at once, and 512.
    output (str | Path): The page.
    model (str): Hub name or folder of a transformers encoder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    force (bool): Replace a page that exists.
    RETURNS (dict): "page", "model", "layers", "heads", "pieces", "words".
    RAISES (UsageError): S504 before anything is loaded.
    RAISES (OSError): S320 when the encoder cannot be loaded, S511 when the page cannot be written.
    RAISES (ValueError): As `read_attention`.
    """
    path = Path(output)
    if not force:
        refuse_existing([path])
    doc = blank()(text)
    reading = read_attention(model, text, token_spans(doc), revision=revision)
    units = [_unit(unit, doc) for unit in reading.units]
    data = page_data(reading, units) | {"dir": direction_of(text)}
    page = offline_page(f"Attention of {model}", _last_layer(data), "attention.js", data)
    with write_aside(path) as file, write_errors(path):
        file.write(page.encode())
    layers, heads = reading.attention.shape[:2]
    words = sum(unit.word is not None for unit in reading.units)
    return {
        "page": str(path),
        "model": model,
        "layers": layers,
        "heads": heads,
        "pieces": reading.pieces,
        "words": words,
    }


def page_data(reading: AttentionReading, units: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page carries of a reading.

    reading (AttentionReading): The reading.
    units (list[dict]): What is shown of its units.
    RETURNS (dict): "units"; "measures" by name, then by layer, head and unit; "aggregates" by measure and name, then
        by layer and unit; "rollout" by unit; and the heaviest keys of each query, as pairs of unit and share: "keys" by
        layer, head (the last is the mean of all) and unit, "rollout_keys" by unit.
    """
    with_mean = torch.cat([reading.attention, reading.attention.mean(dim=1, keepdim=True)], dim=1)
    return {
        "units": units,
        "measures": {name: _rounded(values) for name, values in reading.measures.items()},
        "aggregates": {
            name: {aggregate: _rounded(found) for aggregate, found in across_heads(values).items()}
            for name, values in reading.measures.items()
        },
        "rollout": _rounded(reading.rollout.mean(dim=0)),
        "keys": _heaviest(with_mean),
        "rollout_keys": _heaviest(reading.rollout),
    }


def _unit(unit: Unit, doc: Any) -> dict[str, Any]:
    return {"text": unit.piece if unit.word is None else doc[unit.word].text, "special": unit.word is None}


def _heaviest(attention: Tensor) -> list[Any]:
    shares, keys = attention.topk(min(KEYS, attention.shape[-1]), dim=-1)
    return _pairs(keys.tolist(), _rounded(shares))


def _pairs(keys: list[Any], shares: list[Any]) -> list[Any]:
    """Pairs of two nested lists of one shape."""
    if not isinstance(keys[0], list):
        return [[key, share] for key, share in zip(keys, shares)]
    return [_pairs(*both) for both in zip(keys, shares)]


def _rounded(values: Tensor) -> list[Any]:
    return values.double().round(decimals=DIGITS).tolist()


def _last_layer(data: dict[str, Any]) -> str:
    """What can be read without the script."""
    columns = ("received, mean of heads", "received, greatest", "diagonal, mean of heads", "spread, mean of heads")
    places = (("received", "mean"), ("received", "max"), ("diagonal", "mean"), ("spread", "mean"))
    values = [data["aggregates"][measure][aggregate][-1] for measure, aggregate in places]
    shown = zip((unit["text"] for unit in data["units"]), *values, data["rollout"])
    table = html_table("Last layer, and all layers together", ("word", *columns, "rollout"), list(shown))
    return BODY.format(table=table)
