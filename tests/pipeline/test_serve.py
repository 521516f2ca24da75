"""The command `samarkand serve`, and the server on a real socket."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import serving_pipelines

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")
from annotation_pipelines import make_nlp
from samarkand.pipeline import cli, serve_cli
from samarkand.pipeline import serve as serve_module
from samarkand.pipeline.encoders import annotations
from samarkand.pipeline.loading import PipelineSpec
from samarkand.pipeline.serve import GracefulServer, bound_socket, serve
from samarkand.pipeline.serve_options import ServeOptions
from samarkand.pipeline.service import Service
from serving_pipelines import GATE, SECONDS, eventually, make_gated
from spacy.language import Language
from typer.testing import CliRunner

runner = CliRunner()
CLIENTS = 32
HEAD = b"POST /annotate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def post(address: str, texts: list[str]) -> tuple[int, Any]:
    return call(f"{address}/annotate", {"texts": texts})


def call(url: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, body and json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listening() -> tuple[socket.socket, str]:
    bound = bound_socket("127.0.0.1", 0)
    bound.listen()
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


def request_of(texts: list[str]) -> bytes:
    body = json.dumps({"texts": texts}).encode()
    return HEAD % len(body) + body


def calling(address: str, request: bytes) -> socket.socket:
    """A connection over which a request was sent."""
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), SECONDS)
    connection.sendall(request)
    return connection


def received(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes over a connection, which may come in parts, until something is in it, or it ends."""
    content = b""
    while wanted not in content and (part := connection.recv(1000)):
        content += part
    return content


def is_busy(service: Service) -> bool:
    return service._queues["annotate"].busy_seconds > 0


def waiting(service: Service) -> int:
    return len(service._queues["annotate"])


def requests_counted(service: Service, status: int) -> bool:
    return f'samarkand_requests_total{{path="/annotate",status="{status}"}} 1.0' in service.metrics.text().decode()


@contextmanager
def served(timeout: float = SECONDS, **limits: Any) -> Iterator[tuple[str, GracefulServer, Service]]:
    """A server in a thread; it ends in good time, or the test fails."""
    GATE.clear()
    bound, address = listening()
    with Service(make_gated(), ServeOptions(timeout=timeout, **limits)) as service:
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
        eventually(lambda: is_busy(service))
        server.should_exit = True
        eventually(lambda: service.status == "closing")
        status, refusal = post(address, ["late"])
        assert (status, refusal["code"]) == (503, "S1141")
        assert not taken.done()
        GATE.set()
        assert taken.result()[0] == 200


def test_a_caller_that_stops_in_its_body_is_not_waited_for():
    begun = HEAD % 100 + b'{"texts": ['
    with served(timeout=0.3) as (address, _, service):
        with calling(address, begun) as slow:
            assert b"503" in slow.recv(1000).split(b"\r\n")[0]
        calling(address, begun).close()
        eventually(lambda: requests_counted(service, 499))
        assert requests_counted(service, 503)
        assert post(address, ["Ada"])[0] == 200


def test_texts_of_a_caller_that_hangs_up_leave_the_queue():
    """They were annotated for nobody, until the time of the request was over."""
    with ThreadPoolExecutor(1) as pool, served() as (address, server, service):
        first = pool.submit(post, address, ["WAIT"])
        eventually(lambda: is_busy(service))
        with calling(address, request_of(["Ada", "POISON"])):
            eventually(lambda: waiting(service) == 2)
        eventually(lambda: waiting(service) == 0)
        eventually(lambda: requests_counted(service, 499))
        GATE.set()
        assert first.result()[0] == 200
        assert post(address, ["Cairo"])[0] == 200
        counts = service.metrics.text().decode()
        assert 'samarkand_items_total{outcome="done",queue="annotate"} 2.0' in counts
        assert "S528" not in counts
        eventually(lambda: not server.server_state.tasks)


