"""What of this machine a run may use: a container, or whoever started it, may have given it less than there is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

# Linux tells here which control groups this process is in, and below the second what these are limited to.
GROUPS = Path("/proc/self/cgroup")
LIMITS = Path("/sys/fs/cgroup")


def cores() -> int:
    """RETURNS (int): Cores that this process and its workers may use at a time."""
    return max(1, min([len(core_ids()) or os.cpu_count() or 1, *map(math.ceil, _quotas())]))


def core_ids() -> list[int]:
    """RETURNS (list[int]): The cores that this process may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def memory() -> int | None:
    """RETURNS (Optional[int]): Bytes of memory that this process and its workers may use, if that is known."""
    found = [int(value) for value in _limits("memory", "memory.limit_in_bytes", "memory.max") if value.isdigit()]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)


def _quotas() -> Iterator[float]:
    """Cores' worth of time that is given: microseconds of all cores in a period over those of the period."""
    for value in _limits("cpu", "", "cpu.max"):
        quota, _, period = value.partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)
    spans = [_limits("cpu", f"cpu.cfs_{name}_us", "") for name in ("quota", "period")]
    for quota, period in zip(*spans):
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _limits(controller: str, first: str, second: str) -> Iterator[str]:
    """What the control groups that this process is in say of a controller; a group is within those above it.

    controller (str): Its name.
    first (str): File of control groups of version 1.
    second (str): File of those of version 2.
    YIELDS (str): The content of each such file that there is.
    """
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root, file = (LIMITS / controller, first) if controllers else (LIMITS, second)
        group = PurePosixPath(name.lstrip("/"))
        for part in (group, *group.parents):
            # The highest group has no such file, and a container does not see groups above its own.
            with suppress(OSError, ValueError):
                yield (root / part / file).read_text().strip()
