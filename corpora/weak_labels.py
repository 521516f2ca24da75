"""Soft labels for texts that nobody has labelled: labelling functions vote, and a label model weighs the votes.

Written as JSON lines that `samarkand.CatsCorpus.v1` reads, with a summary beside them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.util import import_file, load_config, load_model, registry
from thinc.api import Config

from ..errors import Errors, SamarkandWarning, Warnings, first_finding, first_line, is_coded
from ..models.dawid_skene import DawidSkene
from ..models.label_model import ABSTAIN, TIE, LabelModel, MajorityVote
from ..models.settings import parse_overrides
from ..replacing import replace_file
from .cats_corpus import record_labels, record_text
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
    RAISES (ValueError): S1105 for a setting of another kind or out of range.
    """

    functions: Mapping[str, LabellingFunction]
    label_model: LabelModel = field(default_factory=DawidSkene)
    labels: Sequence[str] | None = None
    model: str | None = None
    min_confidence: float = 0.6
    use_gold: bool = False

    def __post_init__(self) -> None:
        is_share = isinstance(self.min_confidence, Real) and 0 <= self.min_confidence <= 1
        for name, fits, expected in (
            ("functions", isinstance(self.functions, Mapping), "a section for each function"),
            ("label_model", hasattr(self.label_model, "fit"), "a label model, such as samarkand.DawidSkene.v1"),
            ("labels", self.labels is None or _are_labels(self.labels), "a list of different labels, or null"),
            ("model", self.model is None or isinstance(self.model, str), "the name of a pipeline, or null"),
            ("min_confidence", is_share, "a probability, from 0 to 1"),
            ("use_gold", isinstance(self.use_gold, bool), "true or false"),
        ):
            if not fits:
                value = getattr(self, name)
                raise ValueError(Errors.S1105.format(name=name, what=f"[{SECTION}]", value=value, expected=expected))


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
    Functions are judged by the records with one "label", read as `CatsCorpus` reads it.

    config (Path): A .cfg file with the section [weak_labels].
    inputs (Sequence[Union[str, Path]]): JSON lines with "text", plain or compressed: files, folders or globs.
    output (Path): A JSONL file; OUTPUT.summary.json has the summary and the config.
    overrides (Sequence[str]): `--section.key value` words.
    code (Optional[Path]): Python file that registers functions which the config names.
    force (bool): Replace an output that exists.
    RETURNS (dict[str, Any]): The summary: "documents", "labelled", "labels" with their counts, "functions",
        "correlations", the pairs of functions that agree more than their accuracies explain, the strongest first (None
        when the label model does not look for them), and, with known labels, "accuracy" of the label model and of
        "majority" vote on documents with votes.
    RAISES (OSError): S201 without such a file, S217 for an output that exists, S841 for missing rules.
    RAISES (ValueError): S1110 for a config that cannot be used, S1100 to S1106 for functions and settings, S1111 when
        none votes, S631 for a record that cannot be used, S842 for a line that is none.
    WARNS: SW1110 for known labels that are none of those that are voted on.
    """
    if output.exists() and not force:
        raise FileExistsError(Errors.S217.format(path=output))
    settings, resolved = load_settings(config, overrides, code=code)
    located = list(_records(inputs))
    records = [record for _, record in located]
    known_labels = [record_labels(record, where) for where, record in located]
    docs = _pipeline(settings.model).pipe(record_text(record, where) for where, record in located)
    # A config may have numbers for labels, as records may.
    labels = None if settings.labels is None else [str(label) for label in settings.labels]
    votes = apply_functions(settings.functions, docs, labels)
    if not (votes.matrix != ABSTAIN).any():
        raise ValueError(Errors.S1111.format(count=len(records)))
    gold = _gold(known_labels, votes.labels)
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
    RAISES (ValueError): S1110, S1105, and what the functions raise that it names; S731 and S732 for the overrides.
    """
    values = parse_overrides(overrides)
    try:
        if code is not None:
            import_file("samarkand_user_code", code)
        config = load_config(path, values, interpolate=True)
        if SECTION not in config:
            raise ValueError(f"there is no section [{SECTION}]")
        section = registry.resolve({SECTION: config[SECTION]})[SECTION]
        unknown = sorted(set(section) - {setting.name for setting in fields(WeakLabelSettings)})
        if unknown or not section.get("functions"):
            raise ValueError(f"[{SECTION}] has no setting {unknown[0]!r}" if unknown else "it names no functions")
        return WeakLabelSettings(**section), config
    except Exception as error:  # a config and the functions that it names can raise anything
        if is_coded(error):
            raise
        raise ValueError(Errors.S1110.format(path=path, reason=first_finding(error))) from error


