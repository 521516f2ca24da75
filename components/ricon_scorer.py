"""`samarkand.ricon_scorer.v1`: precision, recall and F of what `ricon_ner` sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spacy import registry
from spacy.pipeline.spancat import spancat_score
from spacy.scorer import get_ner_prf
from spacy.training import Example

MODES = ("flat", "nested")


def score_ricon(examples: Iterable[Example], *, mode: str, spans_key: str) -> dict[str, Any]:
    """Precision, recall and F of `doc.ents` (flat) or of `doc.spans[spans_key]` (nested).

    examples (Iterable[Example]): Predicted and reference documents.
    mode (str): "flat" or "nested".
    spans_key (str): Group of spans scored in nested mode.
    RETURNS (dict[str, Any]): `ents_p`, `ents_r`, `ents_f`, `ents_per_type`; or the same with `spans_KEY_`.
    """
    if mode == "flat":
        return get_ner_prf(examples)
    return spancat_score(examples, spans_key=spans_key)


@registry.scorers("samarkand.ricon_scorer.v1")
def make_ricon_scorer() -> Callable[..., dict[str, Any]]:
    return score_ricon
