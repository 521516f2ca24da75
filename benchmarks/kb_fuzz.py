"""Malformed and hostile lines for `samarkand kb build`, and hostile names to look up: what fails, and how.

    python benchmarks/kb_fuzz.py

Lines are valid ones with their bytes or values changed, and values that are known to hurt. Each has to be an entity or
to be rejected with its number and a code; what is built has to pass its check and to hold just the entities. Exits with
1 when something failed.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from options import benchmark_parser
from results_file import row, show, write_rows
from samarkand.models.knowledge_base import KnowledgeBase
from samarkand.pipeline.kb_build import REJECTED, build_kb

SEED = 11
QUICK = 600
# A long string is a line in so many: a million characters each.
RARE = 2_000
# Valid lines with the same names, about.
NAMESAKES = 20
VALID: dict[str, Any] = {
    "id": "Q90",
    "type": "LOC",
    "names": {"en": "Paris", "ar": "باريس", "zh": "巴黎"},
    "aliases": {"en": ["City of Light", "Lutetia"], "zh": ["巴黎·法国"]},
    "descriptions": {"en": "capital of France"},
    "facts": {"country": "Q142"},
    "weight": 180,
    "counts": {"Paris": 7},
}
PIECES = (
    "aZ9 .-'\"{}[]:,\\\x00\x07\x1b\x7f\u200b\u200f\u202e\u2066\u2028\ufeff\ufffe\ufdfa"
    "İıßǅ臺灣ـ\u064b\u0301لل😀\U0010ffff"
)
HOSTILE = (None, True, 0, -1, 1e308, 10**400, "", " ", "\x00", "\ud800", "\u202e", [], {}, [[]], {"": ""}, [None], [{}])
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "[" * 5000,
    "{" * 5000,
    '{"a":' * 3000,
    "9" * 5000,
    '"\\ud800"',
    "'x'",
    "\\",
)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=1)
    parser.add_argument("--count", type=int, default=100_000, help="lines, and names")
    options = parser.parse_args(arguments)
    count = QUICK if options.quick else options.count
    with tempfile.TemporaryDirectory() as folder:
        figures = fuzz(Path(folder), count)
    command = f"python benchmarks/kb_fuzz.py --count {count}"
    about = {"unit": "", "seed": SEED, "command": command}
    rows = [row("samarkand", dataset, metric, value, **about) for (dataset, metric), value in figures.items()]
    write_rows("kb_fuzz", rows, options.results)
    show(rows, "Hostile lines and names")
    return int(any(value for (_, metric), value in figures.items() if metric == "failures"))


def fuzz(folder: Path, count: int) -> dict[tuple[str, str], int]:
    """Build a knowledge base of hostile lines, and look hostile names up in it.

    folder (Path): Where to work.
    count (int): Lines, and names.
    RETURNS (dict[tuple[str, str], int]): Counts by what was tried and metric; "failures" is what must not be.
    """
    file, path = folder / "hostile.jsonl", folder / "hostile.kb"
    with file.open("wb") as out:
        out.writelines(line + b"\n" for line in hostile_lines(count))
    summary = build_kb([file], path)
    places = [json.loads(line) for line in path.with_name(path.name + REJECTED).open(encoding="utf-8")]
    blank = sum(not line.strip() for line in file.open("rb"))
    with KnowledgeBase(path) as kb:
        kb.check()
        ids = len({entity.id for entity in kb})
        failures = sum(_problems(summary, places, ids, count - blank))
        crashes = sum(_crashes(kb, name) for name in hostile_names(count))
    lines = {"tried": count, "entities": summary["entities"], "rejected": summary["rejected"], "failures": failures}
    return {
        **{("lines", metric): value for metric, value in lines.items()},
        ("names", "tried"): count,
        ("names", "failures"): crashes,
    }


def _problems(summary: dict[str, Any], places: list[dict[str, Any]], ids: int, lines: int) -> Iterator[bool]:
    numbers = [place["line"] for place in places]
    yield summary["entities"] + summary["rejected"] != lines
    yield summary["entities"] != ids
    yield len(places) != summary["rejected"]
    yield numbers != sorted(set(numbers))
    yield from (not place["code"].startswith("S9") or "\n" in place["reason"] for place in places)


def _crashes(kb: KnowledgeBase, name: str) -> bool:
    try:
        found = kb.candidates(name, 5)
    except Exception as error:
        print(f"{type(error).__name__} for {name[:80]!r}: {error}", file=sys.stderr)
        return True
    return not all(0 < each.prior <= 1 and 0 <= each.similarity <= 1 for each in found)


def hostile_lines(count: int) -> Iterator[bytes]:
    """Lines, the same each time.

    count (int): How many.
    YIELDS (bytes): Lines without their end, which may not be UTF-8.
    """
    rng = random.Random(SEED)
    for number in range(count):
        entity = _valid(rng, count)
        line = rng.choice((changed_bytes, _changed_value, _raw_value, _noise))(rng, entity)
        if number % RARE == RARE // 2:
            line = json.dumps({**entity, "names": {"en": _text(rng, 1) * 1_000_000}}).encode()
        yield line.replace(b"\n", b" ")


def hostile_names(count: int) -> Iterator[str]:
    """Names, the same each time.

    count (int): How many.
    YIELDS (str): Strings, which may hold halves of surrogate pairs.
    """
    rng = random.Random(SEED)
    for number in range(count):
        name = _text(rng, rng.randrange(40))
        if rng.random() < 0.5:
            at = rng.randrange(5)
            entity = _valid(rng, count)
            word = rng.choice([*entity["names"].values(), *entity["aliases"]["en"]])
            name = f"{word[:at]}{_text(rng, rng.randrange(4))}{word[at:]}"
        yield name * 1_000_000 if number % RARE == RARE // 2 and len(name) == 1 else name


def changed_bytes(rng: random.Random, value: dict[str, Any]) -> bytes:
    """Valid JSON with some bytes replaced, added or left out.

    rng (Random): Where the changes come from.
    value (dict): What the JSON is of.
    RETURNS (bytes): What it has become.
    """
    data = bytearray(json.dumps(value, ensure_ascii=False).encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(data)


def _valid(rng: random.Random, count: int) -> dict[str, Any]:
    number = rng.randrange(max(1, count // NAMESAKES))
    names = {lang: f"{name} {number}" for lang, name in VALID["names"].items()}
    aliases = {lang: [f"{name} {number}" for name in of_lang] for lang, of_lang in VALID["aliases"].items()}
    return {**VALID, "id": f"Q{rng.randrange(count)}", "names": names, "aliases": aliases}


def _changed_value(rng: random.Random, entity: dict[str, Any]) -> bytes:
    field, value = rng.choice(list(entity)), rng.choice((*HOSTILE, _text(rng, 5), rng.random()))
    if isinstance(entity[field], dict) and rng.random() < 0.5:
        value = {**entity[field], rng.choice(("en", "", "x" * 1000, _text(rng, 2))): value}
    return json.dumps({**entity, field: value}, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _raw_value(rng: random.Random, entity: dict[str, Any]) -> bytes:
    field = rng.choice(list(entity))
    return json.dumps({**entity, field: "HERE"}).replace('"HERE"', rng.choice(RAW)).encode()


def _noise(rng: random.Random, _: dict[str, Any]) -> bytes:
    return rng.choice((rng.randbytes(rng.randrange(60)), _text(rng, 30).encode(), rng.choice(RAW).encode()))


def _text(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(PIECES) if rng.random() < 0.7 else chr(rng.randrange(0xD800)) for _ in range(length))


if __name__ == "__main__":
    sys.exit(main())
