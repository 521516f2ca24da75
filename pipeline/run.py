"""One run over a corpus: planned, worked off shard by shard, merged, and summed up.

Everything that is finished is on disk before anybody relies on it, so a run may end at any point and be gone on with.
"""

from __future__ import annotations

import platform
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors, SamarkandWarning, Warnings, first_line
from .counts import Counts
from .files import QUARANTINE, SUMMARY
from .identity import fingerprint, software
from .loading import PipelineSpec
from .machine import core_ids, cores
from .merge import Merger
from .plan import Plan, Shard, make_plan, refuse_changes
from .progress import Progress
from .run_options import RunOptions, refuse_found
from .shard_work import ShardOptions
from .sources import STDIN, Source, UsageError
from .spool import spooled
from .state import read_json, write_json
from .store_state import open_state
from .worker import WorkerOptions
from .workers import LocalAnnotator, Supervisor

if TYPE_CHECKING:
    from spacy.language import Language

    from .ray_workers import RayAnnotator

    Annotator = LocalAnnotator | Supervisor | RayAnnotator


class Run:
    """Annotates inputs, and says what became of them.

    options (RunOptions): What was asked for.
    pipeline (Language | PipelineSpec): The pipeline, or how to load it.
    progress (Progress): Where to show the progress.
    """

    def __init__(self, options: RunOptions, pipeline: Language | PipelineSpec, progress: Progress) -> None:
        self._options, self._pipeline, self._progress = options, pipeline, progress
        self._state = open_state(options.output)
        self._output = self._state.output
        self._sources: dict[str, Source] = {}
        self._facts: dict[str, Any] = {}
        self._seconds: Counter[str] = Counter()
        self._stamps: dict[str, tuple[int, int]] = {}
        self._finished = Counts()
        self._deaths = self._recycled = self._resumed = 0

    def execute(self, sources: list[Source], targets: list[str]) -> dict[str, Any]:
        """Annotate the inputs.

        sources (list[Source]): The inputs.
        targets (list[str]): Path of the output of each, below the output folder.
        RETURNS (dict): The summary.
        RAISES (UsageError): S504, S540 to S542, S545, before anything is changed.
        RAISES (RuntimeError): S554 when another run begins in the same place, and cannot be kept away.
        """
        with self._state:
            self._state.recall()
            self._refuse(targets)
            summary = self._locked(sources, targets)
        self._warn_unwritten(summary)
        return summary

    def _locked(self, sources: list[Source], targets: list[str]) -> dict[str, Any]:
        about = {
            "options": self._options.decisive,
            "pipeline": {"fingerprint": fingerprint(self._pipeline)},
            "versions": software(),
        }
        existed = self._output.exists()
        with self._state.locked():
            try:
                return self._complete(sources, targets, about) or self._annotate(sources, targets, about)
            finally:
                if not self._state.begun:
                    self._state.clear()
                    if not existed:
                        with suppress(OSError):  # there is something in it
                            self._output.rmdir()

    def _annotate(self, sources: list[Source], targets: list[str], about: dict[str, Any]) -> dict[str, Any]:
        with ExitStack() as stack:
            with self._timed("planning_seconds"):
                begun = self._begun(sources, targets, about)
            with self._timed("loading_seconds"):
                annotator = stack.enter_context(self._annotator(about))
            # From here on something is changed; what can be refused is refused by now.
            self._state.claim()
            # Workers load while the input is looked through.
            with self._timed("planning_seconds"):
                plan = begun or self._new_plan(sources, targets, about)
            with self._timed("loading_seconds"):
                name = self._pipeline.model if isinstance(self._pipeline, PipelineSpec) else ""
                self._facts = {"model": name, **about["pipeline"], **annotator.meta}
            if begun is None:
                plan.save(self._state.plan)
                self._state.publish(self._state.plan)
            try:
                merger = Merger(self._state, plan, self._options)
                self._work(plan, merger, annotator)
                files = self._merge(plan, merger)
                summary = self._summary("complete", plan, files)
                self._write_summary(summary)
            except BaseException as error:
                self._stop(error, plan)
                raise
        self._state.clear()
        self._progress.tell("complete", **self._finished.as_dict())
        return summary

    def _refuse(self, targets: list[str]) -> None:
        """Refuse what would replace something, as far as that can be told at once."""
        unfinished = self._state.begun
        if self._options.resume and (unfinished or (self._output / SUMMARY).exists()):
            return
        if self._options.force:
            return
        if unfinished:
            raise UsageError(Errors.S540.format(output=self._options.output))
        refuse_found(self._state.existing((*targets, QUARANTINE, SUMMARY)))

    def _annotator(self, about: dict[str, Any]) -> Annotator:
        options, count = self._options, self._options.n_process
        shard_options = ShardOptions(
            output=options.output,
            scratch=self._state.scratch,
            reading=options.reading,
            output_format=options.output_format,
            compression=options.compression,
            spans_key=options.spans_key,
            batch_size=options.batch_size,
            timeout=options.timeout,
        )
        if options.ray is not None:
            from .ray_workers import RayAnnotator

            return RayAnnotator(self._pipeline, shard_options, options, about, self._tell)
        if count == 0:
            nlp = self._pipeline.load() if isinstance(self._pipeline, PipelineSpec) else self._pipeline
            return LocalAnnotator(nlp, shard_options, self._tell)
        return Supervisor(self._pipeline, shard_options, list(self._workers()), self._tell)

    def _workers(self) -> Iterator[WorkerOptions]:
        """Workers that share the machine: its memory, its cores, and GPUs, of which each takes one process."""
        count, gpu_id, ids = self._options.n_process, self._options.gpu_id, core_ids()
        threads = max(1, cores() // count)
        # Runs that leave cores to others would all be bound to the same ones.
        bound = gpu_id < 0 and len(ids) == count * threads
        for number in range(count):
            yield WorkerOptions(
                threads=threads,
                gpu_id=gpu_id + number if gpu_id >= 0 else -1,
                memory=self._options.memory,
                cores=tuple(ids[number * threads : (number + 1) * threads]) if bound else (),
            )

    def _complete(self, sources: list[Source], targets: list[str], about: dict[str, Any]) -> dict[str, Any] | None:
        """The summary of a run that has nothing left to do."""
        if not self._options.resume or self._state.begun:
            return None
        summary = read_json(self._output / SUMMARY)
        if summary is None or summary.get("status") != "complete" or not summary.keys() >= {"about", "inputs", "files"}:
            refuse_found(self._state.existing((*targets, QUARANTINE, SUMMARY)))
            return None
        # Standard input is gone by now, and cannot be compared.
        there = [(source, name) for source, name in zip(sources, targets) if source.path != STDIN]
        refuse_changes(
            summary["about"],
            [told for told in summary["inputs"] if told["input"] != STDIN],
            [(source, str(source)) for source, _ in there],
            [name for _, name in there],
            about,
        )
        for file in summary["files"]:
            if not self._state.holds(file["output"], file["bytes"]):
                shown = self._state.shown(self._output / file["output"])
                raise UsageError(Errors.S541.format(reasons=f"the output {shown} is not what was written"))
        return summary

    def _begun(self, sources: list[Source], targets: list[str], about: dict[str, Any]) -> Plan | None:
        """The plan to go on with."""
        if not (self._options.resume and self._state.plan.exists()):
            return None
        plan = Plan.load(self._state.plan, shown=self._state.shown(self._state.plan))
        self._state.sweep()
        readable = self._readable(sources, plan.about["options"])
        # Standard input may be kept elsewhere than the run was planned.
        self._sources = {shown: source for source, shown in readable}
        self._stamps = refuse_changes(plan.about, plan.inputs(), readable, targets, about)
        return plan

    def _new_plan(self, sources: list[Source], targets: list[str], about: dict[str, Any]) -> Plan:
        # What is left of a run that had no plan yet, or is not wanted any more.
        self._state.forget(self._spool(about["options"]) if self._options.resume else None)
        readable = self._readable(sources, about["options"])
        self._state.publish(self._spool(about["options"]))
        return make_plan(readable, targets, self._options, about)

    def _readable(self, sources: list[Source], options: dict[str, Any]) -> list[tuple[Source, str]]:
        spool, limit = self._spool(options), _lines(options)
        return [(spooled(source, spool, limit=limit), str(source)) for source in sources]

    def _spool(self, options: dict[str, Any]) -> Path:
        return self._state.spool(_lines(options))

    def _work(self, plan: Plan, merger: Merger, annotator: Annotator) -> None:
        with self._timed("planning_seconds"):
            waiting, done = self._unfinished(plan, merger)
        self._resumed, self._finished = done.records, done
        self._progress.begin(plan.records, done)
        with self._timed("loading_seconds"):
            marks = annotator.run((shard, plan.digest) for shard in waiting)
        with self._timed("seconds"):
            for mark in marks:
                self._state.learn(mark)
                self._finished += Counts.from_dict(mark)
                self._progress.tell("shard", shard=mark["shard"], seconds=mark["seconds"], attempts=mark["attempts"])

    def _unfinished(self, plan: Plan, merger: Merger) -> tuple[list[Shard], Counts]:
        """The shards that are left to do, and what the others came to."""
        waiting: list[Shard] = []
        done, damaged = Counts(), 0
        for number, unit in enumerate(plan.units):
            merged = merger.done(number)
            if merged is not None:
                done += Counts.from_dict(merged)
                continue
            for shard in unit.shards(number):
                mark = self._state.verified(shard.id, plan.digest)
                if mark is not None:
                    done += Counts.from_dict(mark)
                    continue
                damaged += self._state.mark(shard.id).exists()
                self._state.discard(shard.id)
                source = self._sources.get(shard.shown, shard.source)
                waiting.append(replace(shard, source=source, stamp=self._stamps.get(shard.shown, shard.stamp)))
        if damaged:
            warnings.warn(Warnings.SW503.format(n=damaged), SamarkandWarning, stacklevel=2)
        return waiting, done

    def _merge(self, plan: Plan, merger: Merger) -> list[dict[str, Any]]:
        files = []
        with self._timed("merging_seconds"):
            for number, unit in enumerate(plan.units):
                self._progress.tell("merge", output=unit.target)
                mark = {name: value for name, value in merger.merge(number).items() if name != "plan"}
                files.append({"input": unit.shown, "output": unit.target, **mark})
            self._facts["quarantine"] = merger.quarantine()
        return files

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Count the time of the block to a phase of the run."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - began

    def _tell(self, event: str, **facts: Any) -> None:
        self._deaths += event == "death"
        self._recycled += event == "recycled"
        self._progress.tell(event, **facts)

    def _summary(self, status: str, plan: Plan, files: list[dict[str, Any]]) -> dict[str, Any]:
        facts = dict(self._facts)
        quarantine = facts.pop("quarantine", None)
        return {
            "status": status,
            **self._finished.as_dict(),
            "records": plan.records,
            "resumed_records": self._resumed,
            "deaths": self._deaths,
            "recycled": self._recycled,
            **{name: round(value, 3) for name, value in self._seconds.items()},
            "pipeline": facts,
            "options": asdict(self._options),
            "versions": {"python": platform.python_version(), **software()},
            "about": plan.about,
            "inputs": plan.inputs(),
            "files": files,
            "quarantine": quarantine,
        }

    def _stop(self, error: BaseException, plan: Plan) -> None:
        """Leave a true account of what is finished."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        # The first error is the one to report, and a full disk makes this fail too.
        with suppress(OSError, RuntimeError):
            self._write_summary({**self._summary(status, plan, []), "error": first_line(error)})

    def _write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self._output / SUMMARY, summary, self._state.folder)
        self._state.publish(self._output / SUMMARY)

    def _warn_unwritten(self, summary: dict[str, Any]) -> None:
        if summary["unwritten"]:
            layer = f"doc.spans[{self._options.spans_key!r}]" if self._options.spans_key else "doc.ents"
            message = Warnings.SW502.format(n=summary["unwritten"], layer=layer)
            warnings.warn(message, SamarkandWarning, stacklevel=2)


def _lines(options: dict[str, Any]) -> int | None:
    """How many lines of standard input the options of a plan need; None is all."""
    return options["limit"] if options["txt_unit"] == "line" else None
