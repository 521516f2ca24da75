"""What was tried of a shard, and what killed the process that tried: a few lines on disk beside its output.

Before a process starts a batch it says so here. When it dies, whoever tries the shard next knows which batch was in
work. A batch that is likely to have killed its process is annotated document by document, and a document that is
likely to have done so alone is left out. The ledger needs no supervisor to be read or continued, so the rule is the
same for processes of one machine and of many. Deaths outside of batches are no document's: who sees them ends the run.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from .files import write_errors

# The weight of a death as evidence against what was in work. A crash, a limit exceeded: enough. Killed by a signal
# that comes from outside, as the system's when memory is short: twice. Nobody saw how it ended: three times.
ENOUGH = 6
OWN_FAULT, FROM_OUTSIDE, UNSEEN = 6, 3, 2
OUTSIDE = ("SIGKILL", "SIGTERM")


class Ledger:
    """The attempts at one shard.

    path (Path): The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._evidence: Counter[str] = Counter()
        self._deaths: dict[str, dict[str, Any]] = {}
        self.attempts = 0
        self.unit = ""
        self._read()

    def begin(self) -> None:
        """Note a new attempt.

        RAISES (OSError): S511 when it cannot be written, as from all methods that note something.
        """
        self._note({"attempt": self.attempts + 1, "process": os.getpid(), "time": round(time.time(), 3)})

    def start(self, unit: str) -> None:
        """Note what is in work from now on.

        unit (str): A name such as "batch 3" or "record 17".
        """
        self._note({"unit": unit})

    def stop(self) -> None:
        """Note that the attempt was given up for reasons that lie outside the shard."""
        self._note({"stopped": True})

    def death(self, cause: str, code: str) -> None:
        """Note that the process died, and how.

        cause (str): Such as "exit code 1", "SIGSEGV", "timeout", "memory".
        code (str): Code of the message about a document that is guilty of it.
        """
        self._note({"death": cause, "code": code})

    def condemned(self, unit: str) -> bool:
        """RETURNS (bool): Whether a unit is taken to kill the processes that work on it."""
        return self._evidence[unit] >= ENOUGH

    @property
    def stuck(self) -> bool:
        """Whether processes died again and again outside of batches, and nobody saw how."""
        unit = self.unit
        return bool(unit) and not annotating(unit) and self._evidence[unit] + UNSEEN >= ENOUGH

    def cause(self, unit: str) -> dict[str, Any]:
        """RETURNS (dict): "death" and "code" of the last death that was seen in a unit."""
        return self._deaths.get(unit, {"death": "nobody saw how", "code": "S531"})

    def _note(self, entry: dict[str, Any]) -> None:
        # A line that a power cut has left torn stays alone: each entry begins and ends with a line feed.
        with write_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab", buffering=0) as file:
                file.write(b"\n" + json.dumps(entry).encode() + b"\n")
        self._take(entry)

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with suppress(ValueError):
                self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        if "unit" in entry:
            self.unit = entry["unit"]
        elif "attempt" in entry:
            self._evidence[self.unit] += UNSEEN if self.unit else 0
            self.attempts, self.unit = entry["attempt"], "start"
        elif "death" in entry:
            self._evidence[self.unit] += FROM_OUTSIDE if entry["death"] in OUTSIDE else OWN_FAULT
            self._deaths[self.unit] = entry
            self.unit = ""
        else:
            self.unit = ""
            for unit in [unit for unit in self._evidence if not annotating(unit)]:
                del self._evidence[unit]


def annotating(unit: str) -> bool:
    """RETURNS (bool): Whether a unit is work on documents, rather than on the files of a shard."""
    return unit.startswith(("batch", "record"))
