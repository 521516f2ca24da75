"""What can be said of runs on a cluster without one: options, answers of actors, and errors that end a run."""

from __future__ import annotations

import pickle
from dataclasses import fields
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import typer
from annotation_pipelines import make_nlp
from samarkand.pipeline import cli, cli_tools, ray_actor, ray_workers, run_options
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.counts import Counts
from samarkand.pipeline.files import AsideFile
from samarkand.pipeline.identity import software
from samarkand.pipeline.ledger import Ledger
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.plan import Shard
from samarkand.pipeline.ray_actor import Answer, Errand, ShardWorker
from samarkand.pipeline.ray_workers import RayAnnotator
from samarkand.pipeline.run_options import RunOptions
from samarkand.pipeline.sources import Source, UsageError
from samarkand.pipeline.state import RunState
from test_annotate_crashes import shard_options
from typer.testing import CliRunner

META = {"lang": "xx"}
MARK = {"shard": "x", **Counts(documents=2).as_dict()}


class Pool:
    """A supervisor whose worker loads and does what it is told, or raises it."""

    does: Any = MARK
    loads: Any = META

    def __init__(self, payload: Any, options: Any, workers: list[Any], tell: Any) -> None:
        self.options, self.tell = workers, tell

    @property
    def meta(self) -> dict[str, Any]:
        if isinstance(self.loads, Exception):
            raise self.loads
        return self.loads

    def run(self, jobs: Any) -> Any:
        for _ in jobs:
            if isinstance(self.does, Exception):
                raise self.does
            self.tell("progress", counts=Counts())
            self.tell("death", cause="SIGSEGV")
            yield self.does


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    monkeypatch.setattr(ray_actor, "Supervisor", Pool)
    monkeypatch.setattr(Pool, "does", MARK)
    return Pool


def errand(output: Path, **more: Any) -> Errand:
    about = {"versions": software()}
    options = {"payload": b"", "about": about, "workers": 2, "gpu": False, "memory": 1000}
    return Errand(options=shard_options(output), **{**options, **more})


def shard(output: Path) -> Shard:
    source = Source(str(output / "a.txt"), "txt", "a", "a.txt")
    return Shard("00000.0-10", 0, source, "in/a.txt", (1, 1), None, 0, 10, None)


def ask(worker: ShardWorker, output: Path, times: int = 1) -> list[Answer]:
    import pyarrow

    batch = pyarrow.table({"job": [pickle.dumps((shard(output), "digest"))] * times})
    return [pickle.loads(answer) for answer in worker(batch)["answer"]]


class Process:
    """The process of a driver that has died."""

    exitcode = 1

    def join(self, seconds: float | None = None) -> None: ...

    def terminate(self) -> None: ...

    def is_alive(self) -> bool:
        return False


def ray_annotator(output: Path, tell: Any = lambda *arguments, **facts: None, **more: Any) -> tuple[RayAnnotator, Any]:
    """One that waits for its driver, and the driver's end of the pipe."""
    values = {field.name: None for field in fields(RunOptions)}
    options = RunOptions(**{**values, "gpu_id": -1, "timeout": 9.0, "n_process": 2, "ray": "local", **more})
    about = {"versions": software(), "pipeline": {}}
    annotator = RayAnnotator(PipelineSpec("nowhere"), shard_options(output), options, about, tell)
    annotator._connection, driver = Pipe()
    annotator._process = Process()
    return annotator, driver


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ray": "in/", "n_process": 1}, "ray"),
        ({"ray": "ray://10.0.0.1:10001", "n_process": 1}, "ray"),
        ({"ray": "local"}, "n_process"),
        ({"ray": "auto", "n_process": -2}, "n_process"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, name):
    (tmp_path / "a.txt").write_text("Ada\n")
    with pytest.raises(UsageError, match=rf"\[S507\] Bad value for {name}"):
        annotate(tmp_path / "a.txt", tmp_path / "out", model=make_nlp(), **options)
    assert not (tmp_path / "out").exists()


