"""Two texts in one document, parted by a tab, and the key under which a document carries its language.

A pair is text like any other, so that it goes through tokenizers, files and `nlp.pipe` as it is.
"""

from __future__ import annotations

import numpy as np
from spacy.tokens import Doc

SEPARATOR = "\t"
# In `doc.user_data`, which a DocBin keeps with `store_user_data`.
LANG_KEY = "samarkand.lang"


def join_pair(first: str, second: str) -> str:
    """Two texts as one.

    first (str): A text.
    second (str): Another.
    RETURNS (str): Both; their own tabs are blanks now.
    """
    return SEPARATOR.join(text.replace(SEPARATOR, " ").strip() for text in (first, second))


def pair_places(doc: Doc) -> np.ndarray:
    """Tokens of both texts.

    doc (Doc): The document.
    RETURNS (np.ndarray): First token and last exclusive of each text; the second is empty without a tab. (2, 2)
    """
    cut = next((token.i for token in doc if SEPARATOR in token.text), len(doc))
    return np.array([[0, cut], [min(cut + 1, len(doc)), len(doc)]], dtype=np.int64)


def whole_place(doc: Doc) -> np.ndarray:
    """RETURNS (np.ndarray): First token and last exclusive of the document. (1, 2)"""
    return np.array([[0, len(doc)]], dtype=np.int64)
