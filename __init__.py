"""Samarkand: multilingual NLP pipelines on spaCy and PyTorch.

Importing this package stays cheap: spaCy and torch are imported when a function needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language

__version__ = "0.1.0"
__all__ = ["__version__", "blank", "load", "path"]

DEFAULT_PIPELINE = "xx_samarkand_sm"
DEFAULT_ENCODER = "xx_sentence_sm"


def path(name: str = DEFAULT_PIPELINE) -> Path:
    """Folder of a bundled pipeline, for `spacy.load`.

    name (str): Name of the bundled pipeline.
    RETURNS (Path): Its folder.
    RAISES (OSError): S001 when no such pipeline is bundled.
    """
    from .errors import Errors

    packages = Path(__file__).parent / "models" / "packages"
    folder = packages / name
    if not (folder / "config.cfg").is_file():
        names = sorted(p.parent.name for p in packages.glob("*/config.cfg"))
        raise OSError(Errors.S001.format(name=name, names=", ".join(names) or "none"))
    return folder


def load(name: str = DEFAULT_PIPELINE, **kwargs: Any) -> Language:
    """Load a bundled pipeline.

    name (str): Name of the bundled pipeline.
    kwargs: Passed to `spacy.load` (`exclude`, `disable`, `config`, ...).
    RETURNS (Language): The pipeline.
    RAISES (OSError): S001 when no such pipeline is bundled.
    """
    import spacy

    return spacy.load(path(name), **kwargs)


def blank(lang: str = "xx", **tokenizer: Any) -> Language:
    """A blank spaCy pipeline with the script-aware tokenizer.

    lang (str): Language code of the pipeline; "xx" for mixed text.
    tokenizer: Settings of `samarkand.ScriptTokenizer.v1`.
    RETURNS (Language): The pipeline, without components.
    """
    import spacy

    return spacy.blank(
        lang, config={"nlp": {"tokenizer": {"@tokenizers": "samarkand.ScriptTokenizer.v1", **tokenizer}}}
    )
