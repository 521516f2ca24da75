"""The norm of a lexeme, normalised: what makes `token.norm_`."""

from __future__ import annotations

from collections.abc import Callable

from ..normalization import check_level, normalize


class NormGetter:
    """spaCy's norm of a lexeme, normalised: a lexical attribute getter for `vocab.lex_attr_getters[NORM]`.

    base (Callable[[str], str]): The getter of the language.
    level (str): One of "none", "light", "full"; see `normalization`.
    RAISES (ValueError): S101 for an unknown level.
    """

    def __init__(self, base: Callable[[str], str], level: str) -> None:
        check_level(level)
        self.base = base
        self.level = level

    def __call__(self, string: str) -> str:
        """Norm of a word; never empty, since an empty norm means "no norm" to spaCy."""
        norm = self.base(string)
        return normalize(norm, self.level) or norm
