"""Second views of texts for Mirror-BERT: a few characters hidden (Liu et al. 2021, arXiv 2104.08027, section 2.1)."""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass

from .settings import require
from .vocabulary import IDEOGRAPHS

_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")


@dataclass(frozen=True)
class ViewSettings:
    """How a view is made. Ideographs say more each, so that less is hidden of texts in them.

    span (int): Characters to hide.
    least (int): Texts shorter than this are left as they are.
    ideograph_span (int): Characters to hide where most letters are ideographs.
    ideograph_least (int): The shortest such text of which something is hidden.
    """

    span: int = 5
    least: int = 30
    ideograph_span: int = 2
    ideograph_least: int = 10

    def __post_init__(self) -> None:
        for name in ("span", "least", "ideograph_span", "ideograph_least"):
            require(getattr(self, name) >= 1, f"views.{name}", getattr(self, name), "1 or more")


def hide_span(text: str, mask: str, settings: ViewSettings, chance: random.Random) -> str:
    """Replace a span of a text by a mask. Letters keep their combining marks.

    text (str): The text.
    mask (str): The tokenizer's mask.
    settings (ViewSettings): How much is hidden.
    chance (Random): Where the span begins.
    RETURNS (str): The view, or the text itself when it is too short.
    """
    starts = [i for i, char in enumerate(text) if not _continues(text, i, char)]
    wide = _mostly_ideographs(text)
    span, least = (settings.ideograph_span, settings.ideograph_least) if wide else (settings.span, settings.least)
    if len(starts) < least or len(starts) <= span:
        return text
    first = chance.randrange(len(starts) - span + 1)
    end = starts[first + span] if first + span < len(starts) else len(text)
    return f"{text[: starts[first]]} {mask} {text[end:]}"


def _continues(text: str, i: int, char: str) -> bool:
    """Whether a character belongs to the one before it: a mark, a joiner, or what a joiner joins."""
    return i > 0 and (unicodedata.category(char) in ("Mn", "Me", "Mc", "Cf", "Sk") or text[i - 1] == "\u200d")


def _mostly_ideographs(text: str) -> bool:
    return 2 * len(_IDEOGRAPH.findall(text)) > sum(map(str.isalpha, text))
