"""Languages in a script that the encoder has hardly read: as they are, transliterated, and after more pretraining.

    python benchmarks/unseen_script.py --dataset amh_Ethi npi_Deva uig_Arab ckb_Arab --seed 0 1 2

Topics of SIB-200 are learnt in the language itself, or with `--source relative` in a related one that the encoder has
read or that is written in Latin (Hindi, Turkish, Kurmanji), and tested in it; entities of am-masakhaner1 and
ne-transfer are learnt in the language. Macro F, micro F.

- plain: the encoder subword_base reads the text as it is.
- transliterated: it reads the text through `samarkand.TransliteratedEncoder.v1`.
- adapted: it was trained on before, on raw text of the language and a tenth as much of the relative, by
  `samarkand.corpora.pretraining` and `samarkand.models.pretrain_encoder`; "adapted, transliterated" is both.

Raw text is that of the corpora, or for Nepali and Sorani the sentences of TICO-19.
"""

from __future__ import annotations

import json
import lzma
import statistics
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ner import SAMPLES
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.corpora import pretraining
from samarkand.corpora.records import read_records
from samarkand.corpora.sentence_files import json_rows
from samarkand.models import pretrain_encoder
from transfer_systems import METRICS, PIPES, encoder_block, learn, score
from transfer_tasks import Task, data_folder, language_entities, samples, sib200

ADAPTED, TRANSLITERATED = "adapted", "transliterated"
SYSTEMS = ("plain", TRANSLITERATED, ADAPTED, f"{ADAPTED}, {TRANSLITERATED}")
STEPS = {"classes": 400, "entities": 1000}
LEARN_RATE = 0.002
NOISE = {"@misc": "samarkand.CharacterNoise.v1"}


@dataclass(frozen=True)
class Language:
    """A language in a script that is little read.

    table (tuple[str, str]): Script, and table of transliteration.
    raw (str): File of raw text, or the key of TICO-19.
    relative (Optional[str]): Language of SIB-200 to learn from instead.
    relative_raw (Optional[str]): File of its raw text.
    """

    table: tuple[str, str]
    raw: str
    relative: str | None = None
    relative_raw: str | None = None


