"""Serving under load: requests a second and how long they take, beside a handler that calls spaCy for each request.

    python benchmarks/serving.py --requests 4000

Clients each send one text after another, as soon as the last is answered, over a connection that is kept. The peer is
a FastAPI handler that runs `nlp(text)` and returns the same annotations; both are paths of one server, in a process of
its own, with the same pipeline, and are measured in turn, the first changing with each number of clients. What is
sent before the clock runs wakes threads and fills caches. The peer keeps each word that it meets in its memory for
ever, and is the faster for it on texts that come again; the server forgets them. Then a crowd asks a server with a
short queue for more than it can do, and asks again at once when it is refused: counted is what it answers, and whether
it answers as usual when the crowd is gone. Exits with 1 when it does not, or gave another answer than 200, 429 or 503.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from options import benchmark_parser
from results_file import row, show, write_rows
from speed import CORPORA, SAMPLES, WARM_UP, load_pipeline, split_texts

SYSTEMS = {"samarkand serve": "/annotate", "FastAPI, nlp(text)": "/plain"}
# The crowd, how many texts each of its requests has, and what the server allows.
CROWD, TEXTS = 64, 64
LIMITS = {"queue": 512, "timeout": 1.0}
ANSWERS = {200: "answered", 429: "refused: 429", 503: "refused: 503"}
# Seconds in which the server has to load, and to end.
PATIENCE = 300


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1, model=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=4000, help="of all clients together, for each number of them")
    options = parser.parse_args(arguments)
    if options.quick:
        options.clients, options.requests = [1, 4], 16
    texts = [text for name in ((SAMPLES,) if options.quick else CORPORA) for text in split_texts(name)]
    with served(options, {}) as (port, train):
        rows = measure(port, texts, train, options)
    write_rows("serving", rows, options.results)
    with served(options, LIMITS) as (port, train):
        rows += overload(port, texts, train, options)
    write_rows("serving", rows, options.results)
    show(rows, f"Serving, {options.threads} threads")
    metrics = {row["metric"]: row["value"] for row in rows}
    return int(metrics["failed"] > 0 or not metrics["answers afterwards"])


@contextmanager
def served(options: Any, limits: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """A server in a process of its own.

    options (Namespace): Of the command line.
    limits (dict): Of `ServeOptions`, where they are not as by default.
    YIELDS (tuple[int, str]): Its port, and where the weights come from.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, options.model, options.quick, options.threads, limits)
    server = context.Process(target=serve_both, args=arguments)
    server.start()
    theirs.close()
    try:
        if not ours.poll(PATIENCE):
            raise SystemExit(f"the server did not start within {PATIENCE} s")
        yield ours.recv()
    finally:
        server.terminate()
        server.join(PATIENCE)


def serve_both(connection: Connection, model: Path | None, quick: bool, threads: int, limits: dict[str, Any]) -> None:
    """The server's process.

    connection (Connection): Told the port, and where the weights of the pipeline come from.
    model (Optional[Path]): Folder of the pipeline.
    quick (bool): Whether a tiny one will do.
    threads (int): Of the CPU.
    limits (dict): Of `ServeOptions`, where they are not as by default.
    """
    import uvicorn
    from samarkand.pipeline.encoders import annotations
    from samarkand.pipeline.serve import bound_socket
    from samarkand.pipeline.serve_app import make_app
    from samarkand.pipeline.serve_options import ServeOptions
    from samarkand.pipeline.service import Service

    torch.set_num_threads(threads)
    pipeline = load_pipeline(model, quick=quick)
    bound = bound_socket("127.0.0.1", 0)
    bound.listen(512)
    with Service(pipeline.nlp, ServeOptions(**limits)) as service:
        app = make_app(service)

        @app.post("/plain")
        async def plain(body: dict[str, list[str]]) -> list[dict[str, Any]]:
            return [annotations(pipeline.nlp(text)) for text in body["texts"]]

        connection.send((bound.getsockname()[1], pipeline.train))
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[bound])


