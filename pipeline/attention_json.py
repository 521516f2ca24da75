"""Attention over a text as JSON that AttViz reads (https://arxiv.org/abs/2005.05716), and files of AttViz for our page.

A file is a list of documents, each with "text", "sets" of "tokens" and "attention_vectors" (what each token keeps to
itself, a number a token as text, for each head), and "output_activations". Under "samarkand" a document has all that
the page shows, so that nothing is lost on the way; other tools pass that over, and files without it can be read.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from pathlib import Path
from typing import Any

import torch

from ..corpora.strict_parsing import parse_json
from ..errors import Errors, first_line
from ..models.attention_aggregation import across_heads
from .offline_page import packed, unpacked
from .pages import direction_of

FORMAT = 1
MEASURES = ("received", "diagonal", "spread", "influence")
AGGREGATES = ("mean", "std", "max", "min", "range", "entropy")
FLOWS = ("rollout", "keys", "shares", "rollout_keys", "rollout_shares")
# Special pieces of the usual tokenizers: a file of AttViz does not mark them.
SPECIAL = {"[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>"}


def attention_json(text: str, data: dict[str, Any]) -> bytes:
    """A file with one document.

    text (str): The text.
    data (dict): As `page_data` has it.
    RETURNS (bytes): The file.
    """
    # Five digits tell the steps of packed numbers apart.
    vectors = [
        {"name": _head_name(data, layer, head), "vectors": [f"{value:.5f}" for value in values]}
        for layer, heads in enumerate(unpacked(data["measures"]["diagonal"]).tolist())
        for head, values in enumerate(heads)
    ]
    document = {
        "text": text,
        "sets": [{"attention_vectors": vectors, "tokens": [unit["text"] for unit in data["units"]]}],
        "output_activations": [{"name": name, "value": str(value)} for name, value in data.get("outputs", [])],
        "samarkand": {"format": FORMAT, **data},
    }
    return json.dumps([document], allow_nan=False).encode() + b"\n"


def read_attention_json(path: Path, number: int = 1) -> tuple[str, dict[str, Any]]:
    """A document of a file.

    path (Path): The file.
    number (int): Which of its documents, from 1.
    RETURNS (tuple[str, dict]): Its text, and what the page shows of it, as `page_data` has it; of a file without the
        part of ours one layer with a head for each vector, and nothing of where tokens look.
    RAISES (OSError): S512 when it cannot be read.
    RAISES (ValueError): S1184 when it is not such a file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OSError(Errors.S512.format(path=path, reason=error.strerror or error)) from error
    try:
        document = _document(parse_json(content.decode("utf-8-sig")), number)
        ours = document.get("samarkand")
        text = _expect(document.get("text"), str, "text")
        return text, _foreign(document, path.name) if ours is None else _checked(_expect(ours, dict, "samarkand"))
    except ValueError as error:
        reason = str(error) if type(error) is ValueError else first_line(error)
        raise ValueError(Errors.S1184.format(path=path, reason=reason.rstrip("."))) from error


def _document(value: Any, number: int) -> dict[str, Any]:
    if isinstance(value, dict):  # AttViz writes both shapes
        value = [value[key] for key in sorted(value, key=lambda key: (len(key), key)) if key.isdecimal()]
    documents = _expect(value, list, "the file")
    if not 1 <= number <= len(documents):
        raise ValueError(f"it has {len(documents)} documents, and number {number} was asked for")
    return _expect(documents[number - 1], dict, f"document {number}")


def _foreign(document: dict[str, Any], name: str) -> dict[str, Any]:
    """What the page shows of a document without the part of ours."""
    sets = _expect(document.get("sets"), list, "sets")
    first = _expect(sets[0] if sets else None, dict, "the first of sets")
    tokens = [_expect(token, str, "a token") for token in _expect(first.get("tokens"), list, "tokens")]
    vectors = [_expect(vector, dict, "a vector") for vector in _expect(first.get("attention_vectors"), list, "vectors")]
    if not tokens or not vectors:
        raise ValueError("it has no tokens or no attention_vectors")
    rows = [_shares(vector.get("vectors"), len(tokens)) for vector in vectors]
    values = torch.tensor([rows], dtype=torch.float64)
    outputs = _expect(document.get("output_activations", []), list, "output_activations")
    outputs = [_expect(entry, dict, "an output") for entry in outputs]
    return {
        "model": name,
        "dir": direction_of(document["text"]),
        "pieces": len(tokens),
        "units": [{"text": token, "special": token in SPECIAL, "window": 0} for token in tokens],
        "layers": 1,
        "heads": len(rows),
        "names": [str(vector.get("name", place + 1)) for place, vector in enumerate(vectors)],
        "outputs": [[str(entry.get("name", "")), _number(entry.get("value"))] for entry in outputs],
        "measures": {"diagonal": packed(values)},
        "aggregates": {"diagonal": {name: packed(found) for name, found in across_heads(values).items()}},
    }