def test_ray_that_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("Ada\n")
    monkeypatch.setattr(run_options, "find_spec", lambda name: None if name == "ray" else name)
    with pytest.raises(UsageError, match=r"\[S546\] .* not installed\. .*samarkand\[scale\]"):
        annotate(tmp_path / "a.txt", tmp_path / "out", model=make_nlp(), n_process=1, ray="local")
    assert not (tmp_path / "out").exists()
    assert annotate(tmp_path / "a.txt", tmp_path / "out", model=make_nlp())["documents"] == 1


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["in", "-o", "out"], None),
        (["in", "-o", "out", "--ray"], "local"),
        (["in", "--ray", "-o", "out"], "local"),
        (["--ray", "auto", "in", "-o", "out"], "auto"),
        (["--ray=10.0.0.1:6379", "in", "-o", "out"], "10.0.0.1:6379"),
    ],
)
def test_address_may_be_left_out(monkeypatch, arguments, address):
    given: list[Any] = []
    monkeypatch.setattr("samarkand.pipeline.annotate.annotate", lambda *a, ray, **k: given.append(ray) or exit())
    CliRunner().invoke(cli.app, ["annotate", *arguments])
    assert given == [address]


def test_option_that_may_stand_alone_takes_no_option_for_its_value():
    app, given = typer.Typer(), []

    @app.command(cls=cli_tools.optional_value("--to", "here"))
    def command(names: list[str], to: str | None = None, fast: bool = False) -> None:
        given.append((names, to, fast))

    for arguments in (["a", "--to", "--fast"], ["a", "--to", "b", "--fast"], ["a", "--", "--to"]):
        CliRunner().invoke(app, arguments)
    assert given == [(["a"], "here", True), (["a"], "b", True), (["a", "--to"], None, False)]


def test_actor_answers_with_marks_and_what_it_was_told(tmp_path):
    worker = ShardWorker(errand(tmp_path, gpu=True))
    assert worker.meta().mark == META
    assert worker._supervisor.options[0].gpu_id == 0
    assert ask(worker, tmp_path, 2) == [Answer(MARK, (("death", {"cause": "SIGSEGV"}),))] * 2


def test_actor_that_has_failed_does_nothing_more(tmp_path, monkeypatch):
    worker = ShardWorker(errand(tmp_path))
    monkeypatch.setattr(Pool, "does", OSError("[S511] full"))
    first, second = ask(worker, tmp_path, 2)
    monkeypatch.setattr(Pool, "does", MARK)
    (third,) = ask(worker, tmp_path)
    assert {str(answer.error) for answer in (first, second, third)} == {"[S511] full"}


def test_actor_is_ready_when_its_worker_has_loaded(tmp_path, monkeypatch):
    """Ray gave shards to actors that were still loading, and other actors waited."""
    monkeypatch.setattr(Pool, "loads", RuntimeError("[S510] never ready"))
    worker = ShardWorker(errand(tmp_path))
    monkeypatch.setattr(Pool, "loads", META)
    assert [str(answer.error) for answer in (worker.meta(), *ask(worker, tmp_path))] == ["[S510] never ready"] * 2
    assert ask(ShardWorker(errand(tmp_path)), tmp_path)[0].mark == MARK


def test_node_with_other_software_or_another_pipeline_is_refused(tmp_path):
    about = {"versions": {**software(), "spacy": "3.0.0"}}
    with pytest.raises(UsageError, match=r"\[S549\] The node .*: versions: spacy was '3.0.0' and is '3.8"):
        raise ShardWorker(errand(tmp_path, about=about)).meta().error
    make_nlp().to_disk(tmp_path / "model")
    about = {"versions": software(), "pipeline": {"fingerprint": "0"}}
    spec = PipelineSpec(str(tmp_path / "model"))
    with pytest.raises(UsageError, match=r"\[S549\] .*pipeline: fingerprint was '0' and is"):
        raise ask(ShardWorker(errand(tmp_path, about=about, payload=spec)), tmp_path)[0].error


def test_shard_that_kills_actors_outside_its_batches_ends_the_run(tmp_path):
    """Each actor that dies is started again by Ray, and knows of the others by the ledger alone."""
    path = RunState(tmp_path).ledger(shard(tmp_path).id)
    for _ in range(3):
        (answer,) = ask(ShardWorker(errand(tmp_path)), tmp_path)
        assert answer.error is None
        ledger = Ledger(path)
        ledger.begin()
        ledger.start("reading")
    (answer,) = ask(ShardWorker(errand(tmp_path)), tmp_path)
    with pytest.raises(
        RuntimeError, match=r"\[S509\] .*3 times .*nobody saw how.* reading records 1 to 10 of in/a.txt"
    ):
        raise answer.error
    # The user was told, so it counts from nothing when the run is gone on with.
    assert ask(ShardWorker(errand(tmp_path)), tmp_path)[0].error is None


