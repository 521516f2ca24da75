"""Judging linkers: figures by set and language, from sets of people, silver and files of one's own."""

import gzip
import json

import pytest
import samarkand
from linking_pipelines import make_kb
from samarkand.corpora.linking_sets import LinkingSet
from samarkand.corpora.records import write_records
from samarkand.models.knowledge_base import KnowledgeBase
from samarkand.pipeline.cli import app
from samarkand.pipeline.given_mentions import load_linker
from samarkand.pipeline.linking_evaluation import evaluate_linker, load_linking_sets, title_finder
from samarkand.pipeline.linking_report import linking_tables, write_linking_results
from samarkand.pipeline.sources import UsageError
from typer.testing import CliRunner

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    return make_kb(tmp_path_factory.mktemp("kb"))


@pytest.fixture(scope="module")
def nlp(kb):
    return load_linker(None, kb)


def span(text, surface, **more):
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), "label": "LOC", **more}


def record(text, **links):
    return {"text": text, "spans": [span(text, surface, kb_id=id) for surface, id in links.items()]}


TWEETS = LinkingSet(
    "tweeki-gold",
    "en",
    "test",
    "",
    [
        record("Paris in France", Paris="Q90", France="Q142"),
        record("Paris or Lyon", Paris="Q830149", Lyon=None),
        record("Bergen in Norway", Bergen="Q26793", Norway=None),
    ],
)


