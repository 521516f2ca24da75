"""The script-aware tokenizer: ideographs and kana one by one, other scripts by spaCy's rules for their language.

`doc.text == text` for every string that UTF-8 can hold, and the cost is linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import srsly
from cymem.cymem import Pool
from spacy.attrs import NAMES, NORM, intify_attrs
from spacy.lang.lex_attrs import LEX_ATTRS
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.util import SimpleFrozenDict, ensure_path, registry
from spacy.vocab import Vocab

from ..errors import Errors
from ..normalization import check_level
from .normalize import NormGetter
from .rules import LanguageRules, ScriptRules, get_segmenter, script_languages
from .scripts import CJK_CHAR, MAX_RUN, attach_marks, cjk_units, han_runs, script_runs

MAX_CACHED = 100_000
# A chunk with ideographs is a sentence as a rule: only short ones will be met again.
MAX_CACHED_CJK = 12

_BLANKS = re.compile(r"\s+")
_NO_LANGUAGES: dict[str, str] = SimpleFrozenDict()


@registry.tokenizers("samarkand.ScriptTokenizer.v1")
def create_script_tokenizer(
    han: str = "char", norm: str = "light", languages: dict[str, str] = _NO_LANGUAGES
) -> Callable[[Language], ScriptTokenizer]:
    """Registered function to create a script-aware tokenizer.

    han (str): How ideographs are cut: "char", "jieba", or the name of a function in spaCy's `misc` registry
        that returns a segmenter (a callable from a string to its words).
    norm (str): Level of normalisation of `token.norm_`: "none", "light" or "full"; see `normalization`.
    languages (Dict[str, str]): The spaCy language whose rules a script gets, by ISO 15924 code. A script not
        named here goes to the pipeline's own language if that is written in it, else to `SCRIPT_LANGUAGES`.
    RETURNS (Callable[[Language], ScriptTokenizer]): Creates the tokenizer of a pipeline.
    """

    def script_tokenizer_factory(nlp: Language) -> ScriptTokenizer:
        return ScriptTokenizer(nlp.vocab, lang=nlp.lang or "xx", han=han, norm=norm, languages=languages)

    return script_tokenizer_factory


class ScriptTokenizer:
    """Segment text in any mixture of scripts, and create `Doc` objects.

    vocab (Vocab): The shared vocabulary. Its getter of norms becomes one that normalises.
    lang (str): Language of the pipeline.
    han, norm, languages: See `create_script_tokenizer`.
    RAISES (ValueError): S101 to S104 for a bad setting.
    RAISES (ImportError): S105 when jieba is asked for and not installed.
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        lang: str = "xx",
        han: str = "char",
        norm: str = "light",
        languages: dict[str, str] = _NO_LANGUAGES,
    ) -> None:
        self.vocab = vocab
        self._configure({"lang": lang, "han": han, "norm": norm, "languages": dict(languages), "special_cases": {}})

    def __call__(self, text: str) -> Doc:
        """Tokenize a string.

        text (str): The string.
        RETURNS (Doc): The document; its text is the string.
        """
        words, spaces, norms = self._split(text)
        try:
            doc = Doc(self.vocab, words=words, spaces=spaces)
        except KeyError:
            # The vocabulary was loaded anew, and the cached ids name strings that it no longer has.
            self._flush()
            words, spaces, norms = self._split(text)
            doc = Doc(self.vocab, words=words, spaces=spaces)
        for i, norm in norms.items():
            doc[i].norm_ = norm
        return doc

    def pipe(self, texts: Iterable[str], batch_size: int = 1000) -> Iterator[Doc]:
        """Tokenize a stream of strings.

        texts (Iterable[str]): The strings.
        batch_size (int): Not used: documents are made one by one.
        YIELDS (Doc): The documents, in order.
        """
        for text in texts:
            yield self(text)

    def add_special_case(self, string: str, substrings: Iterable[dict[int | str, str]]) -> None:
        """Add an exception, as `spacy.tokenizer.Tokenizer.add_special_case` does.

        string (str): The string to cut in a special way.
        substrings (Iterable[Dict]): Attributes of its tokens: `ORTH`, which join to the string, and `NORM`.
        RAISES (ValueError): S107 when the string is cut before exceptions are looked up.
        """
        runs = list(script_runs(string)) if string.split() == [string] and not CJK_CHAR.search(string) else []
        if len(runs) != 1 or runs[0][1] is None:
            raise ValueError(Errors.S107.format(string=string, parts=[token.text for token in self(string)]))
        case = [{NAMES[attr]: value for attr, value in intify_attrs(token).items()} for token in substrings]
        special_cases = {**self._settings["special_cases"], string: case}
        # spaCy checks the case when it is first built into rules.
        LanguageRules("xx", True, {string: case})
        self._configure({**self._settings, "special_cases": special_cases})

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]] | None = None,
        *,
        nlp: Language | None = None,
    ) -> None:
        """Nothing is learnt from data; this is here for `nlp.initialize`."""

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score the tokens.

        examples (Iterable[Example]): The examples.
        RETURNS (Dict[str, Any]): `token_acc`, `token_p`, `token_r`, `token_f`.
        """
        validate_examples(examples, "ScriptTokenizer.score")
        return Scorer.score_tokenization(examples)

    @contextmanager
    def memory_zone(self, mem: Pool | None = None) -> Iterator[Pool]:
        """Within a memory zone of the vocabulary, keep what is new in a cache that ends with the zone."""
        units = self._units
        self._units = _Units(self, units)
        try:
            yield mem or Pool()
        finally:
            self._units = units

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Settings and special cases as JSON.

        RETURNS (bytes): The serialized form.
        """
        return srsly.json_dumps(self._settings, sort_keys=True).encode("utf8")

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> ScriptTokenizer:
        """Load settings and special cases.

        bytes_data (bytes): The data to load from.
        RETURNS (ScriptTokenizer): The modified tokenizer.
        """
        self._configure(srsly.json_loads(bytes_data.decode("utf8")))
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save settings and special cases.

        path (Union[str, Path]): The file.
        """
        ensure_path(path).write_bytes(self.to_bytes())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> ScriptTokenizer:
        """Load settings and special cases.

        path (Union[str, Path]): The file.
        RETURNS (ScriptTokenizer): The modified tokenizer.
        """
        return self.from_bytes(ensure_path(path).read_bytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.vocab, self.to_bytes())

    def _configure(self, settings: dict[str, Any]) -> None:
        """Check settings and put them in force."""
        check_level(settings["norm"])
        languages = script_languages(settings["lang"], settings["languages"])
        self._segmenter = get_segmenter(settings["han"])
        self._rules = ScriptRules(languages, settings["special_cases"])
        self._settings = settings
        self._flush()
        self._install_norms()

    def _flush(self) -> None:
        """Forget all chunks."""
        self._units = _Units(self)

    def _install_norms(self) -> None:
        """Have the vocabulary normalise norms: once a word type, not once a token."""
        getters, level = self.vocab.lex_attr_getters, self._settings["norm"]
        current = getters.get(NORM, LEX_ATTRS[NORM])
        base = current.base if isinstance(current, NormGetter) else current
        if level != (current.level if isinstance(current, NormGetter) else "none"):
            getters[NORM] = base if level == "none" else NormGetter(base, level)
            for lexeme in self.vocab:
                lexeme.norm_ = getters[NORM](lexeme.text)

    def _split(self, text: str) -> tuple[list[int | str], list[bool], dict[int, str]]:
        """Words, whether a space follows each, and the norms that exceptions give, by position."""
        self._units.turn_over()
        words: list[int | str] = []
        spaces: list[bool] = []
        norms: dict[int, str] = {}
        units = self._units
        lead, chunks, gaps = _chunks(text)
        if lead:
            words.append(lead)
            spaces.append(False)
        for chunk, gap in zip(chunks, gaps):
            orths = units[chunk]
            if type(orths) is _NormedIds:
                norms.update({len(words) + i: norm for i, norm in orths.norms.items()})
            words += orths
            spaces += [False] * len(orths)
            if gap[:1] == " ":
                spaces[-1] = True
                gap = gap[1:]
            if gap:
                words.append(gap)
                spaces.append(False)
        return words, spaces, norms

    def _tokens(self, chunk: str) -> tuple[tuple[int, ...], dict[int, str]]:
        """Ids of the tokens of a chunk without blanks, and the norms that exceptions give."""
        if not CJK_CHAR.search(chunk):
            tokens, norms = self._rules(chunk)
            return self._ids(tokens), norms
        units = cjk_units(chunk)
        if len(units) == 1:
            return self._ids(units), {}
        return self._join(units) if self._segmenter is None else self._segment(chunk)

    def _ids(self, tokens: Iterable[str]) -> tuple[int, ...]:
        return tuple(map(self.vocab.strings.add, tokens))

    def _join(self, units: list[str]) -> tuple[tuple[int, ...], dict[int, str]]:
        """Ids and norms of units, one after the other."""
        parts = list(map(self._units.__getitem__, units))
        norms: dict[int, str] = {}
        if _NormedIds in set(map(type, parts)):
            start = 0
            for part in parts:
                if type(part) is _NormedIds:
                    norms.update({start + i: norm for i, norm in part.norms.items()})
                start += len(part)
        return tuple(chain.from_iterable(parts)), norms

    def _segment(self, chunk: str) -> tuple[tuple[int, ...], dict[int, str]]:
        """Ids and norms of a chunk whose ideographs a segmenter cuts into words."""
        orths: tuple[int, ...] = ()
        norms: dict[int, str] = {}
        for part, is_han in han_runs(chunk):
            if is_han:
                words = [word for word in self._segmenter(part) if word]
                if "".join(words) != part:
                    raise ValueError(Errors.S106.format(name=self._settings["han"], text=part, joined="".join(words)))
                part_orths, part_norms = self._ids(attach_marks(words, {})[0]), {}
            else:
                part_orths, part_norms = self._join(cjk_units(part))
            norms.update({len(orths) + i: norm for i, norm in part_norms.items()})
            orths += part_orths
        return orths, norms


class _NormedIds(tuple):
    """Ids of the tokens of a chunk to which exceptions give norms: these are forgotten with the ids."""

    norms: dict[int, str]


class _Units(dict):
    """Ids of the tokens of each chunk, worked out when it is first met."""

    def __init__(self, tokenizer: ScriptTokenizer, known: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.old = known or {}

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        orths = self.old.get(chunk)
        if orths is None:
            orths, norms = self.tokenizer._tokens(chunk)
            if norms:
                orths = _NormedIds(orths)
                orths.norms = norms
        if len(chunk) <= MAX_CACHED_CJK or (len(chunk) <= MAX_RUN and not CJK_CHAR.search(chunk)):
            self[chunk] = orths
        return orths

    def turn_over(self) -> None:
        """Forget what was not met in the last two fillings of the cache."""
        if len(self) > MAX_CACHED:
            self.old = dict(self)
            self.clear()


def _chunks(text: str) -> tuple[str, list[str], list[str]]:
    """Leading blanks, chunks without blanks, and the blanks after each."""
    chunks = text.split()
    # In most texts single spaces are all the blanks there are.
    if chunks and " ".join(chunks) == text:
        return "", chunks, [" "] * (len(chunks) - 1) + [""]
    gaps = _BLANKS.findall(text)
    lead = gaps.pop(0) if text[:1].isspace() else ""
    return lead, chunks, gaps + [""] * (len(chunks) - len(gaps))


def _unpickle(vocab: Vocab, data: bytes) -> ScriptTokenizer:
    return ScriptTokenizer(vocab, norm="none").from_bytes(data)
