"""The model of py3langid, which tells languages apart: read once for all that ask it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def load_language_model(missing: str) -> Any:
    """The model of all its languages.

    missing (str): What to say when py3langid is not installed.
    RETURNS (LanguageIdentifier): The model, with scores from 0 to 1; the same one each time.
    RAISES (ImportError): With that text.
    """
    try:
        return _all_languages()
    except ImportError as err:
        raise ImportError(missing) from err


# Seconds to load.
@lru_cache(maxsize=1)
def _all_languages() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
