"""Reading: every format, every compression, every reason to reject a record."""

from __future__ import annotations

import gzip
import io
import json
import lzma
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora import arrow_tables
from samarkand.errors import SamarkandWarning
from samarkand.pipeline import readers
from samarkand.pipeline.readers import arrow_schema, check_source, read_lazily, read_source
from samarkand.pipeline.records import ReadOptions, Record, Rejected
from samarkand.pipeline.shard_work import Cursor
from samarkand.pipeline.sources import UsageError, find_sources, output_names
from spacy.tokens import DocBin

TEXTS = ["Ada went to Cairo", "中文 text, with a comma", 'a "quoted" word', "القاهرة\u2028😀"]
COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": partial(lzma.compress, preset=0), ".zst": zstandard.compress}


def encode(kind: str, texts: list[str]) -> bytes:
    """The texts as a file of some kind, each with a field "n"."""
    if kind == ".txt":
        return "\n".join(texts).encode()
    if kind in (".jsonl", ".ndjson"):
        return b"".join(json.dumps({"n": n, "text": text}).encode() + b"\n" for n, text in enumerate(texts))
    if kind in (".csv", ".tsv"):
        import csv

        table = io.StringIO(newline="")
        writer = csv.writer(table, delimiter="\t" if kind == ".tsv" else ",")
        writer.writerows([("n", "text"), *enumerate(texts)])
        return table.getvalue().encode()
    if kind == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({"n": range(len(texts)), "text": texts}), sink, row_group_size=2)
        return sink.getvalue()
    nlp = spacy.blank("xx")
    docs = [nlp(text) for text in texts]
    for n, doc in enumerate(docs):
        doc.user_data["n"] = n
    return DocBin(docs=docs, store_user_data=True).to_bytes()


def read(path: Path | str, **options: str) -> list[Record | Rejected]:
    (source,) = find_sources([path])
    return list(read_source(source, ReadOptions(**options)))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".spacy"])
def test_read_every_format_and_compression(tmp_path, kind, compression):
    path = write(tmp_path / f"a{kind}{compression}", COMPRESS[compression](encode(kind, TEXTS)))
    records = read(path)
    assert [record.text for record in records] == TEXTS
    if kind != ".txt":
        assert [int(record.fields["n"]) for record in records] == [0, 1, 2, 3]
    first = 2 if kind in (".csv", ".tsv") else 1
    assert [record.position for record in records] == list(range(first, first + 4))


@pytest.mark.parametrize("splits", [False, True])
def test_read_saved_datasets(tmp_path, splits):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({"text": TEXTS, "n": [0, 1, 2, 3]})
    saved = datasets.DatasetDict({"train": table, "test": table.select([2])}) if splits else table
    saved.save_to_disk(tmp_path / "in" / "corpus")
    sources = find_sources([tmp_path / "in"])
    assert [source.name for source in sources] == (["corpus-test", "corpus-train"] if splits else ["corpus"])
    read_back = {source.name: list(read_source(source, ReadOptions())) for source in sources}
    assert [record.text for record in read_back[sources[-1].name]] == TEXTS
    assert [record.fields for record in read_back[sources[-1].name]] == [{"n": n} for n in range(4)]
    assert arrow_schema(sources[-1], ReadOptions()).names == ["n"]
    if splits:
        assert [record.text for record in read_back["corpus-test"]] == [TEXTS[2]]


