"""Reading back what `samarkand annotate` wrote: records of a complete run, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compression import COMPRESSIONS, damage_errors, open_compressed
from ..corpora.arrow_tables import open_parquet, parquet_tables, table_rows
from ..corpora.strict_parsing import DEEPEST, decode_line, parse_json
from ..errors import Errors, first_line
from .files import QUARANTINE, SUMMARY
from .sources import UsageError
from .state import read_json

FORMATS = ("jsonl", "parquet")


@dataclass(frozen=True)
class Annotated:
    """A record that was annotated.

    file (str): Its file, below the folder of the run.
    position (int): Its line or row, from 1.
    record (dict): The record, as JSONL has it.
    """

    file: str
    position: int
    record: dict[str, Any]


class AnnotatedCorpus:
    """The output folder of a complete run.

    folder (str | Path): The folder.
    RAISES (UsageError): S1170 when it holds none, S1171 when the run is not complete, S1172 for other formats than
        JSONL and Parquet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        summary = read_json(self.folder / SUMMARY)
        if summary is None:
            raise UsageError(Errors.S1170.format(path=folder, reason=f"no {SUMMARY} that can be read"))
        if summary.get("status") != "complete":
            raise UsageError(Errors.S1171.format(path=folder, status=summary.get("status")))
        try:
            self._format = summary["options"]["output_format"]
            self._counted = {str(file["output"]): file.get("documents") for file in summary["files"]}
        except (AttributeError, KeyError, TypeError) as error:
            raise UsageError(Errors.S1170.format(path=folder, reason=f"{SUMMARY} is damaged")) from error
        outside = [file for file in self._counted if not self._path(file).is_relative_to(self.folder.resolve())]
        if outside:
            reason = f"{SUMMARY} names a file outside of it, {outside[0]}"
            raise UsageError(Errors.S1170.format(path=folder, reason=reason))
        if self._format not in FORMATS:
            raise UsageError(Errors.S1172.format(path=folder, found=self._format, known=" or ".join(FORMATS)))
        self.summary = summary

    @property
    def paths(self) -> list[Path]:
        """What the run has written."""
        return [self._path(file) for file in (*self._counted, QUARANTINE, SUMMARY)]

    def records(self) -> Iterator[Annotated]:
        """Stream the records, in the order of the run.

        YIELDS (Annotated): The records.
        RAISES (OSError): S512 when a file cannot be read.
        RAISES (ValueError): S1173 for what is no annotated record, or when there are more or less than the run counted.
        """
        for file, counted in self._counted.items():
            read, position = self._rows if self._format == "parquet" else self._lines, 0
            for position, record in read(file):
                problem = problem_of(record)
                if problem:
                    raise ValueError(Errors.S1173.format(path=self._path(file), position=position, reason=problem))
                yield Annotated(file, position, record)
            self._compare(file, position, counted)

    def quarantine(self) -> Iterator[dict[str, Any]]:
        """Stream what could not be annotated.

        YIELDS (dict): Lines of the quarantine; none where there is no such file, and the run counted none.
        RAISES (OSError): S512 when the file cannot be read.
        RAISES (ValueError): S1173 for what is no line of a quarantine, or when there are more or less than the run
            counted.
        """
        counted, position = self.summary.get("quarantined"), 0
        if not counted and not (self.folder / QUARANTINE).exists():
            return
        for position, entry in self._lines(QUARANTINE):
            if not isinstance(entry, dict) or not isinstance(entry.get("code"), str):
                path, reason = self._path(QUARANTINE), "it has no code"
                raise ValueError(Errors.S1173.format(path=path, position=position, reason=reason))
            yield entry
        self._compare(QUARANTINE, position, counted)

    def _compare(self, file: str, found: int, counted: Any) -> None:
        """Refuse a file that somebody has cut, or added to: what is told of it would not be true of the run."""
        if type(counted) is int and found != counted:
            position = min(found, counted) + 1
            reason = f"the file has {found:,} records, and {SUMMARY} counts {counted:,}"
            raise ValueError(Errors.S1173.format(path=self._path(file), position=position, reason=reason))

    def _path(self, file: str) -> Path:
        return (self.folder / file).resolve()

    def _lines(self, file: str) -> Iterator[tuple[int, Any]]:
        path, position = self._path(file), 0
        try:
            with open_compressed(str(path), COMPRESSIONS.get(path.suffix, "")) as stream:
                for position, line in enumerate(stream, 1):
                    # A rejected record is a field of its line in the quarantine.
                    yield position, parse_json(decode_line(line, position), deepest=DEEPEST + 1)
        except (*damage_errors(), OSError) as error:
            raise OSError(Errors.S512.format(path=path, reason=_reason(error))) from error
        except ValueError as error:
            reason = first_line(error)
            raise ValueError(Errors.S1173.format(path=path, position=position, reason=reason)) from error

    def _rows(self, file: str) -> Iterator[tuple[int, Any]]:
        from pyarrow import ArrowException

        path, position = self._path(file), 0
        try:
            with closing(open_parquet(str(path))) as table:
                for batch in parquet_tables(table):
                    for row in table_rows(batch):
                        position += 1
                        yield position, _unpacked(row) if isinstance(row, dict) else None
        except (ArrowException, OSError) as error:
            raise OSError(Errors.S512.format(path=path, reason=_reason(error))) from error
        except ValueError as error:
            reason = str(error) if type(error) is ValueError else first_line(error)
            raise ValueError(Errors.S1173.format(path=path, position=position, reason=reason)) from error


def problem_of(record: Any) -> str:
    """RETURNS (str): Why something is no annotated record; nothing when it is one."""
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return "it has no text"
    groups, meta = record.get("spans") or {}, record.get("meta") or {}
    if not isinstance(groups, dict):
        return "spans are no object"
    if not isinstance(meta, dict) or not isinstance(meta.get("langs") or {}, (dict, list)):
        return "meta is no object with languages"
    for name, spans in (("entities", record.get("entities")), *groups.items()):
        if not isinstance(spans, list):
            return f"{name} is no list"
        if not all(_is_span(span, len(record["text"])) for span in spans):
            return f"{name} has something without a label, or outside of the text"
    return ""


def _is_span(span: Any, length: int) -> bool:
    if not isinstance(span, dict) or not isinstance(span.get("label"), str):
        return False
    start, end = span.get("start"), span.get("end")
    return type(start) is int and type(end) is int and 0 <= start <= end <= length


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A row in the shape of JSONL: what Parquet holds as JSON is parsed, and what it fills up with null is left out."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for span in _spans(row, "spans"):
        if not isinstance(span.get("key"), str):
            raise ValueError("spans has something without a key")
        groups.setdefault(span["key"], []).append(_unpacked_span(span))
    entities = [_unpacked_span(span) for span in _spans(row, "entities")]
    packed = {name: _parsed(row[name], name) for name in ("meta", "neighbours") if row.get(name)}
    return {**row, "meta": None, "neighbours": None, **packed, "entities": entities, "spans": groups}


def _spans(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    spans = row.get(name) or []
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        raise ValueError(f"{name} is no list of mentions")
    return spans


def _parsed(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no JSON")
    return parse_json(value)


def _unpacked_span(span: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in span.items() if value is not None}
    packed = {name: _parsed(told[name], name) for name in ("candidates", "link_scores") if name in told}
    # A column cannot tell a link to nothing from no link; the reason of a linker does.
    nil = {"kb_id": None} if "nil_reason" in told else {}
    return {**nil, **told, **packed}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
