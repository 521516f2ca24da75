"""Settings of a long job: a TOML file and dotted overrides, read into frozen dataclasses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import Errors

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def load_settings(kind: type[T], path: Path, overrides: Sequence[str] = (), *, others: Sequence[str] = ()) -> T:
    """Read a TOML file into a dataclass of sections.

    kind (type): The dataclass; its fields are keys, or dataclasses for sections.
    path (Path): The file.
    overrides (Sequence[str]): Words of a command line: `--section.key value` pairs. `-` may stand for the `_` of a
        field, but not of a name in a free table (`dict[str, ...]`).
    others (Sequence[str]): Top-level keys that belong to another command and are left alone.
    RETURNS (T): The settings.
    RAISES (ValueError): S730 for no TOML, S731 for an unknown key, S732 for a value that does not fit.
    """
    found = read_settings(path, overrides, kind)
    return build({key: value for key, value in found.items() if key not in others}, kind)


def read_settings(path: Path, overrides: Sequence[str] = (), kind: Any = None) -> dict[str, Any]:
    """Read a TOML file, and replace what is overridden.

    path (Path): The file.
    overrides (Sequence[str]): `--section.key value` pairs.
    kind (Any): The dataclass whose fields may be overridden with `-` for `_`; None takes all names as they are.
    RETURNS (dict[str, Any]): Sections and keys as they stand.
    RAISES (ValueError): S730 for no TOML, S731 and S732 for words that are no override.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ValueError(Errors.S730.format(path=path, reason=err)) from None
    for key, value in parse_overrides(overrides).items():
        section, _, name = _field_names(key, kind).rpartition(".")
        _section(found, section)[name] = value
    return found


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Values of `--section.key value` or `--section.key=value`, as TOML reads them; else as strings.

    words (Sequence[str]): Words of a command line.
    RETURNS (dict[str, Any]): Values by dotted key.
    RAISES (ValueError): S731 for a word that is no override, S732 for one without a value.
    """
    overrides, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise ValueError(Errors.S731.format(key=word, known="--section.key value"))
        key, is_whole, text = word[2:].partition("=")
        if not is_whole and not rest:
            raise ValueError(Errors.S732.format(key=key, value="(nothing)", expected="followed by its value"))
        overrides[key] = _value(text if is_whole else rest.pop(0))
    return overrides


def build(found: Any, kind: Any, key: str = "") -> Any:
    """Check a value from TOML against a type, and make dataclasses of tables.

    found (Any): The value.
    kind (Any): A dataclass, `list[...]`, `tuple[...]`, `dict[str, ...]`, `Literal[...]` or a plain type.
    key (str): Dotted key, for messages.
    RETURNS (Any): The value in the type.
    RAISES (ValueError): S731 for an unknown key, S732 for a value that does not fit.
    """
    if is_dataclass(kind):
        return _build_dataclass(found, kind, key)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        require(found in arguments, key, found, "one of " + ", ".join(map(repr, arguments)))
        return found
    if origin is dict:
        require(isinstance(found, dict), key, found, "a table")
        return {name: build(value, arguments[1], f"{key}.{name}") for name, value in found.items()}
    if origin in (list, tuple):
        require(isinstance(found, list), key, found, "a list")
        require(origin is list or len(found) == len(arguments), key, found, f"a list of {len(arguments)}")
        return origin(build(value, arguments[0], f"{key}.{i}") for i, value in enumerate(found))
    fits = isinstance(found, (int, float) if kind is float else kind) and (kind is bool or not isinstance(found, bool))
    require(fits, key, found, f"of the type {kind.__name__}")
    return kind(found)


def require(fits: bool, key: str, value: Any, expected: str) -> None:
    """Refuse a setting that does not fit.

    fits (bool): Whether it does.
    key (str): Dotted key.
    value (Any): What was given.
    expected (str): What it has to be.
    RAISES (ValueError): S732.
    """
    if not fits:
        raise ValueError(Errors.S732.format(key=key, value=repr(value), expected=expected))


def _build_dataclass(found: Any, kind: Any, key: str) -> Any:
    prefix = f"{key}." if key else ""
    require(isinstance(found, dict), key, found, "a table")
    hints = get_type_hints(kind)
    for name in found:
        if name not in hints:
            raise ValueError(Errors.S731.format(key=prefix + name, known=", ".join(hints)))
    for field in fields(kind):
        is_needed = field.default is MISSING and field.default_factory is MISSING
        require(not is_needed or field.name in found, prefix + field.name, "(nothing)", "given")
    return kind(**{name: build(value, hints[name], prefix + name) for name, value in found.items()})


def _field_names(key: str, kind: Any) -> str:
    """A dotted key in which fields are called as they are in the dataclass."""
    names = []
    for name in key.split("."):
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        field = name.replace("-", "_")
        names.append(field if field in hints else name)
        kind = get_args(kind)[1] if get_origin(kind) is dict else hints.get(names[-1])
    return ".".join(names)


def _section(found: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split(".") if path else ():
        found = found.setdefault(name, {})
        require(isinstance(found, dict), path, found, "a section")
    return found


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
