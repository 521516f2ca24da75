"""Knowledge bases: entities with their names, on disk, found by what a text calls them.

One SQLite file holds all of it. Opening reads next to nothing, whatever its size; what lookups read stays in the
page cache of the system, which all processes share.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Errors
from .alias_context import NameContext
from .kb_builder import write_knowledge_file
from .kb_candidates import Candidate, candidates_in_text, find_candidates
from .kb_check import check_all
from .kb_entities import Entity, entity_from_bytes, is_storable, unpack
from .kb_store import KnowledgeFile, KnowledgeState, read_state, write_state
from .kb_writer import KnowledgeWriter
from .sqlite_tools import select

__all__ = ["Candidate", "Entity", "KnowledgeBase", "build_knowledge_base"]

DEFAULT_K = 30
# Names whose candidates are remembered.
_REMEMBERED = 4096
# Entities that are read at a time.
_CHUNK = 500
_CONTENTS = "SELECT e.id, c.data FROM entities e JOIN contents c ON c.entity = e.row WHERE "


class KnowledgeBase:
    """A knowledge base on disk. Threads can share it; forked and unpickled ones open the file for themselves.

    path (str | Path): Its file, as `build_knowledge_base` makes it.
    RAISES (ValueError): S900 when it is no knowledge base, S901 when it is of another format, S902 when it is damaged.
    RAISES (RuntimeError): S907 when another process is writing; so does all that reads.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = KnowledgeFile(Path(path))
        self._remembered: OrderedDict[tuple[Any, ...], list[Candidate]] = OrderedDict()
        # What is remembered is of this process and this state of the file.
        self._version = (0, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_remembered": OrderedDict(), "_version": (0, 0)}

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._state().entities

    def __contains__(self, id: str) -> bool:
        with self._file.reading() as db:
            return is_storable(id) and bool(list(select(db, "SELECT 1 FROM entities WHERE id IN ({})", [id])))

    def __iter__(self) -> Iterator[Entity]:
        """Entities in the order of their ids. What changes meanwhile is found or not."""
        last = ""
        while True:
            with self._file.reading() as db:
                rows = db.execute(f"{_CONTENTS} e.id > ? ORDER BY e.id LIMIT {_CHUNK}", (last,)).fetchall()
                entities = [entity_from_bytes(unpack(data)) for _, data in rows]
            if not entities:
                return
            yield from entities
            last = entities[-1].id

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def checksum(self) -> str:
        """Of what all entities hold, in whatever order they came: 64 hexadecimal digits."""
        return self._state().checksum

    @property
    def aliases(self) -> int:
        """How many names there are, those of one language and entity once. All are counted."""
        with self._file.reading() as db:
            return db.execute("SELECT count(*) FROM aliases").fetchone()[0]

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages of names and aliases, in order."""
        return tuple(sorted(self._state().languages))

    @property
    def meta(self) -> dict[str, Any]:
        """What its maker says of it."""
        return dict(self._state().meta)

    def entity(self, id: str) -> Entity | None:
        """One entity.

        id (str): Its id.
        RETURNS (Optional[Entity]): The entity; None when it is not there.
        """
        return self.entities([id]).get(id)

    def entities(self, ids: Iterable[str]) -> dict[str, Entity]:
        """Entities by their ids.

        ids (Iterable[str]): The ids.
        RETURNS (dict[str, Entity]): Those that are there, in the order of the ids.
        """
        wanted = [id for id in dict.fromkeys(ids) if is_storable(id)]
        with self._file.reading() as db:
            found = {id: unpack(data) for id, data in select(db, _CONTENTS + "e.id IN ({})", wanted)}
            return {id: entity_from_bytes(found[id]) for id in wanted if id in found}

    def candidates(
        self, alias: str, k: int = DEFAULT_K, *, lang: str | None = None, fuzzy: bool = True
    ) -> list[Candidate]:
        """Entities that a name in a text can mean.

        alias (str): The name.
        k (int): How many to give, at most.
        lang (Optional[str]): Code of its language: aliases of it, and of none, are looked at, or all if there are none.
        fuzzy (bool): Whether entities count with names that share words with it or, when few bear the name itself, are
            like it.
        RETURNS (list[Candidate]): The best first: those of just this name, by prior; those of an Arabic name without
            particles, by prior times similarity; the others by similarity, then prior, then id. None for a name of more
            than `LONGEST_NAME` characters.
        RAISES (ValueError): S908 for a k that makes no sense.
        """
        _check_k(k)
        with self._file.reading() as db:
            return find_candidates(db, alias, k, lang, fuzzy)[:k]

    def candidates_batch(
        self,
        aliases: Sequence[str],
        k: int = DEFAULT_K,
        *,
        lang: str | None = None,
        fuzzy: bool = True,
        text: str = "",
    ) -> list[list[Candidate]]:
        """Entities that names in a text can mean; what was asked for lately is remembered.

        aliases (Sequence[str]): The names.
        k (int), lang (Optional[str]), fuzzy (bool): As in `candidates`.
        text (str): The text that they stand in, for what it says of them; it counts with `fuzzy` alone.
        RETURNS (list[list[Candidate]]): For each name what `candidates` gives. With a text, names that it writes out
            around a name, "Hillary Clinton" for "Clinton", or explains it by, come among those of just this name, and
            parts are liker to it the more of their other words it has.
        RAISES (ValueError): S908 for a k that makes no sense.
        """
        _check_k(k)
        context = NameContext(text) if text and fuzzy else None
        found: dict[str, list[Candidate]] = {}
        with self._file.reading() as db:
            version = os.getpid(), *db.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._remembered.clear()
                self._version = version
            for alias in dict.fromkeys(aliases):
                asked = alias, k, lang, fuzzy
                if asked not in self._remembered:
                    self._remembered[asked] = find_candidates(db, alias, k, lang, fuzzy)
                self._remembered.move_to_end(asked)
                own = self._remembered[asked]
                found[alias] = (candidates_in_text(db, alias, own, context, k, lang) if context else own)[:k]
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return [list(found[alias]) for alias in aliases]

    def put(self, entities: Iterable[Entity]) -> None:
        """Add entities, or put them in the place of those with their ids: all of them, or none.

        entities (Iterable[Entity]): The entities. Of two with one id, the later stays.
        RAISES (OSError): S906 when the disk is full, or the file or its folder cannot be written to.
        """
        # Made before anyone has to wait for them.
        entities = list(entities)
        with self._file.writing() as db:
            writer = KnowledgeWriter(db, read_state(db))
            for entity in entities:
                writer.put(entity)
            self._finish(db, writer)

    def remove(self, ids: Iterable[str]) -> int:
        """Take entities out.

        ids (Iterable[str]): Their ids.
        RETURNS (int): How many were there.
        RAISES (OSError): S906 when the disk is full, or the file or its folder cannot be written to.
        """
        ids = [id for id in ids if is_storable(id)]
        with self._file.writing() as db:
            writer = KnowledgeWriter(db, read_state(db))
            removed = sum(map(writer.remove, ids))
            self._finish(db, writer)
        return removed

    def check(self) -> None:
        """Read all of it and compare.

        RAISES (ValueError): S902 when it is damaged.
        """
        with self._file.reading() as db:
            check_all(db)

    def close(self) -> None:
        """Let go of the file; whoever uses the knowledge base again opens it again."""
        self._file.close()
        self._remembered.clear()

    def _state(self) -> KnowledgeState:
        with self._file.reading() as db:
            return read_state(db)

    def _finish(self, db: sqlite3.Connection, writer: KnowledgeWriter) -> None:
        writer.sweep()
        write_state(db, writer.state())
        # SQLite tells of changes by others alone.
        self._remembered.clear()


def build_knowledge_base(
    path: str | Path, entities: Iterable[Entity], *, force: bool = False, meta: Mapping[str, Any] | None = None
) -> KnowledgeBase:
    """Make a knowledge base; its file is there when all of it is.

    path (str | Path): The file to be; its folder is made.
    entities (Iterable[Entity]): What it holds.
    force (bool): Whether a file that is there may be replaced.
    meta (Optional[Mapping[str, Any]]): What to say of it, such as its source and licence.
    RETURNS (KnowledgeBase): The knowledge base.
    RAISES (ValueError): S904 when two entities have one id, S909 for a meta that JSON cannot say.
    RAISES (FileExistsError): S905 when there is a file, or a folder, in its place.
    RAISES (OSError): S906 when the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    if path.exists() and (path.is_dir() or not force):
        raise FileExistsError(Errors.S905.format(path=path, what="is a folder" if path.is_dir() else "exists"))
    write_knowledge_file(path, entities, KnowledgeState(meta=_checked_meta(meta or {})))
    return KnowledgeBase(path)


def _checked_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(Errors.S909.format(reason=error)) from error


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(Errors.S908.format(k=k))
