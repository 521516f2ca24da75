"""Convert corpora between JSONL, CoNLL and DocBin, for `spacy train` and others.

`python -m samarkand.corpora.convert INPUT OUTPUT --lang zh`
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors
from ..replacing import replace_file
from .alignment import SpanReport
from .files import stem_suffix
from .records import FORMATS, StrPath, read_records, write_records

if TYPE_CHECKING:
    from spacy.language import Language

__all__ = ["convert", "joiner_of"]

# Written without blanks between words.
UNSPACED = frozenset({"ja", "lzh", "yue", "zh"})


def joiner_of(lang: str) -> str:
    """What joins the tokens of a language.

    lang (str): Language code.
    RETURNS (str): "" for Chinese and Japanese, else a blank.
    """
    return "" if lang.split("-")[0] in UNSPACED else " "


def convert(
    input_path: StrPath,
    output_path: StrPath,
    *,
    lang: str = "xx",
    nlp: Language | None = None,
    spans_key: str | None = None,
    misaligned: str = "warn",
    scheme: str = "IOB2",
    force: bool = False,
) -> SpanReport:
    """Convert a corpus; the formats go by the suffixes, and the output appears when it is complete.

    input_path (Union[str, Path]): JSONL, CoNLL or DocBin: a file, a folder or a glob.
    output_path (Union[str, Path]): A .spacy, .jsonl or CoNLL file.
    lang (str): Language of the blank pipeline that tokenizes, and of CoNLL tokens without a text line.
    nlp (Optional[Language]): A pipeline to tokenize with instead.
    spans_key (Optional[str]): Span group of a DocBin, as input and as output; None goes by `doc.ents`.
    misaligned (str): What becomes of spans off the tokens' edges in a DocBin, as SpanCorpus has it.
    scheme (str): Tag scheme of a CoNLL file.
    force (bool): Replace the output if it exists.
    RETURNS (SpanReport): Number of documents and, for a DocBin, of spans and of those that did not fit.
    RAISES (OSError): S201 and S202 for unknown input or output, S217 when the output exists.
    """
    output_path = Path(output_path)
    kind = FORMATS.get(stem_suffix(output_path))
    if kind is None:
        raise OSError(Errors.S202.format(path=output_path, suffixes=", ".join(f".{s}" for s in FORMATS)))
    if output_path.exists() and not force:
        raise FileExistsError(Errors.S217.format(path=output_path))
    joiner = joiner_of(lang)
    if kind == "docbin":
        return _write_docbin(input_path, output_path, nlp or _blank(lang), spans_key, misaligned, joiner)
    records = read_records(input_path, joiner=joiner, spans_key=spans_key)
    tokenizer = _Offsets(nlp or _blank(lang)) if kind == "conll" else None
    return SpanReport(documents=write_records(output_path, records, scheme=scheme, tokenize=tokenizer))


class _Offsets:
    """Token offsets of a text, by a pipeline's tokenizer."""

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp

    def __call__(self, text: str) -> list[tuple[int, int]]:
        return [(token.idx, token.idx + len(token)) for token in self.nlp.make_doc(text)]


def _write_docbin(
    input_path: StrPath,
    output_path: Path,
    nlp: Language,
    spans_key: str | None,
    misaligned: str,
    joiner: str,
) -> SpanReport:
    from spacy.tokens import DocBin

    from .readers import SpanCorpus

    corpus = SpanCorpus(input_path, spans_key=spans_key, misaligned=misaligned, joiner=joiner)
    docs = DocBin(attrs=["ENT_IOB", "ENT_TYPE", "ENT_KB_ID"])
    for example in corpus(nlp):
        docs.add(example.reference)
    with replace_file(output_path) as temporary:
        docs.to_disk(temporary)
    return corpus.report


def _blank(lang: str) -> Language:
    from .. import blank

    return blank(lang)


def main() -> None:
    """Run the command line."""
    typer.run(_command)


def _command(
    input_path: Annotated[str, typer.Argument(metavar="INPUT", help="File, folder or glob.")],
    output_path: Annotated[Path, typer.Argument(metavar="OUTPUT", help=".spacy, .jsonl or .conll")],
    lang: Annotated[str, typer.Option(help="Language code.")] = "xx",
    spans_key: Annotated[str | None, typer.Option(help="Span group; doc.ents without it.")] = None,
    misaligned: Annotated[str, typer.Option(help="warn, expand or error")] = "warn",
    scheme: Annotated[str, typer.Option(help="Tag scheme of a CoNLL file.")] = "IOB2",
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
) -> None:
    """Convert a corpus between JSONL, CoNLL and DocBin."""
    try:
        report = convert(
            input_path,
            output_path,
            lang=lang,
            spans_key=spans_key or None,
            misaligned=misaligned,
            scheme=scheme,
            force=force,
        )
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        sys.exit(1)
    print(f"{output_path}: {report.documents:,} documents")


if __name__ == "__main__":
    main()
