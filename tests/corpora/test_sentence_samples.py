"""The hand-written sentences: complete, distinct, and each in its script."""

import regex
from samarkand.corpora.sentence_samples import sample_bitexts, sample_sts

SCRIPTS = {"en": r"\p{Latin}", "ar": r"\p{Arabic}", "zh": r"\p{Han}"}


def test_scored_pairs_of_each_language():
    sets = sample_sts()
    assert [s.name for s in sets] == ["samples/en", "samples/ar", "samples/zh"]
    for s in sets:
        assert len(s.first) == len(s.second) == len(s.scores) >= 6
        assert (min(s.scores), max(s.scores)) == (0, 5)
        assert all(regex.search(SCRIPTS[s.lang], text) for text in (*s.first, *s.second))


def test_translations_of_each_pair_of_languages():
    found = sample_bitexts()
    assert [b.name for b in found] == ["samples/en-ar", "samples/en-zh", "samples/ar-zh"]
    for b in found:
        assert len(set(b.first)) == len(set(b.second)) == len(b.first) >= 12
        for lang, texts in ((b.first_lang, b.first), (b.second_lang, b.second)):
            assert all(regex.search(SCRIPTS[lang], text) for text in texts)
