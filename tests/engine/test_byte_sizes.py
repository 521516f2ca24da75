"""Sizes of memory as people write them."""

from __future__ import annotations

import pytest
from samarkand.engine.byte_sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5),
        (8e9, 8_000_000_000),
        ("5", 5),
        ("512MB", 512_000_000),
        ("8GiB", 8 * 2**30),
        (" 1.5 gib ", 3 * 2**29),
        ("2 KiB", 2048),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-3", -3, "1,5 GB", "8 GB of memory", 1.5, float("inf"), float("nan"), None]
)
def test_S751_what_is_no_size(text):
    with pytest.raises(ValueError, match="S751"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (2**20, "1.00 MiB"), (2**41, "2048.00 GiB")]
)
def test_sizes_are_written(size, text):
    assert format_size(size) == text
