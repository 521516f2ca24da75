"""`samarkand.tune_linker.v1`: a callback that tunes what a linker decides by, each time `spacy train` saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from spacy import registry
from spacy.language import Language
from spacy.training import Example


@registry.callbacks("samarkand.tune_linker.v1")
def create_tuning(
    corpus: Callable[[Language], Iterable[Example]], name: str = "m3_linker"
) -> Callable[[Language], Language]:
    """Tune beta and theta on a corpus before the pipeline is saved; for `[training.before_to_disk]`.

    The next evaluation decides by them too.

    corpus (Callable): Gives the examples, such as `${corpora.dev}`; not those that are tested on.
    name (str): Name of the pipe.
    RETURNS (Callable): The callback.
    """
    return partial(tune_pipe, corpus=corpus, name=name)


def tune_pipe(nlp: Language, corpus: Callable[[Language], Iterable[Example]], name: str) -> Language:
    """Tune the linker of a pipeline.

    nlp (Language): The pipeline.
    corpus (Callable): Gives the examples.
    name (str): Name of the pipe.
    RETURNS (Language): The pipeline.
    """
    nlp.get_pipe(name).tune(corpus(nlp), nlp=nlp)
    return nlp
