"""A pipe with a knowledge base and a decision: what both are, and how they are saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from spacy import util
from spacy.pipeline import TrainablePipe
from spacy.vocab import Vocab
from thinc.api import Model

from ..models.knowledge_base import KnowledgeBase
from .linker_knowledge import FILE, LinkerKnowledge

PipeT = TypeVar("PipeT", bound="KnowledgePipe")


class KnowledgePipe(TrainablePipe):
    """Holds model, knowledge base and decision of a linker.

    vocab (Vocab): The vocabulary.
    model (Model): The model; its attributes `beta` and `theta` decide where neither config nor `tune` does.
    name (str): Name of the pipe.
    knowledge_base (Optional[str | Path]): File of the knowledge base.
    beta, theta (Optional[float]): The decision; None for what was tuned.
    store_kb (bool): Save the knowledge base with the pipe; False: its path.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        knowledge_base: str | Path | None,
        beta: float | None,
        theta: float | None,
        store_kb: bool,
    ) -> None:
        self.vocab, self.model, self.name, self.store_kb = vocab, model, name, store_kb
        self.cfg: dict[str, Any] = {}
        self.start_anew(0)
        self._decision = {"beta": beta, "theta": theta}
        self._configured = None if knowledge_base is None else str(knowledge_base)
        self._configured_anew = False
        self._knowledge = LinkerKnowledge(knowledge_base, name)

    @property
    def kb(self) -> KnowledgeBase:
        """RETURNS (KnowledgeBase): The knowledge base.

        RAISES (ValueError): S932 without one, and as `KnowledgeBase`.
        """
        return self._knowledge.open()

    @property
    def beta(self) -> float:
        """RETURNS (float): Weight of the first stage: of the config, else as tuned, else the model's."""
        return self._decide("beta")

    @property
    def theta(self) -> float:
        """RETURNS (float): Least score that links: of the config, else as tuned, else the model's."""
        return self._decide("theta")

    def set_knowledge_base(self, path: str | Path) -> None:
        """Use another knowledge base from now on; what was learnt stays.

        path (str | Path): Its file.
        RAISES (ValueError): As `KnowledgeBase`.
        """
        self._knowledge.set_path(path)
        self._knowledge.open()

    def start_anew(self, seed: int) -> None:
        """Forget what was tuned and counted.

        seed (int): Where chance in training starts from.
        """
        self.cfg.update(beta=None, theta=None, updates=0, seed=seed)

    def use_params(self, params: dict) -> Iterator[None]:
        """Hold other weights for a while, such as an optimizer's averages.

        params (dict): The weights.
        """
        frozen = self.model.attrs.get("freeze_options", False)
        self._forget_options(unless=frozen)
        with self.model.use_params(params):
            yield
        self._forget_options(unless=frozen)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The pipe as bytes, its knowledge base among them unless `store_kb` is off.

        exclude (Iterable[str]): What to leave out: "vocab", "cfg", "model", "knowledge_base".
        RETURNS (bytes): They.
        """
        parts = {
            "cfg": lambda: self._saved_cfg().encode(),
            "vocab": lambda: self.vocab.to_bytes(exclude=exclude),
            "model": self.model.to_bytes,
        }
        if self.store_kb and self._knowledge.path is not None:
            parts["knowledge_base"] = self._knowledge.to_bytes
        return util.to_bytes(parts, exclude)

    def from_bytes(self: PipeT, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> PipeT:
        """Load the pipe. A knowledge base that the config names anew stays.

        bytes_data (bytes): What `to_bytes` gave.
        exclude (Iterable[str]): What to leave as it is.
        RETURNS (KnowledgePipe): The pipe.
        """
        self._forget_options()
        parts = {
            "cfg": self._load_cfg,
            "vocab": lambda data: self.vocab.from_bytes(data, exclude=exclude),
            "model": self.model.from_bytes,
            "knowledge_base": self._load_kb,
        }
        util.from_bytes(bytes_data, parts, exclude)
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the pipe, with a copy of its knowledge base unless `store_kb` is off.

        path (str | Path): Folder; it is made.
        exclude (Iterable[str]): As in `to_bytes`.
        """
        parts = {
            "cfg": lambda place: place.write_text(self._saved_cfg(), encoding="utf-8"),
            "vocab": lambda place: self.vocab.to_disk(place, exclude=exclude),
            "model": self.model.to_disk,
        }
        if self.store_kb and self._knowledge.path is not None:
            parts[FILE] = self._knowledge.copy_to
        util.to_disk(path, parts, exclude)

    def from_disk(self: PipeT, path: str | Path, *, exclude: Iterable[str] = ()) -> PipeT:
        """Load the pipe; its knowledge base is used where it lies. One that the config names anew stays.

        path (str | Path): Folder.
        exclude (Iterable[str]): What to leave as it is.
        RETURNS (KnowledgePipe): The pipe.
        """
        self._forget_options()
        parts = {
            "cfg": lambda place: self._load_cfg(place.read_bytes()),
            "vocab": lambda place: self.vocab.from_disk(place, exclude=exclude),
            "model": lambda place: self.model.from_bytes(place.read_bytes()),
            FILE: self._load_kb,
        }
        util.from_disk(path, parts, exclude)
        return self

    def _decide(self, name: str) -> float:
        for value in (self._decision[name], self.cfg[name]):
            if value is not None:
                return value
        return self.model.attrs[name]

    def _forget_options(self, *, unless: bool = False) -> None:
        if not unless:
            self.model.attrs["options"].clear()

    def _saved_cfg(self) -> str:
        # spaCy's own writer of JSON rounds numbers, and a rounded theta may link what it did not.
        path = self._knowledge.path
        return json.dumps({**self.cfg, "configured": self._configured, "path": None if path is None else str(path)})

    def _load_cfg(self, data: bytes) -> None:
        saved = json.loads(data)
        configured, path = saved.pop("configured"), saved.pop("path")
        self.cfg.update(saved)
        self._configured_anew = configured != self._configured
        if path is not None and not self._configured_anew:
            self._knowledge.set_path(path)

    def _load_kb(self, saved: bytes | Path) -> None:
        """Use the knowledge base that was saved, as bytes or as a file that may be there."""
        if self._configured_anew:
            return
        if isinstance(saved, bytes):
            self._knowledge.from_bytes(saved)
        elif saved.is_file():
            self._knowledge.set_path(saved)
