"""Annotating batches of records so that one bad document costs only itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import first_line
from .encoders import Encoded, Encoder
from .records import Record, Rejected, reject
from .text_zone import text_zone

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

Outcome = Encoded | Rejected

# Characters of text that close a batch before it has its number of documents.
BATCH_CHARACTERS = 1_000_000
# The same for documents that are padded to the length of the longest; a token has three characters or so.
PADDED_CHARACTERS = 400_000


def batched(
    items: Iterable[Record | Rejected], size: int, characters: int = BATCH_CHARACTERS
) -> Iterator[list[Record | Rejected]]:
    """Cut a stream into batches that are bounded in number and in text.

    items (Iterable[Record | Rejected]): The stream.
    size (int): Most items of a batch.
    characters (int): Characters of text after which a batch is closed.
    YIELDS (list[Record | Rejected]): The batches.
    """
    batch: list[Record | Rejected] = []
    length = 0
    for item in items:
        batch.append(item)
        length += len(item.text) if isinstance(item, Record) else 0
        if len(batch) >= size or length >= characters:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def batches_by_length(lengths: list[int], size: int, characters: int = PADDED_CHARACTERS) -> Iterator[list[int]]:
    """Cut documents into batches of like length, so that little is padded, within a budget of text.

    lengths (list[int]): Characters of each document.
    size (int): Most documents of a batch.
    characters (int): Most characters of a batch when each document counts as its longest; one document may have more.
    YIELDS (list[int]): Positions of the documents, the shortest first. The same lengths give the same batches.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) >= size or (len(batch) + 1) * lengths[position] > characters):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def annotate_batch(nlp: Language, records: list[Record], encode: Encoder) -> list[Outcome]:
    """Annotate records together; when that fails, find the guilty ones by halving and reject only these.

    nlp (Language): The pipeline.
    records (list[Record]): The records.
    encode (Encoder): What is kept of a document.
    RETURNS (list[Encoded | Rejected]): An outcome for each record, in order.
    """
    # Strings of the texts would otherwise stay in the vocabulary for ever.
    with text_zone(nlp):
        return _annotate(nlp, records, encode)


def _annotate(nlp: Language, records: list[Record], encode: Encoder) -> list[Outcome]:
    docs = _pipe(nlp, records)
    if docs is not None:
        return [_encode(doc, record, encode) for doc, record in zip(docs, records)]
    if len(records) == 1:
        return [_annotate_alone(nlp, records[0], encode)]
    middle = len(records) // 2
    return _annotate(nlp, records[:middle], encode) + _annotate(nlp, records[middle:], encode)


def _pipe(nlp: Language, records: list[Record]) -> list[Doc] | None:
    """The annotated documents, or None when a component failed or did not give each of them back."""
    try:
        pairs = [(_make_doc(nlp, record), index) for index, record in enumerate(records)]
        piped = list(nlp.pipe(pairs, as_tuples=True, batch_size=max(1, len(pairs))))
    except Exception:
        return None
    docs = [doc for doc, _ in piped]
    return docs if [index for _, index in piped] == list(range(len(records))) else None


def _annotate_alone(nlp: Language, record: Record, encode: Encoder) -> Outcome:
    """Run the components one by one, so that the reason names the one that fails."""
    if len(record.text) > nlp.max_length:
        return _refuse(record, "S527", length=len(record.text), max_length=nlp.max_length)
    name = "tokenizer"
    try:
        doc = _make_doc(nlp, record)
        for name, component in nlp.pipeline:
            doc = component(doc)
            if doc is None:
                return _refuse(record, "S529", name=name)
    except MemoryError:
        return _refuse(record, "S533")
    except Exception as error:
        return _refuse(record, "S528", name=name, reason=first_line(error))
    return _encode(doc, record, encode)


def _make_doc(nlp: Language, record: Record) -> Doc:
    if record.doc is None:
        return nlp.make_doc(record.text)
    from spacy.tokens import Doc

    if len(record.text) > nlp.max_length:
        raise ValueError(record.position)
    return Doc(nlp.vocab).from_bytes(record.doc)


def _encode(doc: Doc, record: Record, encode: Encoder) -> Outcome:
    try:
        return encode(doc, record)
    except MemoryError:
        return _refuse(record, "S533")
    except Exception as error:  # components may leave anything in the document
        return _refuse(record, "S530", reason=first_line(error))


def _refuse(record: Record, code: str, **values: Any) -> Rejected:
    return reject(record.position, code, {**record.fields, "text": record.text}, **values)


def pipeline_meta(nlp: Language) -> dict[str, Any]:
    """What the summary says of the pipeline.

    nlp (Language): The pipeline.
    RETURNS (dict): Language, name, version and components.
    """
    meta = {key: nlp.meta.get(key, "") for key in ("lang", "name", "version")}
    return {**meta, "components": list(nlp.pipe_names)}
