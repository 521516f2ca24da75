"""Streams of records, the one shape that every corpus format is read into and written from.

A record is a dictionary: `text` (str), `spans` (a list of `{"start", "end", "label"}`, character offsets, end
exclusive) and whatever else its source carries: `id`, `lang`, `source`, `tokens` ([start, end] pairs), ...

A span can have a `kb_id`: the id of the entity that it means, or null when it means none of the knowledge base (NIL).
Without one nobody has said what it means. In a `Doc` the three are `kb_id_` as the id, "NIL" and "".
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import Errors
from ..models.nil import NIL
from ..replacing import replace_file
from .conll import read_conll, write_conll
from .files import create_text, numbered_lines, stem_suffix
from .strict_parsing import SURROGATE

if TYPE_CHECKING:
    from spacy.tokens import Span

__all__ = ["NIL", "Record", "find_files", "read_records", "rename_labels", "span_fields", "write_records"]

Record: TypeAlias = dict[str, Any]
StrPath: TypeAlias = str | Path

# What a folder is searched for. "txt" is read as CoNLL when named, but folders hold licences and notes too.
SUFFIXES = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "spacy": "docbin",
    **dict.fromkeys(("conll", "conllu", "iob", "iob1", "iob2", "bio", "bioes", "bmes", "tsv"), "conll"),
}
FORMATS = {**SUFFIXES, "txt": "conll"}


def read_records(
    path: StrPath,
    *,
    format: str | None = None,
    joiner: str = " ",
    nested: bool = False,
    spans_key: str | None = None,
) -> Iterator[Record]:
    """Stream the records of a file, of a folder's files or of a glob, in sorted order.

    path (Union[str, Path]): JSONL or CoNLL, plain or .gz, .xz, .zst; a DocBin (.spacy); a folder; or a glob.
    format (Optional[str]): "jsonl", "conll" or "docbin"; None goes by the file's suffix.
    joiner (str): What joins the tokens of CoNLL files without `# text` lines: "" for Chinese.
    nested (bool): Each column after a CoNLL file's first holds tags of its own.
    spans_key (Optional[str]): The span group to take from a DocBin; None takes `doc.ents`.
    YIELDS (Dict[str, Any]): The records.
    RAISES (OSError): S201 when nothing is found, S202 when no suffix is known.
    RAISES (ValueError): S203 to S209 with file and line for a broken line.
    """
    for file in find_files(path, format=format):
        kind = format or FORMATS[stem_suffix(file)]
        if kind == "jsonl":
            yield from _read_jsonl(file)
        elif kind == "conll":
            yield from read_conll(file, joiner=joiner, nested=nested)
        else:
            yield from _read_docbin(file, spans_key)


def find_files(path: StrPath, *, format: str | None = None) -> list[Path]:
    """The corpus files that a path stands for.

    path (Union[str, Path]): A file, a folder (searched through, hidden files aside) or a glob.
    format (Optional[str]): When given, any suffix will do for a file or a glob.
    RETURNS (List[Path]): Sorted files.
    RAISES (OSError): S201, S202.
    """
    path = Path(path)
    if path.is_dir():
        inside = [file for file in path.rglob("*") if stem_suffix(file) in SUFFIXES and file.is_file()]
        files = [file for file in inside if not any(p.startswith(".") for p in file.relative_to(path).parts)]
    elif path.exists():
        files = [path]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    if not files:
        raise FileNotFoundError(Errors.S201.format(path=path, suffixes=", ".join(f".{s}" for s in SUFFIXES)))
    for file in files:
        if format is None and stem_suffix(file) not in FORMATS:
            raise OSError(Errors.S202.format(path=file, suffixes=", ".join(f".{s}" for s in FORMATS)))
    return sorted(files)


def rename_labels(spans: list[Record], labels: dict[str, str | None]) -> list[Record]:
    """Give spans other labels.

    spans (List[Dict[str, Any]]): The spans of a record.
    labels (Dict[str, Optional[str]]): New name by old name, None to drop spans of a label; "*" speaks for labels
        that are not listed, which stay as they are without it.
    RETURNS (List[Dict[str, Any]]): New spans; the old ones when there is nothing to rename.
    """
    if not labels:
        return spans
    renamed = ({**span, "label": labels.get(span["label"], labels.get("*", span["label"]))} for span in spans)
    return [span for span in renamed if span["label"] is not None]


def write_records(
    path: StrPath,
    records: Iterable[Record],
    *,
    scheme: str = "IOB2",
    tokenize: Callable[[str], list[tuple[int, int]]] | None = None,
) -> int:
    """Write records as JSONL or CoNLL, by the suffix; the file appears when it is complete.

    path (Union[str, Path]): The file, compressed when it ends in .gz, .xz or .zst.
    records (Iterable[Dict[str, Any]]): The records.
    scheme (str): Tag scheme of a CoNLL file.
    tokenize (Optional[Callable[[str], List[Tuple[int, int]]]]): Token offsets of a text, for CoNLL records
        without `tokens`; None splits at blanks.
    RETURNS (int): Number of records written.
    RAISES (OSError): S202 for a suffix of neither format.
    """
    path = Path(path)
    kind = FORMATS.get(stem_suffix(path))
    if kind == "conll":
        return write_conll(path, records, scheme=scheme, tokenize=tokenize)
    if kind != "jsonl":
        raise OSError(Errors.S202.format(path=path, suffixes=".jsonl, .conll"))
    count = 0
    with replace_file(path) as temporary, create_text(temporary) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    return count


def _read_jsonl(path: Path) -> Iterator[Record]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as err:
            reason = f"{err.msg}, column {err.colno}"
            raise ValueError(Errors.S203.format(path=path, line=number, reason=reason)) from None
        yield _checked(record, path, number)


def _checked(record: Any, path: Path, number: int) -> Record:
    """The record, with `spans` present; offsets are checked where spans meet tokens."""
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError(Errors.S204.format(path=path, line=number))
    if SURROGATE.search(record["text"]):
        raise ValueError(Errors.S206.format(path=path, line=number))
    spans = record.setdefault("spans", [])
    if not isinstance(spans, list) or not all(_is_span(span) for span in spans):
        raise ValueError(Errors.S205.format(path=path, line=number))
    return record


def _is_span(span: Any) -> bool:
    return (
        isinstance(span, dict)
        and type(span.get("start")) is int
        and type(span.get("end")) is int
        and isinstance(span.get("label"), str)
        and isinstance(span.get("kb_id", ""), str | None)
    )


def span_fields(span: Span) -> Record:
    """A span of a document as the span of a record.

    span (Span): The span.
    RETURNS (Dict[str, Any]): "start", "end", "label" and, when it is linked or NIL, "kb_id".
    """
    fields: Record = {"start": span.start_char, "end": span.end_char, "label": span.label_}
    if span.kb_id_:
        fields["kb_id"] = None if span.kb_id_ == NIL else span.kb_id_
    return fields


def _read_docbin(path: Path, spans_key: str | None) -> Iterator[Record]:
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    try:
        docs = DocBin().from_disk(path)
    except Exception as err:
        raise ValueError(Errors.S210.format(path=path, reason=type(err).__name__)) from err
    for doc in docs.get_docs(Vocab()):
        spans = doc.ents if spans_key is None else doc.spans.get(spans_key, [])
        yield {
            "text": doc.text,
            "spans": [span_fields(span) for span in spans],
            "tokens": [[token.idx, token.idx + len(token)] for token in doc],
        }
