"""Which texts are of another language than they should be."""

from __future__ import annotations

import sys

import pytest
from samarkand.corpora.text_cleaning import CleaningRules, TextCleaner
from samarkand.corpora.text_languages import is_other_language
from samarkand.models import language_model

ENGLISH = "The weather was fine, and the children played in the garden all afternoon."
FRENCH = "Il faisait beau, et les enfants ont joué dans le jardin pendant tout l'après-midi."
ARABIC = "كان الطقس جميلا ولعب الأطفال في الحديقة طوال بعد الظهر، ثم عادوا إلى البيت قبل أن تغرب الشمس."


@pytest.mark.parametrize(
    ("text", "language", "is_other"),
    [
        (FRENCH, "fr", False),
        (ENGLISH, "fr", True),
        (ENGLISH, "en", False),
        # Kin, and what the model does not know.
        (ARABIC, "arz", False),
        (ARABIC, "fa", True),
        ("天气很好，孩子们整个下午都在花园里玩耍。", "lzh", False),
        (ENGLISH, "ee", False),
        (ENGLISH, "xx", False),
        ("", "fr", False),
    ],
)
def test_other_languages(text, language, is_other):
    pytest.importorskip("py3langid")
    assert is_other_language(text, language, 0.7) is is_other


def test_how_sure():
    pytest.importorskip("py3langid")
    assert not is_other_language("Bonjour, ok", "en", 1.0)


def test_cleaning_by_language():
    pytest.importorskip("py3langid")
    cleaner = TextCleaner(CleaningRules(language=True))
    assert list(cleaner.clean([ENGLISH, FRENCH], "fr")) == [FRENCH]
    assert cleaner.dropped == {"language": 1}
    # Without the rule, both are in the script of French.
    assert list(TextCleaner().clean([ENGLISH, FRENCH], "fr")) == [ENGLISH, FRENCH]


def test_S746_not_installed(monkeypatch):
    language_model._all_languages.cache_clear()
    for name in ("py3langid", "py3langid.langid"):
        monkeypatch.setitem(sys.modules, name, None)
    CleaningRules()
    with pytest.raises(ImportError, match=r"S746.*samarkand\[languages\]"):
        CleaningRules(language=True)
