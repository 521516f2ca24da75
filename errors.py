"""Every message that a user can meet, with a code to search for.

`Errors` are formatted into exceptions (`raise ValueError(Errors.S101.format(...))`), `Warnings` into
`warnings.warn(..., SamarkandWarning)`. A message says what is wrong, where, and the mend.

Code ranges: S0 package, S1 text, S2 corpora, S3 encoders, S4 RICON, S5 annotation and command line.
"""

from __future__ import annotations

from typing import Any


class SamarkandWarning(UserWarning):
    """Something was shortened, skipped or guessed; the message gives the count."""


class _Coded(type):
    """Prefix each message of a catalogue with its code."""

    def __getattribute__(cls, name: str) -> Any:
        value = super().__getattribute__(name)
        return f"[{name}] {value}" if isinstance(value, str) and not name.startswith("_") else value


class Errors(metaclass=_Coded):
    S001 = "No bundled pipeline named {name!r}. Bundled here: {names}. Pass a folder or an installed package to spacy.load."


class Warnings(metaclass=_Coded):
    pass
