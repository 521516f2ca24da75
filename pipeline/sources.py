"""Which files to annotate, of what kind they are, and what each output is called."""

from __future__ import annotations

import glob
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from ..compression import COMPRESSIONS
from ..errors import Errors, SamarkandWarning, Warnings

KINDS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".spacy": "docbin",
}
STDIN = "-"


class UsageError(ValueError):
    """The request cannot be carried out as given; nothing has been read or written yet."""


@dataclass(frozen=True)
class Source:
    """One unit of work: a file, a split of a saved `datasets` folder, or standard input.

    path (str): Where to read; "-" is standard input.
    kind (str): "txt", "jsonl", "csv", "tsv", "parquet", "docbin" or "dataset".
    name (str): Path of the output below the output folder, without the input's endings.
    filename (str): The same with the input's endings kept, used when two names collide.
    compression (str): "gz", "xz", "zst" or "".
    split (str): Split of a saved `DatasetDict`, else "".
    """

    path: str
    kind: str
    name: str
    filename: str
    compression: str = ""
    split: str = ""

    @property
    def unit(self) -> str:
        """What a position in this source counts: "line", or "row" where there are no lines."""
        return "line" if self.kind in ("txt", "jsonl", "csv", "tsv") else "row"

    def __str__(self) -> str:
        return f"{self.path}[{self.split}]" if self.split else self.path


def find_sources(inputs: Iterable[str | Path], *, exclude: Path | None = None) -> list[Source]:
    """Resolve files, folders (recursive, sorted), globs and "-" to units of work, each once.

    inputs (Iterable[str | Path]): What the user named.
    exclude (Path | None): Folder that is left out of recursion and of globs: the output folder.
    RETURNS (list[Source]): The sources, in the order named.
    RAISES (UsageError): S501 for a missing input, S502 for an unknown ending, S503 when nothing was found.
    """
    inputs = [str(item) for item in inputs]
    sources: dict[tuple[str, str], Source] = {}
    for item in inputs:
        for source in _resolve(item, exclude.resolve() if exclude else None):
            key = (os.path.realpath(source.path) if source.path != STDIN else STDIN, source.split)
            sources.setdefault(key, source)
    if not sources:
        raise UsageError(Errors.S503.format(inputs=", ".join(inputs), endings=_endings()))
    return list(sources.values())


def output_names(sources: Iterable[Source], suffix: str, *, reserved: Iterable[str] = ()) -> list[str]:
    """Name the output of each source: the input's name with the new ending.

    Inputs that would share a name, also with a folder, keep their own endings in it ("a.txt", "a.csv" give
    "a.txt.jsonl", "a.csv.jsonl"); what still collides is numbered. Compared without case, for the file systems that do
    so.

    sources (Iterable[Source]): The sources, in order.
    suffix (str): Ending of the output, with its dot.
    reserved (Iterable[str]): Names that no output may bear.
    RETURNS (list[str]): A unique relative path for each source.
    """
    sources = list(sources)
    taken = {name.casefold() for name in reserved}
    taken |= {str(folder).casefold() for source in sources for folder in PurePosixPath(source.name).parents}
    counts = Counter((source.name + suffix).casefold() for source in sources)
    names = []
    for source in sources:
        name = source.name + suffix
        if counts[name.casefold()] > 1 or name.casefold() in taken:
            name = source.filename + suffix
        number = 2
        while name.casefold() in taken:
            name = f"{source.filename}-{number}{suffix}"
            number += 1
        taken.add(name.casefold())
        names.append(name)
    return names


