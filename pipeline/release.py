"""From a trained pipeline to one that is passed on: its card's facts, no training paths, no words of the training text.

`python -m samarkand.pipeline.release training/xx_samarkand_sm/model-best models/packages/xx_samarkand_sm [ENCODER]`
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import spacy
from spacy.strings import StringStore

META = {
    "name": "samarkand_sm",
    "description": "Persons, places and organisations in Arabic, Chinese, English and mixed text; for CPUs.",
    "author": "The Samarkand authors",
    "license": "CC BY-SA 4.0",
}


def release(trained: Path, output: Path, version: str, sentence_encoder: str | None = None) -> None:
    """Write a pipeline for passing on; a model card in the output folder stays.

    trained (Path): The trained pipeline.
    output (Path): The folder to write; a pipeline that is there is replaced.
    version (str): Version of the pipeline.
    sentence_encoder (Optional[str]): Bundled sentence encoder to add, disabled.
    """
    nlp = spacy.load(trained)
    nlp.meta.update(META, version=version)
    if sentence_encoder is not None:
        model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": sentence_encoder, "half_storage": True}
        nlp.add_pipe("sentence_encoder", config={"model": model})
        nlp.get_pipe("sentence_encoder").model.initialize()
        # It costs as much as all else: who wants vectors enables it.
        nlp.disable_pipe("sentence_encoder")
    for name in nlp.config["paths"]:
        nlp.config["paths"][name] = None
    card = (output / "README.md").read_text(encoding="utf-8") if (output / "README.md").is_file() else None
    shutil.rmtree(output, ignore_errors=True)
    nlp.to_disk(output)
    # The vocabulary has met every word of the training text, and needs none: lexemes are made when text is met.
    labels = sorted({label for labels in nlp.pipe_labels.values() for label in labels})
    StringStore(labels).to_disk(output / "vocab" / "strings.json")
    if card is not None:
        (output / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    from .. import __version__

    release(Path(sys.argv[1]), Path(sys.argv[2]), __version__, *sys.argv[3:4])
