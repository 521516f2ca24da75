"""Bitexts that judge and pairs that train: what they hold, that they share no file, and errors that name theirs."""

import gzip
import json
import lzma
import os
from collections import Counter
from pathlib import Path

import pytest
from samarkand.corpora.parallel_sets import BITEXT_FAMILIES, bitexts
from samarkand.corpora.training_pairs import TRAINING_SOURCES, TrainingPair, training_pairs


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


FILES = {
    "parallel/tatoeba-laser.eval.tsv.gz": "ara\tسامي\tSami\ncmn\t你好\tHello\nara\tقط\tcat\n",
    "parallel/pud.en-ar-zh.eval.tsv.gz": "id\ten\tar\tzh\nn1\tone\tواحد\t一\n",
    "parallel/ntrex128.eval.jsonl.xz": lines(
        {"lang": "eng", "sents": ["a", "b"], "doc": [1, 1]},
        {"lang": "arb", "sents": ["ا", "ب"]},
        {"lang": "zho-CN", "sents": ["甲", "乙"]},
    ),
    "cls/sib200.text.tsv.xz": "ace_Arab\t5\tص\nace_Arab\t0\tس\neng_Latn\t0\tzero\neng_Latn\t5\tfive\n",
    "parallel/tico19.multi.jsonl.xz": lines({"uid": "x", "en": "fever", "ar": "حمى", "id": "demam"}),
    "parallel/msdocs.en-ar.train.tsv.xz": "Save\tحفظ\td365\n",
    "parallel/msdocs.en-zh.train.tsv.xz": "Save\t保存\td365\n",
    "parallel/msdocs.en-ar.dev.tsv.xz": "Open\tفتح\td365\n",
    "parallel/msdocs.en-zh.dev.tsv.xz": "Open\t打开\td365\n",
    "parallel/hadith.en-ar.train.tsv.xz": "He said\tقال\tbook\n",
    "parallel/hadith.en-ar.dev.tsv.xz": "She said\tقالت\tbook\n",
    "parallel/quran.multi.tsv.xz": "verse\tar\ten\tzh\n1:1\tبِسۡمِ\tIn the name\t奉\n",
    "parallel/tatoeba-anki.en-ar.train.tsv.xz": "Run!\tاركض!\n",
    "parallel/tatoeba-anki.en-zh.train.tsv.xz": "Hi.\t嗨。\n",
    "parallel/pydocs.en-zh.train.tsv.xz": "a list\t列表\tlibrary\n",
    "parallel/mozilla-www.multi.jsonl.xz": lines({"en": "Download", "zh-CN": "下载", "ar": "تنزيل"}, {"en": "Help"}),
    "parallel/bible.multi.long.tsv.xz": "en\tG.1\tIn the beginning\nzh\tG.1\t起初\nzul\tG.1\tEkuqaleni\nzul\tG.9\tx\n",
    "sts/stsb-multi.train.tsv.xz": "5.0\tA man\tA boy\ten\n5.0\tUn homme\tUn garçon\tfr\n",
    "kb/names.en-ar.tsv.xz": "train\tcuypers\tكاوبيرز\t2\ndev\tahmad\tأحمد\t1\n",
    "kb/names.en-zh.tsv.xz": "test\tli\t李\t5\n",
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes({".xz": lzma.compress, ".gz": gzip.compress}[path.suffix](text.encode()))


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


def test_bitexts_by_family_and_language(folder):
    found = {b.name: (b.first_lang, b.second_lang, b.first, b.second) for b in bitexts(folder)}
    assert found == {
        "tatoeba-laser/ara": ("ara", "eng", ["سامي", "قط"], ["Sami", "cat"]),
        "tatoeba-laser/cmn": ("cmn", "eng", ["你好"], ["Hello"]),
        "pud/en-ar": ("en", "ar", ["one"], ["واحد"]),
        "pud/en-zh": ("en", "zh", ["one"], ["一"]),
        "pud/ar-zh": ("ar", "zh", ["واحد"], ["一"]),
        "ntrex128/arb": ("arb", "eng", ["ا", "ب"], ["a", "b"]),
        "ntrex128/zho-CN": ("zho-CN", "eng", ["甲", "乙"], ["a", "b"]),
        "ntrex128/arb-zho-CN": ("arb", "zho-CN", ["ا", "ب"], ["甲", "乙"]),
        "sib200/ace_Arab": ("ace_Arab", "eng_Latn", ["س", "ص"], ["zero", "five"]),
    }
    assert [b.name for b in bitexts(folder, ["tico19", "pud/ar-zh"])] == ["pud/ar-zh", "tico19/ar", "tico19/id"]


def test_families_that_are_not_there_are_passed_over_unless_named(folder):
    (folder / "cls/sib200.text.tsv.xz").unlink()
    assert not [b for b in bitexts(folder) if b.name.startswith("sib200")]
    with pytest.raises(FileNotFoundError, match=r"\[S841\] The file .*sib200.text.tsv.xz is missing"):
        list(bitexts(folder, ["sib200"]))


def test_unknown_names(folder):
    with pytest.raises(ValueError, match=r"\[S843\] There is no set 'europarl'. Known: tatoeba-laser, pud, "):
        list(bitexts(folder, ["europarl"]))
    with pytest.raises(ValueError, match=r"\[S843\] There is no set 'pud/fr'. Known: pud, pud/en-ar, "):
        list(bitexts(folder, ["pud/fr"]))
    with pytest.raises(ValueError, match=r"\[S843\] There is no set 'pud'. Known: msdocs, "):
        list(training_pairs(folder, ["pud"]))
    with pytest.raises(FileNotFoundError, match=r"\[S840\] No corpora in"):
        list(training_pairs(folder / "nowhere"))


@pytest.mark.parametrize(
    ("name", "text", "family"),
    [
        (
            "parallel/ntrex128.eval.jsonl.xz",
            lines({"lang": "eng", "sents": ["a"]}, {"lang": "arb", "sents": []}),
            "ntrex128",
        ),
        ("cls/sib200.text.tsv.xz", "eng_Latn\t0\ta\neng_Latn\t1\tb\nzho_Hans\t0\t甲\n", "sib200"),
        ("parallel/tico19.multi.jsonl.xz", lines({"en": "a", "ar": "ا"}, {"en": "b"}), "tico19"),
    ],
    ids=["ntrex128", "sib200", "tico19"],
)
def test_sides_of_different_length_are_refused(folder, name, text, family):
    write(folder / name, text)
    with pytest.raises(ValueError, match=rf"\[S844\] .*{Path(name).name}: \w+ has [01] sentences and \w+ has [12]"):
        list(bitexts(folder, [family]))


def test_training_pairs_by_source_and_language(folder):
    assert list(training_pairs(folder)) == [
        TrainingPair("Save", "حفظ", "ar", "msdocs"),
        TrainingPair("Save", "保存", "zh", "msdocs"),
        TrainingPair("He said", "قال", "ar", "hadith"),
        TrainingPair("In the name", "بِسۡمِ", "ar", "quran"),
        TrainingPair("In the name", "奉", "zh", "quran"),
        TrainingPair("Run!", "اركض!", "ar", "tatoeba-anki"),
        TrainingPair("Hi.", "嗨。", "zh", "tatoeba-anki"),
        TrainingPair("a list", "列表", "zh", "pydocs"),
        TrainingPair("Download", "下载", "zh", "mozilla-www"),
        TrainingPair("Download", "تنزيل", "ar", "mozilla-www"),
        TrainingPair("In the beginning", "Ekuqaleni", "zul", "bible"),
        TrainingPair("A man", "Un homme", "fr", "stsb-multi"),
        TrainingPair("A boy", "Un garçon", "fr", "stsb-multi"),
        TrainingPair("cuypers", "كاوبيرز", "ar", "names"),
        TrainingPair("In the beginning", "起初", "zh", "bible-zh"),
    ]
    assert [p.other for p in training_pairs(folder, split="dev")] == ["فتح", "打开", "قالت"]
    assert {p.source for p in training_pairs(folder, ["quran", "bible"])} == {"quran", "bible"}


def test_open_pairs_only(folder):
    closed = {p.source for p in training_pairs(folder)} - {p.source for p in training_pairs(folder, open_only=True)}
    assert closed == {"hadith", "bible-zh"}
    assert all(source.licence for source in TRAINING_SOURCES.values())


def test_a_missing_or_broken_training_file_is_named(folder):
    write(folder / "parallel/pydocs.en-zh.train.tsv.xz", "one\n")
    with pytest.raises(ValueError, match=r"\[S842\] .*pydocs.en-zh.train.tsv.xz, line 1: 2 fields"):
        list(training_pairs(folder))
    (folder / "parallel/quran.multi.tsv.xz").write_bytes(b"no xz")
    with pytest.raises(ValueError, match=r"\[S208\] .*quran.multi.tsv.xz"):
        list(training_pairs(folder, ["quran"]))
    (folder / "parallel/quran.multi.tsv.xz").unlink()
    with pytest.raises(FileNotFoundError, match=r"\[S841\] The file .*quran.multi.tsv.xz is missing"):
        list(training_pairs(folder))


def test_sides_that_do_not_match_are_no_pairs(folder):
    write(folder / "sts/stsb-multi.train.tsv.xz", "5.0\tA man\tA boy\ten\n" + "5.0\tUn homme\tUn garçon\tfr\n" * 2)
    with pytest.raises(ValueError, match=r"\[S844\] .*stsb-multi.train.tsv.xz: fr has 2 sentences and en has 1"):
        list(training_pairs(folder, ["stsb-multi"]))


def test_no_file_both_judges_and_trains():
    trains = {path for source in TRAINING_SOURCES.values() for paths in source.paths.values() for path in paths}
    assert not trains & {family.path for family in BITEXT_FAMILIES.values()}
    assert not [path for path in trains if "eval" in path]


@pytest.mark.data
def test_the_real_bitexts_have_their_sizes():
    sizes = {b.name: len(b.first) for b in bitexts(os.environ["SAMARKAND_DATA"]) if len(b.first) == len(b.second)}
    families = Counter(name.partition("/")[0] for name in sizes)
    assert families == {"tatoeba-laser": 16, "pud": 3, "ntrex128": 46, "sib200": 204}
    short = {"tatoeba-laser/arz": 477, "tatoeba-laser/swh": 390, "tatoeba-laser/amh": 168}
    usual = {"tatoeba-laser": 1000, "pud": 1000, "ntrex128": 1997, "sib200": 1004}
    assert sizes == {name: short.get(name, usual[name.partition("/")[0]]) for name in sizes}
    tico = list(bitexts(os.environ["SAMARKAND_DATA"], ["tico19"]))
    assert (len(tico), {len(b.first) for b in tico}) == (22, {3071})


@pytest.mark.data
def test_the_real_training_pairs_have_their_sizes():
    counts = Counter((p.source, p.lang) for p in training_pairs(os.environ["SAMARKAND_DATA"]))
    expected = {
        ("msdocs", "ar"): 171_373,
        ("msdocs", "zh"): 174_298,
        ("hadith", "ar"): 36_004,
        ("tatoeba-anki", "ar"): 11_646,
        ("tatoeba-anki", "zh"): 20_225,
        ("pydocs", "zh"): 55_200,
        ("mozilla-www", "ar"): 2_197,
        ("bible-zh", "zh"): 30_957,
        **{("stsb-multi", lang): 11_498 for lang in ("zh", "es", "fr", "de", "ru", "ja")},
        ("names", "ar"): 41_584,
        ("names", "zh"): 39_239,
        **{("quran", lang): 6_236 for lang in ("ar", "zh", "bn", "es", "fr", "id", "ru", "tr", "ur")},
    }
    assert expected.items() <= counts.items()
    sources = Counter(source for source, _ in counts)
    assert (sources["bible"], sources["mozilla-www"]) == (10, 34)


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("dev", {("msdocs", "ar"): 1088, ("msdocs", "zh"): 1072, ("hadith", "ar"): 1000}),
        ("test", {("msdocs", "ar"): 1650, ("msdocs", "zh"): 1625, ("hadith", "ar"): 1000, ("pydocs", "zh"): 1000}),
    ],
)
def test_the_real_held_out_pairs_have_their_sizes(split, sizes):
    assert Counter((p.source, p.lang) for p in training_pairs(os.environ["SAMARKAND_DATA"], split=split)) == sizes
