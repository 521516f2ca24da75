"""A labelling function that asks another pipeline: its classes, where it is sure of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_model

from ..errors import Errors, first_line

__all__ = ["PipelineLabels", "make_pipeline_labels"]


class PipelineLabels:
    """Votes by `doc.cats` of a pipeline that reads the same text.

    nlp (Language): The pipeline.
    threshold (float): Least score of a class that is voted for; the best one has the vote.
    labels (Optional[Mapping[str, Optional[str]]]): Label by class of the pipeline, None to abstain; classes that are
        not listed keep their names.
    """

    def __init__(
        self, nlp: Language, *, threshold: float = 0.5, labels: Mapping[str, str | None] | None = None
    ) -> None:
        self.nlp = nlp
        self.threshold = threshold
        self.labels = dict(labels or {})

    def __call__(self, doc: Doc) -> str | None:
        """Vote.

        doc (Doc): The document; only its text counts.
        RETURNS (Optional[str]): The label.
        """
        return next(self.pipe([doc]))

    def pipe(self, docs: Iterable[Doc]) -> Iterator[str | None]:
        """Vote on many documents.

        docs (Iterable[Doc]): The documents.
        YIELDS (Optional[str]): The label of each.
        """
        for read in self.nlp.pipe(doc.text for doc in docs):
            best = max(read.cats, key=read.cats.get, default=None)
            is_sure = best is not None and read.cats[best] >= self.threshold
            yield self.labels.get(best, best) if is_sure else None


@registry.misc("samarkand.PipelineLabels.v1")
def make_pipeline_labels(
    model: str, threshold: float = 0.5, labels: dict[str, str | None] | None = None
) -> PipelineLabels:
    """Vote by the classes of a trained pipeline.

    model (str): Folder or installed package of the pipeline.
    threshold (float): Least score of a class that is voted for.
    labels (Optional[dict[str, Optional[str]]]): Label by class of the pipeline, null to abstain.
    RETURNS (PipelineLabels): The function.
    RAISES (ValueError): S1103 when the pipeline does not load, S1105 for a threshold out of range.
    """
    if not 0 <= threshold <= 1:
        expected = "a score from 0 to 1"
        raise ValueError(
            Errors.S1105.format(name="threshold", what="PipelineLabels", value=threshold, expected=expected)
        )
    try:
        nlp = load_model(model)
    except Exception as error:  # a pipeline and what it needs can raise anything
        raise ValueError(Errors.S1103.format(model=model, reason=first_line(error))) from error
    return PipelineLabels(nlp, threshold=threshold, labels=labels)
