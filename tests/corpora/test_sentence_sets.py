"""Sets of scored pairs: their names, splits and terms, and one clear line for what is missing or broken."""

import gzip
import lzma
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.sentence_files import family_of, is_asked, json_rows, tsv_columns, tsv_rows
from samarkand.corpora.sentence_sets import STS_FILES, sts_names, sts_sets

ROWS = {
    "sts/sts12-16.en.test.tsv.xz": "4.4\ta b\tc d\tSTS12.MSRpar\n0\te\tf\tSTS16.headlines\n1\tg\th\tSTS12.OnWN\n",
    "sts/stsb-multi.test.tsv.xz": "5.0\tA\tB\ten\n2\t你\t他\tzh\n",
    "sts/sick.en.test.tsv.gz": "3.3\tx\ty\tNEUTRAL\n",
    "sts/sts17.track1.ar-ar.test.tsv": "0.8\tشخص\tرجل\ttrack1.ar-ar\n",
    "sts/zh/afqmc.dev.tsv.gz": "0\t花呗\t借呗\n1\t花呗\t花呗\n",
    "sts/zh/afqmc.train.tsv.xz": "1\t一\t二\n",
}
TEST_SIZES = {
    "sts12": 2358,
    "sts13": 1500,
    "sts14": 3750,
    "sts15": 3000,
    "sts16": 1186,
    "sick": 4927,
    **{f"stsb-multi/{lang}": 1379 for lang in ("en", "zh", "es", "fr", "de", "ru", "ja")},
    **{f"sts17/track{track}": 250 for track in ("1.ar-ar", "3.es-es", "4a.es-en", "4b.es-en", "5.en-en")},
    "afqmc": 4316,
    "lcqmc": 12500,
    "oppo": 10000,
    "pawsx-zh": 2000,
    "stsb-zh-cnsd": 1361,
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".xz": lzma.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text.encode()))
    return path


@pytest.fixture
def folder(tmp_path):
    for name, text in ROWS.items():
        write(tmp_path / name, text)
    return tmp_path


def test_every_set_at_hand_in_the_split_that_judges(folder):
    sets = sts_sets(folder)
    assert [(s.name, s.lang, s.split, len(s.scores)) for s in sets] == [
        ("sts12", "en", "test", 2),
        ("sts16", "en", "test", 1),
        ("sick", "en", "test", 1),
        ("stsb-multi/en", "en", "test", 1),
        ("stsb-multi/zh", "zh", "test", 1),
        ("sts17/track1.ar-ar", "ar-ar", "test", 1),
        ("afqmc", "zh", "dev", 2),
    ]
    assert (sets[0].first, sets[0].second, sets[0].scores) == (["a b", "g"], ["c d", "h"], [4.4, 1.0])


def test_sets_are_chosen_by_name_family_split_and_terms(folder):
    assert [s.name for s in sts_sets(folder, ["stsb-multi"])] == ["stsb-multi/en", "stsb-multi/zh"]
    assert [s.name for s in sts_sets(folder, ["stsb-multi/zh", "sick"])] == ["sick", "stsb-multi/zh"]
    assert [(s.name, s.split) for s in sts_sets(folder, split="train")] == [("afqmc", "train")]
    (only,) = sts_sets(folder, open_only=True)
    assert (only.name, only.licence, only.open) == ("sts17/track1.ar-ar", "CC BY-SA 4.0", True)


def test_what_is_missing_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"\[S840\] No corpora in .*nowhere"):
        sts_sets(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"\[S841\] The file .*oppo.dev.tsv.xz is missing"):
        sts_sets(folder, ["oppo"])
    with pytest.raises(ValueError, match=r"\[S843\] There is no set 'sts18'. Known: sts12, "):
        sts_sets(folder, ["sts18"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1\tonly\n", "3 fields"),
        ("1\ta\t \n", "3 fields"),
        ("high\ta\tb\n", "'high' is no score"),
        ("nan\ta\tb\n", "'nan' is no score"),
    ],
)
def test_broken_rows_are_named(folder, line, reason):
    write(folder / "sts/sick.en.test.tsv.gz", "1\ta\tb\n" + line)
    with pytest.raises(ValueError, match=rf"\[S842\] .*sick.en.test.tsv.gz, line 2: .*{reason}"):
        sts_sets(folder, ["sick"])


