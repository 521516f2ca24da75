"""`samarkand.SpanCorpus.v1`: character spans in JSONL, CoNLL or DocBin files as training examples."""

# No postponed annotations here: the config system reads the types of the settings from the signature.
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from spacy.language import Language
from spacy.training import Example, dont_augment
from spacy.util import registry

from ..errors import Errors
from .alignment import MISALIGNED, SpanReport, align_spans, set_gold_ents
from .records import Record, find_files, read_records, rename_labels

__all__ = ["SpanCorpus"]


@registry.readers("samarkand.SpanCorpus.v1")
class SpanCorpus:
    """Iterate examples: texts tokenized by the pipeline, spans as `doc.ents` or as `doc.spans[spans_key]`.

    A span with a `kb_id` has it as `kb_id_`, and "NIL" where it is null.

    path (Union[str, Path, List[Union[str, Path]]]): JSONL, CoNLL or DocBin, plain or compressed: files,
        folders or globs; a list is read one after the other.
    spans_key (Optional[str]): Span group to fill, where spans may nest; None fills `doc.ents`, and of spans
        that overlap the longest stays.
    labels (Optional[Dict[str, Optional[str]]]): New name by old name, null to drop spans of a label. Labels
        that are not listed stay as they are, or become what "*" says.
    limit (int): Number of documents to stop after; 0 reads all.
    max_length (int): Longest document in tokens; longer ones are left out and counted. 0 takes all.
    shuffle (bool): Give the documents in a new order on every pass, which holds all of them in memory.
    seed (int): Seed of the orders.
    misaligned (str): What becomes of a span that is off the tokens' edges. "warn" leaves it out, marks its
        tokens as missing in `doc.ents`, and counts it; "expand" widens it to whole tokens and counts it;
        "error" raises, for spans with any other problem too.
    joiner (str): What joins the tokens of CoNLL files without `# text` lines: "" for Chinese.
    augmenter (Optional[Callable]): Makes more examples of one, such as `samarkand.SwapAugmenter.v1`.
    RAISES (ValueError): S212 when the path is null, S214 for an unknown value of `misaligned`.
    """

    def __init__(
        self,
        path: str | Path | list[str | Path] | None,
        *,
        spans_key: str | None = None,
        labels: dict[str, str | None] | None = None,
        limit: int = 0,
        max_length: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        misaligned: str = "warn",
        joiner: str = " ",
        augmenter: Callable | None = None,
    ) -> None:
        if not path:
            raise ValueError(Errors.S212)
        if misaligned not in MISALIGNED:
            raise ValueError(Errors.S214.format(value=misaligned, values=", ".join(MISALIGNED)))
        self.paths = list(path) if isinstance(path, (list, tuple)) else [path]
        self.spans_key = spans_key
        self.labels = dict(labels or {})
        self.limit = limit
        self.max_length = max_length
        self.shuffle = shuffle
        self.seed = seed
        self.misaligned = misaligned
        self.joiner = joiner
        self.augmenter = augmenter or dont_augment
        self.report = SpanReport()
        self._passes = 0
        self._warned = 0

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield examples and, when the first pass ends, warn of what did not fit; `report` has the counts.

        nlp (Language): The pipeline whose tokenizer makes the documents.
        YIELDS (Example): The tokenized text, and a copy of it with the spans.
        RAISES (ValueError): S213 when `misaligned` is "error" and a span does not fit.
        """
        self.report = SpanReport()
        located = self._located_records()
        if self.shuffle:
            located = self._shuffled(located)
        self._passes += 1
        try:
            for where, record in located:
                example = self._example(nlp, record, where)
                if example is not None:
                    yield from self.augmenter(nlp, example)
        finally:
            self._warn()

    def _located_records(self) -> Iterator[tuple[str, Record]]:
        """Records up to the limit, each with its file and number for messages."""
        count = 0
        for path in self.paths:
            for file in find_files(path):
                records = read_records(file, joiner=self.joiner, spans_key=self.spans_key)
                for number, record in enumerate(records, start=1):
                    yield f"{file}, document {number}", record
                    count += 1
                    if count == self.limit:
                        return

    def _shuffled(self, located: Iterator[tuple[str, Record]]) -> Iterator[tuple[str, Record]]:
        records = list(located)
        random.Random(f"{self.seed}/{self._passes}").shuffle(records)
        return iter(records)

    def _example(self, nlp: Language, record: Record, where: str) -> Example | None:
        predicted = nlp.make_doc(record["text"])
        self.report.documents += 1
        spans = rename_labels(record["spans"], self.labels)
        if self.max_length and len(predicted) > self.max_length:
            self.report.long += 1
            self.report.long_spans += len(spans)
            return None
        reference = predicted.copy()
        kept, left_out = align_spans(
            reference,
            spans,
            self.report,
            flat=self.spans_key is None,
            misaligned=self.misaligned,
            where=where,
        )
        if self.spans_key is None:
            set_gold_ents(reference, kept, left_out)
        else:
            reference.spans[self.spans_key] = kept
        return Example(predicted, reference)

    def _warn(self) -> None:
        """Warn once; again only when a later pass got further and met more."""
        if self.report.n_problems <= self._warned:
            return
        self._warned = self.report.n_problems
        source = ", ".join(map(str, self.paths))
        self.report.warn(source, misaligned=self.misaligned, max_length=self.max_length)
