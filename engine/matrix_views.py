"""Parameters of any layout, whole or a shard at hand, as matrices."""

from __future__ import annotations

from torch import Tensor


def local_part(tensor: Tensor) -> Tensor:
    """RETURNS (Tensor): The shard at hand of a distributed tensor, any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def as_matrix(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor as a matrix of its first dimension by all others, these in the order in which another one stores them.

    tensor (Tensor): The tensor; all its dimensions but the first are those of `like`.
    like (Tensor): Whose order it is; without columns when it has less than two dimensions or no elements.
    RETURNS (Tensor): A view where that is possible; [1, n] of what has no columns.
    """
    if _has_no_columns(like):
        return tensor.reshape(1, -1)
    return tensor.permute(0, *_order(like)).reshape(len(tensor), -1)


def from_matrix(matrix: Tensor, like: Tensor) -> Tensor:
    """What `as_matrix` made a matrix of.

    matrix (Tensor): The matrix.
    like (Tensor): Whose order its columns are in.
    RETURNS (Tensor): A tensor of as many rows, otherwise of the shape of `like`.
    """
    if _has_no_columns(like):
        return matrix.reshape(like.shape)
    order = _order(like)
    tensor = matrix.reshape(len(matrix), *(like.shape[i] for i in order))
    return tensor.permute(0, *(1 + order.index(i) for i in range(1, like.ndim)))


def _has_no_columns(tensor: Tensor) -> bool:
    return tensor.ndim < 2 or not tensor.numel()


def _order(tensor: Tensor) -> list[int]:
    return sorted(range(1, tensor.ndim), key=tensor.stride, reverse=True)
