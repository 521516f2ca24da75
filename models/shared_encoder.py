"""Encoders that pipes share: which layers of a model listen, and to whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spacy.ty import ListenedToComponent
from thinc.api import Model


def listeners(model: Model) -> list[Model]:
    """Layers of a model that pass on the vectors of a shared encoder.

    model (Model): The model.
    RETURNS (list[Model]): The layers; none when the model has an encoder of its own.
    """
    return [node for node in model.walk() if node.name.endswith("-listener")]


def shared_encoders(model: Model, pipes: Iterable[tuple[str, Any]]) -> list[Model]:
    """The encoders that a model listens to.

    model (Model): The model.
    pipes (Iterable[tuple[str, Any]]): Names and pipes of its pipeline, as `nlp.components` has them.
    RETURNS (list[Model]): Those that are in the pipeline so far.
    """
    names = {listener.upstream_name for listener in listeners(model)}
    shared = [(name, pipe.model) for name, pipe in pipes if isinstance(pipe, ListenedToComponent)]
    return [encoder for name, encoder in shared if names & {"*", name}]
