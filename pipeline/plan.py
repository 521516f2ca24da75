"""The plan of a run: its inputs cut into shards, and all that its output depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import Errors
from .identity import changed, differences, identify
from .readers import read_lazily
from .records import Place, ReadOptions, Record
from .run_options import RunOptions
from .sources import Source, UsageError
from .state import read_json, write_json
from .writers import FORMATS, column_types

FORMAT = 2
# About the bytes of records that close a shard before it has its number of them.
SHARD_BYTES = 16 * 2**20
# Records that the types of columns are guessed from, where the input does not declare them.
GUESSED = 10_000


@dataclass(frozen=True)
class Shard:
    """The unit of work: some records of one input that follow one another.

    id (str): Name of its files: the number of the input and the range of records, the same in every run.
    unit (int): Number of the input in the plan.
    source (Source): Where to read.
    shown (str): What the quarantine calls the source.
    stamp (tuple[int, int]): Bytes and time of change of the source.
    columns (Optional[dict[str, str]]): Types of the other fields by name, where they were guessed.
    start (int): First record, from 0.
    stop (int): The one after the last.
    place (Optional[Place]): Where the first record begins, in files that can be read from there.
    """

    id: str
    unit: int
    source: Source
    shown: str
    stamp: tuple[int, int]
    columns: dict[str, str] | None
    start: int
    stop: int
    place: Place | None


@dataclass(frozen=True)
class Unit:
    """One input and its output.

    source (Source): Where to read.
    shown (str): What the user called it.
    target (str): Path of the output below the output folder.
    identity (dict): What `identify` said of the input.
    columns (Optional[dict[str, str]]): Types of the other fields by name, where they were guessed.
    bounds (list[int]): Where the shards begin, and the number of records at the end.
    places (list[Optional[Place]]): Where in the file the first record of each shard begins.
    """

    source: Source
    shown: str
    target: str
    identity: dict[str, Any]
    columns: dict[str, str] | None
    bounds: list[int]
    places: list[Place | None]

    def shards(self, number: int) -> Iterator[Shard]:
        """YIELDS (Shard): Its shards, given its number in the plan."""
        stamp = (self.identity["bytes"], self.identity["modified"])
        for start, stop, place in zip(self.bounds, self.bounds[1:], self.places):
            id = f"{number:05}.{start}-{stop}"
            yield Shard(id, number, self.source, self.shown, stamp, self.columns, start, stop, place)


@dataclass(frozen=True)
class Plan:
    """What a run does, and with what.

    about (dict): What the output depends on beside the inputs: options, pipeline, versions.
    units (list[Unit]): The inputs.
    """

    about: dict[str, Any]
    units: list[Unit]

    @cached_property
    def digest(self) -> str:
        """A hash of the plan, which marks its shards."""
        return hashlib.blake2b(json.dumps(self._as_dict()).encode(), digest_size=16).hexdigest()

    @property
    def records(self) -> int:
        """Records of all inputs."""
        return sum(unit.bounds[-1] for unit in self.units)

    def shards(self) -> Iterator[Shard]:
        """YIELDS (Shard): All shards, in the order of the input."""
        for number, unit in enumerate(self.units):
            yield from unit.shards(number)

    def inputs(self) -> list[dict[str, Any]]:
        """RETURNS (list[dict]): "input", "output" and identity of each input."""
        return [{"input": unit.shown, "output": unit.target, **unit.identity} for unit in self.units]

    def save(self, path: Path) -> None:
        """Write the plan.

        path (Path): The file.
        RAISES (OSError): S511 when it cannot be written.
        """
        write_json(path, {"format": FORMAT, **self._as_dict()})

    @classmethod
    def load(cls, path: Path, *, shown: str | None = None) -> Plan:
        """Read a plan.

        path (Path): The file.
        shown (Optional[str]): What the user calls it; its path by default.
        RETURNS (Plan): The plan.
        RAISES (UsageError): S545 when it is damaged or of another version of this package.
        """
        saved = read_json(path)
        try:
            if saved is None or saved["format"] != FORMAT:
                raise KeyError("format")
            return cls(saved["about"], [_unit(unit) for unit in saved["units"]])
        except (KeyError, TypeError) as error:
            raise UsageError(Errors.S545.format(path=shown or path)) from error

    def _as_dict(self) -> dict[str, Any]:
        return {"about": self.about, "units": [asdict(unit) for unit in self.units]}


def make_plan(sources: list[tuple[Source, str]], targets: list[str], options: RunOptions, about: dict) -> Plan:
    """Cut the inputs into shards. They are read once for that, without a look into the records.

    sources (list[tuple[Source, str]]): The inputs, and what the user called them.
    targets (list[str]): Path of the output of each, below the output folder.
    options (RunOptions): What was asked for.
    about (dict): What the output depends on beside the inputs.
    RETURNS (Plan): The plan. With a limit, inputs after the last record are not in it.
    RAISES (OSError): S512 when an input cannot be read.
    """
    units: list[Unit] = []
    left = options.limit
    for (source, shown), target in zip(sources, targets):
        if left == 0:
            break
        identity = identity_of(source)
        bounds, places = _cut(source, options, left)
        units.append(Unit(source, shown, target, identity, _guess(source, options, bounds[-1]), bounds, places))
        left = None if left is None else left - bounds[-1]
    return Plan(about, units)


def refuse_changes(
    about_then: dict[str, Any],
    inputs_then: list[dict[str, Any]],
    sources: list[tuple[Source, str]],
    targets: list[str],
    about: dict[str, Any],
) -> dict[str, tuple[int, int]]:
    """Refuse to go on with a run when its output would not be that of one run.

    about_then (dict): What the output depended on beside the inputs when the run was planned.
    inputs_then (list[dict]): As `Plan.inputs` gave them.
    sources (list[tuple[Source, str]]): The inputs now, and what the user calls them.
    targets (list[str]): Path of the output of each, now.
    about (dict): What the output depends on beside the inputs, now.
    RETURNS (dict[str, tuple[int, int]]): What `stamp` says of the inputs now: the same content may have another time.
    RAISES (UsageError): S541 with what has changed.
    """
    stamps = {}
    reasons = differences(about_then, about)
    then = {told["input"]: told for told in inputs_then}
    now = {shown: (source, target) for (source, shown), target in zip(sources, targets)}
    reasons += [f"the input {shown} is gone" for shown in then if shown not in now]
    if about["options"]["limit"] is None:
        reasons += [f"the input {shown} is new" for shown in now if shown not in then]
    for shown, told in then.items():
        if shown not in now:
            continue
        source, target = now[shown]
        if target != told["output"]:
            reasons.append(f"the output of {shown} was {told['output']} and is {target}")
        identity = identity_of(source)
        stamps[shown] = (identity["bytes"], identity["modified"])
        if changed(told, identity):
            reasons.append(f"the input {shown} has changed")
    if reasons:
        more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise UsageError(Errors.S541.format(reasons="; ".join(reasons[:3]) + more))
    return stamps


def identity_of(source: Source) -> dict[str, Any]:
    """RETURNS (dict): What `identify` says of an input; S512 when it cannot be read."""
    try:
        return identify(source.path)
    except OSError as error:
        raise OSError(Errors.S512.format(path=source, reason=error.strerror or error)) from error


def _unit(saved: dict[str, Any]) -> Unit:
    places = [place and Place(*place) for place in saved["places"]]
    return Unit(**{**saved, "source": Source(**saved["source"]), "places": places})


def _cut(source: Source, options: RunOptions, limit: int | None) -> tuple[list[int], list[Place | None]]:
    """Bounds and places of the shards."""
    bounds, places, size, count = [0], [], 0, 0
    for unread in islice(read_lazily(source, options.reading), limit):
        if count == bounds[-1]:
            places.append(unread.place)
        count += 1
        size += unread.size
        if count - bounds[-1] >= options.shard_size or size >= SHARD_BYTES:
            bounds.append(count)
            size = 0
    return (bounds if count == bounds[-1] else [*bounds, count]), places


def _guess(source: Source, options: RunOptions, count: int) -> dict[str, str] | None:
    if not FORMATS[options.output_format].columns or source.kind in ("parquet", "dataset"):
        return None
    return column_types(_first_fields(source, options.reading, min(count, GUESSED)))


def _first_fields(source: Source, reading: ReadOptions, count: int) -> Iterator[dict[str, Any]]:
    for unread in islice(read_lazily(source, reading), count):
        item = unread.make()
        if isinstance(item, Record):
            yield item.fields
