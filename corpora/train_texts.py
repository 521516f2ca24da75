"""Raw text out of the train splits of corpora, for pretraining, without what models are judged by.

`python -m samarkand.corpora.train_texts OUTPUT` reads the folder in SAMARKAND_DATA and writes `LANG_corpora.txt.xz` a
language, one text a line, `held_out.txt.xz` with the texts of dev and test splits, and `report.json`. With
`--research` it writes what only research may use too, to `LANG_limited.research.txt.xz`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from ..errors import Errors
from ..models.checkpoints import replace_folder
from .corpus_texts import CorpusTexts, held_out_texts, train_texts
from .files import create_text
from .text_keys import TextKeys, text_key

__all__ = ["write_train_texts"]

HELD_OUT, REPORT = "held_out.txt.xz", "report.json"
# Text of a language, by whether its terms are open. What comes before the underscore is the language to prepare-text.
FILES = {True: "{lang}_corpora.txt.xz", False: "{lang}_limited.research.txt.xz"}


def write_train_texts(
    folder: Path, output: Path, *, research: bool = False, force: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Write the text sides of train splits, one text a line.

    A text is left out that equals one of a dev or test split of any corpus at hand, or that came before, where case,
    blanks and punctuation do not count.

    folder (Path): Folder of corpora.
    output (Path): Folder to write.
    research (bool): Whether to write texts that only research may use too, to files of their own.
    force (bool): Whether to replace a folder that exists.
    progress (bool): Whether to show a bar, on a terminal.
    RETURNS (dict): Texts by file, and by corpus and language, and what was dropped; it is written to `report.json` too.
    RAISES (ValueError): S217 for a folder that exists, S748 when there is nothing to train on, S842 and S203 to S208
        for broken files.
    """
    if output.exists() and not force:
        raise ValueError(Errors.S217.format(path=output))
    sources = sorted((c for c in train_texts(folder) if c.open or research), key=lambda corpus: not corpus.open)
    if not sources:
        raise ValueError(Errors.S748.format(folder=folder))
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        held_out = TextKeys()
        with create_text(partial / HELD_OUT) as file:
            for corpus in _shown(held_out_texts(folder), "dev and test", progress):
                file.writelines(f"{text}\n" for _, text in _one_line(corpus) if held_out.add(text))
        texts: dict[str, list[str]] = defaultdict(list)
        report: dict[str, Any] = {"held_out": len(held_out), "files": {}, "corpora": {}}
        seen = TextKeys()
        for corpus in _shown(sources, "train", progress):
            counts = report["corpora"].setdefault(corpus.name, _begin_counts(corpus))
            for lang, text in _one_line(corpus):
                reason = _reason_to_drop(text, held_out, seen)
                if reason:
                    counts["dropped"][reason] += 1
                else:
                    counts["languages"][lang] += 1
                    texts[FILES[corpus.open].format(lang=lang)].append(text)
        for name in _shown(sorted(texts), "writing", progress):
            with create_text(partial / name) as file:
                file.writelines(f"{text}\n" for text in texts[name])
            report["files"][name] = len(texts[name])
        (partial / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        replace_folder(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def describe(report: dict[str, Any]) -> str:
    """RETURNS (str): What was written, in words, a line a corpus and a line a file."""
    lines = [f"{report['held_out']:,} texts of dev and test splits are held out"]
    for name, counts in report["corpora"].items():
        kept = ", ".join(f"{lang} {count:,}" for lang, count in counts["languages"].items()) or "none"
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in counts["dropped"].items()) or "none"
        lines.append(f"{name} ({counts['licence']}): {kept}; dropped: {dropped}")
    return "\n".join([*lines, *(f"{name}: {count:,} texts" for name, count in report["files"].items())])


def _begin_counts(corpus: CorpusTexts) -> dict[str, Any]:
    return {"licence": corpus.licence, "open": corpus.open, "languages": Counter(), "dropped": Counter()}


def _one_line(corpus: CorpusTexts) -> Iterator[tuple[str, str]]:
    return ((lang, " ".join(text.split())) for lang, text in corpus.read())


def _reason_to_drop(text: str, held_out: TextKeys, seen: TextKeys) -> str | None:
    if not text_key(text):
        return "without words"
    if text in held_out:
        return "held out"
    return None if seen.add(text) else "repeated"


def _shown(items: list[Any], what: str, progress: bool) -> Iterator[Any]:
    # A bar whose `disable` is None shows on a terminal alone.
    yield from tqdm(items, desc=what, disable=None if progress else True, leave=False)


def main() -> None:
    """Run the command line."""
    typer.run(_command)


def _command(
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    research: Annotated[bool, typer.Option("--research", help="Take what only research may use too.")] = False,
    force: Annotated[bool, typer.Option("--force", "-F", help="Replace a folder that exists.")] = False,
) -> None:
    """Write raw text out of the train splits of corpora, and the texts of dev and test splits to exclude."""
    folder = os.environ.get("SAMARKAND_DATA", "")
    try:
        if not folder:
            raise ValueError(Errors.S748.format(folder="SAMARKAND_DATA, which is not set"))
        print(describe(write_train_texts(Path(folder), output, research=research, force=force)))
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