def _checked(data: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, as another run has written it, without what is not known."""
    if data.get("format") != FORMAT:
        raise ValueError(f"its format is {data.get('format')!r}, and {FORMAT} can be read")
    units = [_unit(unit) for unit in _expect(data.get("units"), list, "units")]
    layers, heads = (_count(data, name) for name in ("layers", "heads"))
    size, found = len(units), _expect(data.get("measures"), dict, "measures")
    if not units or "diagonal" not in found or not set(found) <= set(MEASURES):
        raise ValueError(f"it has no units, or measures other than {', '.join(MEASURES)}")
    if data.get("dir") not in ("ltr", "rtl"):
        raise ValueError("dir is neither ltr nor rtl")
    across = _expect(data.get("aggregates"), dict, "aggregates")
    checked = {
        "model": _expect(data.get("model"), str, "model"),
        "dir": data["dir"],
        "pieces": _count(data, "pieces"),
        "units": units,
        "layers": layers,
        "heads": heads,
        **_names(data, heads),
        "measures": {name: _packed(found[name], (layers, heads, size), name) for name in found},
        "aggregates": {
            name: {
                aggregate: _packed(_expect(across.get(name), dict, name).get(aggregate), (layers, size), aggregate)
                for aggregate in AGGREGATES
            }
            for name in found
        },
    }
    return checked | (_flows(data, layers, heads, size) if "rollout" in data else {})


def _names(data: dict[str, Any], heads: int) -> dict[str, Any]:
    """What a file of another tool said of heads and outputs."""
    told: dict[str, Any] = {}
    if "names" in data:
        told["names"] = [_expect(name, str, "a name") for name in _expect(data["names"], list, "names")]
        if len(told["names"]) != heads:
            raise ValueError(f"it has {len(told['names'])} names of {heads} heads")
    if "outputs" in data:
        outputs = [_expect(entry, list, "an output") for entry in _expect(data["outputs"], list, "outputs")]
        if any(len(entry) != 2 for entry in outputs):
            raise ValueError("an output is no name with a value")
        told["outputs"] = [[_expect(name, str, "an output"), _number(value)] for name, value in outputs]
    return told


def _flows(data: dict[str, Any], layers: int, heads: int, size: int) -> dict[str, Any]:
    """Where units look."""
    shape = _expect(data.get("rollout_keys"), dict, "rollout_keys").get("shape")
    n_keys = _expect(shape[-1] if isinstance(shape, list) and shape else None, int, "the number of keys")
    every, own = (layers, heads + 1, size, n_keys), (size, n_keys)
    shapes = dict(zip(FLOWS, ((size,), every, every, own, own)))
    flows = {name: _packed(data.get(name), shape, name) for name, shape in shapes.items()}
    for name in ("keys", "rollout_keys"):
        if flows[name]["unit"] != 1 or (unpacked(flows[name]) >= size).any():
            raise ValueError(f"{name} has no numbers of units")
    return flows


def _packed(value: Any, shape: tuple[int, ...], name: str) -> dict[str, Any]:
    """A packed array of a shape."""
    value = _expect(value, dict, name)
    if value.get("shape") != list(shape) or value.get("unit") not in (1, 1 / 65535):
        raise ValueError(f"{name} has the shape {value.get('shape')}, not {list(shape)}, or another unit")
    encoded = _expect(value.get("data"), str, f"data of {name}")
    if len(b64decode(encoded, validate=True)) != 2 * math.prod(shape):
        raise ValueError(f"{name} has more or less numbers than {list(shape)}")
    return {"shape": list(shape), "unit": value["unit"], "data": encoded}


def _unit(value: Any) -> dict[str, Any]:
    unit = _expect(value, dict, "a unit")
    places = {name: _expect(unit[name], int, name) for name in ("start", "end") if name in unit}
    window = _expect(unit.get("window"), int, "window")
    if window < 0:
        raise ValueError("a window is less than 0")
    special = _expect(unit.get("special"), bool, "special")
    return {"text": _expect(unit.get("text"), str, "a unit's text"), "special": special, "window": window, **places}


def _shares(value: Any, size: int) -> list[float]:
    shares = [_number(share) for share in _expect(value, list, "vectors")]
    if len(shares) != size:
        raise ValueError(f"a vector has {len(shares)} numbers for {size} tokens")
    if any(not 0 <= share <= 1 for share in shares):
        raise ValueError("a vector has numbers outside of 0 to 1")
    return shares


def _number(value: Any) -> float:
    """A number, also one that stands there as text."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"{value!r} is no number")


def _count(data: dict[str, Any], name: str) -> int:
    count = _expect(data.get(name), int, name)
    if count < 1:
        raise ValueError(f"{name} is less than 1")
    return int(count)


def _expect(value: Any, kind: type, name: str) -> Any:
    known = {str: "a string", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}
    if type(value) is not kind:
        raise ValueError(f"{name} is not {known[kind]}")
    return value


def _head_name(data: dict[str, Any], layer: int, head: int) -> str:
    return data["names"][head] if "names" in data else f"layer {layer + 1}, head {head + 1}"
