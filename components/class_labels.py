"""Labels of pipes whose network has an output for each."""

from __future__ import annotations

from typing import Any

from spacy.vocab import Vocab
from thinc.api import Model

from ..errors import Errors


class ClassLabels:
    """The labels of a pipe, kept in `cfg["labels"]` in the order of the network's outputs."""

    name: str
    vocab: Vocab
    model: Model
    cfg: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): Labels, in the order of the network's outputs."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): What `initialize` takes as `labels`, so that data need not be read again."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before initialization.

        label (str): The label.
        RETURNS (int): 1 when it was added, 0 when it was there.
        RAISES (ValueError): S404 for a new label after initialization.
        """
        if label in self.labels:
            return 0
        if self.model.has_dim("nO"):
            raise ValueError(Errors.S404.format(name=self.name, label=label, labels=", ".join(self.labels)))
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1
