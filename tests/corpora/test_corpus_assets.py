"""The manifest and the way to a corpus: local file, download, checksum; never the network."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from http.client import IncompleteRead

import pytest
from samarkand.corpora import assets
from samarkand.corpora.assets import Split, corpora, corpus_path
from samarkand.corpora.records import read_records
from samarkand.corpora.sources import read_source

CONLL = "王 B-NAME\n芳 E-NAME\n\n好 O\n\n李 S-NAME\n".encode()
OPEN_TERMS = ("CC0", "CC BY 3.0", "CC BY 4.0", "CC BY-SA 3.0", "CC BY-SA 4.0", "MIT", "public domain")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Opener:
    """Serves bytes by URL and remembers what was asked."""

    def __init__(self, data):
        self.data = data
        self.urls = []

    def __call__(self, url):
        self.urls.append(url)
        if isinstance(self.data, Exception):
            raise self.data
        return io.BytesIO(self.data)


@pytest.fixture
def resume(monkeypatch):
    """The manifest with one small corpus."""
    monkeypatch.delenv("SAMARKAND_DATA", raising=False)
    entry = {"path": "a b/train.bmes", "sha256": sha256(CONLL)}
    splits = {
        "train": Split(documents=3, spans=2, sha256="0" * 64, files=(entry,)),
        "dev": Split(documents=1, spans=1, sha256="0" * 64, files=({**entry, "start": 2},)),
    }
    corpus = replace(corpora()["zh-resume"], splits=splits)
    monkeypatch.setattr(assets, "corpora", lambda: {"zh-resume": corpus})
    return corpus


def test_manifest_is_complete():
    assert len(corpora()) >= 22
    for corpus in corpora().values():
        assert corpus.lang
        assert corpus.labels
        assert corpus.licence
        assert corpus.open == corpus.licence.startswith(OPEN_TERMS), corpus.name
        for split in corpus.splits.values():
            assert split.documents > 0
            assert split.spans > 0
            assert len(split.sha256) == 64
            assert bool(split.files) == ("unsupported" not in corpus.public)
            for entry in split.files:
                assert len(entry["sha256"]) == 64
                assert len(corpus.public["revision"]) == 40


def test_local_file_comes_first(tmp_path, monkeypatch, resume):
    folder = tmp_path / "ner" / "zh-resume"
    folder.mkdir(parents=True)
    (folder / "train.jsonl.xz").write_bytes(b"right")
    resume.splits["train"] = replace(resume.splits["train"], sha256=sha256(b"right"))
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path))
    opener = Opener(b"")
    assert corpus_path("zh-resume", "train", opener=opener) == folder / "train.jsonl.xz"
    assert opener.urls == []
    (folder / "train.jsonl.xz").write_bytes(b"wrong!")
    with pytest.raises(ValueError, match=r"\[S222\] .*train.jsonl.xz .*sha256"):
        corpus_path("zh-resume", "train", opener=opener)


def test_download_is_checked_converted_and_kept(tmp_path, monkeypatch, resume):
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path / "empty"))
    opener = Opener(CONLL)
    path = corpus_path("zh-resume", "train", cache=tmp_path, opener=opener)
    revision = resume.public["revision"]
    assert opener.urls == [f"https://raw.githubusercontent.com/jiesutd/LatticeLSTM/{revision}/a%20b/train.bmes"]
    records = list(read_records(path))
    assert [record["text"] for record in records] == ["王芳", "好", "李"]
    assert records[0]["spans"] == [{"start": 0, "end": 2, "label": "NAME"}]
    assert records[0]["lang"] == "zh"
    dev = corpus_path("zh-resume", "dev", cache=tmp_path, opener=opener)
    assert [record["text"] for record in read_records(dev)] == ["李"]
    assert corpus_path("zh-resume", "train", cache=tmp_path, opener=opener) == path
    assert len(opener.urls) == 1


def test_cache_folder_by_environment(tmp_path, monkeypatch, resume):
    monkeypatch.setenv("SAMARKAND_CACHE", str(tmp_path))
    assert corpus_path("zh-resume", "train", opener=Opener(CONLL)).is_relative_to(tmp_path)


def test_another_file_than_expected_is_not_kept(tmp_path, resume):
    with pytest.raises(ValueError, match=r"\[S225\] https://.* has changed"):
        corpus_path("zh-resume", "train", cache=tmp_path, opener=Opener(b"<html>"))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("error", [OSError("no route"), TimeoutError("slow"), IncompleteRead(b"")])
def test_failed_download_is_one_clear_line(tmp_path, resume, error):
    with pytest.raises(OSError, match=r"\[S224\] Download of zh-resume failed: https://.*SAMARKAND_DATA"):
        corpus_path("zh-resume", "train", cache=tmp_path, opener=Opener(error))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_unknown_corpus_and_split():
    with pytest.raises(ValueError, match=r"\[S220\] No corpus named 'zh-none'.*zh-resume"):
        corpus_path("zh-none", "train")
    with pytest.raises(ValueError, match=r"\[S221\] zh-cluener has no split 'test'.*train, dev"):
        corpus_path("zh-cluener", "test")


def test_corpus_without_download_names_source_and_licence(monkeypatch):
    monkeypatch.delenv("SAMARKAND_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"\[S223\] ar-caner .*RamziSalah.*licence.*ner/ar-caner/test"):
        corpus_path("ar-caner", "test")


def test_spans_by_label(tmp_path):
    path = tmp_path / "a.json"
    label = {"name": {"王芳": [[0, 1], [3, 4]]}, "address": {"奥": [[2, 2]]}}
    path.write_text(json.dumps({"text": "王芳奥王芳", "label": label}) + "\n")
    (record,) = read_source(path, format="spans-by-label")
    assert [(s["start"], s["end"], s["label"]) for s in record["spans"]] == [
        (0, 2, "name"),
        (2, 3, "address"),
        (3, 5, "name"),
    ]
    for line in ('{"text": "a"}', '{"label": {}}', "[]", "{"):
        path.write_text(f"{line}\n")
        with pytest.raises(ValueError, match=r"\[S226\] .*a.json, line 1: .*spans-by-label"):
            list(read_source(path, format="spans-by-label"))


@pytest.mark.parametrize("bad", ["王 芳", "王 芳\t[('NR', 0", "王 芳\t[__import__('os')]"])
def test_character_tsv(tmp_path, bad):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dev.tsv", "text\tlabel\r\n王 芳 好\t[('NR', 0, 1)]\r\n")
        archive.writestr("bad.tsv", f"text\tlabel\n{bad}\n")
    settings = {"format": "character-tsv", "renamed": {"NR": "PER"}}
    (record,) = read_source(path, member="dev.tsv", **settings)
    assert record == {"text": "王芳好", "spans": [{"start": 0, "end": 2, "label": "PER"}]}
    with pytest.raises(ValueError, match=r"\[S226\] .*a.zip/bad.tsv, line 2: .*character-tsv"):
        list(read_source(path, member="bad.tsv", **settings))


def test_command_line_lists_and_fails_in_one_line():
    environment = {key: value for key, value in os.environ.items() if key != "SAMARKAND_DATA"}
    command = [sys.executable, "-m", "samarkand.corpora.assets"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(corpora())
    failed = subprocess.run(
        [*command, "ar-caner", "zh-none"], capture_output=True, text=True, timeout=120, env=environment
    )
    assert failed.returncode == 1
    assert [line[:6] for line in failed.stderr.splitlines()] == ["[S223]", "[S220]"]


SPLITS = [(name, split) for name, corpus in corpora().items() for split in corpus.splits]


@pytest.mark.data
@pytest.mark.skipif("SAMARKAND_DATA" not in os.environ, reason="SAMARKAND_DATA is not set")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_local_files_are_those_of_the_manifest(name, split):
    records = list(read_records(corpus_path(name, split)))
    expected = corpora()[name].splits[split]
    assert len(records) == expected.documents
    assert sum(len(record["spans"]) for record in records) == expected.spans


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::samarkand.errors.SamarkandWarning")
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_public_files_give_the_records_of_the_local_ones(name, split, tmp_path, monkeypatch):
    """Needs the public files in SAMARKAND_CACHE, where `python -m samarkand.corpora.assets` puts them."""
    corpus = corpora()[name]
    cached = assets._cache_folder()
    sources = cached / "sources" / str(corpus.public.get("repository"))
    if "SAMARKAND_DATA" not in os.environ or not sources.is_dir():
        pytest.skip("SAMARKAND_DATA is not set, or the public files were not downloaded")
    local = [key(record) for record in read_records(corpus_path(name, split))]
    monkeypatch.delenv("SAMARKAND_DATA")
    (tmp_path / "sources").symlink_to(cached / "sources")
    path = corpus_path(name, split, cache=tmp_path, opener=no_network)
    public = [key(record) for record in read_records(path)]
    # In Broad Twitter the local copy made words of four empty tokens, in three documents.
    assert sum((Counter(local) - Counter(public)).values()) <= (3 if name == "en-btc" else 0)


def no_network(url):
    pytest.skip(f"{url} was not downloaded")


def key(record):
    spans = sorted((span["start"], span["end"], span["label"]) for span in record["spans"])
    return record["text"], tuple(spans)
