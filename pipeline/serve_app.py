"""The web application of a service: JSON in, JSON out, and every refusal in one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import Errors
from .batches import Outcome
from .batching_queue import QueueClosed, QueueFull, WorkFailed
from .encoders import Encoded, to_json
from .records import Rejected
from .serve_metrics import ServeMetrics
from .serve_requests import ANNOTATE_SCHEMA, SEARCH_SCHEMA, Refusal, read_object, read_query, read_records
from .service import Service

Result = TypeVar("Result")
JSON = "application/json"
PATHS = ("/annotate", "/search", "/health", "/metrics", "/openapi.json")
STATUSES = {QueueFull: 429, QueueClosed: 503, WorkFailed: 500}
# Of a request whose client has hung up, in the metrics alone: nobody reads it. nginx counts it so too.
GONE = 499
# Characters of a message that repeats what was sent.
SHOWN = 500


def make_app(service: Service) -> FastAPI:
    """The application of a service. Whoever made the service closes it.

    service (Service): The service.
    RETURNS (FastAPI): The application: POST /annotate, POST /search with an index, GET /health, GET /metrics, and its
        description under /openapi.json. It has no pages, for those would load scripts from elsewhere.
    """
    app = FastAPI(title="Samarkand", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(_Counted, metrics=service.metrics)
    for kind in (Refusal, *STATUSES):
        app.add_exception_handler(kind, _refuse)
    app.add_exception_handler(HTTPException, _refuse_path)
    limits = service.options

    async def annotate(request: Request) -> Response:
        async def act() -> Response:
            records = read_records(await read_object(request, limits.max_bytes), limits)
            return _records(await _while_connected(request, service.annotate(records)))

        return await _answered(act, service)

    async def search(request: Request) -> Response:
        async def act() -> Response:
            query = read_query(await read_object(request, limits.max_bytes), limits)
            answer = await _while_connected(request, service.search(query))
            if isinstance(answer, Rejected):
                raise Refusal(422, f"[{answer.code}] {answer.reason}")
            return _json(answer)

        return await _answered(act, service)

    async def health() -> Response:
        status = service.status
        return _json({"status": status, "version": __version__}, 200 if status == "ok" else 503)

    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.post("/annotate", summary="Annotate texts or records.", **_described(ANNOTATE_SCHEMA))(annotate)
    if service.searches:
        app.post("/search", summary="Find the nearest records of a text.", **_described(SEARCH_SCHEMA))(search)
    app.get("/health", summary="Whether requests are taken.", response_class=Response)(health)
    app.get("/metrics", summary="Counts for Prometheus.", response_class=Response)(metrics)
    return app


class _Counted:
    """Counts requests, those that are refused too."""

    def __init__(self, app: ASGIApp, metrics: ServeMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.count_request(path, status, time.perf_counter() - began)


async def _answered(act: Callable[[], Awaitable[Response]], service: Service) -> Response:
    timeout = service.options.timeout
    try:
        return await asyncio.wait_for(act(), timeout)
    except asyncio.TimeoutError:
        raise Refusal(503, Errors.S1146.format(seconds=timeout)) from None
    except ClientDisconnect:
        return Response(status_code=GONE)
    except asyncio.CancelledError:
        if service.status != "closing":
            raise
        # A server that ends gives up what is left, and the client is to know why.
        raise QueueClosed(Errors.S1141) from None


async def _while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """What work gives. It is cancelled, and ClientDisconnect raised, when the client of the request hangs up.

    The body has to be read before: what comes is thrown away here.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _records(outcomes: list[Outcome]) -> Response:
    """Lines that are JSON already are put together as they are."""
    lines = [outcome.payload.rstrip(b"\n") if isinstance(outcome, Encoded) else b"null" for outcome in outcomes]
    errors = [
        {"index": index, "code": outcome.code, "reason": outcome.reason}
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, Rejected)
    ]
    body = b'{"records": [' + b", ".join(lines) + b"], " + _line({"errors": errors})[1:]
    return Response(body, media_type=JSON)


async def _refuse(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refusal) else STATUSES[type(error)]
    code, _, message = str(error).removeprefix("[").partition("] ")
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return _json({"code": code, "error": message[:SHOWN]}, status, headers)


async def _refuse_path(request: Request, error: HTTPException) -> Response:
    message = Errors.S1147.format(method=request.method, path=request.scope["path"][:SHOWN])
    response = await _refuse(request, Refusal(error.status_code, message))
    response.headers.update(error.headers or {})
    return response


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_line(value), status, headers, JSON)


def _line(value: dict[str, Any]) -> bytes:
    return to_json(value).rstrip(b"\n")


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Options of a route that reads its body by itself."""
    content = {JSON: {"schema": schema}}
    return {"response_class": Response, "openapi_extra": {"requestBody": {"required": True, "content": content}}}
