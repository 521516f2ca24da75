"""`samarkand link`: given mentions, links and reasons; nothing that vanishes."""

import io
import json
import sys

import pytest
import samarkand
from hypothesis import given, settings
from hypothesis import strategies as st
from linking_pipelines import make_kb
from samarkand.pipeline.cli import app
from samarkand.pipeline.given_mentions import GROUP, load_linker, mention_doc, prepare_linker, read_mentions
from samarkand.pipeline.link_records import link_records
from samarkand.pipeline.sources import UsageError
from typer.testing import CliRunner

TEXT = "Paris Hilton flew to Paris and وباريس."
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    return make_kb(tmp_path_factory.mktemp("kb"))


@pytest.fixture(scope="module")
def nlp(kb):
    return load_linker(None, kb)


def mention(surface, text=TEXT, **more):
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), **more}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_come_back_with_links_candidates_and_reasons(tmp_path, nlp):
    mentions = [mention("Paris Hilton", label="PER"), mention("وباريس"), mention("flew", note="kept"), mention("Paris")]
    source = write(tmp_path / "in.jsonl", {"id": 7, "text": TEXT, "spans": mentions, "entities": ["kept"]})
    summary = link_records(source, tmp_path / "out.jsonl", nlp)
    (record,) = read(tmp_path / "out.jsonl")
    assert (record["id"], record["text"]) == (7, TEXT)
    assert [span["kb_id"] for span in record["spans"]] == ["Q47899", "Q90", None, "Q90"]
    first, _, unknown, _ = record["spans"]
    assert first["candidates"][0]["id"] == "Q47899"
    assert {"prior", "similarity", "match", "probability"} <= set(first["candidates"][0])
    assert unknown["nil_reason"] == "no candidates"
    assert unknown["note"] == "kept"
    assert [{key: span[key] for key in ("start", "end")} for span in record["spans"]] == [
        {key: span[key] for key in ("start", "end")} for span in mentions
    ]
    assert (summary["records"], summary["mentions"], summary["linked"], summary["nil"]) == (
        1,
        4,
        3,
        {"no candidates": 1},
    )
    assert not (tmp_path / "out.jsonl.quarantine.jsonl").exists()


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("{", "S521"),
        ({"spans": []}, "S522"),
        ({"text": 3, "spans": []}, "S523"),
        ({"text": "Paris"}, "S955"),
        ({"text": "Paris", "spans": {}}, "S952"),
        ({"text": "Paris", "spans": [3]}, "S952"),
        ({"text": "Paris", "spans": [{"start": "0", "end": 5}]}, "S952"),
        ({"text": "Paris", "spans": [{"start": 0, "end": 6}]}, "S952"),
        ({"text": "Paris ", "spans": [{"start": 5, "end": 6}]}, "S952"),
        ({"text": "Paris", "spans": [{"start": 0, "end": 5, "label": 3}]}, "S952"),
        ({"text": "Paris", "spans": [{"start": 0, "end": 5, "label": "\ud800"}]}, "S952"),
    ],
)
def test_what_cannot_be_linked_is_set_aside(tmp_path, nlp, row, code):
    good = {"text": "Paris", "spans": [{"start": 0, "end": 5}]}
    source = write(tmp_path / "in.jsonl", good, row, good)
    summary = link_records(source, tmp_path / "out.jsonl", nlp)
    assert (summary["records"], summary["quarantined"], summary["reasons"]) == (2, 1, {code: 1})
    (rejected,) = read(tmp_path / "out.jsonl.quarantine.jsonl")
    assert (rejected["line"], rejected["code"], rejected["raw"]) == (2, code, row)
    assert len(read(tmp_path / "out.jsonl")) == 2


def test_other_fields_a_limit_and_compressed_files(tmp_path, nlp):
    row = {"body": "Paris", "mentions": [{"start": 0, "end": 5}], "spans": "kept", "text": "kept"}
    source = write(tmp_path / "in.jsonl", row, row, row)
    options = {"text_field": "body", "mentions_field": "mentions"}
    link_records([source], tmp_path / "out.jsonl", nlp, limit=2, batch_size=1, **options)
    first, _ = read(tmp_path / "out.jsonl")
    assert first["mentions"][0]["kb_id"] == "Q90"
    assert (first["input_spans"], first["input_text"]) == ("kept", "kept")


