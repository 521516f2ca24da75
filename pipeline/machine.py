"""What of this machine a run may use: a container, or whoever started it, may have given it less than there is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
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
    names = {1: "memory.limit_in_bytes", 2: "memory.max"}
    limits = (_read(folder / names[version]) for version, folder in _groups("memory"))
    found = [int(limit) for limit in limits if limit.isdigit()]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)


def _quotas() -> Iterator[float]:
    """Cores' worth of time that is given: microseconds of all cores in a period over those of the period."""
    for version, folder in _groups("cpu"):
        if version == 1:
            quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        else:
            quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _groups(controller: str) -> Iterator[tuple[int, Path]]:
    """The control groups that limit this process in something; a group is within those above it.

    controller (str): Of what.
    YIELDS (tuple[int, Path]): Version of control groups, and the folder of the group.
    """
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        version, root = (1, LIMITS / controller) if controllers else (2, LIMITS)
        group = PurePosixPath(name.lstrip("/"))
        for part in (group, *group.parents):
            yield version, root / part


def _read(path: Path) -> str:
    """What a file says: nothing where there is none, as in the highest group and in those above a container."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
