"""What becomes an entry of a search index: records, or their sentences, with ids and vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..corpora.sentence_splitting import make_splitter
from ..errors import first_line
from ..models.index_changes import checked_records
from ..models.sentence_model import SentenceModel
from .encoders import plain
from .records import Record, Rejected, reject
from .sources import Source


@dataclass(frozen=True)
class Entry:
    """A record of the index to be.

    id (str): Its name.
    text (str): Its text.
    metadata (dict): What else is known of it.
    record (Record): Where it came from.
    """

    id: str
    text: str
    metadata: dict[str, Any]
    record: Record


class EntryMaker:
    """Makes entries of records.

    id_field (str | None): Field that holds the id; None for the file and the number of the record.
    by_sentence (bool): An entry for each sentence, cut by punctuation; their ids end in "#1" and so on.
    """

    def __init__(self, id_field: str | None, *, by_sentence: bool) -> None:
        self._id_field = id_field
        self._split = make_splitter() if by_sentence else None

    def entries(self, source: Source, record: Record) -> list[Entry | Rejected]:
        """Make the entries of a record.

        source (Source): Where it was read.
        record (Record): The record.
        RETURNS (list[Entry | Rejected]): They, or why there is none.
        """
        fields = plain(record.fields)
        id: Any = f"{source}:{record.position}"
        if self._id_field is not None:
            name = record.kept_name(self._id_field)
            id = fields.pop(name, None)
            if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
                return [refuse(record, f"the field {name!r} holds {id!r}, and an id is a text or a whole number")]
        # A blank record has no sentences, and is one entry all the same.
        texts = [record.text] if self._split is None else self._split(record.text) or [record.text]
        names = [str(id)] if self._split is None else [f"{id}#{number}" for number in range(1, len(texts) + 1)]
        try:
            checked_records(names, len(texts), texts, [fields] * len(texts))
        except ValueError as error:
            return [refuse(record, str(error))]
        return [Entry(name, text, fields, record) for name, text in zip(names, texts)]


def encode_entries(
    encoder: SentenceModel, entries: list[Entry], batch_size: int
) -> tuple[list[tuple[Entry, np.ndarray]], list[Rejected]]:
    """Vectors of entries; when the encoder fails, the guilty ones are found by halving.

    encoder (SentenceModel): The encoder.
    entries (list[Entry]): The entries.
    batch_size (int): Texts encoded at once.
    RETURNS (tuple[list[tuple[Entry, np.ndarray]], list[Rejected]]): Entries with their vectors, and what has none.
    """
    if not entries:
        return [], []
    try:
        vectors = encoder.encode([entry.text for entry in entries], batch_size=batch_size)
        if not np.isfinite(vectors).all():
            raise ValueError("its vector is infinite or no number")
    except Exception as error:  # an encoder can raise anything
        if len(entries) == 1:
            record = entries[0].record
            return [], [reject(record.position, "S837", _raw(record), reason=first_line(error))]
        middle = len(entries) // 2
        first, second = (encode_entries(encoder, part, batch_size) for part in (entries[:middle], entries[middle:]))
        return first[0] + second[0], first[1] + second[1]
    return list(zip(entries, vectors)), []


def refuse(record: Record, reason: str) -> Rejected:
    """Reject a record that cannot be an entry.

    record (Record): The record.
    reason (str): Why.
    RETURNS (Rejected): The rejected record.
    """
    return reject(record.position, "S838", _raw(record), reason=reason)


def _raw(record: Record) -> dict[str, Any]:
    return {**record.fields, "text": record.text}
