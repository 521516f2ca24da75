"""The command line: what it prints, and the exit status it gives."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest
import samarkand
from annotation_pipelines import files_in, make_nlp
from rich.console import Console
from samarkand.errors import Errors
from samarkand.pipeline import cli
from samarkand.pipeline.cli_tools import reported, terminable
from samarkand.pipeline.counts import Counts
from samarkand.pipeline.info import bundled_pipelines
from samarkand.pipeline.option_checks import TXT_UNITS
from samarkand.pipeline.parts import COMPRESSED
from samarkand.pipeline.progress import Progress
from samarkand.pipeline.writers import FORMATS
from typer import Exit
from typer.testing import CliRunner

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_nlp("test_picky").to_disk(folder)
    return str(folder)


def write(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def invoke(*arguments: object, stdin: str | None = None):
    if arguments[0] == "annotate":  # in this process, which has the components of the tests
        arguments = (*arguments, "--n-process", 0)
    return runner.invoke(cli.app, [str(argument) for argument in arguments], input=stdin)


def test_annotate(tmp_path, model):
    source = write(tmp_path / "in" / "a.txt", "Ada in Cairo\nnothing\n")
    result = invoke("annotate", source, "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.output
    assert "2 documents, 4 tokens, 2 entities" in result.stdout
    assert files_in(tmp_path / "out") == ["a.jsonl", "run.json"]


def test_every_option_reaches_the_run(tmp_path, model):
    source = write(tmp_path / "in" / "a.jsonl", '{"body": "Ada"}\n' * 3)
    options = ["--format", "conll", "--text-field", "body", "--txt-unit", "file", "--spans-key", "sc", "--limit", 2]
    options += ["--batch-size", 5, "--gpu-id", -1, "--force", "--json", "--timeout", 9]
    options += ["--shard-size", 50, "--memory-limit", "2GB", "--compression", "gz"]
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", model, *options)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["options"] == {
        "inputs": [source],
        "output": str(tmp_path / "out"),
        "output_format": "conll",
        "compression": "gz",
        "text_field": "body",
        "txt_unit": "file",
        "spans_key": "sc",
        "code": None,
        "n_process": 0,
        "batch_size": 5,
        "shard_size": 50,
        "gpu_id": -1,
        "limit": 2,
        "timeout": 9.0,
        "memory_limit": "2GB",
        "ray": None,
        "resume": False,
        "force": True,
    }
    assert summary["documents"] == 2
    assert gzip.decompress((tmp_path / "out" / "a.conll.gz").read_bytes()).count(b"# text") == 2
    assert result.stderr.startswith("warning: [SW502] 2 spans")


def test_standard_input(tmp_path, model):
    result = invoke("annotate", "-", "-o", tmp_path / "out", "-m", model, stdin="Ada\nCairo\n")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "stdin.jsonl").read_bytes().count(b"\n") == 2


def test_quarantined_records_have_a_status_of_their_own(tmp_path, model):
    source = write(tmp_path / "in" / "a.jsonl", '{"text": "Ada"}\nbroken\n{"text": "POISON"}\n')
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", model)
    assert result.exit_code == 3
    assert "2 records in" in result.stdout
    assert "S521 1, S528 1" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.txt"], "S501"),
        (["a.pdf"], "S502"),
        (["a.txt", "--batch-size", "0"], "S507"),
        (["a.csv", "--text-field", "body"], "S506"),
        (["a.txt", "--gpu-id", "99"], "S513"),
        (["a.txt", "--memory-limit", "much"], "S751"),
    ],
)
def test_refused_requests(tmp_path, monkeypatch, model, arguments, code):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pdf", "a.txt", "a.csv"):
        write(tmp_path / name, "n,text\n")
    result = invoke("annotate", *arguments, "-o", "out", "-m", model)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: [{code}]")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_existing_output_is_refused(tmp_path, model):
    source = write(tmp_path / "in" / "a.txt", "Ada\n")
    statuses = [invoke("annotate", source, "-o", tmp_path / "out", "-m", model, *force).exit_code for force in ([], [])]
    assert statuses == [0, 2]
    assert invoke("annotate", source, "-o", tmp_path / "out", "-m", model, "--force").exit_code == 0


def test_bad_option_is_a_usage_error(tmp_path):
    assert invoke("annotate", "a.txt", "-o", tmp_path, "--format", "xml").exit_code == 2
    assert invoke("annotate", "a.txt").exit_code == 2


def test_failure_is_one_line(tmp_path):
    source = write(tmp_path / "in" / "a.txt", "Ada\n")
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: [S508]")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("code", ["S644", "S746"])
def test_an_extra_that_is_missing_is_one_line(tmp_path, monkeypatch, code):
    def run(*args, **settings):
        raise ImportError(getattr(Errors, code))

    monkeypatch.setattr("samarkand.pipeline.annotate.annotate", run)
    result = invoke("annotate", write(tmp_path / "a.txt", "Ada\n"), "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert re.fullmatch(rf"error: \[{code}\] .*Install samarkand\[.*\n", result.stderr)


def test_a_broken_package_keeps_its_traceback(tmp_path, monkeypatch):
    def run(*args, **settings):
        raise ImportError("undefined symbol")

    monkeypatch.setattr("samarkand.pipeline.annotate.annotate", run)
    result = invoke("annotate", write(tmp_path / "a.txt", "Ada\n"), "-o", tmp_path / "out")
    assert isinstance(result.exception, ImportError)


def test_interrupt(tmp_path, model):
    source = write(tmp_path / "in" / "a.txt", "Ada\nSTOP\n")
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", model)
    assert result.exit_code == 130
    assert result.stderr == "interrupted: what is finished is kept, go on with --resume\n"
    write(tmp_path / "in" / "a.txt", "Ada\nCairo\n")
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", model, "--resume")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: [S541]")


def test_choices_are_those_of_the_function():
    assert [choice.value for choice in cli.OutputFormat] == list(FORMATS)
    assert [choice.value for choice in cli.Compression] == list(COMPRESSED)
    assert [choice.value for choice in cli.TxtUnit] == list(TXT_UNITS)


def test_version():
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"samarkand {samarkand.__version__}\n")


def test_info():
    facts = json.loads(invoke("info", "--json").stdout)
    assert facts["versions"]["samarkand"] == samarkand.__version__
    assert set(facts) == {"versions", "pipelines", "devices"}
    assert "cores" in facts["devices"]["cpu"]
    assert "spacy" in invoke("info").stdout


def test_bundled_pipelines(tmp_path):
    make_nlp().to_disk(tmp_path / "xx_rules")
    (tmp_path / "no_pipeline").mkdir()
    found = bundled_pipelines(tmp_path)
    assert list(found) == ["xx_rules"]
    assert "entity_ruler" in found["xx_rules"]


def test_help_does_not_wait_for_heavy_imports():
    check = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from samarkand.pipeline.cli import app\n"
        "result = CliRunner().invoke(app, ['annotate', '--help'])\n"
        "assert 'quarantine.jsonl' in result.output\n"
        "print(sorted({'spacy', 'torch', 'numpy', 'pyarrow', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_refused_does_not_wait_for_spacy():
    check = "import sys, samarkand.pipeline.annotate; print('spacy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_silent_where_nobody_looks(terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with Progress(show=True, console=console) as progress:
        progress.begin(4000, Counts(documents=200, tokens=1000))
        progress.tell("progress", counts=Counts(documents=1000, tokens=34_000, rejected=Counter(S521=2)))
        progress.tell("progress", counts=Counts(documents=3, tokens=9), undone=True)
    shown = stream.getvalue()
    if terminal:
        assert "1,197 documents" in shown
        assert "2 quarantined" in shown
        assert "left" in shown
    else:
        assert shown == ""


def test_no_time_is_left_to_tell_while_files_are_written():
    stream = io.StringIO()
    with Progress(show=True, console=Console(file=stream, force_terminal=True, width=120)) as progress:
        progress.begin(4, Counts())
        progress.tell("progress", counts=Counts(documents=4, tokens=9))
        progress.tell("merge", output="a.jsonl")
    assert "left" not in stream.getvalue().rpartition("writing")[2]


def test_pace_of_a_resumed_run_is_not_told(monkeypatch):
    """All its tokens were divided by the seconds of the last part."""
    counts = {"documents": 9, "tokens": 900, "entities": 0, "spans": 0, "quarantined": 0, "records": 9}
    for resumed, told in ((0, "450 tokens/s"), (4, "4 of 9 records were done before")):
        summary = {**counts, "resumed_records": resumed, "seconds": 2.0, "loading_seconds": 1.0, "files": []}
        monkeypatch.setattr("samarkand.pipeline.annotate.annotate", Mock(return_value=summary))
        assert f"in 2.0 s ({told}; loading took 1.0 s)" in invoke("annotate", "in", "-o", "out").output


def test_sigterm_ends_a_command_as_ctrl_c_does():
    """A run that its scheduler had ended left no word, and counted as a death that nobody saw."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Exit) as caught, reported(), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_log_that_cannot_be_written_does_not_end_the_run():
    """Whoever read it through a pipe had gone, and the run went too."""
    stream = io.StringIO()
    stream.flush = Mock(side_effect=BrokenPipeError)
    Progress(show=False, log=True, stream=stream).begin(4000, Counts())
    stream.flush.assert_called_once()


def test_events_as_json(tmp_path, model, monkeypatch):
    monkeypatch.setattr("samarkand.pipeline.progress.INTERVAL", 0.0)
    source = write(tmp_path / "in" / "a.txt", "Ada\n" * 5)
    result = invoke("annotate", source, "-o", tmp_path / "out", "-m", model, "--log-json", "--shard-size", 2)
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {event["event"] for event in events} == {"begin", "progress", "shard", "merge", "complete"}
    assert [event["documents"] for event in events if event["event"] == "progress"][-1] == 5
    assert sum(event["event"] == "shard" for event in events) == 3
