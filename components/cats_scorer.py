"""Scores of text classifiers: spaCy's, and macro F by language for what was never trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spacy.scorer import Scorer
from spacy.training import Example
from spacy.util import registry

from ..models.text_pairs import LANG_KEY


def score_cats(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """Score `doc.cats`.

    examples (Iterable[Example]): Predictions and references; the language of a text is in the reference's `user_data`,
        as `CatsCorpus` has it.
    RETURNS (dict[str, Any]): As `Scorer.score_cats`, and where languages are known "cats_macro_f_per_lang", a figure
        by language, and "cats_macro_f_langs", their mean.
    """
    examples = list(examples)
    options = {key: kwargs[key] for key in ("labels", "multi_label", "positive_label", "threshold") if key in kwargs}
    scores = Scorer.score_cats(examples, "cats", **options)
    by_lang: dict[str, list[Example]] = {}
    for eg in examples:
        if lang := eg.reference.user_data.get(LANG_KEY):
            by_lang.setdefault(lang, []).append(eg)
    if by_lang:
        figures = {
            lang: Scorer.score_cats(by_lang[lang], "cats", **options)["cats_macro_f"] for lang in sorted(by_lang)
        }
        scores["cats_macro_f_per_lang"] = figures
        scores["cats_macro_f_langs"] = sum(figures.values()) / len(figures)
    return scores


@registry.scorers("samarkand.cats_scorer.v1")
def make_cats_scorer() -> Callable:
    """RETURNS (Callable): `score_cats`."""
    return score_cats
