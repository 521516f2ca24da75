"""A pipeline that waits where a test tells it to, for the tests of serving."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from annotation_pipelines import make_nlp
from spacy.language import Language
from spacy.tokens import Doc

SECONDS = 10  # longest wait of a test that goes well
GATE = threading.Event()


@Language.component("test_gate")
def gate(doc: Doc) -> Doc:
    """Wait at the word WAIT until the gate is open."""
    if "WAIT" in doc.text:
        GATE.wait(SECONDS)
    return doc


def make_gated() -> Language:
    """Rules for a few names; fails at POISON, and waits at WAIT."""
    return make_nlp("test_picky", "test_gate")


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)
