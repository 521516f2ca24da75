"""`samarkand.CatsCorpus.v1`: texts and pairs of texts with classes as training examples, and as a DocBin.

`python -m samarkand.corpora.cats_corpus set:sib200/dev dev.spacy --langs eng_Latn,arb_Arab` writes what
`spacy evaluate` reads.
"""

# No postponed annotations here: the config system reads the types of the settings from the signature.
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example, dont_augment
from spacy.util import registry

from ..errors import Errors
from ..models.text_pairs import LANG_KEY, join_pair
from ..replacing import replace_file
from .cats_sets import cats_records
from .records import Record, find_files
from .sentence_files import json_rows

__all__ = ["CatsCorpus", "record_labels", "record_text", "write_docbin"]

# A path that starts so names a set of SAMARKAND_DATA.
SET_PREFIX = "set:"


@registry.readers("samarkand.CatsCorpus.v1")
class CatsCorpus:
    """Iterate examples with `doc.cats`. The language of a record is in the reference's `user_data`.

    A record is a JSON object with "text" and "label", a string, a number or a list of them, or "cats", numbers from 0
    to 1 by label; and, if need be, with "text_b", the second text of a pair, and "lang".

    path (Union[str, Path, List[Union[str, Path]]]): JSONL, plain or compressed: files, folders or globs; or such as
        "set:sib200/train" for a set of the folder in SAMARKAND_DATA. A list is read one after the other.
    langs (Optional[List[str]]): Languages to read; None for all.
    labels (Optional[List[str]]): All labels; those that a record does not have are 0 then. None takes those of the
        corpus for records with lists, and leaves unknown what other records do not say.
    limit (int): Number of documents to stop after; 0 reads all.
    shuffle (bool): Give the documents in a new order on every pass, which holds all of them in memory.
    seed (int): Seed of the orders.
    augmenter (Optional[Callable]): Makes more examples of one, such as `samarkand.SwapAugmenter.v1`.
    RAISES (ValueError): S630 when the path is null.
    """

    def __init__(
        self,
        path: str | Path | list[str | Path] | None,
        *,
        langs: list[str] | None = None,
        labels: list[str] | None = None,
        limit: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        augmenter: Callable | None = None,
    ) -> None:
        if not path:
            raise ValueError(Errors.S630)
        self.paths = list(path) if isinstance(path, (list, tuple)) else [path]
        self.langs = langs
        self.labels = labels
        self.limit = limit
        self.shuffle = shuffle
        self.seed = seed
        self.augmenter = augmenter or dont_augment
        self._passes = 0

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield examples.

        nlp (Language): The pipeline whose tokenizer makes the documents.
        YIELDS (Example): The examples.
        RAISES (OSError): S201 without such a file, S840 or S841 without that of a set.
        RAISES (ValueError): S631 for a record that cannot be used, S632 when no record is left, S842 for a line that
            is no record, S843 for an unknown set, S207 and S208 for a damaged file.
        """
        self._learn_labels()
        located: Iterable[tuple[str, Record]] = self._located()
        if self.shuffle:
            located = list(located)
            random.Random(f"{self.seed}/{self._passes}").shuffle(located)
        self._passes += 1
        empty = True
        for where, record in located:
            empty = False
            yield from self.augmenter(nlp, self._example(nlp, record, where))
        if empty:
            raise ValueError(Errors.S632.format(paths=", ".join(map(str, self.paths)), langs=self.langs or "all"))

    def _learn_labels(self) -> None:
        """Of records with lists, labels that are absent are 0: a pass through the corpus finds all there are."""
        if self.labels is None and self._passes == 0:
            located = list(self._located())
            if any(isinstance(record.get("label"), list) for _, record in located):
                self.labels = sorted({label for where, record in located for label in _cats(record, where)})

    def _located(self) -> Iterator[tuple[str, Record]]:
        """Records up to the limit, each with its file and number for messages."""
        count = 0
        for path in self.paths:
            for where, record in self._records(path):
                if self.langs is None or record.get("lang") in self.langs:
                    yield where, record
                    count += 1
                    if count == self.limit:
                        return

    def _records(self, path: str | Path) -> Iterator[tuple[str, Record]]:
        if str(path).startswith(SET_PREFIX):
            name = str(path).removeprefix(SET_PREFIX)
            folder = os.environ.get("SAMARKAND_DATA") or "$SAMARKAND_DATA"
            for number, record in enumerate(cats_records(folder, name, self.langs), start=1):
                yield f"{name}, record {number}", record
        else:
            for file in find_files(path):
                for number, record in json_rows(file, text=str):
                    yield f"{file}, line {number}", record

    def _example(self, nlp: Language, record: Record, where: str) -> Example:
        predicted = nlp.make_doc(record_text(record, where))
        reference = predicted.copy()
        cats = _cats(record, where)
        if self.labels is not None and (cats or record.get("label") == []):
            unknown = sorted(set(cats) - set(self.labels))
            if unknown:
                raise ValueError(Errors.S631.format(where=where, reason=f"{unknown[0]!r} is not among the labels"))
            cats = {**dict.fromkeys(self.labels, 0.0), **cats}
        reference.cats = cats
        if lang := record.get("lang"):
            reference.user_data[LANG_KEY] = str(lang)
        return Example(predicted, reference)


def record_text(record: Record, where: str) -> str:
    """The text of a record, or both texts of a pair in one.

    record (dict[str, Any]): The record, with "text" and, if need be, "text_b".
    where (str): Where it is, for messages.
    RETURNS (str): The text.
    RAISES (ValueError): S631 for a second text that is none.
    """
    second = record.get("text_b")
    if second is not None and not isinstance(second, str):
        raise ValueError(Errors.S631.format(where=where, reason=f"'text_b' holds {second!r}, no text"))
    return record["text"] if second is None else join_pair(record["text"], second)


def record_labels(record: Record, where: str) -> list[str]:
    """The labels under "label" of a record.

    record (dict[str, Any]): The record.
    where (str): Where it is, for messages.
    RETURNS (list[str]): One or more, as words even when they are numbers; none for a record without labels.
    RAISES (ValueError): S631 for what is no label.
    """
    found = record.get("label")
    labels = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(label, (str, int)) for label in labels):
        raise ValueError(Errors.S631.format(where=where, reason=f"'label' holds {found!r}, no label"))
    return [str(label) for label in labels]


def _cats(record: Record, where: str) -> dict[str, float]:
    """Scores by label; none for a record without labels."""
    if "cats" in record:
        cats = record["cats"]
        if not isinstance(cats, dict) or not all(_is_score(score) for score in cats.values()):
            raise ValueError(Errors.S631.format(where=where, reason="'cats' are no numbers from 0 to 1 by label"))
        return {label: float(score) for label, score in cats.items()}
    return dict.fromkeys(record_labels(record, where), 1.0)


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def write_docbin(corpus: CatsCorpus, output_path: Path, nlp: Language) -> int:
    """Write the references of a corpus, with their languages; the file appears when it is complete.

    corpus (CatsCorpus): The corpus.
    output_path (Path): A .spacy file.
    nlp (Language): A pipeline to tokenize with.
    RETURNS (int): Number of documents.
    """
    docs = DocBin(store_user_data=True)
    for doc in _references(corpus(nlp)):
        docs.add(doc)
    with replace_file(output_path) as temporary:
        docs.to_disk(temporary)
    return len(docs)


def _references(examples: Iterable[Example]) -> Iterator[Doc]:
    return (eg.reference for eg in examples)


def _command(
    input_path: Annotated[str, typer.Argument(metavar="INPUT", help="JSONL, or such as set:sib200/dev")],
    output_path: Annotated[Path, typer.Argument(metavar="OUTPUT", help=".spacy")],
    langs: Annotated[str, typer.Option(help="Languages, parted by commas; all without it.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
) -> None:
    """Write texts with classes as a DocBin, for `spacy evaluate`."""
    from .. import blank

    try:
        if output_path.exists() and not force:
            raise FileExistsError(Errors.S217.format(path=output_path))
        corpus = CatsCorpus(input_path, langs=langs.split(",") if langs else None)
        count = write_docbin(corpus, output_path, blank("xx"))
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        sys.exit(1)
    print(f"{output_path}: {count:,} documents")


def main() -> None:
    """Run the command line."""
    typer.run(_command)


if __name__ == "__main__":
    main()