def protect_inputs(inputs: Iterable[Source | Path], outputs: Iterable[tuple[Source | Path, Path]]) -> None:
    """Refuse to write over what is to be read, forced or not.

    inputs (Iterable[Source | Path]): The inputs.
    outputs (Iterable[tuple[Source | Path, Path]]): The files to write, each after what it is the output of.
    RAISES (UsageError): S505 when one of them is an input.
    """
    paths = {item.path if isinstance(item, Source) else str(item): item for item in inputs}
    places = {os.path.realpath(path): item for path, item in paths.items() if path != STDIN}
    for origin, path in outputs:
        hit = places.get(os.path.realpath(path))
        if hit is not None:
            raise UsageError(Errors.S505.format(source=origin, path=hit))


def _resolve(item: str, exclude: Path | None) -> Iterator[Source]:
    if item == STDIN:
        yield Source(STDIN, "txt", "stdin", "stdin")
        return
    path = Path(item)
    if not path.exists():
        matches = sorted(glob.glob(item, recursive=True)) if glob.has_magic(item) else []
        if not matches:
            raise UsageError(Errors.S501.format(path=item))
        # As in folders, the output is not read, unless it is the place where the user looks for inputs.
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts)).resolve()
        skip = exclude if exclude is not None and not root.is_relative_to(exclude) else None
        for match in matches:
            if skip is None or not Path(match).resolve().is_relative_to(skip):
                yield from _resolve(match, exclude)
    elif _is_dataset(path):
        yield from _dataset_sources(path, path.resolve().name)
    elif path.is_dir():
        yield from _walk(path, exclude)
    else:
        source = _file_source(path, path.name)
        if source is None:
            raise UsageError(Errors.S502.format(path=item, endings=_endings()))
        yield source


def _walk(root: Path, exclude: Path | None) -> Iterator[Source]:
    """Sources below a folder; hidden entries are left out, other unknown files are counted in a warning."""
    unknown: list[Path] = []
    seen = {os.path.realpath(root)}
    for folder, subfolders, files in os.walk(root, onerror=_refuse_folder, followlinks=True):
        here = Path(folder)
        nested = sorted(name for name in subfolders if not name.startswith("."))
        subfolders[:] = []
        for name in nested:
            real = os.path.realpath(here / name)
            # Links may lead in circles.
            if real in seen or (exclude is not None and real == str(exclude)):
                continue
            seen.add(real)
            if _is_dataset(here / name):
                yield from _dataset_sources(here / name, (here / name).relative_to(root).as_posix())
            else:
                subfolders.append(name)
        for name in sorted(files):
            if name.startswith("."):
                continue
            source = _file_source(here / name, (here / name).relative_to(root).as_posix())
            if source is None:
                unknown.append(here / name)
            else:
                yield source
    if unknown:
        message = Warnings.SW501.format(n=len(unknown), folder=root, example=unknown[0], endings=_endings())
        warnings.warn(message, SamarkandWarning, stacklevel=2)


def _refuse_folder(error: OSError) -> None:
    raise UsageError(Errors.S512.format(path=error.filename, reason=error.strerror)) from error


def _file_source(path: Path, filename: str) -> Source | None:
    """The source for a file, or None when its ending is not known."""
    name, compression = filename, ""
    stem, ending = os.path.splitext(name)
    if ending.lower() in COMPRESSIONS:
        name, compression = stem, COMPRESSIONS[ending.lower()]
        stem, ending = os.path.splitext(name)
    kind = KINDS.get(ending.lower())
    return Source(str(path), kind, stem, filename, compression) if kind else None


def _is_dataset(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of a `Dataset` or a `DatasetDict`."""
    single = (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    return single or (path / "dataset_dict.json").is_file()


def _dataset_sources(path: Path, name: str) -> Iterator[Source]:
    if not (path / "dataset_dict.json").is_file():
        yield Source(str(path), "dataset", name, name)
        return
    for folder in sorted(child for child in path.iterdir() if _is_dataset(child)):
        unit = f"{name}-{folder.name}"
        yield Source(str(path), "dataset", unit, unit, split=folder.name)


def _endings() -> str:
    return f"{', '.join(KINDS)}, each also with {', '.join(COMPRESSIONS)}"
