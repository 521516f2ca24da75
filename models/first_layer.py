"""The first layer of an encoder, handed out beside its vectors when a pooling asks.

`List[Doc] -> List[Floats2d]` has room for one array a document, and the arrays of a shared encoder are all that its
listeners get, by way of `doc.tensor`. So the first layer is kept here under the very array that it belongs to, as long
as that lives. An encoder that can be asked has a `FirstLayer` as its attribute `first_layer`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors


@dataclass
class FirstLayer:
    """Whether an encoder is asked for its first layer. It is not saved: the pooling of a loaded pipeline asks anew.

    is_asked (bool): Whether to hand it out with what is predicted.
    """

    is_asked: bool = False


# Under the id of an array, which no other has while it lives.
_KEPT: dict[int, Floats2d] = {}


def ask_first_layer(model: Model) -> None:
    """Let the encoders of a model hand out their first layer from now on, when they predict.

    model (Model): The model.
    RAISES (ValueError): S818 when none of its encoders can.
    """
    asked = [node.attrs["first_layer"] for node in model.walk() if "first_layer" in node.attrs]
    if not asked:
        raise ValueError(Errors.S818.format(found=f"the encoder {model.name[:40]!r}"))
    for first_layer in asked:
        first_layer.is_asked = True


def check_depth(model: Model, depth: int) -> None:
    """Make sure that an encoder has a first layer.

    model (Model): The encoder.
    depth (int): Its layers.
    RAISES (ValueError): S818 when there is none.
    """
    if not depth:
        raise ValueError(Errors.S818.format(found=f"a {model.name} without layers"))


def keep_first_layer(vectors: Sequence[Floats2d], first: Sequence[Floats2d]) -> None:
    """Hand out the first layer beside the vectors of an encoder.

    vectors (Sequence[Floats2d]): What the encoder returns. (n_tokens, width) each
    first (Sequence[Floats2d]): The first layer of the same tokens, in arrays of its own. (n_tokens, width) each
    """
    for rows, layer in zip(vectors, first):
        _KEPT[id(rows)] = layer
        weakref.finalize(rows, _KEPT.pop, id(rows), None).atexit = False


def first_layer_of(vectors: Floats2d) -> Floats2d | None:
    """The first layer beside vectors.

    vectors (Floats2d): The array that the encoder returned for a document, no copy. (n_tokens, width)
    RETURNS (Optional[Floats2d]): Its first layer, (n_tokens, width), None when the encoder handed out none.
    """
    return _KEPT.get(id(vectors))
