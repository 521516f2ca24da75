"""The corpora of the recipes: from the folder in SAMARKAND_DATA, or from their public source, with checksums.

`python -m samarkand.corpora.assets` lists them; with names it gets them and prints their files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote
from urllib.request import urlopen

import typer

from ..errors import Errors
from ..replacing import replace_file
from .records import write_records
from .sources import read_source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Corpus", "Split", "corpora", "corpus_path"]

TIMEOUT = 60  # seconds without a byte
Opener = Callable[[str], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Split:
    """One split of a corpus.

    documents (int): Number of documents.
    spans (int): Number of spans.
    sha256 (str): Checksum of the converted file, <name>/<split>.jsonl.xz.
    files (Tuple[Dict[str, Any], ...]): The public files that it is made from; empty when it cannot be.
    """

    documents: int
    spans: int
    sha256: str
    files: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A corpus of the manifest.

    name (str): Name of the corpus, and of its folder.
    lang (str): Language code.
    task (str): What is annotated.
    source (str): Repository and path, as its publishers name them.
    licence (str): Terms, as stated.
    open (bool): Whether a model that is given away may be trained on it.
    labels (Tuple[str, ...]): Labels, the most frequent first.
    splits (Dict[str, Split]): Its splits by name.
    public (Dict[str, Any]): Repository, revision, format and settings, or the reason under "unsupported".
    """

    name: str
    lang: str
    task: str
    source: str
    licence: str
    open: bool
    labels: tuple[str, ...]
    splits: dict[str, Split]
    public: dict[str, Any] = field(repr=False)


@lru_cache(maxsize=1)
def corpora() -> dict[str, Corpus]:
    """The manifest.

    RETURNS (Dict[str, Corpus]): The corpora by name.
    """
    with (Path(__file__).parent / "assets.toml").open("rb") as file:
        manifest = tomllib.load(file)
    return {name: _corpus(name, entry) for name, entry in manifest.items()}


def corpus_path(name: str, split: str, *, cache: Path | None = None, opener: Opener | None = None) -> Path:
    """The file of a split: in SAMARKAND_DATA when it is there, else downloaded, checked and converted once.

    name (str): Name of the corpus.
    split (str): "train", "dev" or "test".
    cache (Optional[Path]): Folder for downloads; None takes SAMARKAND_CACHE or the user's cache folder.
    opener (Optional[Callable]): Opens a URL as a binary file; None takes urllib.
    RETURNS (Path): A .jsonl.xz file of records.
    RAISES (ValueError): S220 and S221 for an unknown corpus or split, S222 and S225 for a wrong checksum.
    RAISES (OSError): S223 when there is no download, S224 when it fails.
    """
    known = corpora()
    if name not in known:
        raise ValueError(Errors.S220.format(name=name, names=", ".join(known)))
    corpus = known[name]
    if split not in corpus.splits:
        raise ValueError(Errors.S221.format(name=name, split=split, splits=", ".join(corpus.splits)))
    relative = Path("ner", name, f"{split}.jsonl.xz")
    if data := os.environ.get("SAMARKAND_DATA"):
        path = Path(data) / relative
        if path.is_file():
            _verify(path, corpus.splits[split].sha256)
            return path
    if "unsupported" in corpus.public:
        reason = corpus.public["unsupported"]
        message = Errors.S223.format(
            name=name, reason=reason, source=corpus.source, licence=corpus.licence, path=relative
        )
        raise FileNotFoundError(message)
    return _from_source(corpus, split, cache or _cache_folder(), opener or _open_url)


def _corpus(name: str, entry: dict[str, Any]) -> Corpus:
    splits = {
        split: Split(**{**fields, "files": tuple(fields.get("files", ()))}) for split, fields in entry["splits"].items()
    }
    return Corpus(name=name, **{**entry, "labels": tuple(entry["labels"]), "splits": splits})


def _cache_folder() -> Path:
    if folder := os.environ.get("SAMARKAND_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samarkand"


def _verify(path: Path, expected: str) -> None:
    stat = path.stat()
    found = _sha256(path, stat.st_mtime_ns, stat.st_size)
    if found != expected:
        raise ValueError(Errors.S222.format(path=path, found=found[:12], expected=expected[:12]))


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Checksum of a file; time and size make sure that a changed file is read again."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _from_source(corpus: Corpus, split: str, cache: Path, opener: Opener) -> Path:
    # Another revision of the source is another file, so that an old conversion is never taken for it.
    path = cache / "ner" / corpus.name / corpus.public["revision"][:12] / f"{split}.jsonl.xz"
    if not path.is_file():
        write_records(path, _source_records(corpus, split, cache, opener))
    return path


def _source_records(corpus: Corpus, split: str, cache: Path, opener: Opener) -> Iterator[dict[str, Any]]:
    public = corpus.public
    for entry in corpus.splits[split].files:
        file = _download(corpus, entry, cache, opener)
        settings = dict(public.get("settings", {}))
        if "member" in entry:
            settings["member"] = entry["member"]
        records = read_source(file, format=public["format"], **settings)
        for record in islice(records, entry.get("start", 0), entry.get("stop")):
            yield {**record, "lang": corpus.lang, "source": corpus.name}


def _download(corpus: Corpus, entry: dict[str, Any], cache: Path, opener: Opener) -> Path:
    repository, revision = corpus.public["repository"], corpus.public["revision"]
    path = cache / "sources" / repository / revision / entry["path"]
    if path.is_file():
        _verify(path, entry["sha256"])
        return path
    url = f"https://raw.githubusercontent.com/{repository}/{revision}/{quote(entry['path'])}"
    with replace_file(path) as temporary:
        try:
            with opener(url) as response, temporary.open("wb") as file:
                shutil.copyfileobj(response, file)
        except (OSError, HTTPException) as err:
            raise OSError(Errors.S224.format(name=corpus.name, url=url, reason=err)) from err
        stat = temporary.stat()
        found = _sha256(temporary, stat.st_mtime_ns, stat.st_size)
        if found != entry["sha256"]:
            message = Errors.S225.format(url=url, found=found[:12], expected=entry["sha256"][:12])
            raise ValueError(message)
    return path


def _open_url(url: str) -> AbstractContextManager[BinaryIO]:
    return urlopen(url, timeout=TIMEOUT)


def main() -> None:
    """Run the command line."""
    typer.run(_command)


def _command(
    names: Annotated[list[str] | None, typer.Argument(help="Corpora to get; none lists them all.")] = None,
) -> None:
    """Get corpora from SAMARKAND_DATA or their public source, and print their files."""
    for corpus in corpora().values() if not names else ():
        terms = "open" if corpus.open else "research"
        sizes = ", ".join(f"{split} {fields.documents:,}" for split, fields in corpus.splits.items())
        print(f"{corpus.name:18} {corpus.lang:9} {terms:9} {sizes} ({corpus.licence})")
    failed = 0
    for name in names or ():
        try:
            for split in corpora()[name].splits if name in corpora() else ("train",):
                print(corpus_path(name, split))
        except (OSError, ValueError) as err:
            print(err, file=sys.stderr)
            failed = 1
    sys.exit(failed)


if __name__ == "__main__":
    main()
