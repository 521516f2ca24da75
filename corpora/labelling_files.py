"""Files of rules for labelling functions: a label and a rule a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Errors
from .files import numbered_lines, stem_suffix
from .sentence_files import json_rows

__all__ = ["Place", "read_rules"]


@dataclass(frozen=True)
class Place:
    """Where a rule is from.

    path (Path): The file.
    line (int): The line, from 1.
    key (str): What the rule is called.
    """

    path: Path
    line: int
    key: str

    def refuse(self, reason: str) -> str:
        """A message on the rule.

        reason (str): What is wrong with it.
        RETURNS (str): S1100.
        """
        expected = f"a label and a {self.key}: .tsv with a tab, .jsonl with these keys, or .txt without the label"
        return Errors.S1100.format(path=self.path, line=self.line, reason=reason, expected=expected)


def read_rules(
    path: Path, key: str, label: str | None = None, *, or_list: bool = False
) -> Iterator[tuple[Place, str, Any]]:
    """The rules of a file; blank lines of TSV and TXT are passed over.

    path (Path): TSV, JSONL or TXT by its ending, plain or compressed.
    key (str): What the rule is called in JSONL.
    label (Optional[str]): Label of the rules that have none of their own.
    or_list (bool): Whether a rule of JSONL may be a list of objects.
    YIELDS (tuple[Place, str, Any]): Where the rule is from, its label, and the rule.
    RAISES (OSError): S841 when there is no such file.
    RAISES (ValueError): S1100 for a line that is no rule or when there is none, S842, S207 and S208 as `json_rows`.
    """
    if not path.is_file():
        raise FileNotFoundError(Errors.S841.format(path=path))
    place = Place(path, 1, key)
    empty = True
    for number, name, rule in _jsonl(path, key) if stem_suffix(path) in ("jsonl", "ndjson") else _lines(path):
        place = Place(path, number, key)
        name = label if name is None else name
        if not isinstance(name, str) or not name:
            raise ValueError(place.refuse("there is no label"))
        is_list = or_list and isinstance(rule, list) and rule and all(isinstance(item, dict) for item in rule)
        if not (isinstance(rule, str) and rule.strip()) and not is_list:
            raise ValueError(place.refuse(f"there is no {key}"))
        empty = False
        yield place, name, rule
    if empty:
        raise ValueError(place.refuse("the file has no rules"))


def _jsonl(path: Path, key: str) -> Iterator[tuple[int, Any, Any]]:
    for number, row in json_rows(path):
        yield number, row.get("label"), row.get(key)


def _lines(path: Path) -> Iterator[tuple[int, str | None, str]]:
    has_labels = stem_suffix(path) == "tsv"
    for number, line in numbered_lines(path):
        if line.strip():
            label, _, rule = line.partition("\t") if has_labels else (None, "", line)
            yield number, label, rule
