"""Where an encoder looks while it reads a text, as one page to explore, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spacy.tokens import Doc

from .. import DEFAULT_ENCODER, blank
from ..models.attention_aggregation import across_heads
from ..models.attention_frames import Unit
from ..models.attention_reading import AttentionReading, read_attention
from ..models.transformer_tok2vec import token_spans
from .attention_json import attention_json, read_attention_json
from .files import write_aside, write_errors
from .offline_page import html_table, offline_page, packed, unpacked
from .pages import direction_of
from .run_options import refuse_existing
from .sources import protect_inputs

BODY = """<p class="about">Attention shows where an encoder looks. It does not explain what it decides.</p>
<svg id="frame" width="0" height="0" aria-hidden="true"></svg>
<main id="explorer"></main>
<h2>Values</h2>
<div class="values">{tables}</div>"""
# Ending of an output that is no page.
JSON = ".json"


def show_attention(
    text: str, output: str | Path, *, model: str = DEFAULT_ENCODER, revision: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write a page of the attention over a text that opens in any browser, without a network.

    text (str): The text; one that does not fit is read in windows.
    output (str | Path): The page; a name that ends in .json gets JSON that `convert_attention` and AttViz read.
    model (str): Hub name, folder or bundled name of a transformers encoder.
    revision (Optional[str]): Branch, tag or commit on the hub.
    force (bool): Replace a file that exists.
    RETURNS (dict): "page" (what was written), "model", "layers", "heads", "windows", "pieces", "words".
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
    about = {"model": model, "dir": direction_of(text), "pieces": reading.pieces}
    return _write(path, text, about | page_data(reading, units))


def convert_attention(
    source: str | Path, output: str | Path, *, document: int = 1, force: bool = False
) -> dict[str, Any]:
    """Write a page of attention that was written as JSON, by `show_attention` or for AttViz.

    source (str | Path): The file.
    output (str | Path): As of `show_attention`.
    document (int): Which of its documents, from 1.
    force (bool): Replace a file that exists.
    RETURNS (dict): As of `show_attention`.
    RAISES (UsageError): S504, S505.
    RAISES (OSError): S511, S512 when a file fails.
    RAISES (ValueError): S1184 when it is not such a file.
    """
    path = Path(output)
    protect_inputs([Path(source)], [(Path(source), path)])
    if not force:
        refuse_existing([path])
    return _write(path, *read_attention_json(Path(source), document))


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
    if unit.word is None:
        return {"text": unit.piece, "special": True, "window": window}
    token = doc[unit.word]
    places = {"start": token.idx, "end": token.idx + len(token)}
    return {"text": token.text, "special": False, "window": window, **places}


def _write(path: Path, text: str, data: dict[str, Any]) -> dict[str, Any]:
    if path.suffix.lower() == JSON:
        content = attention_json(text, data)
    else:
        content = offline_page(f"Attention of {data['model']}", _tables(data), "attention.js", data).encode()
    with write_aside(path) as file, write_errors(path):
        file.write(content)
    return {
        "page": str(path),
        **{name: data[name] for name in ("model", "layers", "heads")},
        "windows": data["units"][-1]["window"] + 1,
        "pieces": data["pieces"],
        "words": sum(not unit["special"] for unit in data["units"]),
    }


def _tables(data: dict[str, Any]) -> str:
    """What can be read without the script."""
    of_last = {
        name: {key: unpacked(found)[-1].tolist() for key, found in across.items()}
        for name, across in data["aggregates"].items()
    }
    columns = [(f"{name}, mean of heads", values["mean"]) for name, values in of_last.items()]
    columns += [(f"{name}, greatest", values["max"]) for name, values in of_last.items() if name == "received"]
    if "rollout" in data:
        columns.append(("rollout", unpacked(data["rollout"]).tolist()))
    rows = list(zip((unit["text"] for unit in data["units"]), *(values for _, values in columns)))
    tables = html_table("Last layer, and all layers together", ("word", *(name for name, _ in columns)), rows)
    if data.get("outputs"):
        tables += html_table("Outputs", ("name", "value"), data["outputs"])
    return BODY.format(tables=tables)
