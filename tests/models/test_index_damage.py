"""Damaged files, full disks, several writers and readers of one index."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from index_oracle import files, filled, make_vectors, names, recall
from samarkand.errors import SamarkandWarning
from samarkand.models import index_writer, record_store
from samarkand.models.record_store import FILE, FORMAT
from samarkand.models.search_index import SearchIndex

WIDTH = 16


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    return make_vectors(8000, WIDTH, spread=0.8), make_vectors(40, WIDTH, seed=5, spread=0.8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with every kind of file, closed."""
    folder = tmp_path_factory.mktemp("whole") / "i"
    with filled(folder, make_vectors(700, WIDTH), factory="IVF16,Flat") as index:
        index.optimize()
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def garble(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def newer(path: Path) -> None:
    _sql(path, f"PRAGMA user_version = {FORMAT + 1}")


def older(path: Path) -> None:
    _sql(path, f"PRAGMA user_version = {FORMAT - 1}")


def reword(path: Path) -> None:
    _replace(path, b"text 345{", b"text 346{")


def break_utf8(path: Path) -> None:
    _replace(path, b"text 345{", b"text \xff45{")


def unkind(path: Path) -> None:
    _sql(path, "UPDATE records SET text = CAST(text AS BLOB) WHERE row = 345")


def rename(path: Path) -> None:
    _replace(path, b"r345text 345", b"r999text 345")


def _replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def foreign(path: Path) -> None:
    path.unlink()
    _sql(path, "CREATE TABLE a (b)")


def stateless(path: Path) -> None:
    _sql(path, "DELETE FROM state")


def strange(path: Path) -> None:
    _sql(path, """UPDATE state SET value = '{"a": 1}'""")


def _sql(path: Path, command: str) -> None:
    db = sqlite3.connect(path)
    db.execute(command)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("name", "damage", "code"),
    [
        ("index-1.faiss", truncate, r"S823.*index-1.faiss is not what was written"),
        ("index-1.faiss", flip, r"S823.*index-1.faiss"),
        ("index-1.faiss", Path.unlink, r"S823.*index-1.faiss is missing"),
        ("vectors-0.f32", truncate, r"S823.*vectors-0.f32 has 44,700 bytes of 44,800"),
        ("vectors-0.f32", Path.unlink, r"S823.*vectors-0.f32"),
        ("vectors-0.f32", flip, r"S823.*vectors-0.f32 has changed"),
        (FILE, Path.unlink, r"S820"),
        (FILE, foreign, r"S820.*something else"),
        (FILE, garble, r"S823.*not a database"),
        (FILE, newer, rf"S822.*{FORMAT + 1}"),
        (FILE, older, rf"S822.*{FORMAT - 1}"),
        (FILE, reword, r"S823.*record in row 345 has changed"),
        (FILE, break_utf8, r"S823.*record in row 345 has changed"),
        (FILE, unkind, r"S823.*record in row 345 has changed"),
        (FILE, rename, r"S823.*row 346 missing from index"),
        (FILE, stateless, r"S823.*no state"),
        (FILE, strange, r"S823.*no state"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path, whole, name, damage, code):
    shutil.copytree(whole, tmp_path / "i")
    damage(tmp_path / "i" / name)
    with pytest.raises(ValueError, match=code) as error:
        SearchIndex.open(tmp_path / "i", verify=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    ["'$.width', 'a'", "'$.rows', -1", "'$.indexed', 1, '$.file', ''", "'$.file', 3", "'$.vectors', '../others.f32'"],
)
def test_a_state_that_makes_no_sense_is_damage(tmp_path, whole, change):
    shutil.copytree(whole, tmp_path / "i")
    _sql(tmp_path / "i" / FILE, f"UPDATE state SET value = json_set(value, {change})")
    with pytest.raises(ValueError, match=r"S823.*no state"):
        SearchIndex.open(tmp_path / "i")


def test_a_database_with_a_torn_page_is_noticed(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "i")
    data = bytearray((tmp_path / "i" / FILE).read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    (tmp_path / "i" / FILE).write_bytes(data)
    with pytest.raises(ValueError, match="S823"):
        SearchIndex.open(tmp_path / "i", verify=True)


def test_a_changed_record_is_told_when_it_is_read(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "i")
    reword(tmp_path / "i" / FILE)
    vectors = make_vectors(700, WIDTH)
    with SearchIndex.open(tmp_path / "i") as index:
        assert index.search(vectors[3:4], 1)[0][0].text == "text 3"
        for read in (lambda: index.search(vectors[345:346], 1), lambda: index.update(["r345"], vectors[345:346])):
            with pytest.raises(ValueError, match=r"S823.*record in row 345 has changed"):
                read()
        # Its checksum goes along to another row.
        index.remove(["r3"])
        index.compact()
    with pytest.raises(ValueError, match=r"S823.*record in row 344 has changed"):
        SearchIndex.open(tmp_path / "i", verify=True)


def test_damaged_vectors_go_into_no_new_file(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "i")
    flip(tmp_path / "i" / "vectors-0.f32")
    with SearchIndex.open(tmp_path / "i") as index, pytest.raises(ValueError, match="S823"):
        index.compact()
    assert files(tmp_path / "i") == files(whole)


def test_a_folder_that_is_no_index(tmp_path):
    with pytest.raises(ValueError, match="S820"):
        SearchIndex.open(tmp_path)
    with pytest.raises(ValueError, match="S820"):
        SearchIndex.open(tmp_path / "none")


def test_a_second_writer_waits_and_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(record_store, "LOCK_SECONDS", 0.1)
    vectors = make_vectors(8, WIDTH)
    with filled(tmp_path / "i", vectors[:3]) as first, SearchIndex.open(tmp_path / "i") as second:
        with first._store.writing(), pytest.raises(RuntimeError, match=r"S828.*0.1 s"):
            second.add(["x"], vectors[3:4])
        assert second.search(vectors[3:4], 1)[0][0].id in names(3)
        second.add(["x"], vectors[3:4])
        first.add(["y"], vectors[4:5])
        second.remove(["y", "r0"])
        assert (len(first), len(second)) == (5, 3)
        with pytest.raises(ValueError, match="S827"):
            first.remove(["y"])
        assert [hits[0].id for hits in first.search(vectors[1:4], 1)] == ["r1", "r2", "x"]
        assert len(first) == 3


def test_readers_keep_what_they_have_opened(tmp_path, many, monkeypatch):
    vectors, queries = many
    monkeypatch.setattr(index_writer, "TAIL_ROWS", 1000)
    with filled(tmp_path / "i", vectors[:3000], factory="HNSW16") as writer, SearchIndex.open(tmp_path / "i") as reader:
        before = reader.search(queries, 5, filter={"kind": {"<": 8}}), reader.search(queries, 5)
        writer.add(names(3000, 3000), vectors[3000:6000])
        writer.update(names(10), vectors[6000:6010], ["changed"] * 10)
        writer.remove(names(2500, 100))
        assert writer.state.vectors != reader.state.vectors
        assert before == (reader.search(queries, 5, filter={"kind": {"<": 8}}), reader.search(queries, 5))
        assert len(reader) == 3000
        reader.refresh()
        assert len(reader) == len(writer) == 3500
        assert reader.search(queries, 5) == writer.search(queries, 5)


def test_a_folder_without_write_permission_can_be_searched(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(record_store.os, "access", lambda path, mode: False)
    vectors = make_vectors(700, WIDTH)
    with SearchIndex.open(whole) as index:
        assert index.search(vectors[3:4], 1)[0][0].id == "r3"
        with pytest.raises(OSError, match="S826"):
            index.remove(["r3"])


def test_a_reader_without_write_permission_sees_what_is_committed(tmp_path, monkeypatch):
    vectors = make_vectors(8, WIDTH)
    folder = tmp_path / "i"
    with filled(folder, vectors[:2]):
        pass
    writable = record_store.os.access
    monkeypatch.setattr(record_store.os, "access", lambda path, mode: False)
    with SearchIndex.open(folder) as reader:
        assert len(reader) == 2
        monkeypatch.setattr(record_store.os, "access", writable)
        with SearchIndex.open(folder) as writer:
            monkeypatch.setattr(record_store.os, "access", lambda path, mode: False)
            writer.add(["x"], vectors[2:3])
            # As a writer that was killed leaves it.
            shutil.copytree(folder, tmp_path / "killed")
            for place in (folder, tmp_path / "killed"):
                with SearchIndex.open(place, verify=True) as second:
                    assert second.search(vectors[2:3], 1)[0][0].id == "x"
            reader.refresh()
            assert reader.search(vectors[2:3], 1)[0][0].id == "x"


def test_S846_changes_that_cannot_be_read_are_not_passed_over(tmp_path, monkeypatch):
    vectors = make_vectors(8, WIDTH)
    with filled(tmp_path / "i", vectors[:2]):
        shutil.copytree(tmp_path / "i", tmp_path / "killed")
    # Nothing can be put there, as in a folder that cannot be written to.
    shared = tmp_path / "killed" / f"{FILE}-shm"
    shared.unlink()
    shared.symlink_to(tmp_path / "nowhere" / "at all")
    monkeypatch.setattr(record_store.os, "access", lambda path, mode: False)
    with pytest.raises(OSError, match=r"S846.*records.sqlite-wal") as error:
        SearchIndex.open(tmp_path / "killed")
    assert "\n" not in str(error.value)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    vectors = make_vectors(8, WIDTH)

    def full(*arguments) -> None:
        raise OSError(28, "No space left on device")

    with filled(tmp_path / "i", vectors[:3]) as index:
        monkeypatch.setattr(index_writer, "append_rows", full)
        with pytest.raises(OSError, match=r"S826.*No space left"):
            index.add(["x"], vectors[3:4])
        monkeypatch.undo()
        assert len(index) == 3
        index.add(["x"], vectors[3:4])
        assert index.search(vectors[3:4], 1)[0][0].id == "x"


def test_an_index_that_fails_while_it_is_extended_is_read_anew(tmp_path, many, monkeypatch):
    vectors, queries = many
    with filled(tmp_path / "i", vectors[:6000], factory="HNSW16") as index:

        def full(*arguments) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(index_writer, "TAIL_ROWS", 1000)
        monkeypatch.setattr(index_writer, "write_index", full)
        with pytest.warns(SamarkandWarning, match=r"SW821.*S826.*No space left"):
            index.add(names(2000, 6000), vectors[6000:8000])
        with pytest.raises(OSError, match="S826"):
            index.optimize()
        assert (len(index), index.state.indexed) == (8000, 6000)
        assert recall(index.search_rows(queries, 10)[1], queries, vectors[:8000]) >= 0.98
        assert all(len({hit.id for hit in hits}) == 10 for hits in index.search(queries, 10))
        monkeypatch.undo()
        index.optimize()
        assert index.state.indexed == 8000


def test_what_killed_writers_left_is_cleaned(tmp_path, many):
    vectors, _ = many
    with filled(tmp_path / "i", vectors[:600], factory="IVF8,Flat") as index:
        for name in (".123.index-7.faiss", "index-9.faiss", "vectors-3.f32", "mine.txt"):
            (tmp_path / "i" / name).write_bytes(b"x")
        index.optimize()
        assert files(tmp_path / "i") == ["index-1.faiss", "mine.txt", "vectors-0.f32"]
