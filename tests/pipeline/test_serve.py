"""The command `samarkand serve`, and the server on a real socket."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")
from annotation_pipelines import make_nlp
from samarkand.pipeline import cli, serve_cli
from samarkand.pipeline import serve as serve_module
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.serve import GracefulServer, serve
from samarkand.pipeline.serve_options import ServeOptions
from samarkand.pipeline.service import Service
from serving_pipelines import GATE, SECONDS, eventually, make_gated
from typer.testing import CliRunner

runner = CliRunner()


def post(address: str, texts: list[str]) -> tuple[int, Any]:
    request = urllib.request.Request(f"{address}/annotate", json.dumps({"texts": texts}).encode())
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listening() -> tuple[socket.socket, str]:
    bound = socket.create_server(("127.0.0.1", 0))
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def served(timeout: float = SECONDS) -> Iterator[tuple[str, GracefulServer, Service]]:
    """A server in a thread; it ends in good time, or the test fails."""
    GATE.clear()
    bound, address = listening()
    with Service(make_gated(), ServeOptions(timeout=timeout)) as service:
        server = GracefulServer(service)
        running = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        running.start()
        try:
            yield address, server, service
        finally:
            GATE.set()
            server.should_exit = True
            running.join(SECONDS)
            assert not running.is_alive()


def test_a_server_that_ends_answers_what_it_has_and_refuses_what_comes():
    with ThreadPoolExecutor(1) as pool, served() as (address, server, service):
        assert post(address, ["Ada"])[1]["records"][0]["entities"][0]["label"] == "PER"
        taken = pool.submit(post, address, ["WAIT"])
        eventually(lambda: service._queues["annotate"].busy_seconds > 0)
        server.should_exit = True
        eventually(lambda: service.status == "closing")
        status, refusal = post(address, ["late"])
        assert (status, refusal["code"]) == (503, "S1141")
        assert not taken.done()
        GATE.set()
        assert taken.result()[0] == 200


def test_a_caller_that_stops_in_its_body_is_not_waited_for():
    head = b"POST /annotate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with served(timeout=0.3) as (address, _, service):
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        with socket.create_connection(place, SECONDS) as slow:
            slow.sendall(head + b'{"texts": [')
            assert b"503" in slow.recv(1000).split(b"\r\n")[0]
        with socket.create_connection(place, SECONDS) as gone:
            gone.sendall(head + b'{"texts": [')
        eventually(lambda: b'path="/annotate",status="503"} 1.0' in service.metrics.text())
        assert post(address, ["Ada"])[0] == 200


def test_a_port_in_use_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(PipelineSpec, "load", lambda self: pytest.fail("loaded"))
    bound, _ = listening()
    with bound, pytest.raises(OSError, match="S1149"):
        serve(PipelineSpec("none"), port=bound.getsockname()[1])


def test_the_address_is_told_when_requests_can_come(monkeypatch):
    told: list[str] = []

    async def main_loop(self: GracefulServer) -> None:
        with socket.create_connection(("127.0.0.1", int(told[0].rpartition(":")[2])), SECONDS):
            assert told[0].startswith("http://127.0.0.1:")

    monkeypatch.setattr(GracefulServer, "main_loop", main_loop)
    serve(make_nlp(), port=0, started=told.append)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (["--batch-size", "0"], 2, "S507"),
        (["--queue", "5"], 2, "S507"),
        (["--max-bytes", "lots"], 2, "S751"),
        (["--host", "not a host"], 1, "S1149"),
        (["--port", "0"], 1, "S001"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(options, status, code):
    result = runner.invoke(cli.app, ["serve", "no_such_pipeline", *options])
    assert result.exit_code == status, result.output
    assert f"[{code}]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_missing_packages_are_told_with_the_extra(monkeypatch):
    monkeypatch.setattr(serve_cli, "find_spec", lambda name: None if name == "uvicorn" else sys)
    result = runner.invoke(cli.app, ["serve"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "[S1148]" in result.stderr
    assert "samarkand[serve]" in result.stderr


def test_every_option_reaches_the_server(monkeypatch):
    given: dict[str, Any] = {}
    monkeypatch.setattr(serve_module, "serve", lambda pipeline, **more: given.update(more, pipeline=pipeline))
    limits = ["--batch-size", "2", "--wait", "0.5", "--queue", "9", "--max-texts", "3", "--max-characters", "4"]
    limits += ["--max-bytes", "2KB", "--timeout", "7"]
    where = ["--host", "::1", "--port", "81", "--index", "some", "--encoder", "an", "--code", "c.py", "--gpu-id", "1"]
    result = runner.invoke(cli.app, ["serve", "pipe", *limits, *where])
    assert result.exit_code == 0, result.output
    assert given["options"] == ServeOptions(
        batch_size=2, wait=0.5, queue=9, max_texts=3, max_characters=4, max_bytes=2000, timeout=7
    )
    assert given["pipeline"] == PipelineSpec("pipe", "c.py", 1)
    assert (given["host"], given["port"], str(given["index"]), given["encoder"]) == ("::1", 81, "some", "an")


@pytest.mark.slow
def test_sigterm_ends_the_command_cleanly(tmp_path):
    make_nlp().to_disk(tmp_path / "model")
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "serve", str(tmp_path / "model"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            assert "is served on http://" in line
            assert post(line.split()[-1], ["Ada"])[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == -signal.SIGTERM
            assert process.stderr.read() == ""
        finally:
            process.kill()