def test_txt_lines_end_at_line_feeds_only(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeffone\u2028still one\r\n\n  \nfour\x0bfour\u0085".encode())
    records = read(path)
    assert [(record.position, record.text) for record in records] == [
        (1, "one\u2028still one"),
        (4, "four\x0bfour\u0085"),
    ]


LINES = st.lists(
    st.sampled_from(["", "  ", "قطة", '{"text": "猫"}', "{broken", "a\r", "\ufeffb", "\udcff"]), max_size=12
)


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@given(lines=LINES, ends=st.booleans(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_reading_begins_at_any_place(tmp_path_factory, kind, lines, ends, data):
    path = tmp_path_factory.getbasetemp() / f"places.{kind}"
    path.write_bytes(("\n".join(lines) + "\n" * ends).encode("utf-8", "surrogateescape"))
    (source,) = find_sources([path])
    whole = list(read_source(source, ReadOptions()))
    places = [unread.place for unread in read_lazily(source, ReadOptions())]
    ranges = data.draw(st.lists(st.tuples(*2 * [st.integers(0, len(whole))]).map(sorted), max_size=4))
    cursor = Cursor(ReadOptions())
    for start, stop in ranges:
        place = places[start] if start < len(places) else None
        assert cursor.read(source, start, stop, place) == whole[start:stop]


def test_what_is_before_a_place_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"".join(b'{"text": "%07d"}\n' % number for number in range(50_000)))
    (source,) = find_sources([path])
    *_, last = read_lazily(source, ReadOptions())
    read = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            read.append(count := super().readinto(buffer))
            return count

    monkeypatch.setattr(readers, "open_compressed", lambda path, _: io.BufferedReader(Counting(path)))
    (record,) = Cursor(ReadOptions()).read(source, 49_999, 50_000, last.place)
    assert (record.position, record.text) == (50_000, "0049999")
    assert sum(read) < 1000


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_compressed_files_have_no_places(tmp_path, kind):
    path = tmp_path / f"a.{kind}.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    (source,) = find_sources([path])
    assert [unread.place for unread in read_lazily(source, ReadOptions())] == [None]


def test_txt_file_unit(tmp_path):
    path = write(tmp_path / "a.txt", b"one\n\ntwo\n")
    assert [record.text for record in read(path, txt_unit="file")] == ["one\n\ntwo\n"]
    path = write(tmp_path / "b.txt", b"one\n\xff")
    assert [record.code for record in read(path, txt_unit="file")] == ["S520"]


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"one\ntwo\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert [record.text for record in read("-")] == ["one", "two"]
    assert not Stdin.buffer.closed


def test_text_field_and_reserved_names(tmp_path):
    record = {"body": "Ada", "text": "other", "spans": [1], "id": 7}
    path = write(tmp_path / "a.jsonl", json.dumps(record).encode())
    assert read(path, text_field="body") == [
        Record(1, "Ada", {"input_text": "other", "input_spans": [1], "id": 7}),
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "spacy"])
def test_fields_that_would_share_a_name_are_numbered(tmp_path, kind):
    """The later of the two took the place of the other."""
    fields = {"spans": "a", "input_spans": "b", "input_spans.2": "c", "meta": "d", "input_text": "e"}
    names = {"spans": "input_spans.3", "meta": "input_meta"}
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text(json.dumps({"text": "Ada", **fields}))
    elif kind == "csv":
        path.write_text(f"text,{','.join(fields)}\nAda,{','.join(fields.values())}\n")
    elif kind == "parquet":
        pq.write_table(pa.table({"text": ["Ada"], **{name: [value] for name, value in fields.items()}}), path)
        (source,) = find_sources([path])
        assert arrow_schema(source, ReadOptions()).names == [names.get(name, name) for name in fields]
    else:
        doc = spacy.blank("xx")("Ada")
        doc.user_data.update(fields)
        DocBin(docs=[doc], store_user_data=True).to_disk(path)
    (record,) = read(path)
    assert record.fields == {names.get(name, name): value for name, value in fields.items()}
    assert [record.kept_name(name) for name in ("spans", "input_spans")] == ["input_spans.3", "input_spans"]


def sizes(path: Path) -> list[int]:
    (source,) = find_sources([path])
    return [unread.size for unread in read_lazily(source, ReadOptions())]


def test_sizes_of_rows_and_documents_are_known(tmp_path):
    """They were 0, so nothing but their number bounded the records of a shard."""
    texts = ["a" * 10, "b" * 5000, "قط" * 100]
    bodies = [None, b"x" * 300, b""]
    pq.write_table(pa.table({"text": texts, "body": bodies, "n": [[1], [2], [3]]}), tmp_path / "a.parquet")
    rest = [
        size - len(text.encode()) - len(body or b"")
        for size, text, body in zip(sizes(tmp_path / "a.parquet"), texts, bodies)
    ]
    assert len(set(rest)) == 1
    assert 8 <= rest[0] < 50
    write(tmp_path / "a.spacy", encode(".spacy", texts))
    assert sizes(tmp_path / "a.spacy") == [10, 5000, 200]


@pytest.mark.parametrize("longest", [10, 20_000])
def test_reads_of_long_rows_are_of_fewer(tmp_path, monkeypatch, longest):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(arrow_tables, "BYTES_A_READ", 100_000)
    table = pa.table({"text": [f"{n}".zfill(longest) for n in range(25)]})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    dataset = datasets.Dataset(table)
    with arrow_tables.open_parquet(str(tmp_path / "a.parquet")) as file:
        for tables in (arrow_tables.parquet_tables(file), arrow_tables.dataset_tables(dataset)):
            found = [read.num_rows for read in tables]
            assert sum(found) == 25
            assert max(found) <= (5 if longest > 10 else 25)
            assert len(found) == 1 or longest > 10


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"text": "\xff"}', "S520"),
        (b'{"text": ', "S521"),
        (b'["text"]', "S521"),
        (b'{"text": "a", "n": NaN}', "S521"),
        (b"[" * 100_000, "S521"),
        (b'{"text": "a", "deep": %s}' % (b"[" * 200 + b"]" * 200), "S521"),
        (b'{"txt": "a"}', "S522"),
        (b'{"text": null}', "S523"),
        (b'{"text": ["a"]}', "S523"),
        (rb'{"text": "\ud83d"}', "S526"),
    ],
)
def test_bad_jsonl_line_costs_only_itself(tmp_path, line, code):
    path = write(tmp_path / "a.jsonl", b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    before, rejected, after = read(path)
    assert (before.text, after.text) == ("before", "after")
    assert (rejected.position, rejected.code) == (2, code)
    assert rejected.reason
    assert not rejected.reason.startswith("[")


def test_rejected_record_is_shown(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"id": 3}\n{"text": "\xff\xfe"}\n')
    missing, undecodable = read(path)
    assert missing.raw == {"id": 3}
    assert undecodable.raw == '{"text": "\\xff\\xfe"}'
    assert "0xff" in undecodable.reason


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (b"1", "S524"),
        (b"1,two,three", "S524"),
        (b'1,"closed"too early', "S524"),
        (b"1,\xff", "S520"),
    ],
)
def test_bad_table_row_costs_only_itself(tmp_path, row, code):
    path = write(tmp_path / "a.csv", b"n,text\n0,before\n" + row + b"\n\n2,after\n")
    before, rejected, after = read(path)
    assert (before.text, after.text, after.position) == ("before", "after", 5)
    assert (rejected.position, rejected.code) == (3, code)


