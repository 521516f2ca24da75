"""Hostile records for `samarkand annotate`: every one is written or in quarantine, and none takes the run down.

    python benchmarks/fuzz_records.py --records 1000000

Half of the records are lines of JSON, a quarter lines of text, a quarter rows of CSV: other encodings and bytes that
are none, control characters, halves of surrogate pairs, byte order marks, mixed line ends, values and nesting that
hurt, changed bytes, broken quotes, and lines of millions of characters. How many records a file has is known from how
it was made. They are annotated by a pipeline that only cuts words, in a worker process, as by the command. Exits with
1 when a count differs, a sound record is missing, or a process died.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import samarkand
from kb_fuzz import HOSTILE, RAW, changed_bytes
from offsets import random_texts
from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.files import QUARANTINE
from speed import SAMPLES, split_texts

SEED = 7
QUICK = 2_000
SHARES = {"jsonl": 2, "txt": 1, "csv": 1}
# A record in so many is huge, the first of them early.
RARE, FIRST = 20_000, 100
HUGE = (200_000, 1_100_000, 2**24 + 10)
DEPTHS = (5, 50, 300, 900, 980, 995, 1_000, 3_000, 30_000)
ENCODINGS = ("utf-16-le", "utf-16-be", "utf-32", "cp1256", "gb18030", "shift_jis", "latin-1", "utf-7")
ENDS = (b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n")
MARK = b"\xef\xbb\xbf"
HEADS = {"jsonl": b"", "txt": b"", "csv": b"id,text,note\r\n"}
# The last row of a table.
UNCLOSED = b'last,"the quote is never closed\n\n,'


@dataclass(frozen=True)
class Lines:
    """Some lines of a file.

    content (bytes): The lines.
    records (int): How many records they are.
    id (str): Id of a sound record, which has to be written; empty for any other.
    """

    content: bytes
    records: int
    id: str = ""


Maker = Callable[[random.Random, str, str], Lines]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    records = QUICK if options.quick else options.records
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            kind: fuzz(Path(folder), kind, records * share // sum(SHARES.values()), workers=0 if options.quick else 1)
            for kind, share in SHARES.items()
        }
    about = {"seed": SEED, "command": f"python benchmarks/fuzz_records.py --records {records}"}
    rows = [
        row("samarkand annotate", kind, metric, value, unit="records/s" if metric == "speed" else "", **about)
        for kind, counts in figures.items()
        for metric, value in counts.items()
    ]
    write_rows("fuzz_records", rows, options.results)
    show(rows, "Hostile records")
    return int(any(counts["failures"] for counts in figures.values()))


def fuzz(folder: Path, kind: str, count: int, *, workers: int) -> dict[str, float]:
    """Annotate a file of hostile records.

    folder (Path): Where to work.
    kind (str): "jsonl", "txt" or "csv".
    count (int): Records of the file.
    workers (int): Worker processes.
    RETURNS (dict[str, float]): "records", "written", "quarantined", "deaths", "speed", and "failures": what must not
        be.
    """
    file, output = folder / f"hostile.{kind}", folder / kind
    sound = write_hostile(file, kind, count)
    began = time.perf_counter()
    summary = annotate(file, output, model=samarkand.blank(), n_process=workers)
    seconds = time.perf_counter() - began
    return {
        "records": count,
        "written": summary["documents"],
        "quarantined": summary["quarantined"],
        "deaths": summary["deaths"],
        "failures": sum(problems(summary, output, count, sound)),
        "speed": count / seconds,
    }


def problems(summary: dict[str, Any], output: Path, expected: int, sound: set[str]) -> Iterator[int]:
    """What must not be.

    summary (dict): Of the run.
    output (Path): Its folder.
    expected (int): Records that the file was made of.
    sound (set[str]): Ids of those that have to be written.
    YIELDS (int): How often each thing that must not be is so.
    """
    written, left = 0, set(sound)
    for line in _lines(output / "hostile.jsonl"):
        record = json.loads(line)
        written += isinstance(record["text"], str)
        if isinstance(record.get("id"), str):
            left.discard(record["id"])
    places, codes, broken = [], Counter[str](), 0
    for line in _lines(output / QUARANTINE):
        entry = json.loads(line)
        places.append(entry["line"])
        codes[entry["code"]] += 1
        broken += "\n" in entry["reason"]
    yield abs(written + len(places) - expected)
    yield abs(summary["records"] - expected)
    yield abs(summary["documents"] - written) + abs(summary["quarantined"] - len(places))
    yield int(codes != summary["reasons"])
    yield int(places != sorted(set(places)))
    yield broken
    yield summary["deaths"]
    yield len(left)


def write_hostile(path: Path, kind: str, count: int) -> set[str]:
    """Write a file, the same each time.

    path (Path): The file.
    kind (str): "jsonl", "txt" or "csv".
    count (int): Records that it has.
    RETURNS (set[str]): Ids of those that are sound.
    """
    rng = random.Random(f"{SEED} {kind}")
    makers, rare = MAKERS[kind]
    records, sound = 0, set()
    # Some texts give no record.
    texts = enumerate(random_texts(split_texts(SAMPLES), 2 * count, seed=SEED))
    with path.open("wb") as file:
        file.write(MARK + HEADS[kind])
        while records < count - (kind == "csv"):
            number, text = next(texts)
            make = rare if number % RARE == FIRST else rng.choice(makers)
            lines = make(rng, f"{kind}-{number}", text)
            file.write(lines.content)
            records += lines.records
            sound |= {lines.id} - {""}
        if kind == "csv":
            file.write(UNCLOSED)
    return sound


def _line(rng: random.Random, content: bytes, id: str = "") -> Lines:
    """One line, which is a record unless it is blank."""
    content = content.replace(b"\n", b" ")
    if not id and rng.random() < 0.05:
        content = MARK + content
    end = rng.choice(ENDS)
    return Lines(content + end, int(bool(content.strip())), id)


def _sound_json(rng: random.Random, id: str, text: str) -> Lines:
    record = json.dumps({"id": id, "text": text, "note": None}, ensure_ascii=rng.random() < 0.5)
    return _line(rng, record.encode(), id)


def _changed_json(rng: random.Random, id: str, text: str) -> Lines:
    return _line(rng, changed_bytes(rng, {"id": f"{id} changed", "text": text}))


def _hostile_json(rng: random.Random, id: str, text: str) -> Lines:
    field = rng.choice(("id", "text", "note", "entities", "meta", "input_text", text, ""))
    record = {"text": text, field: rng.choice((*HOSTILE, text))}
    return _line(rng, json.dumps(record, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))


def _raw_json(rng: random.Random, id: str, text: str) -> Lines:
    record = {"text": text, rng.choice(("text", "note", "meta")): "HERE"}
    return _line(rng, json.dumps(record).replace('"HERE"', rng.choice(RAW), 1).encode())


def _deep_json(rng: random.Random, id: str, text: str) -> Lines:
    depth, (opening, closing) = rng.choice(DEPTHS), rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    value = f"{opening * depth}0{closing * depth}"
    with_text = json.dumps({"text": text})[:-1] if rng.random() < 0.5 else '{"no": 1'
    return _line(rng, rng.choice((value, f'{with_text}, "note": {value}}}', f'{{"text": {value}}}')).encode())


def _huge_json(rng: random.Random, id: str, text: str) -> Lines:
    long = "a 𒀀 \\ " * (rng.choice(HUGE) // 6)
    record = rng.choice(({"text": long}, {"text": text, "note": long}, {"text": text, long: 1}, {"note": long}))
    return _line(rng, json.dumps(record).encode())


def _sound_text(rng: random.Random, id: str, text: str) -> Lines:
    return _line(rng, text.encode())


def _other_encoding(rng: random.Random, id: str, text: str) -> Lines:
    return _line(rng, text.encode(rng.choice(ENCODINGS), "ignore"))


def _cut_text(rng: random.Random, id: str, text: str) -> Lines:
    content = text.encode()
    at = rng.randrange(len(content) + 1)
    return _line(rng, rng.choice((content[:at], content[at:], content[:at] + rng.randbytes(2) + content[at:])))


def _noise(rng: random.Random, id: str, text: str) -> Lines:
    return _line(
        rng, rng.choice((rng.randbytes(rng.randrange(40)), b"\x00" * rng.randrange(9), b" \t\r", b"\xed\xa0\x80"))
    )


def _huge_text(rng: random.Random, id: str, text: str) -> Lines:
    return _line(rng, (rng.choice(("a", "字 ", "\x00", "ل")) * rng.choice(HUGE)).encode())


def _row(rng: random.Random, cells: list[str], id: str = "") -> Lines:
    table = io.StringIO(newline="")
    csv.writer(table, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerow(cells)
    return Lines(table.getvalue().removesuffix("\r\n").encode() + rng.choice(ENDS[:4]), 1, id)


def _sound_row(rng: random.Random, id: str, text: str) -> Lines:
    return _row(rng, [id, text, ""], id)


def _uneven_row(rng: random.Random, id: str, text: str) -> Lines:
    return _row(rng, [f"{id} uneven", *[text] * rng.choice((0, 3, 50))])


def _bytes_row(rng: random.Random, id: str, text: str) -> Lines:
    """A row of bytes that part no cells: none of them opens a quote or ends a line."""
    content = text.encode(rng.choice(ENCODINGS), "ignore") + rng.randbytes(rng.randrange(8))
    plain = b"bytes," + content.translate(None, b'"\r\n')
    return Lines(rng.choice((plain, plain + b",", MARK + plain)) + b"\n", 1)


def _broken_row(rng: random.Random, id: str, text: str) -> Lines:
    plain = text.encode().translate(None, b'"\r\n')
    forms = (b'broken,"%b" x,\n', b'broken,"%b\n\n%b\r\n" x\n', b"broken,%b\r%b,\n", b'broken,""%b"\n')
    form = rng.choice(forms)
    # A cell that is empty in quotes may be gone on with by nothing but a comma.
    plain = plain.lstrip(b",") or b"x"
    return Lines(form % ((plain,) * form.count(b"%b")), 1)


def _no_row(rng: random.Random, id: str, text: str) -> Lines:
    return Lines(rng.choice((b"\n", b"\r\n")), 0)


def _huge_row(rng: random.Random, id: str, text: str) -> Lines:
    long = "a 𒀀 " * (rng.choice(HUGE) // 3)
    return _row(rng, rng.choice((["huge", long, ""], ["huge", text, long], [long])))


LINES: tuple[Maker, ...] = (_other_encoding, _cut_text, _noise)
# What a file is made of, and what comes rarely.
MAKERS: dict[str, tuple[tuple[Maker, ...], Maker]] = {
    "jsonl": ((_sound_json, _changed_json, _hostile_json, _raw_json, _deep_json, *LINES), _huge_json),
    "txt": ((_sound_text, *LINES), _huge_text),
    "csv": ((_sound_row, _uneven_row, _bytes_row, _broken_row, _no_row), _huge_row),
}


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


if __name__ == "__main__":
    sys.exit(main())
