"""What each stage of a distillation brings: the same training with one stage left out.

    python benchmarks/distillation_stages.py --pairs corpus/sentence_pairs --output training/stages

The recipe is configs/sentence_student.toml with all of its stages at work, for fewer steps. All begin with the same
pieces, without which an assistant of another vocabulary has no beginning; what they give alone is "static". A run that
was cut short goes on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from minilm import PACKAGE
from options import benchmark_parser
from results_file import show, write_rows
from samarkand.corpora.sentence_samples import SAMPLES, sample_bitexts
from samarkand.models.sentence_model import load_sentence_model
from samarkand.models.sentence_pairs import COLUMNS, HELD_OUT, PAIRS, TOKENIZER
from samarkand.models.train_encoder import train_encoder
from samarkand.models.vocabulary import train_vocabulary, wrap_tokenizer
from samarkand.pipeline.evaluation_sets import EvaluationSets, load_sets
from sentence_encoders import judge, tiny_encoder

CONFIG = Path(__file__).parents[1] / "configs" / "sentence_student.toml"
STEPS = {"pieces": 1000, "assistant": 300, "embedding": 300, "recurrence": 300, "relation": 600}
NONE, STATIC = "all stages", "static"
SYSTEMS = (NONE, *(f"without {stage}" for stage in list(STEPS)[1:]))
SETS = ("stsb-multi/en", "stsb-multi/zh", "pud", "tatoeba-laser/ara", "tatoeba-laser/cmn")
METRICS = ("Spearman", "accuracy")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--pairs", type=Path, help="folder of samarkand prepare-pairs")
    parser.add_argument("--output", type=Path, help="folder of the trainings; a temporary one by default")
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        output = options.output or Path(scratch) / "stages"
        if options.quick:
            words, steps, sets = quick_words(Path(scratch)), dict.fromkeys(STEPS, 3), load_sets(None, [SAMPLES])
        else:
            if options.pairs is None:
                raise SystemExit("Make pairs with samarkand prepare-pairs configs/sentence_student.toml, name --pairs")
            words, steps = ["--pairs", str(options.pairs), "--teacher", PACKAGE], STEPS
            sets = load_sets(os.environ["SAMARKAND_DATA"], SETS)
        rows = measure_static(output, words, steps, sets)
        for system in options.system:
            rows += measure(system, output, words, steps, sets)
            write_rows("distillation_stages", rows, options.results)
    show(rows, "Stages of a distillation")


def measure_static(output: Path, words: list[str], steps: dict[str, int], sets: EvaluationSets) -> list[dict[str, Any]]:
    """Train the pieces, which all share, and judge them.

    output (Path): Folder of the trainings.
    words (list[str]): Settings beside the recipe.
    steps (dict[str, int]): Steps by stage.
    sets (EvaluationSets): What to judge by.
    RETURNS (list[dict]): The rows.
    """
    train(output / "pieces alone", words, {**dict.fromkeys(steps, 0), "pieces": steps["pieces"]})
    return judged(STATIC, output / "pieces alone" / "pieces" / "static", steps, sets)


def measure(
    system: str, output: Path, words: list[str], steps: dict[str, int], sets: EvaluationSets
) -> list[dict[str, Any]]:
    """Train with one stage left out, and judge the student.

    system (str): One of `SYSTEMS`.
    output, words, steps, sets: As in `measure_static`, which has to come first.
    RETURNS (list[dict]): The rows.
    """
    folder, shared = output / system, output / "pieces alone"
    folder.mkdir(exist_ok=True)
    for path in shared.glob("teacher.*"):
        shutil.copy(path, folder)
    shutil.copytree(shared / "pieces", folder / "pieces", dirs_exist_ok=True)
    left_out = system.removeprefix("without ")
    train(folder, words, {stage: 0 if stage == left_out else count for stage, count in steps.items()})
    return judged(system, folder / "encoder", steps, sets)


def train(folder: Path, words: list[str], steps: dict[str, int]) -> None:
    """Run the recipe with other numbers of steps, and without the map at its end."""
    counts = [word for stage, count in steps.items() for word in (f"--stages.{stage}.steps", str(count))]
    counts += ["--whitening", "0"]
    train_encoder(CONFIG, ["--output", str(folder), *words, *counts], resume=True)


def judged(name: str, folder: Path, steps: dict[str, int], sets: EvaluationSets) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): Rows of an encoder, as `sentence_encoders.py` has them."""
    about = {
        "train": ", ".join(f"{stage} {count}" for stage, count in steps.items()),
        "command": "python benchmarks/distillation_stages.py --pairs FOLDER",
    }
    return [{**row, **about} for row in judge(name, load_sentence_model(folder), sets) if row["metric"] in METRICS]


def quick_words(folder: Path) -> list[str]:
    """Pairs of the bundled sentences and a tiny teacher.

    folder (Path): Where they go.
    RETURNS (list[str]): Settings beside the recipe.
    """
    from datasets import Dataset

    rows = [
        (english, other, bitext.second_lang, "by hand")
        for bitext in sample_bitexts()
        if bitext.first_lang == "en"
        for english, other in zip(bitext.first, bitext.second)
    ]
    (folder / "teacher").mkdir()
    tiny_encoder(folder / "teacher")
    pairs = folder / "pairs"
    for name, chosen in ((PAIRS, rows * 20), (HELD_OUT, rows[::5])):
        pairs.mkdir(exist_ok=True)
        Dataset.from_dict(dict(zip(COLUMNS, map(list, zip(*chosen))))).to_parquet(str(pairs / name))
    vocabulary = train_vocabulary([text for row in rows for text in row[:2]], 600)
    wrap_tokenizer(vocabulary, 64).save_pretrained(pairs / TOKENIZER)
    sizes = {"embedding_size": 8, "layers": 1, "repeats": 2}
    settings = {"--pairs": str(pairs), "--teacher": str(folder / "teacher"), "--weights": "{}"}
    settings |= {"--assistant.encoder": str(folder / "teacher"), "--assistant.layers": "[0]"}
    settings |= {"--assistant.shape.width": "16", "--assistant.shape.heads": "2", "--assistant.shape.hidden": "32"}
    settings |= {f"--student.{name}": str(value) for name, value in sizes.items()}
    settings |= {f"--stages.{stage}.batch_size": "8" for stage in STEPS}
    return [word for pair in settings.items() for word in pair]


if __name__ == "__main__":
    main()
