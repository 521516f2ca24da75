"""`transliterator`: documents in another script, and entities that a pipeline for that script finds in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import spacy
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.util import filter_spans

from ..errors import Errors, SamarkandWarning, Warnings
from ..models.transliteration import ICU_TABLES, Transliteration, Transliterator
from .language_identifier import KEY as LANGUAGE_KEY
from .language_identifier import get_language

# In `doc.user_data`: the text and its runs, which travel with bytes and pickles.
KEY = "samarkand.transliteration"
ATTRIBUTE = "transliteration"


@Language.factory(
    "transliterator",
    assigns=["doc._.transliteration", "doc.ents"],
    default_config={"tables": None, "pipeline": None},
)
def make_transliterator(
    nlp: Language, name: str, tables: dict[str, str | dict[str, str]] | None, pipeline: str | None
) -> TransliteratorPipe:
    """Make a `transliterator` pipe.

    tables (Optional[dict[str, Union[str, dict[str, str]]]]): Table by ISO 15924 code of a script: "ug-tr", "ckb-kmr",
        "ka-latn", "ar-buckwalter", or "icu:" and an ICU transform. Under the code of a language, as `doc._.language`
        has it, tables by script that take the place of those for its documents. None for ICU's transforms to Latin.
    pipeline (Optional[str]): Name or folder of a pipeline that reads the transliterated text. Its entities become those
        of the document, on the tokens that they came from; entities that are there already stay.
    RETURNS (TransliteratorPipe): The pipe.
    """
    tables = ICU_TABLES if tables is None else tables
    scripts = {script: table for script, table in tables.items() if isinstance(table, str)}
    languages = {
        language: Transliterator({**scripts, **own}) for language, own in tables.items() if not isinstance(own, str)
    }
    return TransliteratorPipe(name, Transliterator(scripts), languages=languages, pipeline=pipeline)


class TransliteratorPipe(Pipe):
    """Sets `doc._.transliteration`, a `Transliteration` of the text.

    transliterator (Optional[Transliterator]): Reads the documents; None for ICU's transforms to Latin.
    languages (Optional[Mapping[str, Transliterator]]): Read those of a language in its place, by `doc._.language`.
    pipeline (Optional[str]): As in `make_transliterator`.
    WARNS: SW640 when there are `languages` and nothing has said which one a document is in.
    """

    def __init__(
        self,
        name: str = "transliterator",
        transliterator: Transliterator | None = None,
        *,
        languages: Mapping[str, Transliterator] | None = None,
        pipeline: str | None = None,
    ) -> None:
        self.name = name
        self.transliterator = transliterator or Transliterator()
        self.languages = dict(languages or {})
        self.pipeline = pipeline
        self._has_warned = False
        self._reader: Language | None = None
        if not Doc.has_extension(ATTRIBUTE):
            Doc.set_extension(ATTRIBUTE, getter=get_transliteration)

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one document.

        doc (Doc): The document.
        RETURNS (Doc): The same.
        """
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate documents.

        stream (Iterable[Doc]): The documents.
        batch_size (int): Documents that the pipeline for the other script reads at once.
        YIELDS (Doc): The same, in order.
        """
        handler: Callable = self.get_error_handler()
        for docs in spacy.util.minibatch(stream, batch_size):
            try:
                self._annotate(docs)
            except Exception as err:
                handler(self.name, self, docs, err)
            yield from docs

    def _annotate(self, docs: list[Doc]) -> None:
        found = [self._transliterator_of(doc)(doc.text) for doc in docs]
        for doc, written in zip(docs, found):
            doc.user_data[KEY] = {"text": written.text, "runs": written.runs}
        if self.pipeline is not None:
            if self._reader is None:
                self._reader = spacy.load(self.pipeline)
            for doc, written, twin in zip(docs, found, self._reader.pipe(written.text for written in found)):
                project_entities(doc, written, twin)

    def _transliterator_of(self, doc: Doc) -> Transliterator:
        if self.languages and LANGUAGE_KEY not in doc.user_data and not self._has_warned:
            self._has_warned = True
            message = Warnings.SW640.format(name=self.name, languages=", ".join(self.languages))
            warnings.warn(message, SamarkandWarning, stacklevel=2)
        return self.languages.get(get_language(doc), self.transliterator)

    def __getstate__(self) -> dict[str, Any]:
        # The other pipeline is loaded again where it is needed, as the first time.
        return {**self.__dict__, "_reader": None}


def get_transliteration(doc: Doc) -> Transliteration:
    """The transliteration of a document.

    doc (Doc): The document.
    RETURNS (Transliteration): Its text in another script, and the map back.
    RAISES (ValueError): S648 when no `transliterator` annotated it, or one annotated the document that it is part of.
    """
    if KEY in doc.user_data:
        stored = doc.user_data[KEY]
        found = Transliteration(doc.text, stored["text"], stored["runs"])
        if found.is_whole:
            return found
    raise ValueError(Errors.S648.format(text=doc.text[:40]))


def project_entities(doc: Doc, written: Transliteration, twin: Doc) -> None:
    """Set entities that were found in the transliteration; an entity of part of a token gets the token.

    doc (Doc): The document.
    written (Transliteration): Its text in another script.
    twin (Doc): Annotated document of that text.
    """
    spans = []
    for ent in twin.ents:
        start, end = written.to_source(ent.start_char, ent.end_char)
        span = doc.char_span(start, end, label=ent.label_, kb_id=ent.kb_id_, alignment_mode="expand")
        if span is not None:
            spans.append(span)
    taken = {token.i for ent in doc.ents for token in ent}
    free = [span for span in filter_spans(spans) if taken.isdisjoint(range(span.start, span.end))]
    doc.set_ents([*doc.ents, *free])
