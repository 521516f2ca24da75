"""The file of what could not be annotated, with the place and the reason of each."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from .encoders import plain, to_json
from .files import AsideFile, write_errors
from .records import Rejected
from .sources import Source

# Characters of a rejected record that are shown; its place says where all of it is.
SHOWN = 10_000


class Quarantine:
    """Collects rejected records, and keeps those of the sources that were completed.

    path (Path): Where the file appears at the end; it does not when nothing was rejected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside: AsideFile | None = None
        self._kept = 0
        self._committed = False

    def add(self, source: Source, rejected: Rejected) -> None:
        """Note a rejected record.

        source (Source): Where it was read.
        rejected (Rejected): The record and the reason.
        RAISES (OSError): S511 when it cannot be written.
        """
        self._aside = self._aside or AsideFile(self._path)
        with write_errors(self._path):
            self._aside.file.write(quarantine_line(str(source), source.unit, rejected))

    def keep(self) -> None:
        """Keep what was noted so far: its source is complete."""
        if self._aside is not None:
            with write_errors(self._path):
                self._aside.file.flush()
                self._kept = self._aside.file.tell()

    def commit(self) -> None:
        """Write the file, without what was noted since the last source was completed; once is enough.

        RAISES (OSError): S511 when it cannot be written.
        """
        if self._committed:
            return
        if self._kept and self._aside is not None:
            with write_errors(self._path):
                self._aside.file.truncate(self._kept)
            self._aside.commit()
        else:
            self.discard()
            with suppress(FileNotFoundError):
                self._path.unlink()
        self._committed = True

    def discard(self) -> None:
        """Drop what was noted, and leave an earlier file as it is."""
        if self._aside is not None:
            self._aside.discard()


def quarantine_line(source: str, unit: str, rejected: Rejected) -> bytes:
    """A line of the file.

    source (str): Where the record was read.
    unit (str): What its position counts: "line" or "row".
    rejected (Rejected): The record and the reason.
    RETURNS (bytes): The line.
    """
    entry = {"file": source, unit: rejected.position, "code": rejected.code}
    return to_json({**entry, "reason": rejected.reason, **_shown(rejected.raw)})


def _shown(raw: Any) -> dict[str, Any]:
    """The record as it is, or the start of it when it is long."""
    try:
        raw = plain(raw)
    except RecursionError:  # what a DocBin holds may be too deep to be shown
        return {}
    if raw is None:
        return {}
    text = raw if isinstance(raw, str) else to_json(raw).decode()
    if len(text) <= SHOWN:
        return {"raw": raw}
    return {"raw": text[:SHOWN], "raw_characters": len(text)}
