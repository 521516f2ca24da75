"""A teacher's vectors of many sentences, computed once, in a file that a later run goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import Errors, first_line
from ..replacing import replace_file
from .sentence_model import SentenceModel

BLOCK = 4096


def teacher_table(
    teacher: SentenceModel, sentences: Sequence[str], path: Path, report: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Vectors of sentences, from the file as far as it goes.

    teacher (SentenceModel): The teacher.
    sentences (Sequence[str]): The sentences.
    path (Path): File of the vectors, as float16; beside it, a file of the same name in .json says how far they go.
    report (Optional[Callable]): Takes how many are done, and of how many.
    RETURNS (np.ndarray): Shape (len(sentences), width), float16, memory-mapped for reading.
    RAISES (ValueError): S875 when the file is damaged.
    """
    shape = (len(sentences), teacher.width)
    state = path.with_suffix(".json")
    identity = {"teacher": teacher.fingerprint, "sentences": _fingerprint(sentences), "shape": list(shape)}
    done = _done(state, identity) if path.exists() else 0
    if not done:
        # That of a former table would be believed again once this one is cut short.
        state.unlink(missing_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
    table = _open(path, "r+", shape)
    for start in range(done, len(sentences), BLOCK):
        end = min(start + BLOCK, len(sentences))
        table[start:end] = teacher.encode(sentences[start:end])
        table.flush()
        with replace_file(state) as aside:
            aside.write_text(json.dumps(identity | {"done": end}), encoding="utf-8")
        if report:
            report(end, len(sentences))
    return _open(path, "r", shape)


def _open(path: Path, mode: str, shape: tuple[int, int]) -> np.ndarray:
    try:
        # A file that was cut short would be lengthened by zeros if it were opened for writing alone.
        for each in dict.fromkeys(("r", mode)):
            table = np.load(path, mmap_mode=each, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise ValueError(Errors.S875.format(path=path, reason=first_line(err))) from None
    if (table.shape, table.dtype) != (shape, np.float16):
        reason = f"there are {table.dtype} {table.shape} for float16 {shape}"
        raise ValueError(Errors.S875.format(path=path, reason=reason))
    return table


def _done(state: Path, identity: dict[str, object]) -> int:
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
        return int(found["done"]) if {key: found[key] for key in identity} == identity else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _fingerprint(sentences: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(sentence.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]
