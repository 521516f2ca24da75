"""Pages that need nothing from elsewhere: data, style and script in one file, and nothing else may run or load.

What comes from a corpus is data from its file to the screen: it goes into the page as JSON that cannot end its element,
and the scripts in `page_files/` show it as text nodes. The policy of a page names its style and script by their hashes,
so that markup which found a way in would still be dead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .encoders import plain

if TYPE_CHECKING:
    from torch import Tensor

FILES = Path(__file__).parent / "page_files"
STYLE = "page.css"
# Shared by all pages, and put before the script of each.
COMMON_SCRIPT = "common.js"
# What could end the element or be read as markup, the line ends of JavaScript, and what UTF-8 or HTML cannot hold.
UNSAFE = re.compile("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def offline_page(title: str, body: str, script: str, data: Any) -> str:
    """A page with data and the script that shows them.

    title (str): Title of the page.
    body (str): HTML that stands there without the script too.
    script (str): Name of the script in `page_files/`.
    data (Any): What the script reads.
    RETURNS (str): The page.
    """
    style = _read(STYLE)
    code = f"{_read(COMMON_SCRIPT)}\n{_read(script)}"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(code)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return PAGE.format(
        policy=policy, title=_escaped(title), style=style, body=body, data=script_json(data), script=code
    )


def script_json(value: Any) -> str:
    """JSON that may stand in a `script` element.

    value (Any): The value.
    RETURNS (str): JSON in which what HTML or JavaScript could take for something else is escaped.
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def packed(values: Tensor) -> dict[str, Any]:
    """Numbers in little room, which `unpacked` of the common script reads.

    values (Tensor): Shares from 0 to 1, told in steps of 1 / 65535, or whole numbers from 0 to 65535. (...)
    RETURNS (dict): "shape", "unit" (what a step counts) and "data": 16 bits a number, base64.
    """
    import torch

    steps = 65535 if values.is_floating_point() else 1
    whole = (values * steps).round().clamp(0, 65535).to(torch.int32).numpy().astype("<u2")
    return {"shape": list(values.shape), "unit": 1 / steps, "data": base64.b64encode(whole.tobytes()).decode()}


def unpacked(values: dict[str, Any]) -> np.ndarray:
    """The numbers of `packed`.

    values (dict): What it gave.
    RETURNS (np.ndarray): The numbers. (...)
    """
    numbers = np.frombuffer(base64.b64decode(values["data"]), dtype="<u2")
    return numbers.reshape(values["shape"]) * values["unit"]


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table that can be read without the script.

    caption (str): What it shows.
    columns (Sequence[str]): Heads of the columns.
    rows (Iterable[Sequence[Any]]): Their cells.
    RETURNS (str): The element.
    """
    head = "".join(f'<th scope="col">{_escaped(column)}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    name = _escaped(caption)
    return f"<table><caption>{name}</caption><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, (int, float)):
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
        return f'<td class="number">{shown}</td>'
    return f'<td><bdi dir="auto">{_escaped(str(value))}</bdi></td>'


def utf16_places(text: str) -> Sequence[int]:
    """Where each character stands for JavaScript, which counts UTF-16 units.

    text (str): The text.
    RETURNS (Sequence[int]): The units before each character, and those of the whole at the end.
    """
    if not text or ord(max(text)) < 0x10000:
        return range(len(text) + 1)
    places = [0]
    for char in text:
        places.append(places[-1] + 1 + (ord(char) > 0xFFFF))
    return places


def _escaped(text: str) -> str:
    """The text as HTML, with U+FFFD for what HTML or UTF-8 cannot hold."""
    return escape(re.sub("[\0\ud800-\udfff]", "\ufffd", text))


def _read(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
