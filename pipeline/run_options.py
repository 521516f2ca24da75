"""What a run was asked for, and whether that can be done."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..engine.byte_sizes import parse_size
from ..errors import Errors
from . import machine
from .option_checks import TXT_UNITS, Check, at_least_one, check_options, one_of
from .parts import COMPRESSED, TEXT_FORMATS
from .records import ReadOptions
from .sources import STDIN, UsageError
from .store import is_private, is_url, is_usable
from .writers import FORMATS

# The output depends on these, so a run goes on with the same ones only.
DECISIVE = ("output_format", "compression", "text_field", "txt_unit", "spans_key", "batch_size", "shard_size", "limit")
# Of the memory that a run may use, what all workers may take together when no limit is set.
SHARE = 0.9
# Of the cluster itself: through the gateway for clients (ray://) the run would not be where the folders are.
RAY_ADDRESS = re.compile(r"local|auto|[^:/\s]+:\d+")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `samarkand.pipeline.annotate.annotate` was asked for; see there."""

    inputs: list[str]
    output: str
    output_format: str
    compression: str
    text_field: str
    txt_unit: str
    spans_key: str | None
    code: str | None
    n_process: int
    ray: str | None
    batch_size: int
    shard_size: int
    gpu_id: int
    limit: int | None
    timeout: float
    memory_limit: int | str | None
    resume: bool
    force: bool

    @property
    def reading(self) -> ReadOptions:
        """What concerns the readers."""
        return ReadOptions(self.text_field, self.txt_unit)

    @property
    def suffix(self) -> str:
        """Ending of the output files."""
        return FORMATS[self.output_format].suffix + COMPRESSED[self.compression]

    @property
    def decisive(self) -> dict[str, Any]:
        """Those that the output depends on."""
        values = asdict(self)
        return {**{name: values[name] for name in DECISIVE}, "device": "gpu" if self.gpu_id >= 0 else "cpu"}

    @property
    def memory(self) -> int | None:
        """Bytes that a worker may take; None where the machine's memory is not known."""
        if self.memory_limit is not None:
            return parse_size(self.memory_limit)
        there = machine.memory()
        return None if there is None else int(SHARE * there / max(1, self.n_process))

    def check(self) -> None:
        """Refuse what no run can do.

        RAISES (UsageError): S507, S546, S751.
        """
        compression = self.compression
        plain = compression == "none" or self.output_format in TEXT_FORMATS
        check_options(
            output=self._place(),
            inputs=Check(STDIN, not self._out_of_sight(), "files: a cluster does not see standard input"),
            format=one_of(self.output_format, FORMATS),
            compression=one_of(compression, COMPRESSED),
            txt_unit=one_of(self.txt_unit, TXT_UNITS),
            spans_key=Check(
                self.spans_key,
                self.spans_key is None or self.output_format == "conll",
                "left out: only CoNLL is limited to one group",
            ),
            n_process=self._workers(),
            ray=Check(self.ray, self.ray is None or bool(RAY_ADDRESS.fullmatch(self.ray)), "local, auto or HOST:PORT"),
            batch_size=at_least_one(self.batch_size),
            shard_size=at_least_one(self.shard_size),
            limit=at_least_one(self.limit),
            timeout=Check(self.timeout, self.timeout > 0, "more than 0 seconds"),
            force=Check(self.force, not (self.force and self.resume), "left out with --resume"),
        )
        check_options(compression=Check(compression, plain, "none: this format is compressed already"))
        if self.ray is not None and find_spec("ray") is None:
            raise UsageError(Errors.S546)
        try:
            parse_size(self.memory_limit or 0)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def _place(self) -> Check:
        if is_url(self.output):
            return Check(self.output, is_usable(self.output), "protocol://FOLDER, without *, ?, [ and ::")
        path = Path(self.output)
        return Check(self.output, not path.exists() or path.is_dir(), "a folder")

    def _out_of_sight(self) -> bool:
        """Whether standard input would be kept on a machine that others do not look into."""
        return STDIN in self.inputs and self.ray not in (None, "local") and is_url(self.output)

    def _workers(self) -> Check:
        if is_private(self.output):
            return Check(self.n_process, self.n_process == 0 and self.ray is None, "0 with memory://, of this process")
        if self.ray is None:
            return Check(self.n_process, self.n_process >= 0, "0 or more, or -1 for one a core")
        expected = "1 or more, or -1 for all that the cluster has room for, with --ray"
        return Check(self.n_process, self.n_process == -1 or self.n_process >= 1, expected)


def refuse_existing(paths: list[Path]) -> None:
    """Refuse to write over files.

    paths (list[Path]): Files to be written.
    RAISES (UsageError): S504 when some are there.
    """
    refuse_found([str(path) for path in paths if path.exists()])


def refuse_found(existing: list[str]) -> None:
    """Refuse to write over files that were found.

    existing (list[str]): The files.
    RAISES (UsageError): S504 when there are any.
    """
    if existing:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise UsageError(Errors.S504.format(paths=", ".join(existing[:3]) + more))
