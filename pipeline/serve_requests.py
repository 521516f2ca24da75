"""What a server is asked for, checked before anything is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..corpora.strict_parsing import decode_line, parse_json
from ..errors import Errors, first_line
from ..models.record_filter import filter_sql
from .records import Record, Rejected, field_record
from .serve_options import ServeOptions
from .serve_work import Query

if TYPE_CHECKING:
    from starlette.requests import Request

# Neighbours that may be asked for, and fields that a filter may have: what is looked for is one condition of SQL.
MAX_K = 1000
MAX_FIELDS = 32
# The bodies of requests, as OpenAPI describes them.
_TEXT = {"type": "string"}
_RECORD = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"], "additionalProperties": True}
ANNOTATE_SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "properties": {name: {"type": "array", "items": items}},
            "required": [name],
            "additionalProperties": False,
        }
        for name, items in (("texts", _TEXT), ("records", _RECORD))
    ]
}
SEARCH_SCHEMA = {
    "type": "object",
    "properties": {
        "query": _TEXT,
        "k": {"type": "integer", "minimum": 1, "maximum": MAX_K, "default": 10},
        "filter": {"type": ["object", "null"], "maxProperties": MAX_FIELDS},
    },
    "required": ["query"],
    "additionalProperties": False,
}


class Refusal(Exception):
    """A request that is not answered.

    status (int): Of HTTP.
    message (str): Why, from the catalogue.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """The body of a request.

    request (Request): The request.
    max_bytes (int): Most bytes that are read.
    RETURNS (dict[str, Any]): The JSON object.
    RAISES (Refusal): S1143 when it has more bytes, S1144 when it is not JSON, S1145 when it is no object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise Refusal(413, Errors.S1143.format(limit=max_bytes))
    try:
        value = parse_json(decode_line(bytes(body), 1))
    except ValueError as error:  # what is not UTF-8 is one too
        raise Refusal(400, Errors.S1144.format(reason=first_line(error))) from None
    if not isinstance(value, dict):
        raise _unusable(f"it is {_named(value)}, not an object")
    return value


def read_records(value: dict[str, Any], options: ServeOptions) -> list[Record]:
    """The records to annotate.

    value (dict): {"texts": [...]} or {"records": [{"text": ..., other fields}, ...]}.
    options (ServeOptions): The limits.
    RETURNS (list[Record]): The records.
    RAISES (Refusal): S1145, or S522, S523 or S526 of a record.
    """
    if len(value) != 1 or not value.keys() <= {"texts", "records"}:
        raise _unusable("it has to have one field, 'texts' or 'records'")
    ((name, items),) = value.items()
    if not isinstance(items, list):
        raise _unusable(f"{name} is {_named(items)}, not a list")
    if len(items) > options.max_texts:
        raise _unusable(f"{name} has {len(items):,} items, and {options.max_texts:,} are allowed")
    if name == "texts":
        items = [{"text": text} for text in items]
    records = []
    for index, fields in enumerate(items):
        place = f"{name}[{index}]"
        if not isinstance(fields, dict):
            raise _unusable(f"{place} is {_named(fields)}, not an object")
        records.append(_checked(field_record(index + 1, fields, "text"), place, options.max_characters))
    return records


def read_query(value: dict[str, Any], options: ServeOptions) -> Query:
    """What to look for.

    value (dict): {"query": ..., "k": ..., "filter": ...}; the last two may be left out.
    options (ServeOptions): The limits.
    RETURNS (Query): The query.
    RAISES (Refusal): S1145, S523 or S526 for the text, S832 for the filter.
    """
    if "query" not in value or not value.keys() <= {"query", "k", "filter"}:
        raise _unusable("it has to have the field 'query', and may have 'k' and 'filter'")
    text = _checked(field_record(1, {"text": value["query"]}, "text"), "query", options.max_characters).text
    k, conditions = value.get("k", Query.k), value.get("filter")
    if type(k) is not int or not 1 <= k <= MAX_K:
        raise _unusable(f"k has to be a whole number from 1 to {MAX_K}")
    if conditions is not None:
        try:
            filter_sql(conditions)
        except ValueError as error:
            raise Refusal(422, str(error)) from None
        if len(conditions) > MAX_FIELDS:
            raise _unusable(f"filter has {len(conditions):,} fields, and {MAX_FIELDS} are allowed")
    return Query(text, k, conditions)


def _checked(record: Record | Rejected, place: str, max_characters: int) -> Record:
    if isinstance(record, Rejected):
        raise Refusal(422, f"[{record.code}] {place}: {record.reason}")
    if len(record.text) > max_characters:
        raise _unusable(f"{place} has {len(record.text):,} characters, and {max_characters:,} are allowed")
    return record


def _unusable(reason: str) -> Refusal:
    return Refusal(422, Errors.S1145.format(reason=reason))


def _named(value: Any) -> str:
    """The type of a value as JSON calls it."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
