"""The command `samarkand serve`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .. import DEFAULT_PIPELINE
from ..errors import Errors
from .cli_tools import reported
from .serve_options import ServeOptions

PACKAGES = ("fastapi", "prometheus_client", "uvicorn")


def serve_cli(
    pipeline: Annotated[str, typer.Argument(help="Bundled pipeline, folder or installed package.")] = DEFAULT_PIPELINE,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of the machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8000,
    index: Annotated[
        Path | None, typer.Option(help="Index of `samarkand index` that /search searches.", show_default=False)
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder of queries; that of the index by default.")] = None,
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file with functions the pipeline needs.")
    ] = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU to use; -1 for the CPU.")] = -1,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", help="Texts annotated at once.")
    ] = ServeOptions.batch_size,
    wait: Annotated[float, typer.Option(help="Seconds that a text waits for others to share its batch.")] = (
        ServeOptions.wait
    ),
    queue: Annotated[int, typer.Option(help="Texts that may wait; more are refused (429).")] = ServeOptions.queue,
    max_bytes: Annotated[str, typer.Option(help="Of a request, such as 4MB.")] = str(ServeOptions.max_bytes),
    max_texts: Annotated[int, typer.Option(help="Of a request.")] = ServeOptions.max_texts,
    max_characters: Annotated[int, typer.Option(help="Of a text.")] = ServeOptions.max_characters,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = ServeOptions.timeout,
) -> None:
    """Answer POST /annotate, POST /search (with --index), GET /health and GET /metrics over HTTP.

    Texts of requests that come together are annotated together. SIGTERM and Ctrl-C end the server when what it has
    taken is answered, and a second one at once. There is no sign-in: put a proxy before it where others can reach it.

    Exit status: 1 failed; 2 refused; 130 interrupted; 143 ended by SIGTERM.
    """
    with reported("the server has ended"):
        from ..engine.byte_sizes import parse_size
        from .loading import PipelineSpec
        from .sources import UsageError

        missing = [name for name in PACKAGES if find_spec(name) is None]
        if missing:
            raise UsageError(Errors.S1148.format(names=", ".join(missing)))
        try:
            body = parse_size(max_bytes)
        except ValueError as error:
            raise UsageError(str(error)) from error
        from .serve import serve

        options = ServeOptions(
            batch_size=batch_size,
            wait=wait,
            queue=queue,
            max_bytes=body,
            max_texts=max_texts,
            max_characters=max_characters,
            timeout=timeout,
        )
        serve(
            PipelineSpec(pipeline, str(code) if code is not None else None, gpu_id),
            host=host,
            port=port,
            index=index,
            encoder=encoder,
            options=options,
            started=lambda address: typer.echo(f"{pipeline} is served on {address}", err=True),
        )
