"""From a trained pipeline to one that is passed on: its card's facts, no training paths, no words of the training text.

python -m samarkand.pipeline.release training/sentence_student/encoder models/packages/xx_sentence_sm
python -m samarkand.pipeline.release training/xx_samarkand_sm/model-best models/packages/xx_samarkand_sm [ENCODER [KB]]
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import spacy
from spacy.strings import StringStore

from ..errors import Errors, spoken
from ..models.checkpoints import replace_folder

META = {
    "name": "samarkand_sm",
    "description": "Persons, places and organisations in Arabic, Chinese, English and mixed text; for CPUs.",
    "author": "The Samarkand authors",
    "license": "CC BY-SA 4.0",
}


def release(
    trained: Path,
    output: Path,
    version: str,
    sentence_encoder: str | None = None,
    knowledge_base: str | Path | None = None,
) -> None:
    """Write a pipeline for passing on, whole or not at all; a model card in the output folder stays.

    trained (Path): The trained pipeline.
    output (Path): The folder to write; a pipeline that is there is replaced.
    version (str): Version of the pipeline.
    sentence_encoder (Optional[str]): Bundled sentence encoder to add, disabled.
    knowledge_base (Optional[str | Path]): File of a knowledge base that a linker without training is to have; it is
        added, disabled.
    RAISES (ValueError): S550 when one folder holds the other, or both are the same.
    """
    _check_apart(trained, output)
    nlp = spacy.load(trained)
    nlp.meta.update(META, version=version)
    # What is added takes time, and so waits until it is enabled.
    if sentence_encoder is not None:
        # By its name: the weights are in the package already.
        model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": sentence_encoder}
        nlp.add_pipe("sentence_encoder", config={"model": model})
        nlp.disable_pipe("sentence_encoder")
    if knowledge_base is not None:
        nlp.add_pipe("m3_linker").set_knowledge_base(knowledge_base)
        nlp.disable_pipe("m3_linker")
    for name in nlp.config["paths"]:
        nlp.config["paths"][name] = None
    with _replaced(output) as partial:
        nlp.to_disk(partial)
        # The vocabulary has met every word of the training text, and needs none: lexemes are made when text is met.
        labels = sorted({label for labels in nlp.pipe_labels.values() for label in labels})
        StringStore(labels).to_disk(partial / "vocab" / "strings.json")


def release_encoder(trained: Path, output: Path) -> None:
    """Write a sentence encoder for passing on, whole or not at all; a model card in the output folder stays.

    trained (Path): The encoder, as `samarkand train-encoder` wrote it.
    output (Path): The folder to write; an encoder that is there is replaced.
    RAISES (ValueError): S550 when one folder holds the other, or both are the same.
    """
    _check_apart(trained, output)
    with _replaced(output) as partial:
        shutil.copytree(trained, partial)


def _check_apart(trained: Path, output: Path) -> None:
    """Refuse to write into what is read, or to replace it."""
    source, target = trained.resolve(), output.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise ValueError(Errors.S550.format(output=output, trained=trained))


@contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """A place beside a folder to write to, which takes its place when the block ends well; its card stays."""
    card = output / "README.md"
    partial = output.with_name(f".{output.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        if card.is_file():
            shutil.copyfile(card, partial / card.name)
        replace_folder(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    from .. import __version__

    source, target = map(Path, sys.argv[1:3])
    try:
        if (source / "modules.json").is_file():
            release_encoder(source, target)
        else:
            release(source, target, __version__, *sys.argv[3:5])
    except (OSError, ValueError) as err:
        sys.exit(f"error: {spoken(err)}")
