"""Classification corpora: records of every shape, languages, sets of SAMARKAND_DATA, a DocBin, broken files."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import samarkand
from samarkand.corpora.cats_corpus import CatsCorpus, write_docbin
from samarkand.corpora.cats_sets import CATS_FAMILIES, cats_names, cats_records
from samarkand.models.text_pairs import LANG_KEY
from spacy.tokens import DocBin

NLP = samarkand.blank("xx")


def _file(folder: Path, *records: dict, name: str = "texts.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return str(path)


def _read(path: str | list, **settings: object) -> list[tuple[str, dict, str | None]]:
    return [
        (eg.reference.text, eg.reference.cats, eg.reference.user_data.get(LANG_KEY))
        for eg in CatsCorpus(path, **settings)(NLP)
    ]


def test_records_of_every_shape(tmp_path):
    path = _file(
        tmp_path,
        {"text": "one", "label": "a", "lang": "en"},
        {"text": "two", "label": 1},
        {"text": "three", "cats": {"a": 0.25, "b": 0.75}},
        {"text": "left\tside", "text_b": " right ", "label": "b", "lang": "ar"},
        {"text": "unknown", "label": None},
    )
    assert _read(path) == [
        ("one", {"a": 1.0}, "en"),
        ("two", {"1": 1.0}, None),
        ("three", {"a": 0.25, "b": 0.75}, None),
        ("left side\tright", {"b": 1.0}, "ar"),
        ("unknown", {}, None),
    ]
    assert [text for text, *_ in _read([path, path], limit=6)][5:] == ["one"]
    assert [text for text, *_ in _read(path, langs=["ar"])] == ["left side\tright"]


def test_lists_of_labels_mean_that_the_others_are_absent(tmp_path):
    path = _file(
        tmp_path, {"text": "x", "label": ["b", "a"]}, {"text": "y", "label": []}, {"text": "z", "label": ["c"]}
    )
    assert [cats for _, cats, _ in _read(path)] == [
        {"a": 1.0, "b": 1.0, "c": 0.0},
        {"a": 0.0, "b": 0.0, "c": 0.0},
        {"a": 0.0, "b": 0.0, "c": 1.0},
    ]
    assert _read(path, labels=["c", "b", "a", "d"])[2][1] == {"a": 0.0, "b": 0.0, "c": 1.0, "d": 0.0}
    with pytest.raises(ValueError, match=r"S631.*line 1.*'a'"):
        _read(path, labels=["b", "c"])


def test_orders_change_from_pass_to_pass_and_repeat_with_the_seed(tmp_path):
    path = _file(tmp_path, *({"text": f"t{i}", "label": "a"} for i in range(30)))
    first, again, other = (CatsCorpus(path, shuffle=True, seed=seed) for seed in (1, 1, 2))
    orders = [[eg.text for eg in corpus(NLP)] for corpus in (first, again, other, first)]
    assert orders[0] == orders[1]
    assert orders[0] not in orders[2:]
    assert sorted(orders[0]) == sorted(orders[3])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"text": "x", "label": {}}', "S631"),
        ('{"text": "x", "label": [1.5]}', "S631"),
        ('{"text": "x", "cats": {"a": 2}}', "S631"),
        ('{"text": "x", "cats": {"a": NaN}}', "S842"),
        ('{"text": "x", "cats": {"a": 1e999}}', "S631"),
        ('{"text": "x", "cats": ["a"]}', "S631"),
        ('{"text": "x", "text_b": 1, "label": "a"}', "S631"),
        ('{"label": "a"}', "S842"),
        ("[]", "S842"),
        ("{", "S842"),
    ],
)
def test_records_that_cannot_be_used_name_their_line(tmp_path, line, code):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "fine", "label": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{code}.*line 2"):
        _read(str(path))


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="S630"):
        CatsCorpus(None)
    with pytest.raises(OSError, match="S201"):
        _read(str(tmp_path / "absent.jsonl"))
    with pytest.raises(ValueError, match="S632"):
        _read(_file(tmp_path, {"text": "x", "label": "a", "lang": "en"}), langs=["ar"])


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Files in the shape of the real ones."""
    folder = tmp_path / "cls"
    folder.mkdir()
    with gzip.open(folder / "sib200.meta.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("0\ttrain\thealth\n1\ttest\tsports\n2\ttrain\tsports\n")
    with lzma.open(folder / "sib200.text.tsv.xz", "wt", encoding="utf-8") as file:
        file.writelines(f"{lang}\t{i}\t{lang} {i}\n" for lang in ("eng_Latn", "arb_Arab") for i in range(3))
    with lzma.open(folder / "xsid.valid.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write('{"lang": "ar", "id": "1", "text": "نص", "en": "text", "label": "weather/find"}\n')
    with lzma.open(folder / "fewclue-bustm.zh.dev.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write('{"id": 0, "sentence1": "一", "sentence2": "二", "label": "0"}\n')
    monkeypatch.setenv("SAMARKAND_DATA", str(tmp_path))
    return tmp_path


def test_sets_of_the_data_folder(data):
    assert _read("set:sib200/train", langs=["arb_Arab"]) == [
        ("arb_Arab 0", {"health": 1.0}, "arb_Arab"),
        ("arb_Arab 2", {"sports": 1.0}, "arb_Arab"),
    ]
    assert len(_read("set:sib200/train")) == 4
    assert _read("set:xsid/dev") == [("نص", {"weather/find": 1.0}, "ar")]
    assert _read("set:bustm/dev") == [("一\t二", {"0": 1.0}, "zh")]
    with pytest.raises(ValueError, match="S843"):
        _read("set:sib200/nowhere")
    with pytest.raises(OSError, match="S841"):
        _read("set:xsid/test")
    with pytest.raises(ValueError, match=r"S842.*'dev'"):
        _read("set:sib200/dev")
    with pytest.raises(OSError, match="S840"):
        list(cats_records(data / "absent", "xsid/dev"))


def test_a_docbin_keeps_labels_and_languages(tmp_path, data):
    path = tmp_path / "train.spacy"
    assert write_docbin(CatsCorpus("set:sib200/train"), path, NLP) == 4
    docs = list(DocBin().from_disk(path).get_docs(NLP.vocab))
    assert [(doc.text, doc.cats, doc.user_data[LANG_KEY]) for doc in docs] == _read("set:sib200/train")


def test_command_line(tmp_path, data):
    command = [sys.executable, "-m", "samarkand.corpora.cats_corpus", "set:sib200/train", str(tmp_path / "a.spacy")]
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": dict(os.environ)}
    done = subprocess.run([*command, "--langs", "arb_Arab"], **options)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'a.spacy'}: 2 documents\n")
    done = subprocess.run(command, **options)
    assert done.returncode == 1
    assert "S217" in done.stderr


@pytest.mark.data
@pytest.mark.parametrize("name", cats_names())
def test_real_sets_can_be_read(name):
    family = CATS_FAMILIES[name.partition("/")[0]]
    langs = ["eng_Latn"] if name.startswith("sib200") else None
    records = list(cats_records(os.environ["SAMARKAND_DATA"], name, langs))
    assert len(records) >= 99
    assert len({record["label"] for record in records}) >= 2
    assert all(("text_b" in record) == bool(family.text_b) for record in records)
