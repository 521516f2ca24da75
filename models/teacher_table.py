"""A teacher's vectors of many sentences, computed once, in a file that a later run goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

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
    """
    shape = (len(sentences), teacher.width)
    state = path.with_suffix(".json")
    identity = {"teacher": teacher.fingerprint, "sentences": _fingerprint(sentences), "shape": list(shape)}
    done = _done(state, identity) if path.exists() else 0
    if not done:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
    table = np.load(path, mmap_mode="r+", allow_pickle=False)
    for start in range(done, len(sentences), BLOCK):
        end = min(start + BLOCK, len(sentences))
        table[start:end] = teacher.encode(sentences[start:end])
        table.flush()
        with replace_file(state) as aside:
            aside.write_text(json.dumps(identity | {"done": end}), encoding="utf-8")
        if report:
            report(end, len(sentences))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _done(state: Path, identity: dict[str, object]) -> int:
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    return found.get("done", 0) if {key: found.get(key) for key in identity} == identity else 0


def _fingerprint(sentences: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(sentence.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]
