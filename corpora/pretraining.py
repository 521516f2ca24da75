"""Raw text to the token ids that the small encoder is pretrained on.

`python -m samarkand.corpora.pretraining RAW OUT ar=7 zh=6 en=5` reads `RAW/ar.txt.xz` and so on, takes evenly
spread lines up to so many million tokens of each file, and writes `tokens.txt`, `ids.npy` and `ends.npy` to OUT.
With `--tables Arab=ckb-kmr` the tokens are those that `samarkand.TransliteratedEncoder.v1` reads.
"""

from __future__ import annotations

import argparse
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import spacy
from spacy.language import Language

from ..models.transliterated_tok2vec import transliterated_twin
from ..models.transliteration import Transliterator
from .files import numbered_lines


def collect_tokens(
    nlp: Language, lines: Iterator[str], budget: int, transliterator: Transliterator | None = None
) -> Iterator[list[str]]:
    """Lower-cased normal forms of the tokens of each line, blanks left out.

    nlp (Language): Gives the tokenizer.
    lines (Iterator[str]): Raw lines.
    budget (int): Tokens after which to stop.
    transliterator (Optional[Transliterator]): Writes tokens in another script.
    YIELDS (list[str]): The tokens of a line.
    """
    for doc in nlp.tokenizer.pipe(lines):
        if transliterator is not None:
            doc = transliterated_twin(doc, transliterator)
        tokens = [token.norm_.lower() for token in doc if not token.is_space]
        if tokens:
            yield tokens
            budget -= len(tokens)
        if budget <= 0:
            return


def write_corpus(
    nlp: Language, sources: dict[Path, int], output: Path, transliterator: Transliterator | None = None
) -> dict[str, int]:
    """Tokenise raw files into one corpus.

    nlp (Language): Gives the tokenizer.
    sources (dict[Path, int]): Raw text files, with the tokens to take of each.
    output (Path): Folder for `tokens.txt` (lexicon by falling frequency), `ids.npy` (int32), `ends.npy` (int64).
    transliterator (Optional[Transliterator]): Writes tokens in another script.
    RETURNS (dict[str, int]): Tokens taken, by file name.
    """
    met: dict[str, int] = {}
    counts: Counter[int] = Counter()
    ids, ends, taken = array("i"), array("q"), {}
    for path, budget in sources.items():
        before = len(ids)
        for tokens in collect_tokens(nlp, _spread(path, budget), budget, transliterator):
            line = [met.setdefault(token, len(met)) for token in tokens]
            counts.update(line)
            ids.extend(line)
            ends.append(len(ids))
        taken[path.name] = len(ids) - before
    order = sorted(range(len(met)), key=counts.__getitem__, reverse=True)
    rank = np.empty(len(met), dtype=np.int32)
    rank[order] = np.arange(len(met), dtype=np.int32)
    output.mkdir(parents=True, exist_ok=True)
    names = list(met)
    (output / "tokens.txt").write_text("\n".join(names[k] for k in order), encoding="utf-8")
    np.save(output / "ids.npy", rank[np.frombuffer(ids, dtype=np.int32)])
    np.save(output / "ends.npy", np.frombuffer(ends, dtype=np.int64))
    return taken


def _spread(path: Path, budget: int) -> Iterator[str]:
    """Every n-th line, n such that about `budget` tokens come from all over the file."""
    tokens = sum(_estimate(line) for _, line in numbered_lines(path))
    step = max(1, tokens // max(1, budget))
    for number, line in numbered_lines(path):
        if number % step == 0:
            yield line


def _estimate(line: str) -> int:
    """Rough count of tokens: ideographs one by one, else words."""
    wide = sum(char >= "\u2e80" for char in line)
    return max(wide, line.count(" ") + 1)


def _table(text: str) -> tuple[str, str]:
    script, is_named, name = text.partition("=")
    if not is_named:
        raise argparse.ArgumentTypeError(f"{text!r} is not SCRIPT=TABLE")
    return script, name


def main(arguments: list[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m samarkand.corpora.pretraining", description=__doc__)
    parser.add_argument("raw", type=Path, help="folder of NAME.txt.xz files")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("shares", nargs="+", metavar="NAME=MILLIONS", help="million tokens to take of each file")
    about = "tables to transliterate by, such as Arab=ckb-kmr"
    parser.add_argument("--tables", nargs="+", type=_table, default=[], metavar="SCRIPT=TABLE", help=about)
    options = parser.parse_args(arguments)
    tables = dict(options.tables)
    pairs = (share.partition("=") for share in options.shares)
    sources = {options.raw / f"{name}.txt.xz": int(float(millions) * 1e6) for name, _, millions in pairs}
    nlp = spacy.blank(
        "xx", config={"nlp": {"tokenizer": {"@tokenizers": "samarkand.ScriptTokenizer.v1", "norm": "full"}}}
    )
    for name, count in write_corpus(nlp, sources, options.output, Transliterator(tables) if tables else None).items():
        print(f"{name}\t{count}")


if __name__ == "__main__":
    main(sys.argv[1:])
