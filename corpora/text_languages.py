"""Whether a text is of another language than it should be, by the model of py3langid."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..errors import Errors
from ..models.language_model import load_language_model

__all__ = ["is_other_language", "load_model"]

# What the model confuses, or knows under more names than one, is one language here.
_KIN = {
    **dict.fromkeys(("arz", "ary", "arq"), "ar"),
    **dict.fromkeys(("yue", "wuu", "lzh"), "zh"),
    **dict.fromkeys(("nb", "nn"), "no"),
    **dict.fromkeys(("bs", "hr"), "sr"),
}


def is_other_language(text: str, language: str, score: float) -> bool:
    """Whether a text is of another language.

    text (str): The text.
    language (str): Code of the language that it should be of; one that the model does not know is not judged.
    score (float): How sure the model has to be, from 0 to 1.
    RETURNS (bool): Whether it is; dialects of Arabic, and those of Chinese, are not told apart.
    RAISES (ImportError): S746 when py3langid is not installed.
    """
    model = load_model()
    own = _KIN.get(language, language)
    if own not in _known():
        return False
    found, sure = model.classify(text)
    return _KIN.get(found, found) != own and sure >= score


def load_model() -> Any:
    """The model.

    RETURNS (Any): It; the same one each time.
    RAISES (ImportError): S746 when py3langid is not installed.
    """
    return load_language_model(Errors.S746)


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(_KIN.get(label, label) for label in load_model().labels)
