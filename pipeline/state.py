"""The folder with the state of a run: its plan, what is finished of each shard, and what was tried.

OUTPUT/.samarkand/stdin.txt           standard input, or its first lines; it can be read only once
OUTPUT/.samarkand/plan.json           what is to be done, and with what; written whole before anything is done
OUTPUT/.samarkand/shards/ID.data      output of a shard, in the format of the run
OUTPUT/.samarkand/shards/ID.rejected  lines of quarantine.jsonl, when there are any
OUTPUT/.samarkand/shards/ID.json      its mark, written last: hashes of the two, counts, seconds, attempts
OUTPUT/.samarkand/ledgers/ID.jsonl    attempts at a shard that is not finished
OUTPUT/.samarkand/ray.log             what Ray had to say, of runs on a cluster
OUTPUT/.samarkand/merged/N.json       input N is done: its output stands under its final name
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import Errors
from .files import ASIDE, write_aside, write_errors
from .identity import file_digest
from .ledger import Ledger
from .sources import UsageError

FOLDER = ".samarkand"
# What `RunState.spool` gives.
SPOOLS = "stdin*.txt"


class RunState:
    """Where things are in the state of a run.

    Methods that do nothing are of use where the folder is not where the output stays (`StoreState`).

    output (Path): Folder of the output.
    """

    # Folder that the processes of a machine share, where that is not the output.
    scratch: str | None = None

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / FOLDER
        self.plan = self.folder / "plan.json"
        self.ray_log = self.folder / "ray.log"

    def __enter__(self) -> RunState:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to tidy up."""

    def recall(self) -> None:
        """Have in this folder what there is of a run, but for its output."""

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with: its plan, or at least the input that cannot be read again."""
        return self.plan.exists() or any(self.folder.glob(SPOOLS))

    def spool(self, limit: int | None) -> Path:
        """Where standard input is kept.

        limit (Optional[int]): As `spooled` has it; the name tells, for what was read for another one is no use.
        RETURNS (Path): The file.
        """
        return self.folder / SPOOLS.replace("*", "" if limit is None else f"-{limit}")

    def data(self, shard: str) -> Path:
        """RETURNS (Path): Output of a shard."""
        return self.folder / "shards" / f"{shard}.data"

    def rejected(self, shard: str) -> Path:
        """RETURNS (Path): What was rejected in a shard."""
        return self.folder / "shards" / f"{shard}.rejected"

    def mark(self, shard: str) -> Path:
        """RETURNS (Path): Mark of a shard that is finished."""
        return self.folder / "shards" / f"{shard}.json"

    def ledger(self, shard: str) -> Path:
        """RETURNS (Path): Attempts at a shard."""
        return self.folder / "ledgers" / f"{shard}.jsonl"

    def merged(self, unit: int) -> Path:
        """RETURNS (Path): Mark of an input whose output stands under its final name."""
        return self.folder / "merged" / f"{unit}.json"

    def finished(self, shard: str, plan: str) -> dict[str, Any] | None:
        """The mark of a shard, when the shard is finished and of this plan.

        shard (str): The shard.
        plan (str): Digest of the plan.
        RETURNS (dict | None): The mark.
        """
        return self._mark_of(shard, plan, verify=False)

    def verified(self, shard: str, plan: str) -> dict[str, Any] | None:
        """The same for whoever drives the run, which relies on the hashes of the files.

        shard (str): The shard.
        plan (str): Digest of the plan.
        RETURNS (dict | None): The mark.
        """
        return self._mark_of(shard, plan, verify=True)

    def _mark_of(self, shard: str, plan: str, *, verify: bool) -> dict[str, Any] | None:
        mark = read_json(self.mark(shard))
        if mark is None or mark.get("plan") != plan:
            return None
        paths = {"data": self.data(shard), "rejected": self.rejected(shard)}
        for name, path in paths.items():
            told = mark[name]
            if told is None:
                continue
            if not path.is_file() or path.stat().st_size != told["bytes"]:
                return None
            if verify and file_digest(path) != told["sha256"]:
                return None
        return mark

    def claim(self) -> None:
        """Begin to work where another run cannot be kept away: one that is still at work notices, and gives way.

        RAISES (OSError): S552 when the output cannot be written to.
        """

    def learn(self, mark: dict[str, Any]) -> None:
        """Know of a shard that some process has finished.

        mark (dict): Its mark.
        """

    @contextmanager
    def part(self, mark: dict[str, Any]) -> Iterator[Path]:
        """The output of a finished shard, as long as the block lasts.

        mark (dict): Its mark.
        YIELDS (Path): The file.
        RAISES (OSError): S544 when it is damaged, as far as `verified` has not seen to that.
        """
        yield self.data(mark["shard"])

    def gather_rejected(self) -> None:
        """Have what was rejected in all shards in this folder."""

    def publish(self, *paths: Path, keep: bool = True) -> None:
        """Let files, or those of them that are there, be where the output stays.

        paths (Path): Files of this folder, in their order.
        keep (bool): Whether they are still needed here.
        """

    def withdraw(self, *paths: Path) -> None:
        """Remove files, here and where the output stays.

        paths (Path): Files of this folder, if they are there.
        """
        for path in paths:
            path.unlink(missing_ok=True)

    def existing(self, names: Iterable[str]) -> list[str]:
        """RETURNS (list[str]): Those of the files of the output that are there, as `shown` has them."""
        return [str(self.output / name) for name in names if (self.output / name).exists()]

    def holds(self, name: str, size: int) -> bool:
        """RETURNS (bool): Whether a file of the output is there, of so many bytes."""
        path = self.output / name
        return path.is_file() and path.stat().st_size == size

    def shown(self, path: Path) -> str:
        """RETURNS (str): What the user calls a file of this folder."""
        return str(path)

    def attempts(self, shard: str) -> Ledger:
        """RETURNS (Ledger): The attempts at a shard, to be gone on with."""
        return Ledger(self.ledger(shard))

    def stop_attempts(self, shards: Iterable[str]) -> None:
        """Note that attempts were given up for reasons that lie outside the shards.

        shards (Iterable[str]): The shards; those without attempts are passed over.
        """
        for shard in shards:
            if self.ledger(shard).exists():
                with suppress(OSError):
                    self.attempts(shard).stop()

    def moves(self) -> tuple[int, int]:
        """What changes whenever a worker begins a batch.

        RETURNS (tuple[int, int]): The number of ledgers, and their last time of change.
        """
        with suppress(OSError):
            times = [entry.stat().st_mtime_ns for entry in os.scandir(self.ledger("").parent)]
            return len(times), max(times, default=0)
        return 0, 0

    def discard(self, shard: str) -> None:
        """Take a shard for unfinished.

        shard (str): The shard.
        """
        self.mark(shard).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the state. Without a plan it is none, so that goes first: this too may be cut short."""
        self.plan.unlink(missing_ok=True)
        # A worker that was left behind may still be writing there.
        shutil.rmtree(self.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what was written when a run was killed: as much as all of its output, each time."""
        for path in self.folder.rglob(f".*{ASIDE}"):
            # A worker that was left behind may be about to rename it.
            with suppress(OSError):
                path.unlink()

    def forget(self, keep: Path | None = None) -> None:
        """Begin anew: keep nothing but the lock.

        keep (Optional[Path]): A file of standard input that is kept too, if it is there.
        """
        self.sweep()
        for path in (self.plan, *self.folder.glob(SPOOLS)):
            if path != keep:
                path.unlink(missing_ok=True)
        for name in ("shards", "ledgers", "merged"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away from the folder; the system lets go of the lock of a process that dies.

        YIELDS (None)
        RAISES (UsageError): S542 when another run is at work.
        RAISES (OSError): S511 when the folder cannot be written to, or has no locks.
        """
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / "lock", "ab")  # noqa: SIM115
        with file:
            try:
                import fcntl
            except ImportError:  # not a POSIX system: there is no such lock
                yield
                return
            with write_errors(self.folder / "lock"):  # some file systems have no locks
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError(Errors.S542.format(output=self.output)) from error
            yield


def read_json(path: Path) -> dict[str, Any] | None:
    """An object that this folder keeps.

    path (Path): Its file.
    RETURNS (dict | None): The object; None when there is none, or a damaged one.
    """
    with suppress(OSError, ValueError):
        value = json.loads(path.read_bytes())
        return value if isinstance(value, dict) else None
    return None


def write_json(path: Path, value: dict[str, Any], folder: Path | None = None) -> None:
    """Keep an object, whole or not at all.

    path (Path): Its file.
    value (dict): The object.
    folder (Optional[Path]): As `write_aside` has it; then it is indented for people who read it.
    RAISES (OSError): S511 when it cannot be written.
    """
    with write_aside(path, folder) as file, write_errors(path):
        file.write(
            json.dumps(value, ensure_ascii=False, indent=2 if folder else None).encode("utf-8", "surrogatepass") + b"\n"
        )
