"""Judging a linker: every annotated mention of every set answered once, figures by set and by language."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpora.linking_scores import KS, Judged, judge, score_links
from ..corpora.linking_sets import SHORT_TEXT, LinkingSet, linking_names, linking_sets, resolve_titles
from ..corpora.records import Record, read_records
from ..corpora.sentence_files import check_known, family_of, is_asked
from ..errors import Errors
from .given_mentions import mention_doc, prepare_linker, read_mentions, told_links
from .option_checks import at_least_one, check_options
from .rounding import rounded
from .sources import UsageError

if TYPE_CHECKING:
    from spacy.language import Language

    from ..models.knowledge_base import KnowledgeBase

SILVER = "silver"
OWN_FILE = ".jsonl"


@dataclass(frozen=True)
class Answered:
    """A set with what was said of its mentions.

    name (str), lang (str), split (str): Of the set.
    documents (list[list[Judged]]): Its mentions, by document.
    unresolved (int): Mentions that were left out: the page that they mean could not be found in the knowledge base.
    """

    name: str
    lang: str
    split: str
    documents: list[list[Judged]]
    unresolved: int


def load_linking_sets(
    data: str | Path | None, names: Collection[str] | None = None, silver: str | Path | None = None
) -> list[LinkingSet]:
    """The sets that a linker is judged by.

    data (Optional[str | Path]): Folder of corpora; None without one.
    names (Optional[Collection[str]]): Sets, families, "silver", or paths of JSONL files of one's own, whose spans have
        "kb_id"; None for all that are there. Of a file in several languages ("lang") each is a set.
    silver (Optional[str | Path]): A folder that `corpora.silver_recipe` wrote.
    RETURNS (list[LinkingSet]): The sets.
    RAISES (UsageError): S954 when nothing is there to be judged by.
    RAISES (OSError | ValueError): As `linking_sets` and `read_records`; S843 for an unknown name, S952 for mentions
        that are none of their text.
    """
    files = [name for name in names or () if name.endswith(OWN_FILE)]
    asked = None if names is None else [name for name in names if name not in files]
    made = list(_silver_sets(Path(silver))) if silver is not None else []
    known = [*linking_names(), *dict.fromkeys(part for each in made for part in (family_of(each.name), each.name))]
    check_known(asked or (), known)
    found: list[LinkingSet] = []
    wanted = None if asked is None else [name for name in asked if name in linking_names()]
    if data is not None and (wanted is None or wanted):
        found += linking_sets(data, wanted)
    found += [each for each in made if is_asked(each.name, asked)]
    found += [each for file in files for each in _own_sets(file)]
    if not found:
        raise UsageError(Errors.S954)
    return found


def evaluate_linker(
    nlp: Language,
    sets: Sequence[LinkingSet],
    *,
    ks: Iterable[int] = KS,
    limit: int | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Judge a linker by its answers to annotated mentions.

    nlp (Language): A pipeline with an m3_linker.
    sets (Sequence[LinkingSet]): The sets.
    ks (Iterable[int]): Numbers of candidates for `recall_at`, as the knowledge base ranks them for each text.
    limit (Optional[int]): Documents taken of each set; None for all.
    batch_size (int): Documents linked at once.
    RETURNS (dict): "sets": the scores of each with its name; "languages": those of all documents of a language, but of
        sets that are there to train on and of sentences of templates; "short_text": means over sets of tweets; "kb":
        path, checksum and size; "mentions"; "seconds" of linking.
    RAISES (UsageError): S507 for a limit or batch size below 1, S951 without a linker.
    RAISES (ValueError): S932 without knowledge base.
    """
    check_options(limit=at_least_one(limit), batch_size=at_least_one(batch_size))
    linker = prepare_linker(nlp)
    ks = tuple(ks)
    started = time.perf_counter()
    answered = [_answer(nlp, linker.kb, each, max(ks), limit, batch_size) for each in sets]
    seconds = time.perf_counter() - started
    rows = [_row(each, ks) for each in answered]
    by_language: dict[str, list[list[Judged]]] = defaultdict(list)
    for linked, each in zip(sets, answered):
        if linked.split != "train" and not linked.templates:
            by_language[linked.lang] += each.documents
    short = [row for row in rows if row["name"] in SHORT_TEXT]
    return rounded(
        {
            "kb": {"path": str(linker.kb.path), "checksum": linker.kb.checksum, "entities": len(linker.kb)},
            "limit": limit,
            "mentions": sum(row["mentions"] for row in rows),
            "seconds": seconds,
            "sets": rows,
            "languages": {lang: score_links(by_language[lang], ks=ks).as_dict() for lang in sorted(by_language)},
            "short_text": _means(short) if short else None,
        }
    )


