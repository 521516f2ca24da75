from __future__ import annotations

import pytest
from samarkand.pipeline.normalize import NormGetter


def test_norm_getter_normalizes_and_is_never_empty() -> None:
    assert NormGetter(str.lower, "light")("ＡＢـ") == "ab"
    assert NormGetter(str.lower, "light")("ـ") == "ـ"


def test_norm_getter_of_an_unknown_level() -> None:
    with pytest.raises(ValueError, match=r"\[S101\].*'heavy'.*none, light, full"):
        NormGetter(str, "heavy")
