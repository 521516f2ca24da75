"""Chance that depends on names alone, so that what comes before or after changes nothing."""

from __future__ import annotations

import hashlib

__all__ = ["share_of"]


def share_of(*parts: object) -> float:
    """A number for what parts say, spread evenly.

    parts (object): What decides it, such as a seed and an id; their `str` counts.
    RETURNS (float): From 0 to below 1, the same on every machine.
    """
    digest = hashlib.sha256("\t".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)
