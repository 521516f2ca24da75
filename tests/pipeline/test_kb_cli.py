"""The commands `samarkand kb ...`: what they print, and their exit statuses."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import samarkand
from samarkand.pipeline.cli import app
from typer.testing import CliRunner

runner = CliRunner()
LINES = [
    {"id": "L1", "type": "LOC", "names": {"en": "Cairo", "ar": "القاهرة", "zh": "开罗"}, "weight": 3},
    {"id": "L22", "names": {"en": "Cairo", "fr": "Le Caire"}},
    {"id": "P1", "aliases": {"en": ["Ada"]}},
]


def run(*arguments: object, status: int = 0) -> str:
    result = runner.invoke(app, ["kb", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.stderr if status in (1, 2) else result.stdout


@pytest.fixture
def lines(tmp_path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES), encoding="utf-8")
    return path


@pytest.fixture
def kb(lines, tmp_path) -> Path:
    run("build", lines, "-o", tmp_path / "a.kb")
    return tmp_path / "a.kb"


def test_build_says_what_is_in_it(lines, tmp_path):
    shown = run("build", lines, "-o", tmp_path / "a.kb")
    assert [line.split()[:2] for line in shown.splitlines()[1:4]] == [
        ["entities", "3"],
        ["aliases", "6"],
        ["languages", "4:"],
    ]
    assert run("info", tmp_path / "a.kb").splitlines() == shown.splitlines()[1:]
    summary = json.loads(run("build", lines, "-o", tmp_path / "a.kb", "--force", "--json"))
    assert (summary["entities"], summary["rejected"]) == (3, 0)
    info = json.loads(run("info", tmp_path / "a.kb", "--json"))
    assert info["checksum"] == summary["checksum"]
    with closing(sqlite3.connect(tmp_path / "a.kb")) as db:
        assert (info["format"],) == db.execute("PRAGMA user_version").fetchone()
    assert f"  format           {info['format']}" in shown.splitlines()


def test_bad_lines_have_an_exit_status(lines, tmp_path):
    lines.write_text(lines.read_text(encoding="utf-8") + "nothing\n", encoding="utf-8")
    shown = run("build", lines, "-o", tmp_path / "a.kb", status=3)
    assert shown.splitlines()[-1] == f"1 lines in {tmp_path / 'a.kb.rejected.jsonl'}: S911 1"
    error = run("build", lines, "-o", tmp_path / "b.kb", "--strict", status=1)
    assert error.startswith(f"error: [S910] {lines}, line 4: ")
    assert run("build", lines, "-o", tmp_path / "a.kb", status=2).startswith("error: [S905]")
    assert not (tmp_path / "b.kb").exists()


def test_formats_and_languages(tmp_path):
    (tmp_path / "a.txt").write_text("id,name\nL1,القاهرة\n", encoding="utf-8")
    run("build", tmp_path / "a.txt", "-o", tmp_path / "a.kb", "--format", "csv", "--lang", "ar")
    assert json.loads(run("info", tmp_path / "a.kb", "--json"))["languages"] == ["ar"]


def test_lookup_shows_candidates(kb):
    table = [line.split(maxsplit=4) for line in run("lookup", kb, "cairo").splitlines()]
    assert table == [
        ["id", "prior", "similar", "match", "name"],
        ["L1", "0.750", "1.00", "exact", "Cairo"],
        ["L22", "0.250", "1.00", "exact", "Cairo"],
    ]
    assert run("lookup", kb, "cairo", "--lang", "fr", "-k", "1").splitlines()[1].endswith("Cairo")
    (row,) = map(json.loads, run("lookup", kb, "开罗", "--lang", "zh", "--json", "-k", "1").splitlines())
    assert (row["id"], row["name"], row["match"]) == ("L1", "开罗", "exact")
    assert run("lookup", kb, "Ada").splitlines()[1].split()[-1] == "Ada"
    assert run("lookup", kb, "Zanzibar") == "Nothing is called 'Zanzibar'.\n"


def test_put_and_remove(kb, lines, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"id": "L3", "names": {"en": "Nile"}}\n', encoding="utf-8")
    assert run("put", kb, more) == f"1 added, 0 changed; 4 in {kb}\n"
    assert run("put", kb, lines) == f"0 added, 3 changed; 4 in {kb}\n"
    assert run("remove", kb, "L3", "L1", "X9") == f"2 removed, 1 were not there; 2 in {kb}\n"


def test_export_and_check(kb, tmp_path):
    assert run("export", kb, "-o", tmp_path / "all.jsonl.gz") == f"3 entities in {tmp_path / 'all.jsonl.gz'}\n"
    run("build", tmp_path / "all.jsonl.gz", "-o", tmp_path / "b.kb")
    assert run("check", kb).split(": ")[1] == run("check", tmp_path / "b.kb").split(": ")[1]


@pytest.mark.parametrize("command", [["info"], ["lookup", "x"], ["put", "x"], ["remove", "x"], ["check"]])
def test_what_is_no_knowledge_base_is_told(tmp_path, command):
    (tmp_path / "a.kb").write_text("something else", encoding="utf-8")
    name, *rest = command
    assert run(name, tmp_path / "a.kb", *rest, status=1).startswith("error: [S900]")


def test_the_guide_shows_what_happens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    guide = (Path(samarkand.__file__).parent / "docs" / "linking.md").read_text(encoding="utf-8")
    shell, shown, code = (
        re.search(rf"```{kind}\n(.*?)```", guide, re.DOTALL).group(1) for kind in ("sh", "text", "python")
    )
    entities, commands = shell.split("<<'END'\n")[1].split("END\n")
    Path("cities.jsonl").write_text(entities, encoding="utf-8")
    printed = [run(*shlex.split(command)[2:]) for command in commands.splitlines()]
    assert printed[1] == shown
    assert "clitic" in printed[2]
    exec(compile(code, "linking.md", "exec"), {})
    assert capsys.readouterr().out == "Q90 1.0 (('country', 'Q142'),)\n"
