"""The splits that a recipe needs, as JSONL files: from a corpus of the manifest, or from files of your own.

`python -m samarkand.corpora.splits zh-cluener assets/zh-cluener`
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Errors, SamarkandWarning, Warnings
from .assets import Opener, corpora, corpus_path
from .convert import joiner_of
from .files import stem_suffix
from .records import FORMATS, Record, read_records, rename_labels, write_records

__all__ = ["SplitFile", "write_splits"]

SPLITS = ("train", "dev", "test")
# Without a split to choose the best step by, one document of so many is held out at the end of train.
HELD_OUT = 10


@dataclass(frozen=True)
class SplitFile:
    """A split as a recipe uses it.

    path (Path): The JSONL file.
    origin (str): The split of the corpus that its documents come from.
    documents (int): Number of documents.
    labels (Counter[str]): Number of spans by label.
    """

    path: Path
    origin: str
    documents: int
    labels: Counter[str]


def write_splits(
    source: str,
    folder: Path,
    *,
    labels: dict[str, str | None] | None = None,
    lang: str = "xx",
    cache: Path | None = None,
    opener: Opener | None = None,
) -> dict[str, SplitFile]:
    """Write train.jsonl, dev.jsonl and test.jsonl.

    A corpus without a test split is tested on its dev split, and a corpus without a dev split to spare takes the
    last tenth of train for it, so that the test split never chooses the best step.

    source (str): A corpus of the manifest, or a folder that holds train, dev and test in any format of a corpus.
    folder (Path): Where to write.
    labels (Optional[Dict[str, Optional[str]]]): New name by old name, as SpanCorpus has it.
    lang (str): Language of CoNLL files in a folder: decides what joins their tokens.
    cache (Optional[Path]): Folder for downloads.
    opener (Optional[Callable]): Opens a URL as a binary file.
    RETURNS (Dict[str, SplitFile]): What was written, by split.
    RAISES (ValueError): S220 for an unknown corpus, S227 when a split is missing, S228 when one is there twice,
        S230 when train is too small to hold a dev split out; and what `corpus_path` and `read_records` raise.
    WARNS: SW210 when dev or test have labels that cannot be learnt from train.
    """
    if source in corpora():
        paths = {split: corpus_path(source, split, cache=cache, opener=opener) for split in corpora()[source].splits}
    else:
        paths = _own_files(source)
    if "train" not in paths or len(paths) < 2:
        raise ValueError(Errors.S227.format(source=source, splits=", ".join(paths) or "none"))
    written = {}
    for split, (origin, records) in _arrange(source, paths, joiner_of(lang)).items():
        path, counts = Path(folder) / f"{split}.jsonl", Counter()
        documents = write_records(path, _counted(records, labels or {}, counts))
        written[split] = SplitFile(path, origin, documents, counts)
    _warn_of_unknown_labels(source, written)
    return written


def _own_files(source: str) -> dict[str, Path]:
    if not Path(source).is_dir():
        raise ValueError(Errors.S220.format(name=source, names=", ".join(corpora())))
    paths = {}
    for split in SPLITS:
        found = [path for path in sorted(Path(source).glob(f"{split}.*")) if stem_suffix(path) in FORMATS]
        if len(found) > 1:
            raise ValueError(Errors.S228.format(split=split, paths=", ".join(map(str, found))))
        if found:
            paths[split] = found[0]
    return paths


def _arrange(source: str, paths: dict[str, Path], joiner: str) -> dict[str, tuple[str, Iterable[Record]]]:
    """Where the records of each split come from."""
    streams = {split: (split, read_records(path, joiner=joiner)) for split, path in paths.items()}
    if len(paths) == len(SPLITS):
        return streams
    train = list(streams["train"][1])
    if len(train) < 2:
        raise ValueError(Errors.S230.format(source=source, documents=len(train)))
    held = max(1, len(train) // HELD_OUT)
    test = streams.get("test") or streams["dev"]
    return {"train": ("train", train[:-held]), "dev": ("train", train[-held:]), "test": test}


def _counted(records: Iterable[Record], labels: dict[str, str | None], counts: Counter[str]) -> Iterator[Record]:
    for record in records:
        spans = rename_labels(record["spans"], labels)
        counts.update(span["label"] for span in spans)
        yield {**record, "spans": spans}


def _warn_of_unknown_labels(source: str, written: dict[str, SplitFile]) -> None:
    known = written["train"].labels
    for split in ("dev", "test"):
        counts = written[split].labels
        unknown = {label: count for label, count in counts.most_common() if label not in known}
        if unknown:
            message = Warnings.SW210.format(
                source=source,
                split=split,
                count=sum(unknown.values()),
                spans=counts.total(),
                labels=", ".join(f"{label} {count}" for label, count in unknown.items()),
                known=", ".join(known) or "none",
            )
            warnings.warn(message, SamarkandWarning, stacklevel=3)


def main() -> None:
    """Run the command line."""
    typer.run(_command)


def _command(
    source: Annotated[str, typer.Argument(help="A corpus of the manifest, or a folder with train, dev and test.")],
    folder: Annotated[Path, typer.Argument(help="Where to write train.jsonl, dev.jsonl and test.jsonl.")],
    labels: Annotated[
        str, typer.Option(help="New names, as in GPE=LOC,DATE= (none drops a label; * is the rest).")
    ] = "",
    lang: Annotated[str, typer.Option(help="Language of CoNLL files of your own.")] = "xx",
) -> None:
    """Write the splits that a recipe needs."""
    pairs = (part.partition("=") for part in labels.split(",") if part.strip())
    names = {old.strip(): new.strip() or None for old, _, new in pairs}
    try:
        written = write_splits(source, folder, labels=names, lang=lang)
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        sys.exit(1)
    for split, file in written.items():
        origin = f", out of {file.origin}" if file.origin != split else ""
        print(f"{file.path}: {file.documents:,} documents, {file.labels.total():,} spans{origin}")


if __name__ == "__main__":
    main()
