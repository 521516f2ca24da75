"""The layers of a transformer by `transformers` alone: a text at a time, the pieces of a token averaged one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from spacy.tokens import Doc
from transformers import AutoModel, AutoTokenizer


@torch.no_grad()
def plain_states(folder: Path, doc: Doc) -> tuple[np.ndarray, np.ndarray]:
    """First and last layer of the tokens of a document that one window holds.

    folder (Path): The checkpoint.
    doc (Doc): The document.
    RETURNS (tuple[np.ndarray, np.ndarray]): Zeros for a token without pieces. (n_tokens, width) each
    """
    pieces = AutoTokenizer.from_pretrained(folder)(doc.text, return_offsets_mapping=True, return_tensors="pt")
    offsets = pieces.pop("offset_mapping")[0].tolist()
    output = AutoModel.from_pretrained(folder).eval()(**pieces, output_hidden_states=True)
    rows = []
    for layer in (output.hidden_states[1][0], output.last_hidden_state[0]):
        for token in doc:
            own = [i for i, (a, b) in enumerate(offsets) if a < token.idx + len(token) and token.idx < b]
            rows.append(layer[own].mean(0).numpy() if own else np.zeros(layer.shape[1]))
    first, last = np.reshape(rows, (2, len(doc), -1))
    return first, last
