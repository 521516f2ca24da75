"""The state of a run whose output goes to a store: files are made in a folder of this machine, and put there whole.

The store has the same files under the same names as a folder of output would have, and what is there is all that
counts: a shard is finished when its mark is there, which is put after its data. The local folder is known to one run,
or to one actor of a cluster, and may be lost at any time.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import Errors
from .files import SUMMARY
from .identity import file_digest
from .ledger import Ledger
from .sources import UsageError
from .state import FOLDER, SPOOLS, RunState, read_json, write_json
from .store import Store, is_url

SHARDS, LEDGERS, MERGED = (f"{FOLDER}/{name}/" for name in ("shards", "ledgers", "merged"))
# Holds the name of the run that was the last to begin its work.
OWNER = f"{FOLDER}/owner"
# Seconds between looks at who owns the output, and between notes of a first attempt that others can read.
LOOK, NOTE = 60.0, 60.0


def open_state(output: str, scratch: str | None = None) -> RunState:
    """The state of a run.

    output (str): Folder of the output, or its URL.
    scratch (Optional[str]): Folder where files for a store are made; by default a new one, which ends with the state.
    RETURNS (RunState): The state.
    RAISES (UsageError): S551 when there is no such store.
    """
    return StoreState(Store(output), scratch) if is_url(output) else RunState(Path(output))


class StoreLedger(Ledger):
    """A ledger that others find in the store.

    A first attempt hardly ever dies, so the batches of it are told of once a minute; all of those that follow are.

    path (Path): The file.
    store (Store): Where others find it.
    name (str): Its name there.
    """

    def __init__(self, path: Path, store: Store, name: str) -> None:
        super().__init__(path)
        self._store, self._name = store, name
        self._told: float | None = None

    def _note(self, entry: dict[str, Any]) -> None:
        super()._note(entry)
        now = time.monotonic()
        if "unit" not in entry or self.attempts > 1 or self._told is None or now - self._told > NOTE:
            self._store.put(self._path, self._name)
            self._told = now


class StoreState(RunState):
    """Where things are in the state of a run, on this machine and in the store.

    store (Store): Folder of the output.
    scratch (Optional[str]): As `open_state` has it.
    """

    def __init__(self, store: Store, scratch: str | None = None) -> None:
        self._own = None
        if scratch is None:
            self._own = tempfile.TemporaryDirectory(prefix="samarkand-", ignore_cleanup_errors=True)
            scratch = self._own.name
        super().__init__(Path(scratch))
        self.scratch = scratch
        self._store = store
        self._sizes: dict[str, int] = {}
        self._name: bytes | None = None
        self._looked = 0.0

    def __exit__(self, *exception: object) -> None:
        if self._own is not None:
            self._own.cleanup()

    def recall(self) -> None:
        self._sizes = self._store.sizes()
        if "" in self._sizes:
            raise UsageError(Errors.S507.format(name="output", value=self._store.url, expected="a folder"))
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = (SUMMARY, self._name_of(self.plan), f"{FOLDER}/{SPOOLS}", f"{SHARDS}*.json", f"{MERGED}*.json")
        found = [name for name in self._sizes if any(fnmatchcase(name, pattern) for pattern in wanted)]
        self._store.get_all(found, self.output)

    def finished(self, shard: str, plan: str) -> dict[str, Any] | None:
        mark = read_json(self.mark(shard))
        if mark is None and (content := self._store.read(self._name_of(self.mark(shard)))) is not None:
            with suppress(ValueError):
                mark = json.loads(content)
        return mark if isinstance(mark, dict) and mark.get("plan") == plan else None

    def verified(self, shard: str, plan: str) -> dict[str, Any] | None:
        # The driver has all marks here; the hash of the data is looked at when they are brought over.
        mark = read_json(self.mark(shard))
        return mark if mark is not None and mark.get("plan") == plan else None

    def learn(self, mark: dict[str, Any]) -> None:
        path = self.mark(mark["shard"])
        if not path.exists():
            write_json(path, mark)
        if time.monotonic() - self._looked > LOOK:
            self._check_owner()

    def discard(self, shard: str) -> None:
        if self.mark(shard).exists():
            self.withdraw(self.mark(shard))

    @contextmanager
    def part(self, mark: dict[str, Any]) -> Iterator[Path]:
        path = self.data(mark["shard"])
        try:
            # The mark goes when its input is merged, so what was rejected is looked at now, and kept.
            self._fetch(self.rejected(mark["shard"]), mark, "rejected")
            self._fetch(path, mark, "data")
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _fetch(self, path: Path, mark: dict[str, Any], kind: str) -> None:
        """Bring over a file of a shard; a damaged one is given up with its mark."""
        told = mark[kind]
        if told is None:
            return
        if not self._store.get(self._name_of(path), path) or file_digest(path) != told["sha256"]:
            self.discard(mark["shard"])
            raise OSError(Errors.S544.format(path=self.shown(path)))

    def gather_rejected(self) -> None:
        there = [name for name in self._store.sizes(SHARDS.rstrip("/")) if name.endswith(".rejected")]
        self._store.get_all([name for name in there if not (self.output / name).exists()], self.output)

    def publish(self, *paths: Path, keep: bool = True) -> None:
        self._check_owner()
        for path in filter(Path.is_file, paths):
            self._store.put(path, self._name_of(path))
            self._sizes[self._name_of(path)] = path.stat().st_size
            if not keep:
                path.unlink()

    def withdraw(self, *paths: Path) -> None:
        super().withdraw(*paths)
        self._store.remove(map(self._name_of, paths))

    def existing(self, names: Iterable[str]) -> list[str]:
        return [self._store.address(name) for name in names if name in self._sizes]

    def holds(self, name: str, size: int) -> bool:
        return self._sizes.get(name) == size

    def shown(self, path: Path) -> str:
        return self._store.address(self._name_of(path) if path != self.output else "")

    def attempts(self, shard: str) -> Ledger:
        path = self.ledger(shard)
        if not path.exists():
            self._store.get(self._name_of(path), path)
        return StoreLedger(path, self._store, self._name_of(path))

    def stop_attempts(self, shards: Iterable[str]) -> None:
        with suppress(OSError):
            there = self._store.sizes(LEDGERS.rstrip("/"))
            for shard in shards:
                if self._name_of(self.ledger(shard)) in there:
                    self.attempts(shard).stop()

    def moves(self) -> tuple[int, int]:
        # Times are told by some file systems only; notes are added, so the bytes change too.
        with suppress(OSError):
            sizes = self._store.sizes(LEDGERS.rstrip("/")).values()
            return len(sizes), sum(sizes)
        return 0, 0

    def clear(self) -> None:
        # The run is over; what cannot be removed now is removed by the next one.
        with suppress(OSError):
            if self._name is None:
                # A run that was over when it died; its claim may be that of another by now.
                self._store.remove(name for name in self._sizes if name.startswith((SHARDS, LEDGERS, MERGED)))
            elif self._store.read(OWNER) == self._name:
                self._store.remove([self._name_of(self.plan)])
                self._store.remove(self._store.sizes(FOLDER))
        super().clear()

    def forget(self, keep: Path | None = None) -> None:
        super().forget(keep)
        kept = (OWNER, self._name_of(keep) if keep is not None else OWNER)
        self._store.remove([self._name_of(self.plan)])
        self._store.remove(name for name in self._store.sizes(FOLDER) if name not in kept)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A store has no locks: `claim` does what can be done."""
        yield

    def claim(self) -> None:
        self._name = secrets.token_hex(16).encode()
        self._store.write(OWNER, self._name)

    def _check_owner(self) -> None:
        """RAISES (RuntimeError): S554 when another run has begun in the same place; only a driver can tell."""
        self._looked = time.monotonic()
        if self._name is not None and self._store.read(OWNER) != self._name:
            raise RuntimeError(Errors.S554.format(output=self._store.url))

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()
