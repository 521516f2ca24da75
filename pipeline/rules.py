"""spaCy's tokenizer rules, those of the language that each run of text is likely to be in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import regex
from catalogue import RegistryError
from spacy.tokenizer import Tokenizer
from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex, get_lang_class, registry
from spacy.vocab import Vocab

from ..errors import Errors
from ..language_scripts import LANGUAGE_SCRIPTS
from .scripts import LETTERS, MAX_RUN, SCRIPT_LANGUAGES, attach_marks, script_runs

Segmenter = Callable[[str], Iterable[str]]

# Spelled with capital letters; their languages' own rules treat punctuation and full stops well.
CASED = frozenset({"Latn", "Grek", "Cyrl", "Armn"})
# Runs until the rules start over with an empty vocabulary, so that a stream cannot fill the memory.
MAX_RUNS = 20_000

_WORD = regex.compile(r"(\p{L}[\p{L}\p{M}]*)(\p{Po}?)")
# What spaCy's rules for scripts without case leave on words. Between digits they are part of a number.
_PUNCT = r"[،؛؟۔٭«»‹›“”„()\[\]{}!?;।॥፡።፣፤፥፦፧፨]"
_PREFIXES = (_PUNCT,)
_INFIXES = (rf"{_PUNCT}(?!\d)", rf"(?<!\d){_PUNCT}", r"(?<![\dA-Za-z])[,:/](?=[^\W\d_])")
_SUFFIXES = (_PUNCT, r"(?<=[^.][^.])\.")
_LATIN = re.compile(r"[A-Za-z]")


def get_segmenter(name: str) -> Segmenter | None:
    """The word segmenter of the setting `han`.

    name (str): "char" for none, "jieba", or the name of a function in spaCy's `misc` registry.
    RETURNS (Optional[Callable[[str], Iterable[str]]]): From a run of ideographs to its words.
    RAISES (ValueError): S104 for an unknown name.
    RAISES (ImportError): S105 when jieba is not installed.
    """
    if name == "char":
        return None
    if name == "jieba":
        try:
            import jieba
        except ImportError:
            raise ImportError(Errors.S105) from None
        return jieba.lcut
    try:
        create_segmenter = registry.misc.get(name)
    except RegistryError:
        raise ValueError(Errors.S104.format(name=name)) from None
    return create_segmenter()


def script_languages(lang: str, languages: dict[str, str]) -> dict[str, str]:
    """The language whose rules each script gets.

    lang (str): Language of the pipeline; it comes first for the scripts that it is written in.
    languages (Dict[str, str]): What the user asks for, by ISO 15924 code; it comes before all else.
    RETURNS (Dict[str, str]): spaCy language codes by ISO 15924 code; "Zyyy" is for runs without letters.
    RAISES (ValueError): S102 for an unknown script, S103 for an unknown language.
    """
    for script, code in languages.items():
        if script not in SCRIPT_LANGUAGES:
            raise ValueError(Errors.S102.format(script=script, scripts=", ".join(SCRIPT_LANGUAGES)))
        try:
            get_lang_class(code)
        except ImportError:
            raise ValueError(Errors.S103.format(lang=code, script=script)) from None
    own = [script for script in LANGUAGE_SCRIPTS.get(lang, ("Latn",)) if script in SCRIPT_LANGUAGES]
    chosen = {**SCRIPT_LANGUAGES, **dict.fromkeys(own, lang), **languages}
    return {**chosen, "Zyyy": chosen[own[0] if own else "Latn"]}


class ScriptRules:
    """Cut text without blanks and ideographs where its script changes, and each part by its language's rules.

    languages (Dict[str, str]): spaCy language codes by ISO 15924 code, as `script_languages` gives them.
    special_cases (Dict[str, List[Dict]]): Exceptions over those of the languages, as `Tokenizer` has them.
    """

    def __init__(self, languages: dict[str, str], special_cases: dict[str, list[dict]]) -> None:
        self.languages = languages
        self.special_cases = special_cases
        self._rules: dict[tuple[str, bool], LanguageRules] = {}

    def __call__(self, run: str) -> tuple[list[str], dict[int, str]]:
        """Cut a run.

        run (str): Text without blanks and ideographs.
        RETURNS (Tuple[List[str], Dict[int, str]]): The tokens, and the norms that exceptions give, by position.
        """
        if len(run) <= MAX_RUN:
            if run.isascii():
                return self._for_script("Latn" if _LATIN.search(run) else "Zyyy")(run)
            # Most runs are one word in one script.
            word, letters = _WORD.fullmatch(run), LETTERS.match(run)
            if word is not None and letters is not None and letters.end() >= word.end(1):
                return self._for_script(letters.lastgroup)(run)
        tokens: list[str] = []
        norms: dict[int, str] = {}
        for part, script in script_runs(run):
            if script is None:
                tokens.append(part)
                continue
            part_tokens, part_norms = self._for_script(script)(part)
            norms.update({len(tokens) + i: norm for i, norm in part_norms.items()})
            tokens += part_tokens
        return attach_marks(tokens, norms)

    def _for_script(self, script: str) -> LanguageRules:
        """Rules are built when their script is first met."""
        key = self.languages[script], script in CASED
        if key not in self._rules:
            self._rules[key] = LanguageRules(*key, self.special_cases)
        return self._rules[key]


class LanguageRules:
    """Cut runs of text by the exceptions, affixes and URL patterns of a spaCy language.

    lang (str): Code of the language.
    cased (bool): Whether the script has capital letters.
    special_cases (Dict[str, List[Dict]]): Exceptions over those of the language, as `Tokenizer` has them.
    """

    def __init__(self, lang: str, cased: bool, special_cases: dict[str, list[dict]]) -> None:
        self._defaults = get_lang_class(lang).Defaults
        self._cased = cased
        self.exceptions = {**self._defaults.tokenizer_exceptions, **special_cases}
        self._build()

    def __call__(self, run: str) -> tuple[list[str], dict[int, str]]:
        """Cut a run.

        run (str): Text without blanks.
        RETURNS (Tuple[List[str], Dict[int, str]]): The tokens, and the norms that exceptions give, by position.
        """
        # Plain words, alone or before one mark of punctuation, are most runs: no rule cuts between letters.
        word = _WORD.fullmatch(run)
        plain = word is not None and run not in self.exceptions and word[1] not in self.exceptions
        if plain and (not word[2] or self._is_suffix(word[2], run)):
            return [part for part in word.groups() if part], {}
        if self._runs >= MAX_RUNS:
            self._build()
        self._runs += 1
        tokens = self._tokenizer(run)
        return [token.text for token in tokens], {token.i: token.norm_ for token in tokens if token.norm}

    def _is_suffix(self, mark: str, run: str) -> bool:
        """Whether a mark of punctuation comes off: always if it does so alone, else as the run before it has it."""
        if mark not in self._suffixes:
            self._suffixes[mark] = self._tokenizer.find_suffix(mark) == 1
        return self._suffixes[mark] or self._tokenizer.find_suffix(run) == 1

    def _build(self) -> None:
        # A vocabulary of its own, without attributes: lexemes are cheap, and only exceptions give a norm.
        defaults = self._defaults
        prefixes = [*(defaults.prefixes or ()), *(() if self._cased else _PREFIXES)]
        suffixes = [*(defaults.suffixes or ()), *(() if self._cased else _SUFFIXES)]
        infixes = [*(defaults.infixes or ()), *(() if self._cased else _INFIXES)]
        self._tokenizer = Tokenizer(
            Vocab(),
            rules=self.exceptions,
            prefix_search=compile_prefix_regex(prefixes).search if prefixes else None,
            suffix_search=compile_suffix_regex(suffixes).search if suffixes else None,
            infix_finditer=compile_infix_regex(infixes).finditer if infixes else None,
            token_match=defaults.token_match,
            url_match=defaults.url_match,
            max_cache_size=0,
        )
        self._runs = 0
        self._suffixes: dict[str, bool] = {}
