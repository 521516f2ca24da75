"""Indexing and searching corpora: from files to neighbours, with what cannot be indexed accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from samarkand.errors import SamarkandWarning
from samarkand.models.search_index import SearchIndex
from samarkand.pipeline import index_corpus as index_corpus_module
from samarkand.pipeline import search_corpus as search_corpus_module
from samarkand.pipeline.index_cli import index_cli, search_cli
from samarkand.pipeline.index_corpus import index_corpus
from samarkand.pipeline.search_corpus import read_conditions, search_corpus
from samarkand.pipeline.sources import UsageError
from typer.testing import CliRunner

WIDTH = 8
TEXTS = ["the cat sat", "قط على الحصير", "猫坐在垫子上", "a dog ran"]
app = typer.Typer()
app.command("index")(index_cli)
app.command("search")(search_cli)
runner = CliRunner()


class Letters:
    """An encoder that counts letters, and fails at the word "break"."""

    def __init__(self, fingerprint: str = "letters") -> None:
        self.fingerprint, self.width, self.texts = fingerprint, WIDTH, []

    def encode(self, texts, *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for row, text in enumerate(texts):
            if "break" in text:
                raise RuntimeError("out of order")
            if "nan" in text:
                vectors[row] = np.nan
            for letter in text.strip():
                vectors[row, ord(letter) % WIDTH] += 1
        self.texts += texts
        return vectors


@pytest.fixture
def corpus(tmp_path) -> Path:
    lines = [
        {"text": text, "n": i, "lang": ["en", "ar", "zh", "en"][i], "key": f"k{i}"} for i, text in enumerate(TEXTS)
    ]
    path = tmp_path / "in" / "a.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def ids(folder: Path) -> set[str]:
    with SearchIndex.open(folder, verify=True) as index:
        return {hit.id for hit in index.search(np.ones((1, WIDTH)), 1000)[0]}


def quarantine(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def test_records_become_entries(corpus, tmp_path):
    summary = index_corpus(corpus, tmp_path / "i", model=Letters(), batch_size=3)
    assert (summary["added"], summary["quarantined"], summary["records"]) == (4, 0, 4)
    assert json.loads((tmp_path / "i" / "run.json").read_text(encoding="utf-8")) == summary
    assert ids(tmp_path / "i") == {f"{corpus}:{line}" for line in (1, 2, 3, 4)}
    with SearchIndex.open(tmp_path / "i", fingerprint="letters") as index:
        hit = index.search(Letters().encode([TEXTS[1]]), 1, filter={"lang": "ar"})[0][0]
        assert (hit.text, hit.metadata) == (TEXTS[1], {"n": 1, "lang": "ar", "key": "k1"})
        assert index.state.metric == "cosine"


def test_settings_of_a_new_index(corpus, tmp_path):
    index_corpus(corpus, tmp_path / "i", model=Letters(), metric="ip", factory="HNSW16", memory="1GB", id_field="key")
    with SearchIndex.open(tmp_path / "i") as index:
        state = index.state
        assert (state.metric, state.factory, state.memory) == ("ip", "HNSW16", 10**9)
        assert (index.factory, state.indexed) == ("HNSW16", 4)
        assert index.search(np.ones((1, WIDTH)), 1)[0][0].metadata.keys() == {"n", "lang"}
    assert ids(tmp_path / "i") == {"k0", "k1", "k2", "k3"}


def test_sentences_are_entries(tmp_path):
    (tmp_path / "a.txt").write_text("The cat sat. The dog ran!\n猫坐。狗跑。\nهل قط؟ نعم.\n", encoding="utf-8")
    summary = index_corpus(tmp_path / "a.txt", tmp_path / "i", model=Letters(), unit="sentence")
    assert summary["added"] == 6
    assert ids(tmp_path / "i") == {f"{tmp_path}/a.txt:{line}#{n}" for line in (1, 2, 3) for n in (1, 2)}


def test_a_blank_record_is_accounted_for_by_sentence_too(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "A cat. A dog."}\n{"text": " "}\n', encoding="utf-8")
    with pytest.warns(SamarkandWarning, match=r"SW820.* 2 of 4 "):
        summary = index_corpus(tmp_path / "a.jsonl", tmp_path / "i", model=Letters(), unit="sentence")
    assert (summary["added"], summary["blank"]) == (4, 2)


def test_bad_records_go_to_quarantine_and_the_rest_goes_on(tmp_path):
    lines = ['{"text": "good one", "key": "a"}', '{"text": "will break", "key": "b"}', "not json"]
    lines += ['{"text": "a nan", "key": "c"}', '{"text": "same key", "key": "a"}', '{"text": "no key"}']
    lines += ['{"text": "t", "key": "d", "x": "\\ud800"}', '{"key": "e"}', '{"text": "good two", "key": 7}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    summary = index_corpus(tmp_path / "a.jsonl", tmp_path / "i", model=Letters(), id_field="key")
    assert ids(tmp_path / "i") == {"a", "7"}
    assert summary["reasons"] == {"S521": 1, "S522": 1, "S837": 2, "S838": 3}
    noted = {entry["line"]: entry["code"] for entry in quarantine(tmp_path / "i")}
    assert noted == {2: "S837", 3: "S521", 4: "S837", 5: "S838", 6: "S838", 7: "S838", 8: "S522"}
    reasons = {entry["line"]: entry["reason"] for entry in quarantine(tmp_path / "i")}
    assert "out of order" in reasons[2]
    assert "'a' is there already" in reasons[5]


def test_a_run_that_stopped_is_repeated_with_add(corpus, tmp_path):
    class Stops(Letters):
        def encode(self, texts, **options):
            if TEXTS[2] in texts:
                raise KeyboardInterrupt
            return super().encode(texts, **options)

    with pytest.raises(KeyboardInterrupt):
        index_corpus(corpus, tmp_path / "i", model=Stops(), batch_size=2, add=True)
    assert len(ids(tmp_path / "i")) == 2
    encoder = Letters()
    summary = index_corpus(corpus, tmp_path / "i", model=encoder, batch_size=2, add=True)
    assert (summary["added"], summary["skipped"], summary["records"]) == (2, 2, 4)
    assert encoder.texts == TEXTS[2:]
    again = index_corpus([corpus, corpus.parent], tmp_path / "i", model=encoder, add=True, limit=3)
    assert (again["added"], again["skipped"]) == (0, 3)


def test_blank_texts_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": " "}\n', encoding="utf-8")
    with pytest.warns(SamarkandWarning, match=r"SW820.*1 of 2"):
        index_corpus(tmp_path / "a.jsonl", tmp_path / "i", model=Letters())
    assert len(ids(tmp_path / "i")) == 1


def test_input_that_a_side_file_would_replace_is_refused(corpus, tmp_path):
    kept = corpus.rename(tmp_path / "in" / "quarantine.jsonl")
    before = kept.read_bytes()
    with pytest.raises(UsageError, match=r"\[S505\] The output of .*in would replace the input .*quarantine.jsonl"):
        index_corpus(kept, kept.parent, model=Letters())
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"unit": "word"}, r"S507.*unit"),
        ({"batch_size": 0}, r"S507.*batch_size"),
        ({"limit": 0}, r"S507.*limit"),
        ({"txt_unit": "x"}, r"S507.*txt_unit"),
        ({"memory": "much"}, r"S751"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(corpus, tmp_path, options, code):
    with pytest.raises(UsageError, match=code):
        index_corpus(corpus, tmp_path / "i", model=Letters(), **options)
    assert not (tmp_path / "i").exists()


def test_an_index_is_not_overwritten_nor_mixed(corpus, tmp_path):
    index_corpus(corpus, tmp_path / "i", model=Letters())
    with pytest.raises(UsageError, match="S821"):
        index_corpus(corpus, tmp_path / "i", model=Letters())
    with pytest.raises(ValueError, match="S831"):
        index_corpus(corpus, tmp_path / "i", model=Letters("other"), add=True)


def test_search(corpus, tmp_path):
    index_corpus(corpus, tmp_path / "i", model=Letters())
    found = list(search_corpus(tmp_path / "i", TEXTS, k=2, model=Letters()))
    assert [answer["text"] for answer in found] == TEXTS
    assert [answer["neighbours"][0]["text"] for answer in found] == TEXTS
    assert found[0]["neighbours"][0]["metadata"] == {"n": 0, "lang": "en", "key": "k0"}
    queries = tmp_path / "q.txt"
    queries.write_text("\n".join(TEXTS), encoding="utf-8")
    more = list(search_corpus(tmp_path / "i", ["first"], queries=queries, k=2, model=Letters(), verify=True))
    assert more[1:] == found
    only = list(search_corpus(tmp_path / "i", TEXTS[:1], conditions=["lang=ar", "lang=zh", "n<2"], model=Letters()))
    assert [hit["metadata"]["n"] for hit in only[0]["neighbours"]] == [1]


def test_S516_a_file_in_the_place_of_the_index_is_told(corpus, tmp_path):
    (tmp_path / "i").touch()
    for place in (tmp_path / "i", tmp_path / "i" / "inside"):
        with pytest.raises(UsageError, match=r"S516.*i is a file"):
            index_corpus(corpus, place, model=Letters())


def test_bad_searches(corpus, tmp_path):
    index_corpus(corpus, tmp_path / "i", model=Letters())

    def search(*arguments, **options) -> list:
        return list(search_corpus(tmp_path / "i", *arguments, **options))

    with pytest.raises(UsageError, match="S835"):
        search()
    with pytest.raises(UsageError, match="S835"):
        search(["a"], k=0, model=Letters())
    with pytest.raises(UsageError, match="S839"):
        search(["a"])
    with pytest.raises(ValueError, match="S831"):
        search(["a"], model=Letters("other"))
    with pytest.raises(UsageError, match=r"S507.*filter"):
        search(["a"], conditions=["lang"], model=Letters())
    (tmp_path / "q.jsonl").write_text("no\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"S521.*line 1"):
        search(queries=tmp_path / "q.jsonl", model=Letters())


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ([], None),
        (["lang=ar"], {"lang": ["ar"]}),
        (["lang = ar ", "lang=zh"], {"lang": ["ar", "zh"]}),
        (["year=2020"], {"year": [2020, "2020"]}),
        (["year>=2020", "year<2024", "n!=3"], {"year": {">=": 2020, "<": 2024}, "n": {"!=": 3}}),
        (["a=b=c"], {"a": ["b=c"]}),
        (["ok=true"], {"ok": [True, "true"]}),
        (["x="], {"x": [""]}),
        (["name=NaN", "name=1e999"], {"name": ["NaN", "1e999"]}),
        ([f"isbn={10**30}"], {"isbn": [str(10**30)]}),
    ],
)
def test_conditions_of_the_command_line(conditions, wanted):
    assert read_conditions(conditions) == wanted


def test_one_field_has_one_kind_of_condition():
    with pytest.raises(UsageError, match="S507"):
        read_conditions(["a=1", "a>2"])


def invoke(*arguments: object):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def named(monkeypatch) -> None:
    """Encoders by the names "letters" and "other"."""
    for module in (index_corpus_module, search_corpus_module):
        monkeypatch.setattr(module, "load_encoder", lambda name: Letters(str(name)))


def test_commands(corpus, tmp_path, named):
    options = ["--output", tmp_path / "i", "--model", "letters", "--id-field", "key"]
    result = invoke("index", corpus, *options, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["encoder"] == "letters"
    assert invoke("index", corpus, *options).exit_code == 2
    result = invoke("index", corpus, *options, "--add")
    assert result.exit_code == 0
    assert "0 records added" in result.stdout
    assert "4 were there" in result.stdout
    result = invoke("search", tmp_path / "i", TEXTS[2], "-k", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{TEXTS[2]}\n  1.000  k2  {TEXTS[2]}\n"
    result = invoke("search", tmp_path / "i", "x", "y", "--filter", "lang=en", "--json", "-k", 5)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(answer["neighbours"]) for answer in answers] == [2, 2]


def test_exit_statuses_of_commands(corpus, tmp_path, named):
    corpus.write_text('{"text": "fine"}\n{"text": "break"}\n', encoding="utf-8")
    result = invoke("index", corpus, "-o", tmp_path / "i", "-m", "letters")
    assert result.exit_code == 3
    assert "S837 1" in result.stdout
    result = invoke("search", tmp_path / "i", "x", "--model", "other")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: [S831]")
    result = invoke("search", tmp_path / "none", "x")
    assert (result.exit_code, result.stderr[:13]) == (1, "error: [S820]")
    assert invoke("search", tmp_path / "i").exit_code == 2
