"""The training data of the bundled pipeline: openly licensed corpora with their labels brought to PER, LOC and ORG.

`python -m samarkand.corpora.bundle corpus/xx_samarkand_sm` writes `train.jsonl`, `dev.jsonl` and `test-NAME.jsonl`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Errors
from .assets import corpora, corpus_path
from .records import Record, read_records, rename_labels, write_records

# Sentences that are joined into one document, so that the pipeline also meets several sentences and languages at once.
JOIN_CHANCE, JOINED_MOST, JOINERS = 0.1, 4, (" ", "\n")
DEV_MOST = 500


@dataclass(frozen=True)
class Source:
    """What is taken of a corpus.

    train, dev (Optional[str]): Splits that are learnt from and that steps are chosen by.
    test (Optional[str]): Split that is reported.
    labels (dict[str, str]): New name by old; spans of other labels are left out.
    """

    train: str | None = "train"
    dev: str | None = "dev"
    test: str | None = "test"
    labels: dict[str, str] = field(default_factory=lambda: dict(_SAME))


_SAME = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}
_FINE = {
    "PER": "Politician Athlete Other_PER Artist Religious_PER Scientist Businessperson Police Engineer Lawyer",
    "LOC": "Nation Population-Center State-or-Province GPE-Cluster Continent Water-Body County-or-District "
    "Land-Region-Natural Celestial Building-Grounds Airport Path Subarea-Facility",
    "ORG": "Non-Governmental Sports Media Government Commercial Educational Medical-Science Entertainment "
    "Religious_ORG",
}
SOURCES = {
    "zh-uner-gsdsimp": Source(),
    "zh-uner-gsd-trad": Source(),
    "zh-uner-pud": Source(train=None, dev=None),
    "ar-newsfane": Source(labels={old: new for new, names in _FINE.items() for old in names.split()}),
    "ar-wojood-sample": Source(labels={"PERS": "PER", "GPE": "LOC", "LOC": "LOC", "FAC": "LOC", "ORG": "ORG"}),
    "en-btc": Source(),
    "en-wnut17": Source(labels={"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG"}),
    # Its train split is not to be had, so its dev split is learnt from.
    "en-uner-ewt": Source(train="dev", dev=None),
    "en-wikigold": Source(train=None, dev=None),
}


def take(name: str, split: str) -> Iterator[Record]:
    """Records of a split under the labels of the pipeline; of spans within one another the outermost stays.

    name (str): Name of a corpus in `SOURCES`.
    split (str): Split of the corpus.
    YIELDS (dict): Records with text, spans, language and source.
    """
    labels = {**SOURCES[name].labels, "*": None}
    for record in read_records(corpus_path(name, split)):
        spans = rename_labels(record["spans"], labels)
        yield {"text": record["text"], "spans": _outermost(spans), "lang": record["lang"], "source": name}


def join_some(records: list[Record], rng: random.Random) -> Iterator[Record]:
    """Join some records with others at random, whatever their language.

    records (list[dict]): The records; each is given once, alone or in a joined one.
    rng (random.Random): Source of chance.
    YIELDS (dict): Records in a new order.
    """
    order = rng.sample(records, len(records))
    while order:
        count = rng.randint(2, JOINED_MOST) if rng.random() < JOIN_CHANCE else 1
        yield _join([order.pop() for _ in range(min(count, len(order)))], rng.choice(JOINERS))


def write_bundle(folder: Path, seed: int = 0) -> dict[str, int]:
    """Write the data.

    folder (Path): Where to.
    seed (int): Seed of the order and of what is joined.
    RETURNS (dict[str, int]): Documents by file name.
    RAISES (ValueError): S229 when a corpus that is learnt from does not allow it.
    """
    rng = random.Random(seed)
    train: list[Record] = []
    dev: list[Record] = []
    counts: dict[str, int] = {}
    for name, source in SOURCES.items():
        if source.train:
            _require_open(name)
            train += take(name, source.train)
        if source.dev:
            dev += list(take(name, source.dev))[:DEV_MOST]
        if source.test:
            counts[f"test-{name}"] = write_records(folder / f"test-{name}.jsonl", take(name, source.test))
    counts["train"] = write_records(folder / "train.jsonl", join_some(train, rng))
    counts["dev"] = write_records(folder / "dev.jsonl", dev)
    return counts


def _require_open(name: str) -> None:
    corpus = corpora()[name]
    if not corpus.open:
        raise ValueError(Errors.S229.format(name=name, licence=corpus.licence))


def _outermost(spans: Iterable[dict]) -> list[dict]:
    kept: list[dict] = []
    for span in sorted(spans, key=_longest_first):
        if all(span["end"] <= other["start"] or other["end"] <= span["start"] for other in kept):
            kept.append(span)
    return sorted(kept, key=_by_start)


def _join(records: list[Record], joiner: str) -> Record:
    if len(records) == 1:
        return records[0]
    text, spans = "", []
    for record in records:
        shift = len(text) + (len(joiner) if text else 0)
        text = text + joiner + record["text"] if text else record["text"]
        moved = ({**s, "start": s["start"] + shift, "end": s["end"] + shift} for s in record["spans"])
        spans += moved
    return {"text": text, "spans": spans, "lang": "mul", "source": "joined"}


def _longest_first(span: dict) -> tuple[int, int]:
    return span["start"] - span["end"], span["start"]


def _by_start(span: dict) -> int:
    return span["start"]


if __name__ == "__main__":
    for file, documents in write_bundle(Path(sys.argv[1])).items():
        print(f"{file}\t{documents}")
