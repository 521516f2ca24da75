"""Making the final output of the shards of each input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import Errors
from .counts import Counts
from .files import QUARANTINE, write_aside, write_errors
from .identity import file_digest
from .parts import JOINS, open_part
from .plan import Plan, Unit
from .readers import arrow_schema
from .run_options import RunOptions
from .state import RunState, read_json, write_json
from .writers import FORMATS


class Merger:
    """Joins shards to the output of their input, once.

    An input is done when its output stands under its final name; then its mark is written, and only then its shards
    go. Cut short anywhere, the same is done again.

    state (RunState): The state of the run.
    plan (Plan): What was done.
    options (RunOptions): What was asked for.
    """

    def __init__(self, state: RunState, plan: Plan, options: RunOptions) -> None:
        self._state, self._plan, self._options = state, plan, options

    def done(self, number: int) -> dict[str, Any] | None:
        """The mark of an input that is done.

        number (int): Its number in the plan.
        RETURNS (dict | None): Its counts, and what its output is; None when it is not done, or the output is gone.
        """
        mark = read_json(self._state.merged(number))
        if mark is None or mark.get("plan") != self._plan.digest:
            return None
        return mark if self._state.holds(self._plan.units[number].target, mark["bytes"]) else None

    def merge(self, number: int) -> dict[str, Any]:
        """Write the output of an input whose shards are finished.

        number (int): Its number in the plan.
        RETURNS (dict): Its mark.
        RAISES (OSError): S511, S552 when it cannot be written, S544 when the output of a shard is damaged, S512 when
            the columns of an input without records cannot be read.
        """
        done = self.done(number)
        if done is not None:
            return done
        unit = self._plan.units[number]
        marks = list(self._marks(number))
        target = self._state.output / unit.target
        with write_aside(target, self._state.folder) as file, write_errors(target):
            if not marks:  # not even nothing is compressed to no bytes
                with open_part(file, self._options.compression):
                    pass
            columns = None if marks else self._columns(unit)
            JOINS[self._options.output_format](self._parts(marks), file, columns)
        counts = sum((Counts.from_dict(mark) for mark in marks), Counts())
        mark = {
            "plan": self._plan.digest,
            **counts.as_dict(),
            "shards": len(marks),
            "attempts": sum(mark["attempts"] for mark in marks),
            "worker_seconds": round(sum(mark["seconds"] for mark in marks), 3),
            "bytes": target.stat().st_size,
            "sha256": file_digest(target),
        }
        self._state.publish(target, keep=False)
        write_json(self._state.merged(number), mark)
        self._state.publish(self._state.merged(number))
        shards = [shard.id for shard in unit.shards(number)]
        self._state.withdraw(*(path(shard) for path in (self._state.mark, self._state.data) for shard in shards))
        return mark

    def quarantine(self) -> dict[str, Any] | None:
        """Write what was rejected in all inputs, in their order; without any, a file of an earlier run goes.

        RETURNS (dict | None): Bytes and hash of the file.
        RAISES (OSError): S511, S552 when it cannot be written.
        """
        path = self._state.output / QUARANTINE
        self._state.gather_rejected()
        parts = [part for part in map(self._state.rejected, self._ids()) if part.is_file()]
        if not parts:
            with write_errors(path):
                self._state.withdraw(path)
            return None
        with write_aside(path, self._state.folder) as file, write_errors(path):
            JOINS["jsonl"](parts, file, None)
        told = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        self._state.publish(path, keep=False)
        return told

    def _ids(self) -> Iterable[str]:
        return (shard.id for shard in self._plan.shards())

    def _marks(self, number: int) -> Iterator[dict[str, Any]]:
        for shard in self._plan.units[number].shards(number):
            mark = self._state.verified(shard.id, self._plan.digest)
            if mark is None:
                self._state.discard(shard.id)
                raise OSError(Errors.S544.format(path=self._state.shown(self._state.data(shard.id))))
            yield mark

    def _parts(self, marks: Iterable[dict[str, Any]]) -> Iterator[Path]:
        for mark in marks:
            with self._state.part(mark) as path:
                yield path

    def _columns(self, unit: Unit) -> Any:
        if not FORMATS[self._options.output_format].columns or unit.columns is not None:
            return unit.columns
        return arrow_schema(unit.source, self._options.reading)
