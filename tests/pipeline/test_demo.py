"""The demo, and the page that it draws."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import pytest
from annotation_pipelines import make_nlp
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from samarkand.pipeline import demo as demo_module
from samarkand.pipeline.cli import app
from samarkand.pipeline.pages import direction_of, language_of, render_document, render_page
from typer.testing import CliRunner


class Page(HTMLParser):
    """Tags, attributes, and the text inside each article."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.labels: list[str] = []
        self._hidden = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "article":
            self.texts.append("")
        elif tag == "br":
            self.texts[-1] += "\n"
        elif attributes.get("class") in ("label", "about"):
            self._hidden = tag
            self.labels.append("")

    def handle_endtag(self, tag):
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data):
        if self._hidden:
            self.labels[-1] += data
        elif self.texts:
            self.texts[-1] += data


def entity(start: int, end: int, label: str, **more: str) -> dict[str, object]:
    return {"start": start, "end": end, "label": label, "text": "", **more}


@pytest.fixture
def model(tmp_path):
    make_nlp().to_disk(tmp_path / "model")
    return tmp_path / "model"


def test_demo_writes_table_lines_and_page(tmp_path, model):
    stream = io.StringIO()
    records = demo_module.demo(tmp_path / "out", model=model, console=Console(file=stream, width=160))
    lines = (tmp_path / "out" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    assert len(records) >= 40
    assert not any("nested" in str(record["id"]) for record in records)
    for record in records:
        for found in record["entities"]:
            assert record["text"][found["start"] : found["end"]] == found["text"]
    page = (tmp_path / "out" / "demo.html").read_text(encoding="utf-8")
    directions = [attributes["dir"] for tag, attributes in Page(page).tags if tag == "article"]
    assert len(directions) == len(records)
    assert {"rtl", "ltr"} == set(directions)
    shown = stream.getvalue()
    assert "القاهرة" in shown
    assert re.search(r"\d+ documents: loading \d+\.\d s, annotating \d+\.\d s", shown)
    assert str(tmp_path / "out" / "demo.jsonl") in shown
    assert str(tmp_path / "out" / "demo.html") in shown


def test_demo_command_can_be_repeated(tmp_path, model):
    for _ in range(2):
        result = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "out"), "--model", str(model)])
        assert result.exit_code == 0, result.output


def test_demo_says_which_sample_fails(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"text": "Ada"}\n{"text": "POISON"}\n')
    monkeypatch.setattr(demo_module, "SAMPLES", tmp_path)
    with pytest.raises(RuntimeError, match=r"\[S515\] .* line 2: The component 'test_picky' failed"):
        demo_module.annotate_samples(make_nlp("test_picky"))


def test_page_needs_nothing_from_elsewhere():
    page = render_page([{"text": "Ada", "entities": [entity(0, 3, "PER", kb_id="Q7259")]}])
    parsed = Page(page)
    addresses = [attributes.get(name) for _, attributes in parsed.tags for name in ("src", "href")]
    assert [address for address in addresses if address not in (None, "#")] == []
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "link", "img", "iframe"})
    assert "Q7259" in "".join(parsed.labels)


@pytest.mark.parametrize("key", ["text", "label", "id", "lang", "kb_id", "group"])
def test_everything_of_the_user_is_escaped(key):
    bad = '<script>alert("1")</script>{0}'
    values = {"text": "Ada", "label": "PER", "id": "d", "lang": "en", "kb_id": "", "group": "g"} | {key: bad}
    span = entity(0, 3, values["label"], kb_id=values["kb_id"])
    record = {"id": values["id"], "lang": values["lang"], "text": values["text"], "entities": [span]}
    page = render_page([{**record, "spans": {values["group"]: [span]}}], title=bad)
    assert "<script" not in page
    assert "script" not in {tag for tag, _ in Page(page).tags}


def test_fields_of_a_span_are_no_part_of_the_page():
    """displaCy puts `params` of an entity into its template, and takes a link and a colour from a span."""
    bad = "<script>alert(1)</script>"
    span = {**entity(0, 3, "PER"), "params": {"label": bad, "bg": bad, "text": bad}, "kb_url": bad, "color": bad}
    record = {"text": "Ada", "entities": [span], "spans": {"group": [span]}}
    plain = {"text": "Ada", "entities": [entity(0, 3, "PER")], "spans": {"group": [entity(0, 3, "PER")]}}
    assert render_document(record) == render_document(plain)


@given(st.text(st.characters(exclude_characters="\r", codec="utf-8"), min_size=1, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_page_shows_the_whole_text(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    record = {"text": text, "entities": [entity(start, end, "PER")]}
    assert Page(render_document(record)).texts[0].strip() == text.replace("\0", "\0").strip()


def test_overlapping_spans_are_drawn():
    spans = [entity(0, 12, "ORG"), entity(8, 12, "LOC")]
    markup = render_document({"text": "Bank of Oslo.", "entities": [], "spans": {"nested": spans}})
    assert "ORG" in markup
    assert "LOC" in markup
    assert re.sub(r"\s+", " ", "".join(re.findall(r">([^<]+)<", markup))).count("Oslo") == 1
    assert 'class="entities"' not in markup


@pytest.mark.parametrize(
    ("record", "language", "direction"),
    [
        ({"lang": "ar", "text": "Google"}, "ar", "rtl"),
        ({"lang": "zh-Hant", "text": "القاهرة"}, "zh-Hant", "ltr"),
        ({"lang": "mul", "text": "قال Google إن القاهرة"}, "mul", "rtl"),
        ({"lang": "xx", "text": "Google", "meta": {"langs": {"en": 1.0}}}, "en", "ltr"),
        ({"lang": 5, "text": "עברית", "meta": {"langs": ["he"]}}, "he", "rtl"),
        ({"lang": "not a tag", "text": "Google القاهرة"}, "und", "rtl"),
        ({"text": ""}, "und", "ltr"),
        ({"lang": "ara", "text": "زار عمر Boston Red Sox"}, "ara", "rtl"),
        ({"lang": "heb", "text": "Google"}, "heb", "rtl"),
        ({"lang": "ar-Latn", "text": "ana fi القاهرة"}, "ar-Latn", "ltr"),
        ({"lang": "az-Arab", "text": "Google"}, "az-Arab", "rtl"),
        ({"lang": "ha", "text": "Ina zaune a Kano"}, "ha", "ltr"),
        ({"lang": "ku", "text": "کوردستان Google"}, "ku", "rtl"),
        ({"lang": "ku", "text": "Kurdistan"}, "ku", "ltr"),
    ],
)
def test_language_and_direction(record, language, direction):
    assert language_of(record) == language
    assert direction_of(record["text"], language_of(record)) == direction
    markup = render_document({**record, "entities": []})
    assert f'<article lang="{language}" dir="{direction}">' in markup
    assert f"direction: {direction}" in markup
