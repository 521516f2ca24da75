"""Writing systems: cutting a chunk of text without blanks where its script changes, and naming its script.

Everything here is a pure function of the string, runs in linear time, and loses no character:
`"".join(parts) == chunk`. Scripts are ISO 15924 codes; "Zyyy" is what all scripts share (digits, punctuation,
symbols), "Zzzz" any script without an entry in `SCRIPT_LANGUAGES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import regex

# The language whose rules and whose name a script gets, unless the pipeline's own language is written in it.
SCRIPT_LANGUAGES = {
    "Latn": "en",
    "Arab": "ar",
    "Cyrl": "ru",
    "Grek": "el",
    "Hebr": "he",
    "Deva": "hi",
    "Beng": "bn",
    "Gujr": "gu",
    "Taml": "ta",
    "Telu": "te",
    "Knda": "kn",
    "Mlym": "ml",
    "Sinh": "si",
    "Ethi": "am",
    "Armn": "hy",
    "Thai": "th",
    "Hang": "ko",
    "Zzzz": "xx",
}
# Cut by character or by a word segmenter, never by rules.
HAN_LANGUAGES = {"Hani": "zh", "Hira": "ja", "Kana": "ja", "Bopo": "zh"}
# Longest run, in characters, that is given to rules; theirs is quadratic time.
MAX_RUN = 128
MAX_URL = 2083

# Ideographs, kana, bopomofo and the punctuation and symbols set as wide as they are. Full-width letters and
# digits make words and numbers, so they are not here; nor are combining marks, which never stand alone.
CJK = (
    "\u02ea\u02eb\u2e80-\u2fff\u3001-\u3029\u3030-\u3098\u309b-\u312f\u3190-\u31ff\u3220-\u325f\u3280-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9d\uffe0-\uffe6"
    "\U00016fe2\U00016fe3\U00016ff2-\U00016ff6\U0001aff0-\U0001b16f\U0001f200-\U0001f2ff\U00020000-\U0003fffd"
)
_HAN = r"\p{sc=Hani}"
# What stays with the character before it. The half-width voicing marks of kana are letters to Unicode.
_EXTEND = r"\p{M}\u200c\u200d\uff9e\uff9f"
# Between an ideograph and a word these join nothing, and spaCy's rules would leave them on the word.
_JOINER = r"\-\u2010-\u2015/\\=|"
_WORD = rf"[^{CJK}{_JOINER}](?:[^{CJK}]*[^{CJK}{_JOINER}])?"
_NUMBER = r"[\uff10-\uff19]+(?:[\uff0e\uff1a][\uff10-\uff19]+|\uff0c[\uff10-\uff19]{3}(?![\uff10-\uff19]))+"

CJK_CHAR = re.compile(f"[{CJK}]")
_UNIT = re.compile(rf"{_NUMBER}|[{CJK}]|{_WORD}|[{_JOINER}]+")
# A mark on an ideograph (variation selector, voicing) is rare, and the class of all marks is slow: look first.
_MARKED = re.compile(rf"[{CJK}{_JOINER}\uff10-\uff19][^\w\s\x00-\u02ff\u2010-\u2015\u2018-\u2027{CJK}]|[\uff9e\uff9f]")
_MARKED_UNIT = regex.compile(rf"{_NUMBER}[{_EXTEND}]*|[{CJK}][{_EXTEND}]*|{_WORD}|[{_JOINER}]+[{_EXTEND}]*")
_HAN_RUN = regex.compile(rf"(?P<han>[{_HAN}](?:[{_HAN}{_EXTEND}])*)|(?P<other>[^{_HAN}]+)")

_EMOJI = (
    r"\p{RI}{2}|\p{Extended_Pictographic}[\p{M}\p{EMod}\U000e0020-\U000e007f]*"
    r"(?:\u200d\p{Extended_Pictographic}[\p{M}\p{EMod}]*)*"
)
_CONTROL = r"[\p{Bidi_Control}\u200b\u2060\ufeff]+"
_URL = r"(?i:(?:[a-z][a-z0-9+.\-]{1,15}://|www\.))\S+"
_LONG_PART = regex.compile(
    rf"[\p{{L}}\p{{N}}_][\p{{L}}\p{{N}}_{_EXTEND}]{{0,{MAX_RUN - 1}}}[{_EXTEND}]*|{_EMOJI}|{_CONTROL}|.[{_EXTEND}]*"
)
_SPECIAL = regex.compile(rf"(?P<token>{_EMOJI}|{_CONTROL})|(?P<url>{_URL})")
_URL_START = regex.compile(_URL)
_URL_TAIL = ".,;:!?)]}'\"»”’،؛؟"


def _letters(script: str) -> str:
    """Pattern of a run of letters of one script. Arabic takes its digits and punctuation along."""
    if script == "Zzzz":
        listed = "".join(rf"\p{{sc={known}}}" for known in SCRIPT_LANGUAGES if known != script)
        chars = rf"(?![\p{{sc=Zyyy}}{listed}])\p{{L}}"
    else:
        chars = rf"\p{{scx={script}}}" if script == "Arab" else rf"\p{{sc={script}}}"
    return rf"(?P<{script}>{chars}(?:{chars}|[{_EXTEND}])*)"


LETTERS = regex.compile("|".join(_letters(script) for script in SCRIPT_LANGUAGES))
_SCRIPT = regex.compile("|".join(rf"(?P<{s}>\p{{sc={s}}})" for s in HAN_LANGUAGES) + "|" + LETTERS.pattern)
_EXTENDS = regex.compile(f"[{_EXTEND}]+")
_GAP_LEFT = regex.compile(r"(?:[.,\-]?\p{Nd}+)*[%+°]*")
_GAP_RIGHT = regex.compile(r"[@#$€£]\Z")


def cjk_units(chunk: str) -> list[str]:
    """Cut a chunk with ideographs or kana into single ones and the runs between them.

    chunk (str): Text without blanks.
    RETURNS (List[str]): The parts; they join to the chunk.
    """
    return (_MARKED_UNIT if _MARKED.search(chunk) else _UNIT).findall(chunk)


def han_runs(chunk: str) -> Iterator[tuple[str, bool]]:
    """Cut a chunk into maximal runs of ideographs, for a word segmenter, and what lies between.

    chunk (str): Text without blanks.
    YIELDS (Tuple[str, bool]): A part, and whether it is of ideographs.
    """
    for match in _HAN_RUN.finditer(chunk):
        yield match.group(), match.lastgroup == "han"


def script_runs(chunk: str) -> Iterator[tuple[str, str | None]]:
    """Cut a chunk without ideographs where its script changes, around emoji and direction marks, before URLs.

    chunk (str): Text without blanks.
    YIELDS (Tuple[str, Optional[str]]): A part and its script, or `None` where the part is one token.
    """
    if len(chunk) > MAX_RUN:
        yield from _long_runs(chunk)
        return
    end = 0
    for match in _SPECIAL.finditer(chunk):
        if end < match.start():
            yield from _same_script_runs(chunk[end : match.start()])
        yield match.group(), "Latn" if match.lastgroup == "url" else None
        end = match.end()
    if end < len(chunk):
        yield from _same_script_runs(chunk[end:])


def attach_marks(tokens: list[str], norms: dict[int, str]) -> tuple[list[str], dict[int, str]]:
    """Put marks and joiners at the start of a token back on the token before.

    tokens (List[str]): Tokens of one chunk.
    norms (Dict[int, str]): Norms of some of them, by position; a token that changes loses its norm.
    RETURNS (Tuple[List[str], Dict[int, str]]): The tokens and norms.
    """
    if not any(_EXTENDS.match(token) for token in tokens[1:]):
        return tokens, norms
    attached: list[str] = []
    kept: dict[int, str] = {}
    for i, token in enumerate(tokens):
        match = _EXTENDS.match(token) if i else None
        if match is not None:
            attached[-1] += match.group()
            kept.pop(len(attached) - 1, None)
            token = token[match.end() :]
        elif i in norms:
            kept[len(attached)] = norms[i]
        if token:
            attached.append(token)
    return attached, kept


@lru_cache(maxsize=65536)
def script_of(text: str) -> str:
    """Script of a word: that of its first letter.

    text (str): The word.
    RETURNS (str): ISO 15924 code, "Zyyy" for digits, punctuation and symbols, "Zzzz" for scripts not listed.
    """
    match = _SCRIPT.search(text)
    return match.lastgroup if match is not None and match.lastgroup else "Zyyy"


def _long_runs(chunk: str) -> Iterator[tuple[str, str | None]]:
    """Cut an overlong chunk at all its punctuation and without rules; keep a URL whole."""
    if len(chunk) <= MAX_URL and _URL_START.match(chunk):
        url = chunk.rstrip(_URL_TAIL)
        yield url, None
        yield from ((char, None) for char in chunk[len(url) :])
        return
    for match in _LONG_PART.finditer(chunk):
        part = match.group()
        if part[0].isalnum() and len(part) > 1:
            yield from ((piece, None) for piece, _ in _same_script_runs(part))
        else:
            yield part, None


def _same_script_runs(run: str) -> Iterator[tuple[str, str]]:
    """Cut a run where its script changes; what lies between two scripts goes left, right, or stands alone."""
    start, end, current = 0, 0, ""
    for match in LETTERS.finditer(run):
        script = match.lastgroup or "Zzzz"
        # Greek letters are symbols inside Latin words (NF-κB, β-catenin).
        if current and script != current and {script, current} != {"Latn", "Grek"}:
            left, right = _gap(run, end, match.start(), script)
            yield run[start:left], current
            if left < right:
                yield run[left:right], "Zyyy"
            start, current = right, script
        current = current or script
        end = match.end()
    yield run[start:], current or "Zyyy"


def _gap(run: str, start: int, end: int, following: str) -> tuple[int, int]:
    """Where the left word ends and the right word starts, for the neutral characters between two scripts."""
    if following == "Latn" and run[start:end].isdecimal():
        return start, start
    match = _GAP_LEFT.match(run, start, end)
    left = match.end() if match is not None else start
    right = end - 1 if left < end and _GAP_RIGHT.search(run, left, end) else end
    return left, right