def test_requests_on_one_connection_are_answered_in_order_though_hang_ups_are_watched_for():
    with served() as (address, server, service):
        with calling(address, request_of(["WAIT one"])) as connection:
            eventually(lambda: is_busy(service))
            connection.sendall(request_of(["two"]) + request_of(["three"]))
            GATE.set()
            answers = b""
            while answers.count(b'"errors"') < 3:
                answers += connection.recv(10_000)
            assert answers.count(b"200 OK") == 3
            assert answers.index(b"WAIT one") < answers.index(b"two") < answers.index(b"three")
            connection.sendall(request_of(["four"]))
            assert b"200 OK" in connection.recv(10_000)
        eventually(lambda: not server.server_state.tasks)


def test_a_server_that_ends_waits_once_as_long_as_a_request_may_take():
    """The queue had that time, then the connections, then the service."""
    with served(timeout=1.0) as (address, server, service), calling(address, request_of(["WAIT"])) as taken:
        eventually(lambda: is_busy(service))
        time.sleep(0.5)
        server.should_exit = True
        eventually(lambda: service.status == "closing")
        began = time.monotonic()
        time.sleep(0.3)
        with calling(address, HEAD % 100 + b'{"texts": [') as slow:
            assert b"503" in taken.recv(1000).split(b"\r\n")[0]
            assert b"S1141" in received(slow, b"S1141")
        service.close()
        assert 0.5 < time.monotonic() - began < 1.9


def test_a_server_that_is_told_twice_refuses_what_is_left(capsys):
    with served() as (address, server, service), calling(address, HEAD % 100 + b'{"texts": [') as slow:
        eventually(lambda: len(server.server_state.tasks) == 1)
        with calling(address, request_of(["WAIT"])) as taken:
            eventually(lambda: is_busy(service))
            server.handle_exit(signal.SIGTERM, None)
            eventually(lambda: service.status == "closing")
            time.sleep(0.2)
            began = time.monotonic()
            server.handle_exit(signal.SIGTERM, None)
            for connection in (taken, slow):
                assert b"S1141" in received(connection, b"S1141")
        service.close()
        assert time.monotonic() - began < 5
        assert capsys.readouterr().err == ""


Told = tuple[list[str], int, Any, bool]


def talk(address: str, requests: list[list[str]]) -> list[Told]:
    """What becomes of requests over one connection: texts, status, body, and whether it says when to come again."""
    told = []
    with closing(HTTPConnection(address.removeprefix("http://"), timeout=SECONDS)) as connection:
        for texts in requests:
            connection.request("POST", "/annotate", json.dumps({"texts": texts}))
            answer = connection.getresponse()
            told.append((texts, answer.status, json.load(answer), "retry-after" in answer.headers))
    return told