def describe(summary: dict[str, Any]) -> str:
    """RETURNS (str): A summary of `weak_label` in words, with a table of the functions."""
    counts = ", ".join(f"{label} {count:,}" for label, count in summary["labels"].items())
    lines = [f"{summary['labelled']:,} of {summary['documents']:,} documents labelled: {counts or 'none'}"]
    if "accuracy" in summary:
        lines.append(f"accuracy on known labels {summary['accuracy']:.3f}, of majority vote {summary['majority']:.3f}")
    width = max(len("function"), *(len(row["name"]) for row in summary["functions"]))
    lines.append(f"{'function':{width}}  coverage  overlap  conflict  accuracy  estimated  weight  labels")
    for row in summary["functions"]:
        shares = "  ".join(f"{row[key]:{len(key)}.3f}" for key in ("coverage", "overlap", "conflict"))
        guesses = "  ".join(
            f"{'-' if row[key] is None else format(row[key], '.3f'):>{len(key)}}"
            for key in ("accuracy", "estimated", "weight")
        )
        lines.append(f"{row['name']:{width}}  {shares}  {guesses}  {' '.join(row['labels'])}")
    if summary["correlations"]:
        lines.append("agree more than their accuracies explain, 1 for copies:")
        lines += [f"  {pair['excess']:.3f}  {', '.join(pair['functions'])}" for pair in summary["correlations"]]
    return "\n".join(lines)


def _are_labels(labels: Any) -> bool:
    """Whether they are a list of words or numbers, each of them once."""
    fits = isinstance(labels, Sequence) and not isinstance(labels, str)
    return fits and all(isinstance(x, (str, int)) for x in labels) and 0 < len(labels) == len(set(map(str, labels)))


def _records(inputs: Sequence[str | Path]) -> Iterator[tuple[str, Record]]:
    """Records, each with its file and line for messages."""
    for path in inputs:
        for file in find_files(path):
            yield from ((f"{file}, line {number}", record) for number, record in json_rows(file, text=str))


def _pipeline(model: str | None) -> Language:
    from .. import blank

    if model is None:
        return blank("xx")
    try:
        return load_model(model)
    except Exception as error:  # a pipeline and what it needs can raise anything
        raise ValueError(Errors.S1103.format(model=model, reason=first_line(error))) from error


def _gold(known: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """Classes of the records with one label, `ABSTAIN` for the others."""
    single = [found[0] if len(found) == 1 else None for found in known]
    if strange := [label for label in single if label is not None and label not in labels]:
        message = Warnings.SW1110.format(count=len(strange), example=strange[0], labels=", ".join(labels))
        warnings.warn(message, SamarkandWarning, stacklevel=3)
    classes = {label: at for at, label in enumerate(labels)}
    return np.array([classes.get(label, ABSTAIN) for label in single], dtype=int)


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
    weights = getattr(model, "weights", [None] * len(rows))
    for row, estimated, weight in zip(rows, model.accuracies(), weights):
        row["estimated"] = None if np.isnan(estimated) else float(estimated)
        row["weight"] = None if weight is None else float(weight)
    summary: dict[str, Any] = {
        "documents": len(votes.matrix),
        "labelled": int(is_labelled.sum()),
        "labels": {label: int((best == at).sum()) for at, label in enumerate(votes.labels)},
        "functions": rows,
        "correlations": _correlations(votes.functions, getattr(model, "excess", None)),
    }
    judged = (gold != ABSTAIN) & (votes.matrix != ABSTAIN).any(axis=1)
    if judged.any():
        n_classes = len(votes.labels)
        majority = MajorityVote().fit(votes.matrix, n_classes).predict_proba(votes.matrix)
        for name, guesses in (("accuracy", model.predict_proba(votes.matrix)), ("majority", majority)):
            summary[name] = _accuracy(guesses[judged], gold[judged])
    return summary


def _correlations(names: Sequence[str], excess: np.ndarray | None) -> list[dict[str, Any]] | None:
    """Pairs that agree beyond what their accuracies explain, the strongest first."""
    if excess is None:
        return None
    pairs = [
        {"functions": [names[j], names[k]], "excess": float(excess[j, k])}
        for j, k in combinations(range(len(names)), 2)
        if excess[j, k] > 0
    ]
    return sorted(pairs, key=lambda pair: -pair["excess"])


def _accuracy(guesses: np.ndarray, gold: np.ndarray) -> float:
    """Share of right labels, where one of those that tie is drawn."""
    best = np.isclose(guesses, guesses.max(axis=1, keepdims=True), rtol=0, atol=TIE)
    return float((best[np.arange(len(gold)), gold] / best.sum(axis=1)).mean())
