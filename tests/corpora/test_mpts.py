"""MPTS: the relations of each pair, what counts as alike, and splits that share no item."""

import json
import lzma
import os

import numpy as np
import pytest
from samarkand.corpora.mpts import GENRES, mpts_sets, read_mpts

ROW = {"id": "1_2", "a": " first\u2028", "b": "second", "same": {"Drama": 1, "Action": -1, "Western": 1}}


def write(folder, split, *rows):
    (folder / "sts").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "sts" / f"mpts.en.{split}.jsonl.xz").write_bytes(lzma.compress(text.encode()))


def test_relations_texts_and_labels(tmp_path):
    write(tmp_path, "dev", ROW, {**ROW, "id": "3_4", "same": {}})
    found = read_mpts(tmp_path, "dev")
    assert (found.ids, found.first, found.second) == ([("1", "2"), ("3", "4")], [" first\u2028"] * 2, ["second"] * 2)
    assert found.relations.shape == (2, 12)
    assert dict(zip(GENRES, found.relations[0].tolist())) == {**dict.fromkeys(GENRES, 0), "Drama": 1, "Action": -1}
    # Both have it: alike. Neither has it, or one has it: not.
    assert dict(zip(GENRES, found.labels[0].tolist())) == {**dict.fromkeys(GENRES, False), "Drama": True}
    assert not found.labels[1].any()
    assert len(found.head(1).first) == len(found.head(1).relations) == 1
    assert len(found.head(None).first) == 2


@pytest.mark.parametrize(
    "change", [{"id": "1"}, {"id": "1_2_3"}, {"same": {"Drama": 2}}, {"same": {"Drama": "1"}}, {"a": 1}, {"same": []}]
)
def test_broken_lines_are_named(tmp_path, change):
    write(tmp_path, "dev", ROW, {**ROW, **change})
    with pytest.raises(ValueError, match=r"\[S842\] .*mpts.en.dev.jsonl.xz, line 2: "):
        read_mpts(tmp_path, "dev")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[S841\] The file .*mpts.en.test.jsonl.xz is missing"):
        read_mpts(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"\[S840\]"):
        read_mpts(tmp_path / "nowhere", "test")


def test_splits_share_no_item(tmp_path):
    write(tmp_path, "dev", ROW)
    write(tmp_path, "test", {**ROW, "id": "3_4"})
    dev, test = mpts_sets(tmp_path)
    assert (dev.ids, test.ids) == ([("1", "2")], [("3", "4")])
    write(tmp_path, "test", {**ROW, "id": "5_2"})
    with pytest.raises(ValueError, match=r"\[S845\] Splits of MPTS in .* share 1 items, such as 2"):
        mpts_sets(tmp_path)


@pytest.mark.data
def test_the_real_pairs_have_their_counts():
    dev, test = mpts_sets(os.environ["SAMARKAND_DATA"])
    assert (len(dev.first), len(test.first)) == (734, 2000)
    assert dict(zip(GENRES, test.labels.sum(axis=0).tolist())) == {
        "Drama": 1251,
        "Crime": 708,
        "Mystery": 690,
        "Action": 614,
        "Comedy": 579,
        "Family": 462,
        "Adventure": 461,
        "Sci-Fi": 459,
        "Thriller": 437,
        "Animation": 393,
        "Fantasy": 360,
        "Romance": 314,
    }
    assert round(float(test.labels.sum(axis=1).mean()), 2) == 3.36
    assert round(float((test.labels.sum(axis=1) == 0).mean()), 3) == 0.013
    lengths = [len(text.split()) for text in (*dev.first, *dev.second, *test.first, *test.second)]
    assert (np.mean(lengths), np.median(lengths)) == (pytest.approx(111, abs=1), 84)
