"""What comes into a search index, looked over before anything is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import Errors
from .record_filter import is_unicode
from .record_store import StoredRecord

METRICS = ("cosine", "ip")
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def checked_count(name: str, value: Any) -> int:
    """A number of things, of Python or of NumPy.

    name (str): What it is called.
    value (Any): The number.
    RETURNS (int): The same.
    RAISES (ValueError): S835 when it is no whole number, or below 1.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(Errors.S835.format(name=name, value=value, expected="a whole number, 1 or more"))
    return int(value)


def checked_vectors(vectors: np.ndarray, width: int, metric: str) -> np.ndarray:
    """Vectors as an index compares them.

    vectors (np.ndarray): Shape (n, width), or (width,) for one.
    width (int): Numbers in a vector.
    metric (str): "cosine" or "ip".
    RETURNS (np.ndarray): Shape (n, width), float32; of length 1 for "cosine", zeros apart.
    RAISES (ValueError): S824 for another shape, or for numbers that are none.
    """
    vectors = np.atleast_2d(np.asarray(vectors))
    if vectors.ndim != 2 or vectors.shape[1] != width or vectors.dtype.kind not in "fiu":
        raise ValueError(Errors.S824.format(found=f"{vectors.dtype} {vectors.shape}", width=width))
    with np.errstate(over="ignore"):
        single = vectors.astype(np.float32)
    if not np.isfinite(single).all():
        raise ValueError(Errors.S824.format(found="some that are infinite or no numbers", width=width))
    if metric == "ip":
        return single
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def is_blank(vectors: np.ndarray) -> np.ndarray:
    """Vectors that say nothing, such as those of empty texts.

    vectors (np.ndarray): Shape (n, width).
    RETURNS (np.ndarray): Shape (n,), bool: whether all of it is zero.
    """
    return ~vectors.any(axis=1)


def checked_ids(ids: Iterable[str]) -> list[str]:
    """The ids of a change.

    ids (Iterable[str]): Texts, each once.
    RETURNS (list[str]): They.
    RAISES (ValueError): S825 for anything else.
    """
    ids = [ids] if isinstance(ids, str) else list(ids)
    for id in ids:
        if not isinstance(id, str) or not id or not is_unicode(id):
            raise _bad(f"an id is a text that is not empty, not {id!r}")
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise _bad(f"the id {twice[0]!r} comes twice")
    return ids


def checked_records(
    ids: Iterable[str],
    vectors: int,
    texts: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any] | None] | None,
) -> list[StoredRecord]:
    """The records of a change.

    ids (Iterable[str]): Texts, each once.
    vectors (int): How many vectors come with them.
    texts (Optional[Sequence[Optional[str]]]): Their texts.
    metadata (Optional[Sequence[Optional[Mapping]]]): What else is known of them.
    RETURNS (list[StoredRecord]): The records.
    RAISES (ValueError): S825 when they cannot be stored.
    """
    ids = checked_ids(ids)
    columns = {"vectors": vectors, "texts": len(ids) if texts is None else len(texts)}
    columns["metadata"] = len(ids) if metadata is None else len(metadata)
    for name, count in columns.items():
        if count != len(ids):
            raise _bad(f"there are {len(ids):,} ids and {count:,} {name}")
    texts = [None] * len(ids) if texts is None else texts
    for id, text in zip(ids, texts):
        if text is not None and not (isinstance(text, str) and is_unicode(text)):
            raise _bad(f"the text of {id!r} is {type(text).__name__}, or has half of a surrogate pair")
    return [
        StoredRecord(id, text, _checked_metadata(id, about))
        for id, text, about in zip(ids, texts, metadata or [None] * len(ids))
    ]


def _checked_metadata(id: str, metadata: Mapping[str, Any] | None) -> str | None:
    if not isinstance(metadata, (Mapping, type(None))):
        raise _bad(f"the metadata of {id!r} are {type(metadata).__name__}, not a mapping")
    if not metadata:
        return None
    try:
        written = _to_json(dict(metadata))
        written.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _bad(f"the metadata of {id!r} are not JSON ({error})") from error
    return written


def _bad(reason: str) -> ValueError:
    return ValueError(Errors.S825.format(reason=reason))
