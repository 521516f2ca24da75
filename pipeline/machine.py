"""What of this machine a run may use: a container, or whoever started it, may have given it less than there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

# Linux tells here which control groups this process is in, and below the second what these are limited to.
GROUPS = Path("/proc/self/cgroup")
LIMITS = Path("/sys/fs/cgroup")


def cores() -> int:
    """RETURNS (int): Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """RETURNS (Optional[int]): Bytes of memory that this process and its workers may use, if that is known."""
    found = list(_group_limits())
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)


def _group_limits() -> Iterator[int]:
    """Limits of the control groups, of both versions; a group is within those above it."""
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, file = (LIMITS / "memory", "memory.limit_in_bytes") if controllers else (LIMITS, "memory.max")
        group = PurePosixPath(name.lstrip("/"))
        for part in (group, *group.parents):
            # The highest group has no such file, "max" is no limit, and a container does not see groups above its own.
            with suppress(OSError, ValueError):
                yield int((root / part / file).read_text())