def crowd(address: str, requests: list[list[str]]) -> list[Told]:
    """Let many clients talk at once."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(chain(*pool.map(partial(talk, address), [requests[n::CLIENTS] for n in range(CLIENTS)])))


def check_answers(told: list[Told]) -> None:
    """Whether all were annotated as the pipeline alone does it."""
    alone = make_nlp()
    for texts, status, body, _ in told:
        assert status == 200, body
        assert body == {"records": [annotations(alone(text)) for text in texts], "errors": []}


def counted(service: Service) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in service.metrics.text().decode().splitlines()]
    return {name: float(value) for name, _, value in lines if name.startswith("samarkand")}


def counts_of(told: list[Told]) -> dict[str, float]:
    """What the metrics have to say of some requests."""
    tally = Counter(status for _, status, _, _ in told)
    return {f'samarkand_requests_total{{path="/annotate",status="{status}"}}': n for status, n in tally.items()}


def test_a_crowd_gets_its_own_annotations():
    names = ["Ada", "Bank of Cairo", "القاهرة", "猫"]
    texts = [f"{number} {names[number % 4]} met Ada {number} in Cairo" + " so" * (number % 7) for number in range(1000)]
    requests = [texts[start : start + 1 + start % 3] for start in range(0, 1000, 3)]
    with served() as (address, _, service):
        told = crowd(address, requests)
        check_answers(told)
        assert Counter(map(tuple, requests)) == Counter(tuple(texts) for texts, *_ in told)
        items = sum(map(len, requests))
        expected = counts_of(told) | {
            'samarkand_request_seconds_count{path="/annotate"}': len(requests),
            'samarkand_items_total{outcome="done",queue="annotate"}': items,
            'samarkand_batch_items_sum{queue="annotate"}': items,
            'samarkand_waiting_items{queue="annotate"}': 0,
        }
        # A request is counted after its answer was sent.
        eventually(lambda: expected.items() <= counted(service).items())
        assert counted(service)['samarkand_batch_items_count{queue="annotate"}'] < len(requests)


def test_a_crowd_that_asks_for_too_much_is_refused_and_then_served_as_usual():
    requests = [[f"Ada {number}"] for number in range(10 * CLIENTS)]
    limits = {"timeout": 1.0, "queue": 8, "max_texts": 2, "batch_size": 4}
    with ThreadPoolExecutor(2) as pool, served(**limits) as (address, _, service):
        plug = pool.submit(talk, address, [["WAIT"]])
        eventually(lambda: is_busy(service))
        overload = pool.submit(crowd, address, requests)
        late = 'samarkand_requests_total{path="/annotate",status="503"}'
        # The one that waits, and at least one of the eight behind it.
        eventually(lambda: counted(service).get(late, 0) >= 2)
        GATE.set()
        told = plug.result() + overload.result()
        assert {status for _, status, _, _ in told} == {200, 429, 503}
        check_answers([some for some in told if some[1] == 200])
        for _, status, body, comes_again in told:
            assert comes_again == (status != 200)
            assert status == 200 or body["code"] == {429: "S1140", 503: "S1146"}[status]
        eventually(lambda: counts_of(told).items() <= counted(service).items())
        assert counted(service)['samarkand_request_seconds_count{path="/annotate"}'] == len(told)
        assert waiting(service) == 0
        check_answers(talk(address, requests[:CLIENTS]))
        assert call(f"{address}/health")[1]["status"] == "ok"


def test_a_port_in_use_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(PipelineSpec, "load", lambda self: pytest.fail("loaded"))
    bound, _ = listening()
    with bound, pytest.raises(OSError, match="S1149"):
        serve(PipelineSpec("none"), port=bound.getsockname()[1])


def test_a_port_that_is_taken_while_the_pipeline_loads_is_told_in_the_same_words(monkeypatch):
    """It was `[Errno 98]` alone: both had bound the port, for neither listened yet."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        def load(self: PipelineSpec) -> Language:
            other.listen()
            return make_nlp()

        monkeypatch.setattr(PipelineSpec, "load", load)
        with pytest.raises(OSError, match=rf"S1149.*127\.0\.0\.1, port {port}"):
            serve(PipelineSpec("some"), port=port)


def test_small_writes_are_not_held_back():
    """Head and body of an answer are two, and asyncio asks for haste only where a socket names its protocol."""
    with closing(bound_socket("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP


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


@contextmanager
def command(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and its address."""
    serving = [sys.executable, "-m", "samarkand.pipeline.cli", "serve", str(model), "--port", "0", *options]
    with subprocess.Popen(serving, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            assert "is served on http://" in line
            yield process, line.split()[-1]
        finally:
            process.kill()


@pytest.mark.slow
def test_sigterm_ends_the_command_cleanly(tmp_path):
    make_nlp().to_disk(tmp_path / "model")
    with command(tmp_path / "model") as (process, address):
        assert post(address, ["Ada"])[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == -signal.SIGTERM
        assert process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "told"),
    [(signal.SIGTERM, -signal.SIGTERM, ""), (signal.SIGINT, 130, "interrupted: the server has ended\n")],
)
def test_a_second_signal_ends_the_command_though_a_batch_is_in_work(tmp_path, monkeypatch, number, status, told):
    """It was ignored for as long as a request may take."""
    make_gated().to_disk(tmp_path / "model")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with command(tmp_path / "model", "--code", serving_pipelines.__file__) as (process, address):
        with calling(address, request_of(["WAIT"])) as taken, calling(address, HEAD % 9) as slow:
            time.sleep(0.5)
            process.send_signal(number)
            eventually(lambda: call(f"{address}/health")[1]["status"] == "closing")
            began = time.monotonic()
            process.send_signal(number)
            for connection in (taken, slow):
                assert b"S1141" in received(connection, b"S1141")
            assert process.wait(SECONDS) == status
            assert time.monotonic() - began < 5
        assert process.stderr.read() == told