def test_table_quoting_header_and_positions(tmp_path):
    path = write(tmp_path / "a.csv", b'\xef\xbb\xbftext,n,n\n"two\nlines",1,2\r\nnext,3,4\n"never closed,5,6\n')
    two, following, unclosed = read(path)
    assert two == Record(2, "two\nlines", {"n": "1", "n.2": "2"})
    assert following.position == 4
    assert (unclosed.position, unclosed.code) == (5, "S524")


def test_long_field_of_a_table(tmp_path):
    path = write(tmp_path / "a.csv", b"text\n" + b"word " * 60_000 + b"\n")
    assert len(read(path)[0].text) == 300_000


def test_empty_files(tmp_path):
    for kind in (".txt", ".jsonl", ".csv"):
        assert read(write(tmp_path / f"a{kind}", b"")) == []
    (source,) = find_sources([tmp_path / "a.csv"])
    check_source(source, ReadOptions())


def test_parquet_bad_rows(tmp_path):
    texts = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")],
    )
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert [getattr(item, "text", None) or item.code for item in read(tmp_path / "a.parquet")] == ["a", "S520", "b"]
    pq.write_table(pa.table({"text": pa.array(["a", None])}), tmp_path / "b.parquet")
    assert [item.code for item in read(tmp_path / "b.parquet")[1:]] == ["S523"]


