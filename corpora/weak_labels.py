"""Soft labels for texts that nobody has labelled: labelling functions vote, and a label model weighs the votes.

Written as JSON lines that `samarkand.CatsCorpus.v1` reads, with a summary beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import import_file, load_config, load_model, registry
from thinc.api import Config

from ..errors import Errors, first_line, is_coded
from ..models.dawid_skene import DawidSkene
from ..models.label_model import ABSTAIN, TIE, LabelModel, MajorityVote
from ..models.settings import parse_overrides
from ..models.text_pairs import join_pair
from ..replacing import replace_file
from .labelling_functions import LabellingFunction, Votes, apply_functions, summarize_votes
from .records import Record, find_files, write_records
from .sentence_files import json_rows

__all__ = ["SUMMARY", "WeakLabelSettings", "describe", "load_settings", "weak_label"]

SECTION = "weak_labels"
SUMMARY = ".summary.json"
# Digits of the probabilities that are written.
DIGITS = 6


@dataclass(frozen=True)
class WeakLabelSettings:
    """The section [weak_labels] of a config.

    functions (Mapping[str, LabellingFunction]): Labelling functions by name.
    label_model (LabelModel): What weighs their votes.
    labels (Optional[Sequence[str]]): All labels; None takes those that functions vote for.
    model (Optional[str]): Pipeline that reads the texts for functions that look at annotations; None tokenizes alone.
    min_confidence (float): Least probability of the likeliest label; texts below stay without labels.
    use_gold (bool): Take the labels that records have as known, and weigh functions by them too.
    """

    functions: Mapping[str, LabellingFunction]
    label_model: LabelModel = field(default_factory=DawidSkene)
    labels: Sequence[str] | None = None
    model: str | None = None
    min_confidence: float = 0.6
    use_gold: bool = False


def weak_label(
    config: Path,
    inputs: Sequence[str | Path],
    output: Path,
    overrides: Sequence[str] = (),
    *,
    code: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Label texts. All of them are held in memory, and written in their order with what else their records hold.

    A record gets "cats", a probability by label, empty where it stays without labels; and "votes", a label by function.
    Functions are judged by those records whose "label" is a string.

    config (Path): A .cfg file with the section [weak_labels].
    inputs (Sequence[Union[str, Path]]): JSON lines with "text", plain or compressed: files, folders or globs.
    output (Path): A JSONL file; OUTPUT.summary.json has the summary and the config.
    overrides (Sequence[str]): `--section.key value` words.
    code (Optional[Path]): Python file that registers functions which the config names.
    force (bool): Replace an output that exists.
    RETURNS (dict[str, Any]): The summary: "documents", "labelled", "labels" with their counts, "functions", and, with
        known labels, "accuracy" of the label model and of "majority" vote on documents with votes.
    RAISES (OSError): S201 without such a file, S217 for an output that exists, S841 for missing rules.
    RAISES (ValueError): S1110 for a config that cannot be used, S1100 to S1104 for functions, S1111 when none votes,
        S842 for a line that is no record.
    """
    if output.exists() and not force:
        raise FileExistsError(Errors.S217.format(path=output))
    settings, resolved = load_settings(config, overrides, code=code)
    records = list(_records(inputs))
    votes = apply_functions(settings.functions, _docs(settings.model, records), settings.labels)
    if not (votes.matrix != ABSTAIN).any():
        raise ValueError(Errors.S1111.format(count=len(records)))
    gold = _gold(records, votes.labels)
    known = gold if settings.use_gold else None
    model = settings.label_model.fit(votes.matrix, len(votes.labels), known)
    probabilities = model.predict_proba(votes.matrix)
    if known is not None:
        probabilities = np.where((gold != ABSTAIN)[:, None], np.eye(len(votes.labels))[gold], probabilities)
    is_labelled = (votes.matrix != ABSTAIN).any(axis=1) | (known is not None) & (gold != ABSTAIN)
    is_labelled &= probabilities.max(axis=1) >= settings.min_confidence
    summary = _summary(votes, gold, model, probabilities, is_labelled)
    write_records(output, _labelled(records, votes, probabilities, is_labelled))
    with replace_file(output.with_name(output.name + SUMMARY)) as temporary:
        text = json.dumps({**summary, "config": resolved}, ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    return summary


def load_settings(
    path: Path, overrides: Sequence[str] = (), *, code: Path | None = None
) -> tuple[WeakLabelSettings, Config]:
    """Read the section [weak_labels] of a config, and make what it names.

    path (Path): A .cfg file.
    overrides (Sequence[str]): `--section.key value` words.
    code (Optional[Path]): Python file that registers functions which the config names.
    RETURNS (tuple[WeakLabelSettings, Config]): The settings, and the config as it stands.
    RAISES (ValueError): S1110, and what the functions raise that it names; S731 and S732 for the overrides.
    """
    values = parse_overrides(overrides)
    try:
        if code is not None:
            import_file("samarkand_user_code", code)
        config = load_config(path, values, interpolate=True)
        section = registry.resolve({SECTION: config[SECTION]})[SECTION]
        unknown = sorted(set(section) - {setting.name for setting in fields(WeakLabelSettings)})
        if unknown or not section.get("functions"):
            raise ValueError(f"[{SECTION}] has no setting {unknown[0]!r}" if unknown else "it names no functions")
        return WeakLabelSettings(**section), config
    except Exception as error:  # a config and the functions that it names can raise anything
        if is_coded(error):
            raise
        reason = f"there is no section [{SECTION}]" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(Errors.S1110.format(path=path, reason=reason)) from error


def describe(summary: dict[str, Any]) -> str:
    """RETURNS (str): A summary of `weak_label` in words, with a table of the functions."""
    counts = ", ".join(f"{label} {count:,}" for label, count in summary["labels"].items())
    lines = [f"{summary['labelled']:,} of {summary['documents']:,} documents labelled: {counts or 'none'}"]
    if "accuracy" in summary:
        lines.append(f"accuracy on known labels {summary['accuracy']:.3f}, of majority vote {summary['majority']:.3f}")
    width = max(len("function"), *(len(row["name"]) for row in summary["functions"]))
    lines.append(f"{'function':{width}}  coverage  overlap  conflict  accuracy  estimated  labels")
    for row in summary["functions"]:
        shares = "  ".join(f"{row[key]:{len(key)}.3f}" for key in ("coverage", "overlap", "conflict"))
        guesses = "  ".join(
            f"{'-' if row[key] is None else format(row[key], '.3f'):>{len(key)}}" for key in ("accuracy", "estimated")
        )
        lines.append(f"{row['name']:{width}}  {shares}  {guesses}  {' '.join(row['labels'])}")
    return "\n".join(lines)


def _records(inputs: Sequence[str | Path]) -> Iterator[Record]:
    for path in inputs:
        for file in find_files(path):
            yield from (record for _, record in json_rows(file, text=str))


def _docs(model: str | None, records: list[Record]) -> Iterator[Doc]:
    texts = (
        join_pair(record["text"], record["text_b"]) if "text_b" in record else record["text"] for record in records
    )
    return _pipeline(model).pipe(texts)


def _pipeline(model: str | None) -> Language:
    from .. import blank

    if model is None:
        return blank("xx")
    try:
        return load_model(model)
    except Exception as error:  # a pipeline and what it needs can raise anything
        raise ValueError(Errors.S1103.format(model=model, reason=first_line(error))) from error


def _gold(records: list[Record], labels: Sequence[str]) -> np.ndarray:
    classes = {label: at for at, label in enumerate(labels)}
    found = (record.get("label") for record in records)
    return np.array([classes.get(label, ABSTAIN) if isinstance(label, str) else ABSTAIN for label in found], dtype=int)


def _labelled(
    records: list[Record], votes: Votes, probabilities: np.ndarray, is_labelled: np.ndarray
) -> Iterator[Record]:
    for record, row, scores, has_labels in zip(records, votes.matrix, probabilities, is_labelled):
        cats = {label: round(float(score), DIGITS) for label, score in zip(votes.labels, scores)} if has_labels else {}
        given = {name: votes.labels[vote] for name, vote in zip(votes.functions, row) if vote != ABSTAIN}
        yield {**record, "cats": cats, "votes": given}


def _summary(
    votes: Votes, gold: np.ndarray, model: LabelModel, probabilities: np.ndarray, is_labelled: np.ndarray
) -> dict[str, Any]:
    best = probabilities.argmax(axis=1)[is_labelled]
    rows = [asdict(row) for row in summarize_votes(votes, gold)]
    for row, estimated in zip(rows, model.accuracies()):
        row["estimated"] = None if np.isnan(estimated) else float(estimated)
    summary: dict[str, Any] = {
        "documents": len(votes.matrix),
        "labelled": int(is_labelled.sum()),
        "labels": {label: int((best == at).sum()) for at, label in enumerate(votes.labels)},
        "functions": rows,
    }
    judged = (gold != ABSTAIN) & (votes.matrix != ABSTAIN).any(axis=1)
    if judged.any():
        n_classes = len(votes.labels)
        majority = MajorityVote().fit(votes.matrix, n_classes).predict_proba(votes.matrix)
        for name, guesses in (("accuracy", model.predict_proba(votes.matrix)), ("majority", majority)):
            summary[name] = _accuracy(guesses[judged], gold[judged])
    return summary


def _accuracy(guesses: np.ndarray, gold: np.ndarray) -> float:
    """Share of right labels, where one of those that tie is drawn."""
    best = np.isclose(guesses, guesses.max(axis=1, keepdims=True), rtol=0, atol=TIE)
    return float((best[np.arange(len(gold)), gold] / best.sum(axis=1)).mean())
