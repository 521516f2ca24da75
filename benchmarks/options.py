"""What the command lines of the benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

from results_file import RESULTS


def benchmark_parser(description: str | None, *, threads: int, model: bool = False) -> argparse.ArgumentParser:
    """A parser with the options that the scripts share.

    description (Optional[str]): The script's docstring.
    threads (int): Default of `--threads`.
    model (bool): Whether the script measures a pipeline that is made already.
    RETURNS (ArgumentParser): The parser.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=threads, help="of the CPU")
    parser.add_argument("--quick", action="store_true", help="a little of the bundled samples, to prove that it runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    if model:
        parser.add_argument("--model", type=Path, help="folder of a pipeline; the bundled one by default")
    return parser


def named_folder(text: str) -> tuple[str, str]:
    """Read an option NAME=FOLDER.

    text (str): The option.
    RETURNS (tuple[str, str]): Both.
    RAISES (ArgumentTypeError): For another form.
    """
    name, _, folder = text.partition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
    return name, folder