def test_an_unknown_key_is_named(folder):
    write(folder / "sts/stsb-multi.test.tsv.xz", "1\ta\tb\ttlh\n")
    with pytest.raises(ValueError, match=r"\[S842\] .*line 1: no set has the key 'tlh'"):
        sts_sets(folder, ["stsb-multi"])


def test_files_cut_short_are_named(folder):
    path = folder / "sts/sick.en.test.tsv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"\[S208\] .*sick.en.test.tsv.gz"):
        sts_sets(folder, ["sick"])


def test_columns_need_their_headings(tmp_path):
    path = write(tmp_path / "a.tsv", "id\ten\n1\tone\n")
    assert tsv_columns(path, "id", "en") == {"id": ["1"], "en": ["one"]}
    with pytest.raises(ValueError, match=r"\[S842\] .*line 1: no list under 'ar'"):
        tsv_columns(path, "en", "ar")
    write(path, "id\ten\n1\tone\ttwo\n")
    with pytest.raises(ValueError, match=r"\[S842\] .*line 2: 3 fields under 2 headings"):
        tsv_columns(path, "id", "en")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"en": 1}', "no str under 'en'"),
        ("{}", "no str under 'en'"),
        ('{"en": "a", "n": ' + "9" * 5000 + "}", "not JSON: ValueError"),
        ("[" * 200_000, "not JSON"),
        ('{"en": "\\ud83d"}', "half of a surrogate pair"),
    ],
    ids=["no JSON", "a list", "another kind", "nothing", "a long number", "deep", "half a pair"],
)
def test_json_rows_hold_what_they_have_to(tmp_path, line, reason):
    path = write(tmp_path / "a.jsonl", '{"en": "a"}\n' + line)
    with pytest.raises(ValueError, match=rf"\[S842\] .*line 2: {reason}"):
        list(json_rows(path, en=str))


@given(
    st.lists(st.lists(st.text("ab é你", min_size=1).filter(str.strip), min_size=2, max_size=4), min_size=1, max_size=5)
)
def test_rows_survive(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("rows") / "a.tsv", "".join("\t".join(row) + "\n" for row in rows))
    assert [fields for _, fields in tsv_rows(path, 2)] == rows


@pytest.mark.parametrize("name", sts_names())
def test_every_name_is_asked_for_by_itself_and_by_its_family(name):
    assert is_asked(name, None)
    assert is_asked(name, [name])
    assert is_asked(name, [family_of(name)])
    assert not is_asked(name, [])


def test_one_set_has_one_file_a_split():
    keys = [(name, file.split) for file in STS_FILES for name, _ in file.sets.values() if "12-16" not in file.path]
    assert len(set(keys)) == len(keys)


@pytest.mark.data
def test_the_real_sets_have_their_sizes():
    sets = sts_sets(os.environ["SAMARKAND_DATA"])
    assert {s.name: len(s.scores) for s in sets} == TEST_SIZES
    for s in sets:
        assert len(s.first) == len(s.second) == len(s.scores)
        assert 0 <= min(s.scores) < max(s.scores) <= 5


@pytest.mark.data
def test_the_real_sets_have_their_other_splits():
    train = {s.name: len(s.scores) for s in sts_sets(os.environ["SAMARKAND_DATA"], split="train")}
    multi = {name: 5749 for name in train if name.startswith("stsb-multi")}
    assert len(multi) == 7
    assert train == {"sts12": 1484, "sick": 4500, "afqmc": 34334, "stsb-zh-cnsd": 5231, **multi}
    dev = {s.name: len(s.scores) for s in sts_sets(os.environ["SAMARKAND_DATA"], split="dev")}
    multi = {name: 1500 for name in dev if name.startswith("stsb-multi")}
    sizes = {"sick": 500, "lcqmc": 8802, "oppo": 10000, "pawsx-zh": 2000, "stsb-zh-cnsd": 1458, "afqmc": 4316}
    assert dev == {**sizes, **multi}