def test_batches_do_not_make_a_ledger_stuck(tmp_path):
    for _ in range(9):
        ledger = Ledger(tmp_path / "ledger.jsonl")
        ledger.begin()
        ledger.start("batch 1")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert not ledger.stuck
    ledger.stop()
    assert ledger.condemned("batch 1")


def test_nothing_that_moves_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_workers, "LOOK", 0.01)
    monkeypatch.setattr(ray_workers, "PATIENCE", 0.1)
    annotator, _ = ray_annotator(tmp_path, timeout=0.1)
    moves = iter([(n, n) for n in range(5)])
    monkeypatch.setattr(RayAnnotator, "_moves", lambda self: next(moves, (9, 9)))
    with pytest.raises(RuntimeError, match=r"\[S519\] Nothing has moved "):
        list(annotator.run([(shard(tmp_path), "digest")]))
    assert next(moves, None) is None


def test_work_begins_when_the_first_worker_does(tmp_path, monkeypatch):
    """The time that the pool of actors took to load was counted as work."""
    monkeypatch.setattr(ray_workers, "GLANCE", 0.01)
    annotator, driver = ray_annotator(tmp_path)
    moves = iter([(0, 0), (0, 0), (1, 1)])
    monkeypatch.setattr(RayAnnotator, "_moves", lambda self: next(moves))
    marks = annotator.run([(shard(tmp_path), "digest")])
    assert next(moves, None) is None
    monkeypatch.setattr(RayAnnotator, "_moves", lambda self: (1, 1))
    for answer in (Answer(MARK), None):
        driver.send(answer)
    assert list(marks) == [MARK]


def test_what_moves_is_the_newest_ledger(tmp_path):
    annotator, _ = ray_annotator(tmp_path)
    assert annotator._moves() == (0, 0)
    ledger = Ledger(RunState(tmp_path).ledger("a"))
    ledger.begin()
    before = annotator._moves()
    ledger.start("reading")
    assert before[0] == 1
    assert annotator._moves() > before


def test_marks_and_events_reach_the_run(tmp_path):
    told: list[tuple[str, dict]] = []
    annotator, driver = ray_annotator(tmp_path, tell=lambda event, **facts: told.append((event, facts)))
    for answer in (Answer(META), Answer(MARK, (("death", {"cause": "timeout"}),)), None):
        driver.send(answer)
    assert annotator.meta == META
    assert list(annotator.run([(shard(tmp_path), "digest")])) == [MARK]
    assert [event for event, _ in told] == ["death", "progress"]
    ((sent, digest),) = map(pickle.loads, driver.recv())
    assert (sent, digest) == (shard(tmp_path), "digest")


def test_driver_that_dies_ends_the_run_and_stops_the_ledgers(tmp_path):
    annotator, driver = ray_annotator(tmp_path)
    ledger = Ledger(RunState(tmp_path).ledger(shard(tmp_path).id))
    ledger.begin()
    ledger.start("batch 0")
    driver.close()
    with pytest.raises(RuntimeError, match=r"^\[S518\] Ray failed: .* exit code 1\. .*--resume\.$"):
        list(annotator.run([(shard(tmp_path), "digest")]))
    annotator.__exit__(RuntimeError, None, None)
    assert Ledger(RunState(tmp_path).ledger(shard(tmp_path).id)).unit == ""


def test_paths_are_good_in_another_folder(tmp_path, monkeypatch):
    make_nlp().to_disk(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    spec = ray_workers._abroad(PipelineSpec("model", code="code.py"))
    assert spec == PipelineSpec(str(tmp_path / "model"), code=str(tmp_path / "code.py"))
    assert ray_workers._abroad(PipelineSpec("a_package")) == PipelineSpec("a_package")


def test_no_two_files_aside_are_the_same(tmp_path):
    """Process ids of two machines may be."""
    one, two = AsideFile(tmp_path / "a"), AsideFile(tmp_path / "a")
    for file, text in ((one, b"one"), (two, b"two")):
        file.file.write(text)
    one.commit()
    assert (tmp_path / "a").read_bytes() == b"one"
    two.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
