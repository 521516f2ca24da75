"""A whitening map as a layer of a pipeline's sentence encoder, saved with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from thinc.api import Model
from thinc.types import Floats2d

from .whitening_map import SHORTEST, check_width


def build_whitening_layer() -> Model[Floats2d, Floats2d]:
    """An affine map that is not there until `set_affine` is called. Rows of zeros stay zeros.

    RETURNS (Model): From shape (rows, width) to (rows, kept width), each row of length one; or what comes in.
    """
    return Model(
        "whitening", _forward, params={"W": None, "c": None}, dims={"nI": None, "nO": None}, attrs={"unit_length": True}
    )


def set_affine(layer: Model[Floats2d, Floats2d], matrix: np.ndarray, offset: np.ndarray, unit_length: bool) -> None:
    """Set the map y = x W + c.

    layer (Model): What `build_whitening_layer` made.
    matrix (np.ndarray): W, shape (width, kept width).
    offset (np.ndarray): c, shape (kept width,).
    unit_length (bool): Scale each result to length one.
    """
    layer.set_dim("nI", matrix.shape[0], force=True)
    layer.set_dim("nO", matrix.shape[1], force=True)
    layer.set_param("W", layer.ops.asarray_f(matrix))
    layer.set_param("c", layer.ops.asarray_f(offset))
    layer.attrs["unit_length"] = unit_length


def _forward(model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool) -> tuple[Floats2d, Callable]:
    if not model.has_param("W"):
        return X, lambda dY: dY
    xp = model.ops.xp
    check_width(X.shape, model.get_dim("nI"))
    W, filled = model.get_param("W"), X.any(axis=1, keepdims=True)
    Y = (X @ W + model.get_param("c")) * filled
    scale = xp.ones((len(Y), 1), dtype="f")
    if model.attrs["unit_length"]:
        scale = xp.maximum(xp.linalg.norm(Y, axis=1, keepdims=True), SHORTEST)
    Z = Y / scale

    def backprop(dZ: Floats2d) -> Floats2d:
        # The map is given, not learnt; what comes before it may still learn.
        along = (dZ * Z).sum(axis=1, keepdims=True) * Z if model.attrs["unit_length"] else 0
        return ((dZ - along) / scale * filled) @ W.T

    return Z, backprop
