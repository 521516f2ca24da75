"""Writing annotated documents in each output format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Protocol

from .encoders import LINKS, Encoder, encode_conll, encode_docbin, encode_jsonl, encode_row, to_json

if TYPE_CHECKING:
    import pyarrow

    # The schema that an input declares, or the types of its other fields by name as `column_types` guesses them.
    Columns = pyarrow.Schema | Mapping[str, str] | None

# Rows of a Parquet row group, or the characters of text that end it earlier.
GROUP_ROWS = 10_000
GROUP_CHARACTERS = 2**24
TYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}


class Writer(Protocol):
    """Takes the payloads of an encoder, in order."""

    def write(self, payload: Any) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Format:
    """An output format.

    suffix (str): Ending of its files, with the dot.
    encoder (Encoder): Turns an annotated document into what the writer takes.
    writer (Callable): Makes the writer, given a binary file and what is known of the columns of the input.
    columns (bool): Whether the writer can use the columns.
    """

    suffix: str
    encoder: Encoder
    writer: Callable[[IO[bytes], Columns], Writer]
    columns: bool = False


class ByteWriter:
    """Appends blocks of bytes (JSONL, CoNLL).

    file (IO[bytes]): The file.
    columns (None): Not used: each block says what it holds.
    """

    def __init__(self, file: IO[bytes], columns: Columns = None) -> None:
        self.write = file.write

    def close(self) -> None:
        """Nothing is held back."""


class DocBinWriter:
    """Gathers documents in a DocBin, which the format keeps in memory until it is written.

    file (IO[bytes]): The file.
    columns (None): Not used: a document has no columns.
    """

    def __init__(self, file: IO[bytes], columns: Columns = None) -> None:
        from spacy.tokens import DocBin

        self._file = file
        self._documents = DocBin(store_user_data=True)

    def write(self, payload: bytes) -> None:
        from spacy.tokens import DocBin

        self._documents.merge(DocBin(store_user_data=True).from_bytes(payload))

    def close(self) -> None:
        self._file.write(self._documents.to_bytes())


class ParquetWriter:
    """Writes rows in groups, with a column for each field whose type is known.

    The types come from the input's schema, or were guessed; else they come from the first group of rows. A value that
    does not fit its column, or that has none, goes as JSON to the column `other_fields`.

    file (IO[bytes]): The file.
    columns (pyarrow.Schema | Mapping[str, str] | None): Columns of the input, if they are known.
    """

    def __init__(self, file: IO[bytes], columns: Columns = None) -> None:
        guessed = isinstance(columns, Mapping)
        self._file = file
        self._declared = None if guessed else columns
        self._guessed = columns if guessed else None
        self._rows: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._characters = 0
        self._kinds: dict[str, type] = {}
        self._writer: Any = None

    def write(self, payload: tuple[dict[str, Any], dict[str, Any]]) -> None:
        self._rows.append(payload)
        self._characters += len(payload[1]["text"])
        if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if self._writer is None:
            if self._guessed is not None:
                self._kinds = {
                    name: kind for name, told in self._guessed.items() for kind in TYPES if TYPES[kind] == told
                }
            elif self._declared is None:
                self._kinds = _column_kinds([fields for fields, _ in self._rows])
            schema = _output_schema(self._declared, self._kinds)
            self._writer = pyarrow.parquet.ParquetWriter(self._file, schema, compression="zstd")
        if self._rows:
            rows = [self._row(fields, annotation) for fields, annotation in self._rows]
            self._writer.write_table(pyarrow.Table.from_pylist(rows, schema=self._writer.schema))
        self._rows, self._characters = [], 0

    def _row(self, fields: dict[str, Any], annotation: dict[str, Any]) -> dict[str, Any]:
        groups = annotation.get("spans", {})
        row = {
            "text": annotation["text"],
            "entities": [_flat_span(span) for span in annotation["entities"]],
            "spans": [{"key": key, **_flat_span(span)} for key, group in groups.items() for span in group],
            "meta": _as_json(annotation.get("meta")),
            "neighbours": _as_json(annotation.get("neighbours")),
        }
        if self._declared is not None:
            return {**row, **fields}
        fitting = {name: value for name, value in fields.items() if _fits(value, self._kinds.get(name))}
        fitting |= {name: None for name, value in fields.items() if value is None and name in self._kinds}
        others = {name: value for name, value in fields.items() if name not in fitting}
        return {**row, **fitting, "other_fields": _as_json(others)}


def _flat_span(span: dict[str, Any]) -> dict[str, Any]:
    """A span whose candidates and scores are JSON: what other linkers set under these names may have any shape."""
    told = {name: span[name] if isinstance(span.get(name), str) else _as_json(span.get(name)) for name in LINKS}
    return {**span, **told}


def column_types(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Guess the types of columns from some rows.

    rows (Iterable[dict]): Fields beside the text.
    RETURNS (dict[str, str]): Arrow types by name, of the fields whose values all share one.
    """
    return {name: TYPES[kind] for name, kind in _column_kinds(rows).items()}


def _column_kinds(rows: Iterable[dict[str, Any]]) -> dict[str, type]:
    """The type of each field whose values all share one; whole numbers are at home among floats."""
    seen: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                seen.setdefault(name, set()).add(type(value))
    mixed = {int, float}
    kinds = {name: float if types == mixed else types.pop() for name, types in seen.items() if _one(types)}
    return {name: kind for name, kind in kinds.items() if kind in TYPES}


def _one(types: set[type]) -> bool:
    return len(types) == 1 or types == {int, float}


def _fits(value: Any, kind: type | None) -> bool:
    if kind is float and type(value) is int:
        return abs(value) <= 2**53
    if kind is int and type(value) is int:
        return -(2**63) <= value < 2**63
    return kind is not None and type(value) is kind


def _output_schema(declared: pyarrow.Schema | None, kinds: dict[str, type]) -> pyarrow.Schema:
    import pyarrow as pa

    span = [
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("label", pa.string()),
        pa.field("text", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("kb_id", pa.string()),
        pa.field("candidates", pa.string()),
        pa.field("link_scores", pa.string()),
        pa.field("nil_reason", pa.string()),
    ]
    annotation = [
        pa.field("text", pa.string()),
        pa.field("entities", pa.list_(pa.struct(span))),
        pa.field("spans", pa.list_(pa.struct([pa.field("key", pa.string()), *span]))),
        pa.field("meta", pa.string()),
        pa.field("neighbours", pa.string()),
    ]
    if declared is not None:
        return pa.schema([*declared, *annotation])
    columns = [pa.field(name, pa.type_for_alias(TYPES[kind])) for name, kind in kinds.items()]
    return pa.schema([*columns, *annotation, pa.field("other_fields", pa.string())])


def _as_json(value: Any) -> str | None:
    return to_json(value).decode().rstrip("\n") if value else None


FORMATS = {
    "jsonl": Format(".jsonl", encode_jsonl, ByteWriter),
    "parquet": Format(".parquet", encode_row, ParquetWriter, columns=True),
    "docbin": Format(".spacy", encode_docbin, DocBinWriter),
    "conll": Format(".conll", encode_conll, ByteWriter),
}


def make_encoder(output_format: str, spans_key: str | None) -> Encoder:
    """The encoder of a format, in a form that can be sent to worker processes.

    output_format (str): Name of the format.
    spans_key (str | None): Group of `doc.spans` that CoNLL shows, or None for `doc.ents`.
    RETURNS (Encoder): The encoder.
    """
    encoder = FORMATS[output_format].encoder
    return encoder if spans_key is None else partial(encoder, spans_key=spans_key)
