"""Scripts and languages of tokens and documents: `token._.script`, `token._.lang`, `doc._.scripts`, `doc._.langs`.

Importing this module registers the attributes; they are worked out when read, once a document. A language is a guess
from letters alone: the pipeline's own where it is written in that script, else one whose own letters the word has,
else the one that `SCRIPT_LANGUAGES` names. Ideographs are Japanese in a document with kana, else Chinese. Words
without letters have the script "Zyyy" and the language "xx".
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from weakref import WeakKeyDictionary

from spacy.tokens import Doc, Token

from ..language_scripts import LANGUAGE_SCRIPTS
from .scripts import HAN_LANGUAGES, SCRIPT_LANGUAGES, script_of

# Letters that neighbours in the same script do not write; the first that fits wins.
LANGUAGE_LETTERS = {
    "Arab": (("ur", "ٹڈڑںےۓہۂ"), ("ug", "ېۆۈۋ"), ("fa", "پچژگکی")),
    "Cyrl": (("uk", "іїєґІЇЄҐ"), ("sr", "ђјљњћџЂЈЉЊЋЏ")),
}


def token_script(token: Token) -> str:
    """Script of a token.

    token (Token): The token.
    RETURNS (str): ISO 15924 code of its first letter; "Zyyy" without letters, "Zzzz" for scripts not listed.
    """
    return script_of(token.text)


def token_lang(token: Token) -> str:
    """Language that a token is likely to be in.

    token (Token): The token.
    RETURNS (str): Language code; "xx" without letters.
    """
    return _guess(token.text, token.vocab.lang, "ja" in doc_langs(token.doc))


def doc_scripts(doc: Doc) -> dict[str, float]:
    """Scripts of a document.

    doc (Doc): The document.
    RETURNS (Dict[str, float]): Share of its letters by script, the most frequent first; empty without letters.
    """
    return dict(_profile(doc)[0])


def doc_langs(doc: Doc) -> dict[str, float]:
    """Languages that a document is likely to be in.

    doc (Doc): The document.
    RETURNS (Dict[str, float]): Share of its letters by language, the most frequent first; empty without letters.
    """
    return dict(_profile(doc)[1])


_PROFILES: WeakKeyDictionary[Doc, tuple[dict[str, float], dict[str, float]]] = WeakKeyDictionary()


def _profile(doc: Doc) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the scripts and languages of a document, worked out once."""
    if doc not in _PROFILES:
        # The text of a document never changes, whatever its tokens and annotations.
        words = Counter(token.text for token in doc)
        scripts: Counter[str] = Counter()
        langs: Counter[str] = Counter()
        for word, count in words.items():
            scripts[script_of(word)] += count * _letters(word)
        has_kana = bool(scripts["Hira"] + scripts["Kana"])
        for word, count in words.items():
            langs[_guess(word, doc.vocab.lang, has_kana)] += count * _letters(word)
        _PROFILES[doc] = _shares(scripts), _shares(langs)
    return _PROFILES[doc]


@lru_cache(maxsize=65536)
def _letters(word: str) -> int:
    return sum(map(str.isalpha, word))


@lru_cache(maxsize=65536)
def _guess(word: str, own: str, has_kana: bool) -> str:
    """Language of a word in a pipeline of the language `own`."""
    script = script_of(word)
    if script == "Zyyy":
        return "xx"
    if script in LANGUAGE_SCRIPTS.get(own, ("Latn",)):
        return own
    if script in HAN_LANGUAGES:
        return "ja" if has_kana else HAN_LANGUAGES[script]
    for lang, letters in LANGUAGE_LETTERS.get(script, ()):
        if any(letter in word for letter in letters):
            return lang
    return SCRIPT_LANGUAGES[script]


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: count / total for name, count in counts.most_common() if count}


def register() -> None:
    """Register the attributes, unless something of these names is registered already."""
    for owner, name, getter in (
        (Token, "script", token_script),
        (Token, "lang", token_lang),
        (Doc, "scripts", doc_scripts),
        (Doc, "langs", doc_langs),
    ):
        if not owner.has_extension(name):
            owner.set_extension(name, getter=getter)


register()