def title_finder(kb: KnowledgeBase, lang: str) -> Callable[[str], str | None]:
    """Finds the entity of an article by its title.

    kb (KnowledgeBase): Where to look.
    lang (str): Language of the titles.
    RETURNS (Callable[[str], Optional[str]]): The id of a title; None when no entity, or more than one, is called just
        so in that language.
    """

    def find(title: str) -> str | None:
        ids = {candidate.id for candidate in kb.candidates(title, k=50, fuzzy=False)}
        own = [entity.id for entity in kb.entities(ids).values() if entity.names.get(lang) == title]
        return own[0] if len(own) == 1 else None

    return find


def _silver_sets(folder: Path) -> Iterator[LinkingSet]:
    """Its test splits, those of templates as families of their own."""
    for path in sorted(folder.glob("*/*test.jsonl")):
        part = path.stem.partition(".")[0]
        name = f"{SILVER}/{path.parent.name}" if part == "test" else f"{SILVER}-{part}/{path.parent.name}"
        yield LinkingSet(name, path.parent.name, "test", "", list(read_records(path)), templates=part != "test")


def _own_sets(file: str) -> Iterator[LinkingSet]:
    by_language: dict[str, list[Record]] = defaultdict(list)
    for number, record in enumerate(read_records(file), start=1):
        where = f"{file}, record {number}"
        for place, mention in enumerate(read_mentions(record["text"], record["spans"], where), start=1):
            if not _are_ids(mention.get("alternatives", [])):
                reason = f"{where}, number {place} has alternatives that are not a list of ids"
                raise ValueError(Errors.S952.format(reason=reason))
        by_language[record.get("lang") or "xx"].append(record)
    for lang, records in by_language.items():
        name = Path(file).stem if len(by_language) == 1 else f"{Path(file).stem}/{lang}"
        yield LinkingSet(name, lang, "test", "", records)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(id, str) for id in value)


def _answer(
    nlp: Language, kb: KnowledgeBase, linked: LinkingSet, k: int, limit: int | None, batch_size: int
) -> Answered:
    records = resolve_titles(linked.records[:limit], title_finder(kb, linked.lang))
    asked = [_annotated(record) for record in records]
    unresolved = sum("title" in span and "kb_id" not in span for record in records for span in record["spans"])
    documents = []
    waiting = iter([record for record in asked if record["spans"]])
    while batch := list(islice(waiting, batch_size)):
        docs = nlp.pipe([mention_doc(nlp, record["text"], record["spans"]) for record in batch], batch_size=batch_size)
        for record, doc in zip(batch, docs):
            documents.append(list(_judged(kb, record, told_links(doc), k)))
    return Answered(linked.name, linked.lang, linked.split, documents, unresolved)


def _annotated(record: Record) -> Record:
    """The record with those of its spans that somebody has said the meaning of."""
    return {**record, "spans": [span for span in record["spans"] if "kb_id" in span]}


def _judged(kb: KnowledgeBase, record: Record, told: list[dict[str, Any]], k: int) -> Iterator[Judged]:
    surfaces = [record["text"][span["start"] : span["end"]].strip() for span in record["spans"]]
    ranked = kb.candidates_batch(surfaces, k, text=record["text"])
    golds = [[span["kb_id"], *span.get("alternatives", ())] for span in record["spans"]]
    known = kb.entities({id for gold in golds for id in gold if id is not None})
    for gold, answer, candidates in zip(golds, told, ranked):
        yield judge(gold, answer["kb_id"], known, [candidate.id for candidate in candidates])


def _row(answered: Answered, ks: tuple[int, ...]) -> dict[str, Any]:
    about = {"name": answered.name, "lang": answered.lang, "split": answered.split, "unresolved": answered.unresolved}
    return {**about, **score_links(answered.documents, ks=ks).as_dict()}


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Every set alike."""
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