LANGUAGES = {
    "amh_Ethi": Language(("Ethi", "icu:Ethiopic-Latin"), "am.research.txt.xz", None, "ar.txt.xz"),
    "npi_Deva": Language(("Deva", "icu:Devanagari-Latin"), "ne", "hin_Deva", "hi.txt.xz"),
    "uig_Arab": Language(("Arab", "ug-tr"), "ug.txt.xz", "tur_Latn", "tr.txt.xz"),
    "ckb_Arab": Language(("Arab", "ckb-kmr"), "ckb", "kmr_Latn"),
}
ENTITIES = {"am-masakhaner1": "amh_Ethi", "ne-transfer": "npi_Deva"}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--dataset", nargs="+", choices=[*LANGUAGES, *ENTITIES], default=[*LANGUAGES, *ENTITIES])
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--source", nargs="+", choices=["own", "relative"], default=["own"], help="learnt in, topics")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=0, help="0: by kind of task")
    parser.add_argument("--adapt-steps", type=int, default=600, help="of 2,048 tokens each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.quick:
        options.dataset, options.steps, options.adapt_steps = ["samples"], 40, 20
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoders = Encoders(folder, options.adapt_steps)
        for dataset in options.dataset:
            for source in options.source:
                task = make_task(dataset, source, folder)
                for system in options.system if task else ():
                    for seed in options.seed:
                        rows += measure(task, dataset, system, source, encoders, seed=seed, steps=options.steps)
                        write_rows("unseen_script", rows, options.results)
    show(rows, "Unseen scripts")


def make_task(dataset: str, source: str, folder: Path) -> Task | None:
    """Read what is learnt and tested.

    dataset (str): Key of `LANGUAGES` or of `ENTITIES`, or "samples".
    source (str): "own" or "relative".
    folder (Path): Where its files are written to.
    RETURNS (Optional[Task]): The task; None where there is no relative to learn from.
    """
    if dataset == "samples":
        return samples("classes", folder)
    if source == "own":
        return language_entities(dataset, folder) if dataset in ENTITIES else sib200(folder, [dataset], dataset)
    relative = LANGUAGES[dataset].relative if dataset in LANGUAGES else None
    return sib200(folder, [dataset], relative) if relative else None


class Encoders:
    """Encoders by language and system; each adaptation is made once.

    folder (Path): Where encoders are written to.
    steps (int): Steps of an adaptation.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder = folder
        self.steps = steps

    def block(self, language: str, system: str) -> dict[str, Any]:
        """Config of an encoder.

        language (str): Key of `LANGUAGES`, or "samples".
        system (str): One of `SYSTEMS`.
        RETURNS (dict[str, Any]): The block.
        """
        about = LANGUAGES.get(language, Language(("Arab", "ar-buckwalter"), "samples"))
        tables = dict([about.table]) if TRANSLITERATED in system else {}
        name = str(self._adapted(language, about, tables)) if ADAPTED in system else "subword_base"
        block = encoder_block(name)
        return _read_through(block, tables) if tables else block

    def _adapted(self, language: str, about: Language, tables: dict[str, str]) -> Path:
        output = self.folder / f"{language}-{len(tables)}"
        if not output.exists():
            ids, raw = output.with_suffix(".ids"), output.with_suffix(".raw")
            raw.mkdir()
            own, relative = _raw_texts(about), []
            if about.relative_raw:
                relative = _lines(data_folder() / "raw" / about.relative_raw, len(own) // 10)
            for name, lines in (("own", own), ("relative", relative)):
                (raw / f"{name}.txt.xz").write_bytes(lzma.compress("\n".join([*lines, ""]).encode()))
            words = [str(raw), str(ids), "own=5", *(["relative=0.5"] if relative else [])]
            words += ["--tables", *map("=".join, tables.items())] if tables else []
            pretraining.main(words)
            begin = [
                "--begin",
                "subword_base",
                "--learn-rate",
                str(LEARN_RATE),
                "--threads",
                str(torch.get_num_threads()),
            ]
            pretrain_encoder.main([str(ids), str(output), *begin, "--steps", str(self.steps)])
        return output


def measure(
    task: Task, dataset: str, system: str, source: str, encoders: Encoders, *, seed: int, steps: int
) -> list[dict[str, Any]]:
    """Train on a task and test in the language.

    task (Task): The task.
    dataset (str): Key of `LANGUAGES` or of `ENTITIES`, or "samples".
    system (str): One of `SYSTEMS`.
    source (str): "own" or "relative".
    encoders (Encoders): Where encoders come from.
    seed (int): Seed of weights and order.
    steps (int): Steps; 0 for those of the kind of task.
    RETURNS (list[dict]): A row of the score.
    """
    steps = steps or STEPS[task.kind]
    block = encoders.block(ENTITIES.get(dataset, dataset), system)
    figures = score(learn(task, block, {}, NOISE, seed=seed, steps=steps), task)
    value = figures[dataset] if dataset in figures else statistics.fmean(figures.values())
    note = f"{steps} steps" + (f" after {encoders.steps} of adaptation" if ADAPTED in system else "")
    about = {
        "seed": seed,
        "train": "labels of the language" if source == "own" else "labels of a related language",
        "command": f'python benchmarks/unseen_script.py --dataset {dataset} --system "{system}" --source {source} '
        f"--steps {steps} --seed {seed}",
        "note": note,
    }
    print(
        json.dumps({"dataset": dataset, "system": system, "source": source, "seed": seed, "value": value}), flush=True
    )
    return [row(f"samarkand/{PIPES[task.kind]}, {system}", dataset, METRICS[task.kind], 100 * value, **about)]


def _read_through(block: dict[str, Any], tables: dict[str, str]) -> dict[str, Any]:
    return {"@architectures": "samarkand.TransliteratedEncoder.v1", "tables": tables, "tok2vec": block}


def _raw_texts(about: Language) -> list[str]:
    """Lines of raw text."""
    if about.raw == "samples":
        return [" ".join(record["text"].split()) for record in read_records(SAMPLES / "ar.jsonl")]
    if about.raw.endswith(".xz"):
        return _lines(data_folder() / "raw" / about.raw, None)
    return [
        row[about.raw] for _, row in json_rows(data_folder() / "parallel" / "tico19.multi.jsonl.xz", **{about.raw: str})
    ]


def _lines(path: Path, most: int | None) -> list[str]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in islice(file, most)]


if __name__ == "__main__":
    main()