def test_parquet_keeps_types(tmp_path):
    table = pa.table({"text": ["a"], "day": [date(2020, 1, 2)], "tags": [["x"]], "meta": [{"k": 1}]})
    pq.write_table(table, tmp_path / "a.parquet")
    (source,) = find_sources([tmp_path / "a.parquet"])
    (record,) = read(tmp_path / "a.parquet")
    assert record.fields == {"day": date(2020, 1, 2), "tags": ["x"], "input_meta": {"k": 1}}
    schema = arrow_schema(source, ReadOptions())
    assert schema.names == ["day", "tags", "input_meta"]
    assert schema.field("day").type == pa.date32()


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", ".spacy"])
def test_cut_file_is_accounted_for(tmp_path, kind, compression):
    count = 20_000 if kind in (".jsonl", ".csv") else 500
    texts = [f"text {number} {number**9}" for number in range(count)]
    whole = COMPRESS[compression](encode(kind, texts))
    items = read(write(tmp_path / f"a{kind}{compression}", whole[: len(whole) // 2]))
    assert items[-1].code == "S525"
    assert [item.text for item in items[:-1]] == texts[: len(items) - 1]
    if kind in (".jsonl", ".csv"):
        assert len(items) > 1


@pytest.mark.parametrize("name", ["a.parquet", "a.spacy", "a.jsonl.gz", "a.jsonl.xz", "a.jsonl.zst", "a.spacy.gz"])
def test_file_of_another_kind_is_accounted_for(tmp_path, name):
    path = write(tmp_path / name, b"this is something else\n" * 3)
    (source,) = find_sources([path])
    check_source(source, ReadOptions())
    assert [item.code for item in read(path)] == ["S525"]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_zst_of_many_frames(tmp_path_factory, frames, size):
    """A reader that stops after the first frame loses what parallel compressors write."""
    from samarkand.compression import open_compressed

    path = tmp_path_factory.mktemp("zst") / "a.zst"
    path.write_bytes(b"".join(zstandard.compress(frame) for frame in frames))
    with open_compressed(str(path), "zst") as stream:
        pieces = []
        while piece := stream.read(size):
            pieces.append(piece)
    assert b"".join(pieces) == b"".join(frames)


def test_sources_are_found_in_order_and_once(tmp_path):
    for name in ("b.txt", "a.jsonl", "sub/c.csv.gz", ".hidden.txt", ".git/x.txt", "out/a.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = find_sources([tmp_path / "b.txt", tmp_path, str(tmp_path / "*.txt")], exclude=tmp_path / "out")
    assert [source.filename for source in found] == ["b.txt", "a.jsonl", "sub/c.csv.gz"]
    assert [source.name for source in found] == ["b", "a", "sub/c"]
    assert found[2].compression == "gz"


def test_globs_leave_the_output_out_unless_they_look_there(tmp_path, monkeypatch):
    for name in ("a.txt", "out/b.txt", "out/sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for item, names in (
        ("*", ["a.txt"]),
        (str(tmp_path / "**"), ["a.txt"]),
        ("out/*.txt", ["b.txt"]),
        ("out/s*", ["c.txt"]),
    ):
        assert [source.filename for source in find_sources([item], exclude=Path("out"))] == names
    assert len(find_sources(["*.txt"], exclude=Path(""))) == 1


def test_linked_folders_are_read_and_circles_are_not(tmp_path):
    """Documents in folders that are links were left out without a word."""
    for name in ("in/a.txt", "elsewhere/b.txt", "out/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for link, target in (("in/link", "elsewhere"), ("in/up", "in"), ("elsewhere/again", "in"), ("in/mine", "out")):
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    found = find_sources([tmp_path / "in"], exclude=tmp_path / "out")
    assert [source.filename for source in found] == ["a.txt", "link/b.txt"]


def test_unknown_files_in_a_folder_are_counted(tmp_path):
    for name in ("a.txt", "b.pdf", "c.doc"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(SamarkandWarning, match=r"\[SW501\] 2 files"):
        assert len(find_sources([tmp_path])) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.txt", "S501"), ("no*.txt", "S501"), ("a.pdf", "S502"), ("empty", "S503")],
)
def test_unusable_inputs(tmp_path, name, code):
    (tmp_path / "a.pdf").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=rf"\[{code}\]"):
        find_sources([tmp_path / name])


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".parquet"])
def test_missing_column_is_refused_before_the_run(tmp_path, kind):
    write(tmp_path / f"a{kind}", encode(kind, TEXTS))
    (source,) = find_sources([tmp_path / f"a{kind}"])
    check_source(source, ReadOptions())
    with pytest.raises(UsageError, match=r"\[S506\] No column 'body'.*n, text"):
        check_source(source, ReadOptions(text_field="body"))


def test_unreadable_source(tmp_path):
    (source,) = find_sources([write(tmp_path / "a.txt", b"")])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(OSError, match=r"\[S512\] Cannot read .*a.txt: No such file"):
        list(read_source(source, ReadOptions()))
    with pytest.raises(UsageError, match=r"\[S512\]"):
        check_source(source, ReadOptions())


def test_output_names_are_unique_and_stable(tmp_path):
    names = ["a.txt", "a.csv", "b.txt", "quarantine.txt", "x/a.txt", "B.jsonl", "y/b.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"text\n")
    (tmp_path / "C.jsonl").mkdir()
    (tmp_path / "C.jsonl" / "d.txt").write_bytes(b"text\n")
    (tmp_path / "c.txt").write_bytes(b"text\n")
    apart = find_sources([tmp_path])
    assert {"c.txt.jsonl", "C.jsonl/d.jsonl"} <= set(output_names(apart, ".jsonl"))
    sources = find_sources([tmp_path / name for name in names])
    assert output_names(sources, ".jsonl", reserved=["quarantine.jsonl"]) == [
        "a.txt.jsonl",
        "a.csv.jsonl",
        "b.txt.jsonl",
        "quarantine.txt.jsonl",
        "a.txt-2.jsonl",
        "B.jsonl.jsonl",
        "b.txt-2.jsonl",
    ]
