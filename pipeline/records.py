"""A record of the input, or why there is none: what travels from the readers to the writers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..corpora.strict_parsing import SURROGATE
from ..errors import Errors

# Names that the annotation uses in every record; fields of the input by these names get the prefix "input_".
RESERVED = frozenset({"text", "entities", "spans", "meta", "neighbours", "other_fields"})


@dataclass(frozen=True)
class ReadOptions:
    """How to find the texts.

    text_field (str): Field or column that holds the text (JSONL, CSV, TSV, Parquet, datasets).
    txt_unit (str): What a document is in a .txt file: "line" or "file".
    """

    text_field: str = "text"
    txt_unit: str = "line"


@dataclass(frozen=True)
class Record:
    """A document to annotate.

    position (int): Line or row in its source, from 1.
    text (str): The text.
    fields (dict): The other fields of the input, named as they are written.
    doc (bytes | None): A `Doc` from a DocBin, as bytes; its tokens and annotations are kept.
    renamed (dict): Names in `fields` by names in the input, where these differ.
    """

    position: int
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    doc: bytes | None = None
    renamed: dict[str, str] = field(default_factory=dict, compare=False)

    def kept_name(self, name: str) -> str:
        """Name under which a field of the input is in `fields`, if it is there.

        name (str): Name in the input.
        RETURNS (str): Name in the output.
        """
        return self.renamed.get(name, name)


@dataclass(frozen=True)
class Rejected:
    """Something in the input that could not be annotated.

    position (int): Line or row in its source, from 1.
    code (str): Code in the error catalogue.
    reason (str): The message, without its code.
    raw (Any): The record as far as it can be shown.
    """

    position: int
    code: str
    reason: str
    raw: Any = None


class Place(NamedTuple):
    """Where in a file of lines that is not compressed a line begins.

    lines (int): Lines before it.
    offset (int): Bytes before it.
    """

    lines: int
    offset: int


class Unread(NamedTuple):
    """An item of the input that nobody has looked into.

    position (int): Line or row in its source, from 1.
    size (int): About its bytes; 0 when that is not known.
    make (Callable): Makes the record, or says why there is none.
    place (Optional[Place]): Where it begins; None where reading cannot begin in the middle.
    """

    position: int
    size: int
    make: Callable[[], Record | Rejected]
    place: Place | None = None


def reject(position: int, code: str, raw: Any = None, **values: Any) -> Rejected:
    """Reject a record with a message of the error catalogue.

    position (int): Line or row in its source, from 1.
    code (str): Code of the message.
    raw (Any): The record as far as it can be shown.
    values: What the message is formatted with.
    RETURNS (Rejected): The rejected record.
    """
    message = getattr(Errors, code).format(**values)
    return Rejected(position, code, message.removeprefix(f"[{code}] "), raw)


def field_record(position: int, value: dict[str, Any], text_field: str) -> Record | Rejected:
    """Make a record of named fields, one of which holds the text.

    position (int): Line or row in its source, from 1.
    value (dict): The fields.
    text_field (str): Name of the one with the text.
    RETURNS (Record | Rejected): The record; rejected with S522, S523 or S526 when it has no usable text.
    """
    if text_field not in value:
        return reject(position, "S522", value, field=text_field)
    text = value[text_field]
    if not isinstance(text, str):
        return reject(position, "S523", value, field=text_field, found=type(text).__name__)
    if SURROGATE.search(text):
        return reject(position, "S526", value)
    return make_record(position, text, {key: value[key] for key in value if key != text_field})


def make_record(position: int, text: str, fields: dict[str, Any], doc: bytes | None = None) -> Record:
    """Make a record whose fields are named as they are written.

    position (int): Line or row in its source, from 1.
    text (str): The text.
    fields (dict): The other fields, named as in the input.
    doc (bytes | None): As `Record` has it.
    RETURNS (Record): The record.
    """
    renamed = renamed_fields(fields)
    return Record(position, text, {renamed.get(name, name): fields[name] for name in fields}, doc, renamed)


def renamed_fields(names: Collection[str]) -> dict[str, str]:
    """Other names for the fields of a record whose own the annotation needs.

    names (Collection[str]): All names of the record, without that of its text.
    RETURNS (dict[str, str]): Names in the output by names in the input. They are numbered where a field of the input
        has the name already, and no two are the same.
    """
    renamed = {}
    for name in RESERVED.intersection(names):
        number, kept = 1, f"input_{name}"
        while kept in names:
            number += 1
            kept = f"input_{name}.{number}"
        renamed[name] = kept
    return renamed