def test_field_with_the_mentions_is_found_under_its_own_name(tmp_path, nlp):
    """What an annotated record brings: the mentions of the input, and those of a pipeline."""
    mentions = [{"start": 0, "end": 5}]
    row = {"text": "Paris", "spans": mentions, "input_spans": "kept", "id": 1}
    other = {"text": "Paris", "spans": "kept", "input_spans": mentions}
    source = write(tmp_path / "in.jsonl", row, other)
    link_records(source, tmp_path / "out.jsonl", nlp, limit=1)
    (record,) = read(tmp_path / "out.jsonl")
    assert (record["spans"][0]["kb_id"], record["input_spans"], len(record)) == ("Q90", "kept", 4)
    summary = link_records(source, tmp_path / "out.jsonl", nlp, mentions_field="input_spans", force=True)
    assert (summary["records"], summary["quarantined"]) == (1, 1)
    (record,) = read(tmp_path / "out.jsonl")
    assert (record["input_spans"][0]["kb_id"], record["input_spans.2"]) == ("Q90", "kept")


def test_refusals(tmp_path, nlp, kb):
    source = write(tmp_path / "in.jsonl", {"text": "Paris", "spans": []})
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"\[S504\]"):
        link_records(source, tmp_path / "out.jsonl", nlp)
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    (tmp_path / "a.txt").write_text("Paris")
    with pytest.raises(UsageError, match=r"\[S953\].*a.txt"):
        link_records(tmp_path / "a.txt", None, nlp)
    with pytest.raises(UsageError, match=r"\[S950\]"):
        load_linker(None, None)
    samarkand.blank("xx").to_disk(tmp_path / "blank")
    with pytest.raises(UsageError, match=r"\[S951\].*pipes: none"):
        load_linker(str(tmp_path / "blank"), kb)


def test_a_pipeline_links_with_its_own_knowledge_base_or_another(tmp_path, kb):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Paris"}])
    nlp.add_pipe("m3_linker", config={"knowledge_base": str(kb)})
    nlp.to_disk(tmp_path / "model")
    loaded = load_linker(str(tmp_path / "model"), None)
    # What finds mentions is not run: mentions are given.
    assert loaded.pipe_names == ["m3_linker"]
    source = write(tmp_path / "in.jsonl", {"text": "Paris", "spans": [{"start": 0, "end": 5}]})
    link_records(source, tmp_path / "out.jsonl", loaded)
    assert read(tmp_path / "out.jsonl")[0]["spans"][0]["kb_id"] == "Q90"


def test_command_line(tmp_path, kb, monkeypatch):
    source = write(tmp_path / "in.jsonl", {"text": TEXT, "spans": [mention("Paris", label="LOC")]}, "broken")
    result = RUNNER.invoke(app, ["link", str(source), "--kb", str(kb), "-o", str(tmp_path / "out.jsonl")])
    assert result.exit_code == 3
    assert "1 records, 1 mentions, 1 linked" in result.stderr
    assert "S521" in result.stderr
    assert RUNNER.invoke(app, ["link", str(source)]).exit_code == 2
    stdin = (tmp_path / "in.jsonl").read_text().splitlines()[0] + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    result = RUNNER.invoke(app, ["link", "-", "--kb", str(kb), "--json"], input=stdin)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["spans"][0]["kb_id"] == "Q90"
    assert json.loads(result.stderr)["linked"] == 1


@settings(deadline=None, max_examples=60)
@given(st.data(), st.text(alphabet="Paris وباريس巴黎 .,'-\n", min_size=1, max_size=40))
def test_tokens_end_where_mentions_end(nlp, data, text):
    edges = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(edges, edges), max_size=6))
    mentions = [{"start": min(pair), "end": max(pair)} for pair in pairs if text[min(pair) : max(pair)].strip()]
    doc = mention_doc(nlp, text, read_mentions(text, mentions))
    assert doc.text == text
    found = [(span.start_char, span.text) for span in doc.spans[GROUP]]
    surfaces = [text[each["start"] : each["end"]] for each in mentions]
    assert [words for _, words in found] == [words.strip() for words in surfaces]


def test_words_of_texts_do_not_stay_in_the_vocabulary(tmp_path, kb):
    nlp = load_linker(None, kb)
    source = write(tmp_path / "in.jsonl", *({"text": f"word{i} Paris", "spans": []} for i in range(50)))
    link_records(source, tmp_path / "out.jsonl", nlp)
    assert "word49" not in nlp.vocab.strings


def test_a_linker_that_is_disabled_is_used(kb):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("m3_linker", config={"knowledge_base": str(kb)})
    nlp.disable_pipe("m3_linker")
    prepare_linker(nlp)
    doc = nlp(mention_doc(nlp, "Paris", [{"start": 0, "end": 5}]))
    assert doc.spans[GROUP][0].kb_id_ != ""