def measure(port: int, texts: list[str], train: str, options: Any) -> list[dict[str, Any]]:
    """Load both systems.

    port (int): Of the server.
    texts (list[str]): What is sent, again and again.
    train (str): Where the weights come from.
    options (Namespace): Of the command line.
    RETURNS (list[dict]): Rows: requests a second, median and 99th percentile for each number of clients.
    """
    about = {"train": train, "command": f"python benchmarks/serving.py --requests {options.requests}"}
    about["note"] = f"{options.requests} requests of one text, {options.threads} threads"
    systems, rows = list(SYSTEMS.items()), []
    for path in SYSTEMS.values():
        asyncio.run(load(port, path, texts, max(options.clients), min(WARM_UP, options.requests)))
    for clients in options.clients:
        for system, path in systems:
            began = time.perf_counter()
            seconds = asyncio.run(load(port, path, texts, clients, options.requests))
            rate = len(seconds) / (time.perf_counter() - began)
            middle, high = np.percentile(seconds, [50, 99]) * 1000
            load_of = f"{clients} client{'s' if clients > 1 else ''}"
            rows += [
                row(system, load_of, "throughput", rate, unit="requests/s", **about),
                row(system, load_of, "median", middle, unit="ms", **about),
                row(system, load_of, "99th percentile", high, unit="ms", **about),
            ]
        systems.reverse()
    return rows


def overload(port: int, texts: list[str], train: str, options: Any) -> list[dict[str, Any]]:
    """Ask for more than can be done.

    port (int): Of the server.
    texts (list[str]): What is sent, again and again.
    train (str): Where the weights come from.
    options (Namespace): Of the command line.
    RETURNS (list[dict]): Rows: requests that were "answered", "refused: 429", "refused: 503" or "failed", and
        "answers afterwards": 1 when it answers a request as usual, else 0.
    """
    requests = max(options.requests, 4 * CROWD)
    counts = asyncio.run(flood(port, texts, requests))
    time.sleep(2 * LIMITS["timeout"])
    try:
        asyncio.run(load(port, "/annotate", texts, 1, 1))
        alive = 1
    except (OSError, EOFError, RuntimeError):
        alive = 0
    about = {"train": train, "command": f"python benchmarks/serving.py --requests {options.requests}", "unit": ""}
    about["note"] = f"{requests} requests of {TEXTS} texts, {LIMITS['queue']} wait at most"
    found = {**{name: counts[name] for name in (*ANSWERS.values(), "failed")}, "answers afterwards": alive}
    return [row("samarkand serve", f"overload, {CROWD} clients", name, value, **about) for name, value in found.items()]


async def flood(port: int, texts: list[str], requests: int) -> Counter[str]:
    """Send requests from a crowd that does not wait when it is refused.

    port (int): Of the server.
    texts (list[str]): What is sent, again and again.
    requests (int): Of all clients.
    RETURNS (Counter[str]): How many there were of each of `ANSWERS`, and "failed".
    """
    counts: Counter[str] = Counter()
    some, left = list(islice(cycle(texts), TEXTS)), iter(range(requests))

    async def client() -> None:
        for _ in left:
            try:
                async with _connection(port) as (reader, writer):
                    status, _ = await _ask(reader, writer, "/annotate", some)
            except (OSError, EOFError):
                status = 0
            counts[ANSWERS.get(status, "failed")] += 1

    await asyncio.gather(*(client() for _ in range(CROWD)))
    return counts


async def load(port: int, path: str, texts: list[str], clients: int, requests: int) -> list[float]:
    """Send requests.

    port (int): Of the server.
    path (str): Where to.
    texts (list[str]): What is sent, again and again.
    clients (int): How many send at a time.
    requests (int): Of all of them.
    RETURNS (list[float]): Seconds of each request.
    RAISES (RuntimeError): When one is not answered with what was asked for.
    """
    stream = islice(cycle(texts), requests)
    seconds: list[float] = []
    await asyncio.gather(*(_client(port, path, stream, seconds) for _ in range(clients)))
    return seconds


async def _client(port: int, path: str, stream: Iterator[str], seconds: list[float]) -> None:
    async with _connection(port) as (reader, writer):
        for text in stream:
            began = time.perf_counter()
            status, answer = await _ask(reader, writer, path, [text])
            seconds.append(time.perf_counter() - began)
            if status != 200 or b'"entities"' not in answer:
                raise RuntimeError(f"{status}: {answer[:200]!r}")


@asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, texts: list[str]
) -> tuple[int, bytes]:
    """Status and body of an answer, by bare HTTP, so that little of the machine goes into asking."""
    body = json.dumps({"texts": texts}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    sizes = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
    return int(lines[0].split()[1]), await reader.readexactly(sizes[0])


if __name__ == "__main__":
    sys.exit(main())
