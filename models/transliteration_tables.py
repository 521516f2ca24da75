"""Tables of transliteration: rules in the files of `models/tables`, and the transforms of ICU.

A file says what it is (language, script, target, licence), and lists rules: what is read, what is written and, if need
be, what has to stand before and after it. Rules see the source alone, never each other's output; the longest wins.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ..errors import Errors
from ..normalization import normalize_with_map

FOLDER = Path(__file__).parent / "tables"
ICU_PREFIX = "icu:"
KEYS = {"language": str, "script": str, "target": str, "licence": str, "reversible": bool, "level": str}
# What can be said of the neighbours of a rule, beside the classes of a table.
_WORD = r"[^\W\d_]|[\u0300-\u036f\u064b-\u065f\u0670\u200c\u200d]"


class Table(Protocol):
    """How words of a script are written in another."""

    name: str
    script: str | None
    is_reversible: bool
    fingerprint: str

    def convert(self, run: str) -> tuple[tuple[int, str], ...]:
        """Write a run of letters: how many characters were taken and what became of them, part by part."""

    def restore(self, text: str) -> str:
        """Write it in its own script again."""


@lru_cache(maxsize=32)
def load_table(name: str) -> Table:
    """Find a table.

    name (str): Name of a file of `models/tables`, or "icu:" and an ICU transform.
    RETURNS (Table): The table.
    RAISES (ValueError): S641 when there is none, S645 when its file is broken.
    RAISES (ImportError): S644 when ICU is asked for and not installed.
    """
    if name.startswith(ICU_PREFIX):
        from .icu_table import IcuTable

        return IcuTable(name, name.removeprefix(ICU_PREFIX))
    path = FOLDER / f"{name}.json"
    if name not in table_names():
        raise ValueError(Errors.S641.format(name=name, known=", ".join(table_names())))
    return RuleTable(name, json.loads(path.read_text(encoding="utf-8")))


def table_names() -> list[str]:
    """RETURNS (list[str]): Names of the tables that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


class RuleTable:
    """A table of rules.

    name (str): Its name, for messages.
    content (dict[str, Any]): "language", "script", "target", "licence", "reversible", "level" (of `normalization`, what
        is done before the rules are looked up), "classes" (letters by name) and "rules", lists of what is read and
        written, and of what stands before and after: the name of a class, "word" for any letter, "edge" for none, or ""
        for all the same. "examples" are pairs that hold.
    RAISES (ValueError): S645 when it is broken: a rule comes twice, names an unknown class, or cannot be undone in a
        table that says it is reversible.
    """

    def __init__(self, name: str, content: dict[str, Any]) -> None:
        self.name = name
        for key, kind in KEYS.items():
            if not isinstance(content.get(key), kind):
                self._refuse(f"no {kind.__name__} under {key!r}")
        self.script = content["script"]
        self.language, self.target = content["language"], content["target"]
        self.is_reversible = content["reversible"]
        self.examples: list[tuple[str, str]] = [tuple(pair) for pair in content.get("examples", ())]
        self._level = content["level"]
        rules = [(*rule, "", "")[:4] for rule in content["rules"]]
        if len({(read, before, after) for read, _, before, after in rules}) < len(rules):
            twice = next(r for i, r in enumerate(rules) if any((q[0], *q[2:]) == (r[0], *r[2:]) for q in rules[:i]))
            self._refuse(f"{twice[0]!r} is read by two rules")
        # Of rules that read as much, the one with more to say of its neighbours is tried first.
        rules.sort(key=lambda rule: (-len(rule[0]), -(bool(rule[2]) + bool(rule[3]))))
        classes = content.get("classes", {})
        self._written = [written for _, written, _, _ in rules]
        self._pattern = re.compile("|".join(f"({self._rule(rule, classes)})" for rule in rules))
        self.fingerprint = hashlib.sha256(json.dumps([name, self._level, rules, classes]).encode()).hexdigest()[:16]
        self._back = {written: read for read, written, _, _ in rules}
        if self.is_reversible and (len(self._back) < len(rules) or any(len(rule[1]) != 1 for rule in rules)):
            self._refuse("it is reversible, so each rule has to write one character of its own")

    def convert(self, run: str) -> tuple[tuple[int, str], ...]:
        """Write a run of letters by the rules; characters of no rule stay.

        run (str): The letters, with their marks.
        RETURNS (tuple): How many characters were taken, and what became of them, part by part.
        """
        text, origins = normalize_with_map(run, self._level)
        parts: list[tuple[int, str]] = []
        place = taken = 0
        written = ""
        while place < len(text):
            match = self._pattern.match(text, place)
            place, given = (match.end(), self._written[match.lastindex - 1]) if match else (place + 1, text[place])
            written += given
            # Up to where the next part begins: what normalisation dropped goes with the letter before.
            end = origins[place] if place < len(text) else len(run)
            # Letters that came of one, such as those of a ligature, are one part.
            if end > taken:
                parts.append((end - taken, written))
                taken, written = end, ""
        return tuple(_joined(parts)) if parts else ((len(run), ""),)

    def restore(self, text: str) -> str:
        """Write a text in its own script again; characters of no rule stay.

        text (str): What `convert` wrote.
        RETURNS (str): The text.
        """
        return "".join([self._back.get(char, char) for char in text])

    def _rule(self, rule: tuple[str, str, str, str], classes: dict[str, str]) -> str:
        read, _, before, after = rule
        return (
            self._neighbour(before, classes, "?<=", "?<!")
            + re.escape(read)
            + self._neighbour(after, classes, "?=", "?!")
        )

    def _neighbour(self, wanted: str, classes: dict[str, str], is_there: str, is_not: str) -> str:
        if not wanted:
            return ""
        if wanted in ("word", "edge"):
            return f"({is_there if wanted == 'word' else is_not}{_WORD})"
        if wanted not in classes:
            self._refuse(f"it has no class {wanted!r}")
        return f"({is_there}[{re.escape(classes[wanted])}])"

    def _refuse(self, reason: str) -> None:
        raise ValueError(Errors.S645.format(name=self.name, reason=reason))


def _joined(parts: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """What became nothing goes with the letter before it, or at the start with the one after."""
    joined: list[tuple[int, str]] = []
    ahead = 0
    for taken, given in parts:
        if given:
            joined.append((ahead + taken, given))
            ahead = 0
        elif joined:
            joined[-1] = (joined[-1][0] + taken, joined[-1][1])
        else:
            ahead += taken
    return joined or [(ahead, "")]
