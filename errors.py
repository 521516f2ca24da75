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
    S321 = (
        "The saved weights do not fit {network}: missing {missing}; unexpected {unexpected}; "
        "other shape {shapes}. Load them with the config they were saved with, or train again."
    )
    S322 = "This network has no weights yet. Call nlp.initialize() to make them, or load a trained pipeline."
    S323 = (
        "The network cannot be rebuilt from {found} (at hand: {expected}): its shim has no build function. "
        "Pass build=... to TorchShim or torch_model."
    )


class Warnings(metaclass=_Coded):
    pass
