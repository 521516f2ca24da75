"""`language_identifier`: the language of documents, and which pipeline of several reads one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.util import minibatch

from ..errors import Errors
from ..models.language_model import load_language_model

UNKNOWN = "xx"
# In `doc.user_data`, which travels with bytes and pickles.
KEY = "samarkand.language"


@Language.factory(
    "language_identifier",
    assigns=["doc._.language", "doc._.language_score"],
    default_config={"languages": None, "min_score": 0.0},
)
def make_language_identifier(
    nlp: Language, name: str, languages: list[str] | None, min_score: float
) -> LanguageIdentifier:
    """Make a `language_identifier` pipe.

    languages (Optional[list[str]]): Codes of the languages that texts can be in; None for all that the model knows.
    min_score (float): Least score, 0 to 1; below it the language is "xx".
    RETURNS (LanguageIdentifier): The pipe.
    """
    return LanguageIdentifier(name, languages=languages, min_score=min_score)


class LanguageIdentifier(Pipe):
    """Sets `doc._.language` and `doc._.language_score`, by the naive Bayes model of py3langid.

    Text without letters is in "xx". Settings as in `make_language_identifier`.

    RAISES (ImportError): S650 when py3langid is not installed.
    RAISES (ValueError): S651 for a language that it does not know, S610 for a score out of range or no language at all.
    """

    def __init__(
        self, name: str = "language_identifier", *, languages: Iterable[str] | None = None, min_score: float = 0.0
    ) -> None:
        if not 0 <= min_score <= 1:
            message = Errors.S610.format(name="min_score", what=name, value=min_score, expected="from 0 to 1")
            raise ValueError(message)
        self.name = name
        self.languages = None if languages is None else tuple(languages)
        if self.languages == ():
            message = Errors.S610.format(name="languages", what=name, value=[], expected="one code or more, or null")
            raise ValueError(message)
        self.min_score = min_score
        _model(self.languages)
        for attribute, getter in (("language", get_language), ("language_score", get_language_score)):
            if not Doc.has_extension(attribute):
                Doc.set_extension(attribute, getter=getter)

    def identify(self, text: str) -> tuple[str, float]:
        """The language of a text.

        text (str): The text.
        RETURNS (tuple[str, float]): Code, "xx" when it is not known, and score from 0 to 1.
        """
        if not any(map(str.isalpha, text)):
            return UNKNOWN, 0.0
        lang, score = _model(self.languages).classify(text)
        return (lang, score) if score >= self.min_score else (UNKNOWN, score)

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one document.

        doc (Doc): The document.
        RETURNS (Doc): The same.
        """
        doc.user_data[KEY] = self.identify(doc.text)
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate documents.

        stream (Iterable[Doc]): The documents.
        batch_size (int): Not used: documents are read one by one.
        YIELDS (Doc): The same, in order.
        """
        handler: Callable = self.get_error_handler()
        for doc in stream:
            try:
                yield self(doc)
            except Exception as err:
                handler(self.name, self, [doc], err)


def get_language(doc: Doc) -> str:
    """RETURNS (str): Language of a document, "xx" when it is not known or nobody has looked."""
    return doc.user_data.get(KEY, (UNKNOWN, 0.0))[0]


def get_language_score(doc: Doc) -> float:
    """RETURNS (float): How sure that is, from 0 to 1."""
    return doc.user_data.get(KEY, (UNKNOWN, 0.0))[1]


def route(
    texts: Iterable[str], pipelines: Mapping[str, Language], identifier: LanguageIdentifier, batch_size: int = 256
) -> Iterator[Doc]:
    """Have each text read by the pipeline of its language.

    texts (Iterable[str]): The texts.
    pipelines (Mapping[str, Language]): Pipelines by language; "xx" reads all that has none of its own.
    identifier (LanguageIdentifier): Tells the languages.
    batch_size (int): Texts that are sorted by language at once.
    YIELDS (Doc): Documents in the order of the texts, with their language; those that the error handler of a pipeline
        has left out are not among them.
    RAISES (ValueError): S652 without a pipeline for the rest.
    """
    if UNKNOWN not in pipelines:
        raise ValueError(Errors.S652.format(known=", ".join(pipelines)))
    for batch in minibatch(texts, batch_size):
        found = [identifier.identify(text) for text in batch]
        routes = [lang if lang in pipelines else UNKNOWN for lang, _ in found]
        docs: dict[int, Doc] = {}
        for lang in dict.fromkeys(routes):
            # A pipeline may leave documents out, so each travels with its place.
            places = ((batch[i], i) for i, other in enumerate(routes) if other == lang)
            docs.update((i, doc) for doc, i in pipelines[lang].pipe(places, as_tuples=True))
        for i in sorted(docs):
            docs[i].user_data[KEY] = found[i]
            yield docs[i]


@lru_cache(maxsize=8)
def _model(languages: tuple[str, ...] | None) -> Any:
    # What is limited to some languages shares its tables with the rest.
    model = copy.copy(load_language_model(Errors.S650))
    unknown = sorted(set(languages or ()) - set(model.labels))
    if unknown:
        raise ValueError(Errors.S651.format(lang=unknown[0], known=", ".join(sorted(model.labels))))
    model.set_languages(languages)
    return model
