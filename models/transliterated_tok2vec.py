"""`samarkand.TransliteratedEncoder.v1`: an encoder that reads documents in another script than they are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spacy import registry
from spacy.tokens import Doc
from thinc.api import Model, deserialize_attr, serialize_attr
from thinc.types import Floats2d

from ..errors import Errors
from .transliteration import Transliterator

Encoder = Model[list[Doc], list[Floats2d]]


@registry.architectures("samarkand.TransliteratedEncoder.v1")
def build_transliterated_encoder(tok2vec: Encoder, tables: dict[str, str] | None = None) -> Encoder:
    """Encode documents as if they were written in another script.

    Tokens are transliterated one by one, so that each has its vector, and what heads find is in the text of the user.
    A saved pipeline is bound to the tables that it was trained with.

    tok2vec (Model[list[Doc], list[Floats2d]]): The encoder.
    tables (Optional[dict[str, str]]): Table by script, as in `Transliterator`; None for those of ICU.
    RETURNS (Model[list[Doc], list[Floats2d]]): The encoder; every document gets one row a token.
    RAISES (ValueError): S640 to S642 for tables that cannot be used.
    RAISES (ImportError): S644 when ICU is asked for and not installed.
    """
    return Model(
        "transliterated_encoder",
        forward,
        init=_init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        attrs={"transliterator": Transliterator(tables)},
        dims={"nO": tok2vec.maybe_get_dim("nO")},
    )


def forward(model: Encoder, docs: list[Doc], is_train: bool) -> tuple[list[Floats2d], Callable]:
    """Encode documents by their twins."""
    transliterator = model.attrs["transliterator"]
    return model.layers[0]([transliterated_twin(doc, transliterator) for doc in docs], is_train)


def transliterated_twin(doc: Doc, transliterator: Transliterator) -> Doc:
    """A document with the same tokens in another script.

    doc (Doc): The document.
    transliterator (Transliterator): Writes its tokens; one of which nothing would be left stays as it is.
    RETURNS (Doc): Its twin, with words, spaces and the norms of a vocabulary.
    """
    words = [transliterator(token.text).text or token.text for token in doc]
    twin = Doc(doc.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
    for token, other in zip(doc, twin):
        # Special cases of a tokenizer have norms of their own.
        if token.orth == other.orth and token.norm != other.norm:
            other.norm_ = token.norm_
    return twin


def _init(model: Encoder, X: Any = None, Y: Any = None) -> None:
    model.layers[0].initialize(X)
    model.set_dim("nO", model.layers[0].get_dim("nO"))


@serialize_attr.register(Transliterator)
def serialize_transliterator(_: Any, value: Transliterator, name: str, model: Model) -> bytes:
    """RETURNS (bytes): The fingerprint, for thinc to save with the model."""
    return value.fingerprint.encode("utf8")


@deserialize_attr.register(Transliterator)
def check_transliterator(known: Transliterator, value: bytes, name: str, model: Model) -> Transliterator:
    """RETURNS (Transliterator): The one at hand.

    RAISES (ValueError): S647 when the model was trained with another.
    """
    if value.decode("utf8") != known.fingerprint:
        raise ValueError(Errors.S647.format(found=value.decode("utf8"), expected=known.fingerprint))
    return known
