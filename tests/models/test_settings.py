"""Settings out of TOML and dotted overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from samarkand.models.settings import load_settings, parse_overrides, require


@dataclass(frozen=True)
class Part:
    rate: float = 0.5
    on: bool = False
    kind: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    by_name: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part = field(default_factory=Part)
    parts: list[Part] = field(default_factory=list)
    sub_parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.name != "bad", "name", self.name, "good")


@pytest.fixture
def read(tmp_path):
    def load(text, *overrides, others=()):
        path = tmp_path / "a.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(Whole, path, overrides, others=others)

    return load


def test_sections_lists_and_overrides(read):
    text = 'name = "x"\n[part]\nrate = 1\npair = [0.1, 2]\nby_name = {a = 2}\n[[parts]]\nkind = "b"\n[else]\ny = 1'
    found = read(text, "--part.on", "true", "--part.kind=b", "--name", "two words", others=["else"])
    assert found == Whole("two words", Part(1.0, True, "b", (0.1, 2.0), {"a": 2.0}), [Part(kind="b")])
    assert parse_overrides(["--a.b-c", "[1, 2]"]) == {"a.b-c": [1, 2]}


def test_hyphens_stand_for_underscores_in_names_of_fields_alone(read):
    text = 'name = "x"\n[part.by_name]\na-b = 1\na_b = 2\n[else]\nc-d = 1'
    words = ["--part.by-name.a-b", "3", "--sub-parts.c-d.by-name.e-f=4", "--else.c-d", "5"]
    found = read(text, *words, others=["else"])
    assert found.part.by_name == {"a-b": 3.0, "a_b": 2.0}
    assert found.sub_parts == {"c-d": Part(by_name={"e-f": 4.0})}


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("name = ", [], "S730"),
        ("other = 1", [], "S731.*'other'.*name, part"),
        ('name = "x"\n[part]\nother = 1', [], "S731.*'part.other'"),
        ('name = "x"', ["part.rate", "1"], "S731"),
        ('name = "x"', ["--part.rate"], "S732.*part.rate"),
        ('name = "x"', ["--name.x", "1"], "S732.*a section"),
        ("", [], "S732.*name"),
        ("name = 1", [], "S732.*str"),
        ('name = "bad"', [], "S732.*good"),
        ('name = "x"\npart = 1', [], "S732.*a table"),
        ('name = "x"\nparts = 1', [], "S732.*a list"),
        ('name = "x"\n[part]\nrate = true', [], "S732.*part.rate"),
        ('name = "x"\n[part]\nkind = "c"', [], "S732.*'a', 'b'"),
        ('name = "x"\n[part]\npair = [1]', [], "S732.*list of 2"),
        ('name = "x"\n[part]\nby_name = {a = "b"}', [], "S732.*part.by_name.a"),
    ],
)
def test_what_does_not_fit(read, text, words, code):
    with pytest.raises(ValueError, match=code):
        read(text, *words)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="S730"):
        load_settings(Whole, tmp_path / "none.toml")