def test_scores_by_set_and_by_language(nlp):
    chinese = LinkingSet("silver/zh", "zh", "test", "", [record("他在巴黎。", 巴黎="Q90")])
    training = LinkingSet("oke-2016/train", "zh", "train", "", [record("他在巴黎。", 巴黎="Q142")])
    results = evaluate_linker(nlp, [TWEETS, chinese, training], ks=(1, 2))
    tweets, silver, _ = results["sets"]
    assert (tweets["documents"], tweets["mentions"], tweets["linkable"], tweets["outside"]) == (3, 6, 3, 1)
    assert tweets["linkable_accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    assert tweets["recall_at"] == {"1": pytest.approx(2 / 3, abs=1e-5), "2": 1}
    assert (tweets["nil_recall"], tweets["nil_precision"]) == (1, 1)
    assert silver["micro_f1"] == 1
    # A set that is there to train on does not count for its language.
    assert results["languages"]["zh"]["mentions"] == 1
    assert results["short_text"]["micro_f1"] == tweets["micro_f1"]
    assert (results["mentions"], results["kb"]["entities"]) == (8, 4)


def test_pages_that_are_not_found_are_left_out_and_counted(nlp, kb):
    text = "Paris oder Bergen"
    spans = [span(text, "Paris", title="Frankreich"), span(text, "Bergen", kb_id=None)]
    pages = LinkingSet("news-100", "de", "test", "", [{"text": text, "spans": spans}])
    (row,) = evaluate_linker(nlp, [pages])["sets"]
    assert (row["mentions"], row["unresolved"]) == (1, 1)
    with KnowledgeBase(kb) as opened:
        assert title_finder(opened, "ar")("باريس") == "Q90"
        # Two are called so.
        assert title_finder(opened, "en")("Paris") is None
        assert title_finder(opened, "de")("Paris") is None


def test_alternatives_limits_and_tokens_that_mentions_cut(nlp):
    text = "Paris-based"
    spans = [span(text, "Paris", kb_id="Q1", alternatives=["Q90"])]
    own = LinkingSet("own", "en", "test", "", [{"text": text, "spans": spans}] * 3)
    results = evaluate_linker(nlp, [own], limit=2, batch_size=1)
    assert (results["mentions"], results["sets"][0]["micro_f1"]) == (2, 1)
    with pytest.raises(UsageError, match=r"\[S507\]"):
        evaluate_linker(nlp, [own], limit=0)


@pytest.fixture
def corpora(tmp_path):
    (tmp_path / "el").mkdir()
    row = {"id": "a", "text": "Paris", "lang": "en", "mentions": [{"start": 0, "end": 5, "qid": "Q90"}]}
    with gzip.open(tmp_path / "el/tweeki-gold.en.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    for name in ("ar/test", "ar/patterns.test", "ar/train"):
        (tmp_path / "silver/ar").mkdir(parents=True, exist_ok=True)
        write_records(tmp_path / f"silver/{name}.jsonl", [record("باريس", باريس="Q90")])
    write_records(tmp_path / "mine.jsonl", [record("Paris", Paris="Q90")])
    return tmp_path


def names(*arguments):
    return [each.name for each in load_linking_sets(*arguments)]


def test_sets_are_found_by_name(corpora):
    silver = corpora / "silver"
    assert names(corpora, None, silver) == ["tweeki-gold", "silver-patterns/ar", "silver/ar"]
    assert names(corpora, ["silver", "tweeki-gold"], silver) == ["tweeki-gold", "silver/ar"]
    assert names(None, ["silver/ar"], silver) == ["silver/ar"]
    assert names(None, [str(corpora / "mine.jsonl")]) == ["mine"]
    with pytest.raises(ValueError, match=r"\[S843\].*silver-patterns"):
        names(corpora, ["gold"], silver)
    with pytest.raises(UsageError, match=r"\[S954\]"):
        names(None, None)
    with pytest.raises(UsageError, match=r"\[S954\]"):
        names(None, ["tweeki-gold"])


def test_languages_of_ones_own_file_are_told_apart(corpora):
    path = corpora / "mine.jsonl"
    write_records(path, [{**record("Paris", Paris="Q90"), "lang": lang} for lang in ("en", "fr", "en")])
    found = {each.name: (each.lang, len(each.records)) for each in load_linking_sets(None, [str(path)])}
    assert found == {"mine/en": ("en", 2), "mine/fr": ("fr", 1)}


def test_ones_own_file_counts_under_any_name(tmp_path, nlp):
    path = tmp_path / "silver-mine.jsonl"
    unlinked = {"text": "Paris", "lang": "en", "spans": [span("Paris", "Paris")]}
    write_records(path, [{**record("Paris", Paris="Q90"), "lang": "en"}, unlinked])
    results = evaluate_linker(nlp, load_linking_sets(None, [str(path)]))
    assert results["languages"]["en"]["mentions"] == 1
    # Of what nobody has linked there was no page to be found.
    assert results["sets"][0]["unresolved"] == 0


@pytest.mark.parametrize("alternatives", ["Q90", None, 5, [None], ["Q142", 5]])
def test_S952_alternatives_that_are_no_list_of_ids(tmp_path, alternatives):
    path = tmp_path / "mine.jsonl"
    wrong = {"text": "Paris", "spans": [span("Paris", "Paris", kb_id="Q90", alternatives=alternatives)]}
    path.write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match=r"\[S952\].*mine\.jsonl, record 1, number 1 has alternatives"):
        load_linking_sets(None, [str(path)])


@pytest.mark.parametrize(("start", "end"), [(0, 99), (5, 6)])
def test_S952_mentions_outside_of_the_text(corpora, start, end):
    path = corpora / "mine.jsonl"
    spans = [{"start": start, "end": end, "label": "LOC", "kb_id": "Q90"}]
    path.write_text(json.dumps(record("Paris", Paris="Q90")) + "\n" + json.dumps({"text": "Paris is", "spans": spans}))
    with pytest.raises(ValueError, match=r"\[S952\].*mine\.jsonl, record 2, number 1"):
        load_linking_sets(None, [str(path)])


def test_tables_and_file(nlp, tmp_path):
    results = evaluate_linker(nlp, [TWEETS])
    tables = list(linking_tables(results))
    assert [table.row_count for table in tables] == [3, 2]
    write_linking_results(results, tmp_path / "new" / "results.json")
    assert json.loads((tmp_path / "new" / "results.json").read_text(encoding="utf-8")) == results


def test_command_line(corpora, kb, monkeypatch):
    monkeypatch.setenv("SAMARKAND_DATA", str(corpora))
    output = corpora / "results.json"
    result = RUNNER.invoke(app, ["evaluate-linker", str(kb), "-o", str(output)])
    assert result.exit_code == 0
    assert "tweeki-gold" in result.stdout
    assert json.loads(output.read_text(encoding="utf-8"))["mentions"] == 1
    samarkand.blank("xx").to_disk(corpora / "blank")
    result = RUNNER.invoke(app, ["evaluate-linker", str(corpora / "blank")])
    assert result.exit_code == 2
    assert "[S951]" in result.stderr
    result = RUNNER.invoke(app, ["evaluate-linker", str(kb), "--json", "-o", str(output), "-s", "tweeki-gold"])
    assert json.loads(result.stdout)["sets"][0]["micro_f1"] == 1
