"""Annotating batches of records so that one bad document costs only itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import first_line
from .encoders import Encoded, Encoder
from .records import Record, Rejected, reject
from .sources import Source

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

Outcome = Encoded | Rejected


def annotate_batch(nlp: Language, records: list[Record], encode: Encoder) -> list[Outcome]:
    """Annotate records together; when that fails, find the guilty ones by halving and reject only these.

    nlp (Language): The pipeline.
    records (list[Record]): The records.
    encode (Encoder): What is kept of a document.
    RETURNS (list[Encoded | Rejected]): An outcome for each record, in order.
    """
    # Strings of the texts would otherwise stay in the vocabulary for ever.
    with nlp.memory_zone():
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


class LocalAnnotator:
    """Annotates in this process.

    nlp (Language): The pipeline.
    encode (Encoder): What is kept of a document.
    """

    def __init__(self, nlp: Language, encode: Encoder) -> None:
        self._nlp = nlp
        self._encode = encode
        self.meta = pipeline_meta(nlp)

    def __enter__(self) -> LocalAnnotator:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to end."""

    def map(self, batches: Iterable[list[Record]], source: Source) -> Iterator[list[Outcome]]:
        """Annotate batches of one source.

        batches (Iterable[list[Record]]): The batches.
        source (Source): Where they come from.
        YIELDS (list[Encoded | Rejected]): The outcomes of each batch, in order.
        """
        for batch in batches:
            yield annotate_batch(self._nlp, batch, self._encode)
