"""Text out of the train splits of corpora: what is taken, what is held out, and who may use it."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import sys
from pathlib import Path

import pytest
from samarkand.corpora import train_texts
from samarkand.corpora.corpus_texts import held_out_texts
from samarkand.corpora.text_keys import TextKeys
from samarkand.corpora.text_sources import TextSource, find_groups, read_texts
from samarkand.corpora.train_texts import describe, write_train_texts


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


FILES = {
    # Open in the manifest, open outside of it, for research alone, and of terms that nobody knows.
    "ner/en-btc/train.jsonl.xz": lines(
        {"text": "Read me , please", "lang": "en"},
        {"text": "read me, please!", "lang": "en"},
        {"text": "A test tweet", "lang": "en"},
        {"text": "?!", "lang": "en"},
    ),
    "ner/en-btc/dev.jsonl.xz": lines({"text": "a TEST tweet .", "lang": "en"}),
    "ner/sr-uner-set/train.jsonl.xz": lines({"text": "Добар дан", "lang": "sr"}),
    "ner/zh-msra/train.jsonl.xz": lines({"text": "我爱北京", "lang": "zh"}, {"text": "保存", "lang": "zh"}),
    "ner/zz-own/train.jsonl.xz": lines({"text": "own text"}),
    "cls/afrisenti.train.jsonl.xz": lines(
        {"lang": "hau", "label": "x", "text": "ina kwana"}, {"lang": "arq", "label": "x", "text": "واش راك"}
    ),
    "cls/fewclue-bustm.zh.train.jsonl.xz": lines({"sentence1": "问一", "sentence2": "问二", "label": "0"}),
    "cls/sib200.meta.tsv.gz": "0\ttrain\tscience\n1\tdev\tsports\n2\ttest\tsports\n",
    "cls/sib200.text.tsv.xz": "".join(
        f"{lang}\t{number}\t{lang} {number}\n" for lang in ("eng_Latn", "hau_Latn") for number in range(3)
    ),
    "cls/fewclue-csl.zh.test.jsonl.xz": lines({"abst": "摘要"}),
    "qa/arcd.ar.train.jsonl.xz": lines({"lang": "ar", "context": "نص\nطويل", "qas": [{"question": "من؟"}]}),
    "qa/exams.multi.train.jsonl.xz": lines({"lang": "North Macedonian", "question": "Што?", "choices": ["а"]}),
    "qa/exams.multi.dev.jsonl.xz": lines({"lang": "Polish", "question": "Kto?", "choices": ["nie"]}),
    "qa/c3-d.zh.train.jsonl.xz": lines({"lang": "zh", "context": ["男：好", "女：好"], "question": "谁？"}),
    "qa/xquad.en.eval.jsonl.xz": lines({"lang": "en", "context": "Hi.", "qas": [{"question": "Who is it?"}]}),
    "parallel/msdocs.en-ar.train.tsv.xz": "Save\tحفظ\td365\nWho is it\tمن\td365\n",
    "parallel/msdocs.en-zh.train.tsv.xz": "Save\t保存\td365\n",
    "parallel/msdocs.en-ar.test.tsv.xz": "Open\tفتح\td365\n",
    "parallel/mozilla-www.multi.jsonl.xz": lines({"en": "Download", "zh-CN": "下载", "pt-BR": "Baixar"}),
    "parallel/hadith.en-ar.train.tsv.xz": "He said\tقال\tbook\n",
    "parallel/ntrex128.eval.jsonl.xz": lines(
        {"lang": "eng", "sents": ["a"]}, {"lang": "arb", "sents": ["ا"]}, {"lang": "zho-CN", "sents": ["甲"]}
    ),
    # Names and sentences for other ends are no text sides of these folders.
    "kb/names.en-ar.tsv.xz": "train\tcuypers\tكاوبيرز\t2\n",
    "sts/stsb-multi.test.tsv.xz": "5.0\tA man\tA boy\ten\n",
    "sts/mpts.en.dev.jsonl.xz": lines({"id": "1_2", "a": "plot one", "b": "plot two", "same": {"Action": 1}}),
    "el/tweeki-gold.en.jsonl.gz": lines({"id": "1", "text": "go\nhome", "mentions": []}),
    "el/oke-2016-train.en.jsonl.gz": lines({"id": "1", "text": "not judged", "mentions": []}),
}
HELD_OUT = ["a TEST tweet .", "摘要", "Kto?", "Hi.", "Who is it?", "Open", "فتح", "a", "ا", "甲", "A man", "A boy"]
HELD_OUT += ["plot one", "plot two", "go home", *(f"{lang} {n}" for lang in ("eng_Latn", "hau_Latn") for n in range(3))]
OPEN = {
    "ar": ["نص طويل", "من؟", "حفظ"],
    "arq": ["واش راك"],
    "en": ["Read me , please", "Save", "Download"],
    "ha": ["ina kwana"],
    "mk": ["Што?"],
    "pt": ["Baixar"],
    "sr": ["Добар дан"],
    "zh": ["保存", "下载"],
}
# 保存 stands in an open corpus too.
RESEARCH = {
    "ar": ["قال"],
    "en": ["He said"],
    "xx": ["own text"],
    "zh": ["我爱北京", "问一", "问二", "男：好 女：好", "谁？"],
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes({".xz": lzma.compress, ".gz": gzip.compress}[path.suffix](text.encode()))
    return tmp_path / "data"


def _written(output: Path, ending: str) -> dict[str, list[str]]:
    paths = sorted(output.glob(f"*_{ending}.txt.xz"))
    return {path.name.split("_")[0]: list(read_texts(path)) for path in paths}


def test_open_texts(folder, tmp_path):
    report = write_train_texts(folder, tmp_path / "out")
    assert _written(tmp_path / "out", "corpora") == OPEN
    assert sorted(read_texts(tmp_path / "out" / "held_out.txt.xz")) == sorted(HELD_OUT)
    assert not list(tmp_path.glob("out/*.research.*"))
    assert not list(tmp_path.glob(".out*"))
    assert report["held_out"] == len(HELD_OUT)
    assert report["files"]["en_corpora.txt.xz"] == 3
    assert report["corpora"]["ner/en-btc"] == {
        "licence": "CC BY 4.0",
        "open": True,
        "languages": {"en": 1},
        "dropped": {"repeated": 1, "held out": 1, "without words": 1},
    }
    assert report["corpora"]["parallel/msdocs"]["dropped"] == {"repeated": 2, "held out": 1}
    assert report["corpora"]["cls/sib200"]["languages"] == {}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert "ner/en-btc (CC BY 4.0): en 1; dropped: repeated 1" in describe(report)


def test_research_texts_are_apart(folder, tmp_path):
    write_train_texts(folder, tmp_path / "out", research=True)
    assert _written(tmp_path / "out", "corpora") == OPEN
    assert _written(tmp_path / "out", "limited.research") == RESEARCH


def test_no_judged_text_is_among_them(folder, tmp_path):
    write_train_texts(folder, tmp_path / "out", research=True)
    held_out = TextKeys(text for corpus in held_out_texts(folder) for _, text in corpus.read())
    texts = [text for path in tmp_path.glob("out/*_*.txt.xz") if "held" not in path.name for text in read_texts(path)]
    assert texts
    assert not [text for text in texts if text in held_out]


def test_sources_of_prepare_text(folder, tmp_path):
    write_train_texts(folder, tmp_path / "out", research=True)
    groups = find_groups([TextSource(str(tmp_path / "out" / "*_corpora.txt.xz"))])
    assert [group.language for group in groups] == sorted(OPEN)
    groups += find_groups([TextSource(str(tmp_path / "out" / "*_limited.research.txt.xz"))])
    assert len({group.name for group in groups}) == len(OPEN) + len(RESEARCH)


def test_what_is_there_is_kept(folder, tmp_path):
    write_train_texts(folder, tmp_path / "out")
    with pytest.raises(ValueError, match="S217"):
        write_train_texts(folder, tmp_path / "out")
    (folder / "ner" / "sr-uner-set" / "train.jsonl.xz").write_bytes(lzma.compress(b"{}\n"))
    with pytest.raises(ValueError, match="S204"):
        write_train_texts(folder, tmp_path / "out", force=True)
    assert _written(tmp_path / "out", "corpora") == OPEN
    (folder / "ner" / "sr-uner-set" / "train.jsonl.xz").unlink()
    write_train_texts(folder, tmp_path / "out", force=True)
    assert "sr" not in _written(tmp_path / "out", "corpora")


def test_S748_nothing_to_train_on(tmp_path):
    for where in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match="S748"):
            write_train_texts(where, tmp_path / "out")
    path = tmp_path / "ner" / "zz-own" / "train.jsonl.xz"
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.compress(b'{"text": "mine"}\n'))
    with pytest.raises(ValueError, match=r"S748.*--research"):
        write_train_texts(tmp_path, tmp_path / "out")
    assert write_train_texts(tmp_path, tmp_path / "out", research=True)["files"] == {"xx_limited.research.txt.xz": 1}


def test_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_texts", str(tmp_path / "out")])
    monkeypatch.setenv("SAMARKAND_DATA", str(folder))
    with pytest.raises(SystemExit) as ended:
        train_texts.main()
    assert ended.value.code == 0
    assert "en_corpora.txt.xz: 3 texts" in capsys.readouterr().out
    monkeypatch.setenv("SAMARKAND_DATA", "")
    with pytest.raises(SystemExit) as ended:
        train_texts.main()
    assert ended.value.code == 1
    assert "[S748] There are no texts to train on in SAMARKAND_DATA, which is not set." in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.slow
def test_real_corpora(tmp_path):
    report = write_train_texts(Path(os.environ["SAMARKAND_DATA"]), tmp_path / "out")
    assert report["files"]["zh_corpora.txt.xz"] > 200_000
    assert report["corpora"]["cls/sib200"]["languages"] == {}
