"""The splits of a recipe: what is taken for what, labels, and what is refused."""

import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora import splits as splits_module
from samarkand.corpora.assets import corpora
from samarkand.corpora.records import read_records, rename_labels, write_records
from samarkand.corpora.splits import write_splits
from samarkand.errors import SamarkandWarning


def records(prefix, count, label="PER"):
    return [
        {"text": f"{prefix}{i} sings", "spans": [{"start": 0, "end": len(f"{prefix}{i}"), "label": label}]}
        for i in range(count)
    ]


def texts(path):
    return [record["text"] for record in read_records(path)]


@pytest.fixture
def own(tmp_path):
    """A folder with every split, each in another format."""
    folder = tmp_path / "own"
    write_records(folder / "train.jsonl.gz", records("Ann", 20))
    write_records(folder / "dev.conll", records("Bob", 3))
    write_records(folder / "test.jsonl", records("Cy", 4))
    return folder


def test_own_splits_are_taken_as_they_are(own, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        written = write_splits(str(own), tmp_path / "out")
    assert {name: (file.origin, file.documents) for name, file in written.items()} == {
        "train": ("train", 20),
        "dev": ("dev", 3),
        "test": ("test", 4),
    }
    assert texts(written["dev"].path) == ["Bob0 sings", "Bob1 sings", "Bob2 sings"]
    assert written["train"].labels == {"PER": 20}


def test_chinese_columns_are_joined_without_blanks(own, tmp_path):
    (own / "dev.conll").unlink()
    (own / "dev.bmes").write_text("王 B-PER\n芳 E-PER\n", encoding="utf-8")
    written = write_splits(str(own), tmp_path / "out", lang="zh")
    assert texts(written["dev"].path) == ["王芳"]


def test_without_dev_the_end_of_train_is_held_out(own, tmp_path):
    (own / "dev.conll").unlink()
    written = write_splits(str(own), tmp_path / "out")
    assert texts(written["train"].path) == [f"Ann{i} sings" for i in range(18)]
    assert texts(written["dev"].path) == ["Ann18 sings", "Ann19 sings"]
    assert texts(written["test"].path) == [f"Cy{i} sings" for i in range(4)]
    assert written["dev"].origin == "train"


def test_without_test_the_dev_split_is_tested_on_and_never_chosen_by(own, tmp_path):
    (own / "test.jsonl").unlink()
    written = write_splits(str(own), tmp_path / "out")
    assert {name: file.origin for name, file in written.items()} == {"train": "train", "dev": "train", "test": "dev"}
    assert texts(written["test"].path) == ["Bob0 sings", "Bob1 sings", "Bob2 sings"]
    assert set(texts(written["dev"].path)).isdisjoint(texts(written["train"].path))


@pytest.mark.parametrize(("missing", "found"), [(["train"], "dev, test"), (["dev", "test"], "train")])
def test_too_few_splits(own, tmp_path, missing, found):
    for split in missing:
        next(own.glob(f"{split}.*")).unlink()
    with pytest.raises(ValueError, match=rf"\[S227\] .*own cannot be .* has {found}\."):
        write_splits(str(own), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_there_twice(own, tmp_path):
    write_records(own / "train.conll", records("Dee", 1))
    with pytest.raises(ValueError, match=r"\[S228\] .*train: .*train.conll, .*train.jsonl.gz"):
        write_splits(str(own), tmp_path / "out")


def test_one_document_cannot_be_train_and_dev(own, tmp_path):
    (own / "dev.conll").unlink()
    write_records(own / "train.jsonl.gz", records("Ann", 1))
    with pytest.raises(ValueError, match=r"\[S230\] .*own has 1 document"):
        write_splits(str(own), tmp_path / "out")


def test_neither_a_corpus_nor_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"\[S220\] No corpus named 'zh-none'"):
        write_splits("zh-none", tmp_path / "out")


def test_corpus_of_the_manifest(own, tmp_path, monkeypatch):
    corpus = corpora()["zh-cluener"]
    only = {split: corpus.splits[split] for split in ("train", "dev")}
    monkeypatch.setattr(splits_module, "corpora", lambda: {"zh-cluener": replace(corpus, splits=only)})
    files = {"train": own / "train.jsonl.gz", "dev": own / "test.jsonl"}
    monkeypatch.setattr(splits_module, "corpus_path", lambda name, split, **_: files[split])
    written = write_splits("zh-cluener", tmp_path / "out")
    assert texts(written["test"].path) == texts(own / "test.jsonl")


def test_labels_that_train_lacks_are_counted(own, tmp_path):
    write_records(own / "test.jsonl", records("Cy", 4) + records("Dov", 2, "GPE"))
    with pytest.warns(SamarkandWarning, match=r"\[SW210\] 2 of 6 .* test split .*: GPE 2\. Known: PER\."):
        write_splits(str(own), tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SamarkandWarning)
        written = write_splits(str(own), tmp_path / "out", labels={"GPE": "PER"})
    assert written["test"].labels == {"PER": 6}


LABELS = st.sampled_from(["A", "B", "C"])
SPANS = st.lists(st.fixed_dictionaries({"start": st.just(0), "end": st.just(1), "label": LABELS}))


@settings(max_examples=60, deadline=None)
@given(SPANS, st.dictionaries(st.one_of(LABELS, st.just("*")), st.one_of(LABELS, st.none())))
def test_renaming_is_by_name_then_by_star(spans, labels):
    def renamed(label):
        return labels[label] if label in labels else labels.get("*", label)

    before = [dict(span) for span in spans]
    expected = [renamed(span["label"]) for span in spans]
    assert [span["label"] for span in rename_labels(spans, labels)] == [
        label for label in expected if label is not None
    ]
    assert spans == before


def test_command_line(own, tmp_path):
    write_records(own / "test.jsonl", records("Cy", 4) + records("Dov", 2, "GPE"))
    (own / "dev.conll").unlink()
    command = [sys.executable, "-m", "samarkand.corpora.splits"]
    arguments = [str(own), str(tmp_path / "out"), "--labels", "PER=NAME,GPE="]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line.rpartition("out/")[2] for line in done.stdout.splitlines()] == [
        "train.jsonl: 18 documents, 18 spans",
        "dev.jsonl: 2 documents, 2 spans, out of train",
        "test.jsonl: 6 documents, 4 spans",
    ]
    assert {s["label"] for r in read_records(tmp_path / "out") for s in r["spans"]} == {"NAME"}
    failed = subprocess.run([*command, "zh-none", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (failed.returncode, failed.stderr[:6]) == (1, "[S220]")
