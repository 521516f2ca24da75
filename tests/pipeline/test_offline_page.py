"""Pages that carry anything as data, and let nothing of it be more than that."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_corpora import INJECTIONS, Parsed
from samarkand.pipeline.offline_page import FILES, html_table, offline_page, script_json, utf16_places

ANY_TEXT = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(INJECTIONS)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
SCRIPTS = sorted(path.name for path in FILES.glob("*.js") if path.name != "common.js")


@given(ANY_JSON)
@settings(deadline=None)
def test_json_in_a_script_is_the_same_value_and_cannot_end_its_element(value):
    written = script_json(value)
    # Halves of pairs that stand side by side are one character for every reader of JSON.
    assert json.loads(written) == json.loads(json.dumps(value))
    written.encode()
    assert not re.search("[<>&\0\u2028\u2029]", written)


@given(st.text(st.characters(codec=None), max_size=30), st.data())
@settings(deadline=None)
def test_places_are_those_of_utf16(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    places = utf16_places(text)
    units = text.encode("utf-16-le", "surrogatepass")
    assert units[2 * places[start] : 2 * places[end]] == text[start:end].encode("utf-16-le", "surrogatepass")
    assert len(places) == len(text) + 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_policy_lets_only_the_style_and_script_of_the_page_in(script):
    page = offline_page("Title", "<p>body</p>", script, {"bad": INJECTIONS})
    parsed = Parsed(page)
    (policy,) = [tag["content"] for name, tag in parsed.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    for rule, content in (("script-src", parsed.scripts[1]), ("style-src", style)):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert [name for name, _ in parsed.tags].count("script") == 2
    assert parsed.data == {"bad": INJECTIONS}


@pytest.mark.parametrize("name", [*SCRIPTS, "common.js", "page.css"])
def test_files_of_pages_name_no_address_and_write_no_markup(name):
    content = (FILES / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", content)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", content)
    assert not re.search(r"</?(script|style)|<!--", content)


@pytest.mark.parametrize("bad", [*INJECTIONS, "half \ud800 of a pair"])
def test_static_parts_are_escaped(bad):
    page = offline_page(bad, html_table(bad, [bad], [[bad, 3, 0.25]]), SCRIPTS[0], [])
    page.encode()
    parsed = Parsed(page)
    known = "html head meta title style body h1 table caption thead tr th tbody td bdi script"
    assert {name for name, _ in parsed.tags} == set(known.split())
    assert "\0" not in page
    assert parsed.rows[-1][1:] == ["3", "0.2500"]
