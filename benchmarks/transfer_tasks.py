"""What the benchmarks of transfer learn in one language and test in others, from the folder of corpora."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner import SAMPLES
from samarkand.corpora.bundle import SOURCES, take
from samarkand.corpora.cats_sets import cats_records
from samarkand.corpora.records import read_records, rename_labels
from samarkand.corpora.sentence_samples import sample_bitexts, sample_sts
from samarkand.corpora.sentence_sets import StsSet, sts_sets

Record = dict[str, Any]
# The same sentences in the same order, by language.
Translations = dict[str, list[str]]
# Of the languages of SIB-200, those of the raw text that the small encoder was pretrained on.
READ = (
    "arb_Arab arz_Arab deu_Latn ewe_Latn fra_Latn hau_Latn hin_Deva ita_Latn jpn_Jpan kab_Latn kin_Latn kor_Hang "
    "lug_Latn pes_Arab por_Latn rus_Cyrl spa_Latn swh_Latn tat_Cyrl tur_Latn uig_Arab ukr_Cyrl urd_Arab wol_Latn "
    "yue_Hant zho_Hans zul_Latn"
)
ENGLISH, PARALLEL_MOST = "eng_Latn", 50
SAME = "same"
# English sets, and the split that is learnt from. Steps are chosen by the dev splits of those that have another one.
NER_TRAIN = {"en-btc": "train", "en-wnut17": "train", "en-uner-ewt": "dev"}
NER_DEV, NER_MOST = ("en-btc", "en-wnut17"), 300
NER_TESTS = (
    "am-masakhaner1 ar-anercorp ar-newsfane ar-wojood-sample arq-uner-arabizi bbj-masakhaner2 bm-masakhaner2 "
    "da-transfer de-uner-pud ee-masakhaner2 fa-transfer fi-transfer fon-masakhaner2 ha-masakhaner2 id-transfer "
    "ig-masakhaner2 lg-masakhaner2 luo-masakhaner2 lv-transfer mos-masakhaner2 ne-transfer no-transfer ny-masakhaner2 "
    "pcm-masakhaner2 pt-transfer ro-transfer ru-uner-pud rw-masakhaner2 sn-masakhaner2 sr-uner-set sv-transfer "
    "sw-masakhaner2 tn-masakhaner2 tw-masakhaner2 uk-transfer wo-masakhaner2 xh-masakhaner2 yo-masakhaner2 zh-msra "
    "zh-uner-gsd-trad zh-uner-gsdsimp zh-uner-pud zu-masakhaner2"
)
NER_LABELS = {"PER": "PER", "LOC": "LOC", "ORG": "ORG", "*": None}


@dataclass(frozen=True)
class Task:
    """What is learnt in one language and tested in others.

    name (str): Name in the rows.
    kind (str): "classes", "pairs" (of sentences, by how similar they are) or "entities".
    train, dev (Path): JSONL files.
    tests (dict[str, list[Record]]): Records of each language or set.
    home (str): The one among them that is learnt in, or none.
    """

    name: str
    kind: str
    train: Path
    dev: Path
    tests: dict[str, list[Record]]
    home: str


def data_folder() -> Path:
    """RETURNS (Path): The folder of corpora."""
    return Path(os.environ.get("SAMARKAND_DATA") or "$SAMARKAND_DATA")


def make_task(name: str, folder: Path, langs: Sequence[str] | None = None) -> Task:
    """Read a task.

    name (str): Key of `TASKS`.
    folder (Path): Where its files are written to.
    langs (Optional[Sequence[str]]): Languages or sets to test on; "all" for all there are, None for the task's own.
    RETURNS (Task): The task.
    """
    return TASKS[name](folder, langs)


def sib200(folder: Path, langs: Sequence[str] | None, home: str = ENGLISH, *, to: str = READ) -> Task:
    """Topics of sentences, learnt in one language.

    folder (Path): Where the files are written to.
    langs (Optional[Sequence[str]]): Languages to test on; None for `to`.
    home (str): The language that is learnt in.
    to (str): Languages that are tested on by default, parted by blanks.
    RETURNS (Task): The task.
    """
    chosen = None if langs and "all" in langs else {home, *(langs or to.split())}
    tests = _by_lang(cats_records(data_folder(), "sib200/test", chosen))
    splits = [list(cats_records(data_folder(), f"sib200/{split}", {home})) for split in ("train", "dev")]
    return _task("sib200", "classes", folder, *splits, tests, home)


def xsid(folder: Path, langs: Sequence[str] | None) -> Task:
    """Intents; the English of the valid split is learnt from, and every fifth of it is held out to choose steps by."""
    chosen = None if not langs or "all" in langs else {"en", *langs}
    english = list(cats_records(data_folder(), "xsid/dev", {"en"}))
    train = [record for i, record in enumerate(english) if i % 5]
    tests = _by_lang(cats_records(data_folder(), "xsid/test", chosen))
    return _task("xsid", "classes", folder, train, english[::5], tests, "en")


def stsb(folder: Path, langs: Sequence[str] | None) -> Task:
    """Similarity of sentences, learnt as a soft label; steps are chosen by which pairs of dev score 3 and more."""
    splits = {split: sts_sets(data_folder(), ["stsb-multi"], split=split) for split in ("train", "dev", "test")}
    tests = {part.lang: _pairs(part) for part in splits["test"] if part.lang == "en" or _is_asked(part.lang, langs)}
    train, dev = (next(part for part in splits[split] if part.lang == "en") for split in ("train", "dev"))
    return _task("stsb", "pairs", folder, _pairs(train), _yes_no(_pairs(dev)), tests, "en")


def entities(folder: Path, langs: Sequence[str] | None) -> Task:
    """Persons, places and organisations, learnt in English; of each set the first documents are tested on."""
    train = [record for name, split in NER_TRAIN.items() for record in take(name, split)]
    dev = [record for name in NER_DEV for record in list(take(name, "dev"))[:NER_MOST]]
    names = ["en-uner-ewt", *(name for name in NER_TESTS.split() if _is_asked(name, langs))]
    tests = {name: _entity_records(name)[:NER_MOST] for name in names}
    return _task("ner", "entities", folder, train, dev, tests, "en-uner-ewt")


def language_entities(name: str, folder: Path) -> Task:
    """Persons, places and organisations, learnt and tested in one language.

    name (str): A set with all splits.
    folder (Path): Where the files are written to.
    RETURNS (Task): The task.
    """
    train, dev = (_entity_records(name, split) for split in ("train", "dev"))
    return _task(name, "entities", folder, train, dev, {name: _entity_records(name)}, name)


def samples(kind: str, folder: Path) -> Task:
    """A task of a kind, of the bundled samples.

    kind (str): "classes", "pairs" or "entities".
    folder (Path): Where the files are written to.
    RETURNS (Task): The task.
    """
    if kind == "pairs":
        tests = {part.lang: _pairs(part) for part in sample_sts()}
        return _task("samples", kind, folder, tests["en"], _yes_no(tests["en"]), tests, "en")
    tests = {lang: list(read_records(SAMPLES / f"{lang}.jsonl")) for lang in ("en", "ar", "zh")}
    for record in (record for records in tests.values() for record in records):
        record["label"] = "named" if any(span["label"] == "PER" for span in record["spans"]) else "other"
    return _task("samples", kind, folder, tests["en"], tests["en"], tests, "en")


def translations() -> Translations:
    """RETURNS (Translations): Test sentences of SIB-200 in English and in each language of `READ`."""
    by_lang = _by_lang(cats_records(data_folder(), "sib200/test", {ENGLISH, *READ.split()}))
    texts = {lang: {record["id"]: record["text"] for record in records} for lang, records in by_lang.items()}
    chosen = sorted(texts[ENGLISH])[:PARALLEL_MOST]
    return {lang: [found[i] for i in chosen] for lang, found in texts.items()}


def sample_translations() -> Translations:
    """RETURNS (Translations): The bundled samples."""
    pairs = [pair for pair in sample_bitexts() if pair.first_lang == "en"]
    return {ENGLISH: pairs[0].first, **{pair.second_lang: pair.second for pair in pairs}}


TASKS = {"sib200": sib200, "xsid": xsid, "stsb": stsb, "ner": entities}


def _task(
    name: str,
    kind: str,
    folder: Path,
    train: Iterable[Record],
    dev: Iterable[Record],
    tests: dict[str, list[Record]],
    home: str,
) -> Task:
    paths = [folder / f"{name}-{split}.jsonl" for split in ("train", "dev")]
    for path, records in zip(paths, (train, dev)):
        lines = (json.dumps(record, ensure_ascii=False) for record in records)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Task(name, kind, *paths, tests, home)


def _is_asked(lang: str, langs: Sequence[str] | None) -> bool:
    return not langs or "all" in langs or lang in langs


def _by_lang(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["lang"], []).append(record)
    return found


def _pairs(part: StsSet) -> list[Record]:
    return [
        {"text": a, "text_b": b, "cats": {SAME: score / 5}, "lang": part.lang}
        for a, b, score in zip(part.first, part.second, part.scores)
    ]


def _yes_no(records: Iterable[Record]) -> list[Record]:
    return [{**record, "cats": {SAME: float(record["cats"][SAME] >= 0.6)}} for record in records]


def _entity_records(name: str, split: str = "test") -> list[Record]:
    if name in SOURCES:
        return list(take(name, split))
    records = read_records(data_folder() / "ner" / name / f"{split}.jsonl.xz")
    return [{**record, "spans": list(rename_labels(record["spans"], NER_LABELS))} for record in records]
