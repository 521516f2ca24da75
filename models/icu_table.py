"""Transforms of ICU as tables of transliteration."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Any

from ..errors import Errors

# Transforms whose inverse gives back every word; Russian letters are tested. Of others ICU says so too, but Georgian gh
# is one letter or two, and most scripts have letters that come back decomposed or as another.
REVERSIBLE = frozenset({"Cyrillic-Latin"})


class IcuTable:
    """A transform of ICU, word by word.

    name (str): Its name, for messages.
    transform (str): ICU's id, such as "Cyrillic-Latin".
    RAISES (ImportError): S644 when ICU is not installed.
    RAISES (ValueError): S646 when it has no such transform.
    """

    def __init__(self, name: str, transform: str) -> None:
        try:
            import icu
        except ImportError as err:
            raise ImportError(Errors.S644.format(name=name)) from err
        try:
            self._transform: Any = icu.Transliterator.createInstance(transform)
        except icu.ICUError as err:
            raise ValueError(Errors.S646.format(name=transform, reason=err)) from None
        self.name = name
        self.script = None
        self.is_reversible = transform in REVERSIBLE
        # Rules come with the library, so that a model is bound to their edition.
        self.fingerprint = f"{transform}@{icu.ICU_VERSION}"

    def convert(self, run: str) -> tuple[tuple[int, str], ...]:
        """Write a run of letters.

        Parts are as small as can be: a run is cut where both sides, each by itself, become what they are together.

        run (str): The letters, with their marks.
        RETURNS (tuple): How many characters were taken, and what became of them, part by part.
        """
        whole = self._transform.transliterate(run)
        cuts = [(0, 0)]
        for i in range(1, len(run)):
            if unicodedata.category(run[i])[0] == "M":
                continue
            left = self._transform.transliterate(run[:i])
            grows = len(left) > cuts[-1][1]
            if grows and whole.startswith(left) and left + self._transform.transliterate(run[i:]) == whole:
                cuts.append((i, len(left)))
        cuts.append((len(run), len(whole)))
        return tuple((b - a, whole[start:end]) for (a, start), (b, end) in pairwise(cuts))

    def restore(self, text: str) -> str:
        """Write a text in its own script again.

        text (str): What `convert` wrote.
        RETURNS (str): The text.
        """
        return self._transform.createInverse().transliterate(text)
