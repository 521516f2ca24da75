"""Serving a pipeline over HTTP until the process is told to end."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from ..errors import Errors
from .loading import PipelineSpec
from .serve_app import make_app
from .serve_options import ServeOptions
from .service import Service

if TYPE_CHECKING:
    from spacy.language import Language


# Seconds between two looks at whether all is answered, and those in which the last refusals are written.
TICK = 0.05
GRACE = 1.0


class GracefulServer(uvicorn.Server):
    """A server of a service that, once told to end, refuses what comes and answers what it has taken.

    What is not answered within the time that a request may take is refused, and so it is when the server is told twice.

    service (Service): The service.
    started (Callable | None): Called when requests can come.
    """

    def __init__(self, service: Service, started: Callable[[], None] | None = None) -> None:
        # Lines for each request would cost time; /metrics counts them.
        about = {"access_log": False, "log_level": "warning", "lifespan": "off", "ws": "none", "server_header": False}
        super().__init__(uvicorn.Config(make_app(service), **about))
        self._service = service
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:
            if not sockets:
                raise
            # Two sockets can be bound to one port as long as neither listens.
            raise _unavailable(*sockets[0].getsockname()[:2], error) from error
        if self._started is not None:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The sockets are still open, so that a refusal says why.
        deadline = self._service.refuse()
        await self._wait(lambda: self._service.is_done, deadline)
        self._service.give_up()
        ending = asyncio.ensure_future(super().shutdown(sockets))
        await self._wait(ending.done, deadline)
        late = list(self.server_state.tasks)
        for task in late:
            task.cancel()
        # Not for ever: a client may keep its connection open, or not read.
        await asyncio.wait((ending, *late), timeout=GRACE)
        ending.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn would take a second SIGTERM for the first.
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def _wait(self, is_over: Callable[[], bool], deadline: float) -> None:
        # A signal wakes no loop, so it is looked for.
        while not (is_over() or self.force_exit) and time.monotonic() < deadline:
            await asyncio.sleep(TICK)


def serve(
    pipeline: Language | PipelineSpec,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    index: str | Path | None = None,
    encoder: str | Path | None = None,
    options: ServeOptions | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; what was taken is answered first, or refused at a second signal.

    pipeline (Language | PipelineSpec): The pipeline, or where it is loaded from.
    host (str): Address to listen on.
    port (int): Port to listen on, 0 for any.
    index (str | Path | None): Index that /search searches.
    encoder (str | Path | None): Encoder of its queries; that of the index by default.
    options (ServeOptions | None): Limits and batches.
    started (Callable | None): Told the address when all is loaded and requests can come.
    RAISES (UsageError): S507, and S1150 for an encoder without an index, before anything is loaded.
    RAISES (OSError): S1149 when the port cannot be had, S001 or S508 when the pipeline does not load.
    RAISES (ValueError): As `open_search` when the index cannot be searched.
    """
    options = options or ServeOptions()
    options.check()
    with bound_socket(host, port) as bound, Service(pipeline, options, index=index, encoder=encoder) as service:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{bound.getsockname()[1]}"
        GracefulServer(service, partial(started, address) if started else None).run(sockets=[bound])


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens later, so that nobody waits for a pipeline that is being loaded.

    host (str): Address to listen on.
    port (int): Port to listen on, 0 for any.
    RETURNS (socket.socket): The socket.
    RAISES (OSError): S1149 when the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Of sockets that do not name the protocol, asyncio lets the system hold small writes back for 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _unavailable(host, port, error) from error
    return bound


def _unavailable(host: str, port: int, error: OSError) -> OSError:
    return OSError(Errors.S1149.format(host=host, port=port, reason=error.strerror or error))
