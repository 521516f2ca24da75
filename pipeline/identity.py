"""Telling whether an input or a pipeline is still the one that a run was planned with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from .loading import PipelineSpec

if TYPE_CHECKING:
    from spacy.language import Language

# Bytes of a file up to which all of it is hashed. Of a larger one these are samples, and its time of change counts too.
WHOLE = 256 * 2**20
SAMPLES, SAMPLE = 64, 2**20
CHUNK = 2**20


def identify(path: str | Path, *, whole: int | None = WHOLE) -> dict[str, Any]:
    """What tells a file or a folder from another state of it.

    path (str | Path): The file or folder.
    whole (Optional[int]): Bytes of a file up to which all of it is read; None reads every file whole.
    RETURNS (dict): "bytes", "modified" (nanoseconds), "digest", and "whole": whether all of it was read.
    RAISES (OSError): When it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    modified = stamp(path)[1]
    size, all_read = 0, True
    for name, file in _files(Path(path)):
        length = file.stat().st_size
        digest.update(f"{name}\0{length}\0".encode("utf-8", "surrogateescape"))
        all_read &= whole is None or length <= whole
        for chunk in _chunks(file, length, sample=whole is not None and length > whole):
            digest.update(chunk)
        size += length
    return {"bytes": size, "modified": modified, "digest": digest.hexdigest(), "whole": all_read}


def stamp(path: str | Path) -> tuple[int, int]:
    """What a change of a file or folder shows in without reading it.

    path (str | Path): The file or folder.
    RETURNS (tuple[int, int]): Bytes, and the last time of change in nanoseconds.
    RAISES (OSError): When it is not there.
    """
    stats = [file.stat() for _, file in _files(Path(path))]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def changed(was: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two identities are of different contents, as far as one can know.

    was (dict): The identity at the time of the plan.
    now (dict): The identity now.
    RETURNS (bool): Whether they differ. Of what was not read whole, the time of change has to be the same.
    """
    keys = ("bytes", "digest") if was["whole"] else ("bytes", "digest", "modified")
    return any(was[key] != now[key] for key in keys)


def fingerprint(pipeline: Language | PipelineSpec) -> str:
    """A hash of all that a pipeline consists of: its config, weights and data, and the code it was given.

    pipeline (Language | PipelineSpec): The pipeline, or how to load it.
    RETURNS (str): The hash.
    RAISES (OSError): S001 when there is no such pipeline.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(pipeline, PipelineSpec):
        digest.update(identify(pipeline.folder(), whole=None)["digest"].encode())
        if pipeline.code is not None and Path(pipeline.code).is_file():
            digest.update(Path(pipeline.code).read_bytes())
        return digest.hexdigest()
    # The strings of a vocabulary grow with use and change no annotation; its vectors may.
    digest.update(pipeline.config.to_str().encode())
    digest.update(pipeline.vocab.vectors.to_bytes(exclude=["strings"]))
    for name, component in pipeline.pipeline:
        state = component.to_bytes(exclude=["vocab"]) if hasattr(component, "to_bytes") else b""
        digest.update(f"{name}\0{len(state)}\0".encode())
        digest.update(state)
    return digest.hexdigest()


def software() -> dict[str, str]:
    """RETURNS (dict[str, str]): Versions of what the output depends on, by package."""
    import spacy

    return {"samarkand": __version__, "spacy": spacy.__version__}


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What the output depends on and is not the same.

    was (dict): Values by group and name.
    now (dict): The same groups, later or elsewhere.
    RETURNS (list[str]): The differences in words.
    """
    reasons = []
    for group, names in was.items():
        for name in sorted({*names, *now[group]}):
            before, after = names.get(name), now[group].get(name)
            if before != after:
                reasons.append(f"{group}: {name} was {before!r} and is {after!r}")
    return reasons


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    path (Path): The file.
    RETURNS (str): The hash, as `sha256sum` prints it.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or the files below a folder in a fixed order; caches of compiled code come and go."""
    if not path.is_dir():
        yield "", path
        return
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if name != "__pycache__")
        for name in sorted(names):
            file = Path(folder) / name
            yield file.relative_to(path).as_posix(), file


def _chunks(file: Path, length: int, *, sample: bool) -> Iterator[bytes]:
    with open(file, "rb") as stream:
        if not sample:
            while chunk := stream.read(CHUNK):
                yield chunk
            return
        for number in range(SAMPLES):
            stream.seek((length - SAMPLE) * number // (SAMPLES - 1))
            yield stream.read(SAMPLE)
