"""Pages in a real browser: nothing leaves them, nothing of a corpus runs in them, and their filters work."""

from __future__ import annotations

import json
import time

import pytest
from headless_browser import browser, open_page, problems_of, requests_of
from report_corpora import INJECTIONS, hostile_records, hostile_rejections, mention, write_run
from samarkand.pipeline.attention_page import convert_attention, show_attention
from samarkand.pipeline.attention_summary import summarize_attention
from samarkand.pipeline.corpus_report import report
from sentence_checkpoints import make_encoder_folder
from test_attention_json import ATTVIZ

pytestmark = pytest.mark.slow

ARABIC = "وصل أحمد زويل من القاهرة إلى 上海 مع Google."


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def friendly_records():
    records = [{"id": f"d{n}", "lang": "en", "text": f"Ada {n} in Cairo 😀 city", "entities": []} for n in range(45)]
    for n, record in enumerate(records):
        record["entities"] = [
            mention(record["text"], "Ada", kb_id="Q7259" if n % 2 else None),
            mention(record["text"], "Cairo", "LOC"),
            mention(record["text"], "😀 city", "MISC"),
        ]
    arabic = [
        mention(ARABIC, "أحمد زويل", kb_id="Q178809", score=0.875, candidates=[{"id": "Q178809", "name": "زويل"}]),
        mention(ARABIC, "Google", "ORG"),
    ]
    nested = [mention(ARABIC, "أحمد زويل"), mention(ARABIC, "زويل", "LOC"), mention(ARABIC, "上海", "LOC")]
    neighbours = [{"id": "n1", "score": 0.5, "text": "ليلى"}]
    record = {"id": "arabic", "lang": "ar", "text": ARABIC, "entities": arabic, "neighbours": neighbours}
    return [*records, {**record, "spans": {"nested": nested}}]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("friendly"), friendly_records(), hostile_rejections())
    report(folder)
    return folder / "report.html"


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", selector
    )


def choose(driver, name, value):
    script = """
    const box = document.querySelector(`[aria-label="${arguments[0]}"]`);
    box.value = arguments[1];
    box.dispatchEvent(new Event(box.tagName === "SELECT" ? "change" : "input"));
    return box.value;
    """
    assert driver.execute_script(script, name, value) == value


def count(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('.count')].find((node) => node.offsetParent).textContent"
    )


def test_nothing_of_a_hostile_corpus_runs_or_leaves(driver, tmp_path):
    run = write_run(tmp_path, hostile_records(), hostile_rejections(), pipeline={"model": INJECTIONS[0]})
    report(run)
    open_page(driver, run / "report.html")
    for details in range(2):
        driver.execute_script("for (const node of document.querySelectorAll('details')) node.open = true")
        for bad in INJECTIONS:
            choose(driver, "text or id", bad.replace("\0", ""))
        choose(driver, "text or id", "")
        choose(driver, "show", "mentions" if details == 0 else "documents")
    time.sleep(0.3)
    assert driver.execute_script("return typeof window.pwned") == "undefined"
    assert requests_of(driver) == [(run / "report.html").as_uri()]
    assert problems_of(driver) == []
    assert (
        driver.execute_script("return document.querySelectorAll('script, img, iframe, svg, a, link, base').length") == 2
    )
    assert texts(driver, "article .text")[0].replace("PER", "").startswith("Ada")


def test_the_policy_stops_a_script_that_found_a_way_in(driver, page, tmp_path):
    """Were the escaping of the page to fail, its policy would be what is left."""
    broken = page.read_text(encoding="utf-8").replace("<h1>", "<script>window.pwned=1</script><h1 onclick='pwned=1'>")
    broken = broken.replace("<h1", "<img src='https://example.invalid/x.png' onerror='window.pwned=1'><h1")
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    open_page(driver, tmp_path / "broken.html")
    driver.execute_script("document.querySelector('h1').click()")
    assert driver.execute_script("return typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in problem for problem in problems_of(driver))
    refused = "try { document.body.innerHTML = '<p>x'; return false } catch (error) { return true }"
    assert driver.execute_script(refused)
    open_page(driver, page)


def test_filters_paging_and_views(driver, page):
    open_page(driver, page)
    assert count(driver) == "46 documents, page 1 of 3"
    assert len(texts(driver, "article")) == 20
    driver.execute_script("document.querySelectorAll('.pager button')[1].click()")
    driver.execute_script("document.querySelectorAll('.pager button')[1].click()")
    assert count(driver) == "46 documents, page 3 of 3"
    assert len(texts(driver, "article")) == 6
    choose(driver, "label", "ORG")
    assert count(driver) == "1 documents, page 1 of 1"
    choose(driver, "label", "PER")
    choose(driver, "link", "linked")
    assert count(driver).startswith("23 documents")
    choose(driver, "link", "nil")
    assert count(driver).startswith("23 documents")
    choose(driver, "language", "ar")
    assert count(driver).startswith("0 documents")
    choose(driver, "link", "")
    choose(driver, "text or id", "أَحْمَـد")
    assert count(driver).startswith("1 documents")
    choose(driver, "text or id", "no such text")
    assert count(driver).startswith("0 documents")
    for name in ("language", "label", "text or id"):
        choose(driver, name, "")
    choose(driver, "text or id", "q178809")
    assert count(driver).startswith("1 documents")
    choose(driver, "text or id", "")
    choose(driver, "show", "mentions")
    assert count(driver) == "6 different mentions, page 1 of 1"
    rows = {
        tuple(row.split("|"))
        for row in driver.execute_script(
            "return [...document.querySelectorAll('main section:not([hidden]) tbody tr')].slice(0, 6)"
            ".map((row) => [...row.children].map((cell) => cell.textContent).join('|'))"
        )
    }
    assert ("😀 city", "MISC", "", "45") in rows
    assert ("Ada", "PER", "Q7259", "22") in rows
    assert ("Ada", "PER", "NIL", "23") in rows
    assert problems_of(driver) == []


def test_text_of_marks_and_direction(driver, page):
    open_page(driver, page)
    assert texts(driver, "article mark")[:3] == ["Ada", "Cairo", "😀 city"]
    choose(driver, "language", "ar")
    script = "return getComputedStyle(document.querySelector('article .text')).direction"
    assert driver.execute_script(script) == "rtl"
    assert texts(driver, "article mark") == ["أحمد زويل", "Google"]
    assert texts(driver, "article .label") == ["PER Q178809", "ORG"]
    # Words of the document follow each other from right to left, and the Latin name stands whole inside.
    script = "return [...document.querySelectorAll('article mark')].map((mark) => mark.getBoundingClientRect().x)"
    first, second = driver.execute_script(script)
    assert first > second
    choose(driver, "layer", "spans/nested")
    assert texts(driver, "article mark") == ["أحمد ", "زويل", "上海"]
    assert texts(driver, "article .label") == ["LOC", "PER", "LOC"]
    first, second, third = driver.execute_script(script)
    assert first > second > third
    driver.execute_script("for (const node of document.querySelectorAll('article details')) node.open = true")
    time.sleep(0.3)
    assert "ليلى" in texts(driver, "article details")[1]
    choose(driver, "layer", "entities")
    driver.execute_script("document.querySelector('article details').open = true")
    time.sleep(0.3)
    assert "0.875" in texts(driver, "article details")[0]


def test_search_passes_over_what_nobody_sees(driver, tmp_path):
    found = {
        "القاهرة \u200fالكبرى": "القاهرة الكبرى",
        "New\nYork\u00a0City": "york city",
        "ΟΔΟΣΑ": "οδος",
        "Straße": "STRASSE",
        "الرَّحْمَـٰنِ ۖ الرحيم": "الرحمن الرحيم",
        "Cafe\u0301": "café",
    }
    report(write_run(tmp_path, [{"text": text, "entities": []} for text in found]))
    open_page(driver, tmp_path / "report.html")
    for text, looked in found.items():
        choose(driver, "text or id", looked)
        assert texts(driver, "article .text") == [text]


def test_search_among_mentions(driver, page):
    """Not all mentions of the documents that have the text."""
    open_page(driver, page)
    choose(driver, "show", "mentions")
    for looked, number in (("cairo", 1), ("q7259", 1), ("Ada", 2), ("d12", 3), ("city", 1), ("in", 0)):
        choose(driver, "text or id", looked)
        assert count(driver).startswith(f"{number} different mentions")


def contrasts(driver, selector):
    """Contrast of text with what it stands on, as WCAG has it; the least of all that are found."""
    script = """
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    function light(colors) {
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, 1, 1);
      for (const color of colors) { pen.fillStyle = color; pen.fillRect(0, 0, 1, 1); }
      const parts = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
      const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
    return [...document.querySelectorAll(arguments[0])].map((node) => {
      const style = getComputedStyle(node);
      const below = light([style.backgroundColor]);
      const text = light([style.backgroundColor, style.color]);
      const faded = below + (text - below) * Number(style.opacity);
      return (Math.max(below, faded) + 0.05) / (Math.min(below, faded) + 0.05);
    });
    """
    return driver.execute_script(script, selector)


def test_mentions_of_other_labels_can_be_read(driver, page):
    open_page(driver, page)
    choose(driver, "label", "PER")
    assert len(texts(driver, "mark.other")) == 40
    assert min(contrasts(driver, "mark")) >= 4.5


def test_quarantine_is_shown_and_filtered(driver, page):
    open_page(driver, page)
    rows = "main > section:last-child tbody tr"
    assert len(texts(driver, rows)) == len(INJECTIONS)
    choose(driver, "code", INJECTIONS[7])
    (row,) = texts(driver, rows)
    assert row.count(INJECTIONS[7]) >= 3


def test_attention_in_a_browser(driver, tmp_path):
    encoder = make_encoder_folder(tmp_path / "encoder")
    show_attention(f"the cats {INJECTIONS[3]} قط 猫", tmp_path / "a.html", model=encoder)
    open_page(driver, tmp_path / "a.html")
    assert texts(driver, ".token")[:2] == ["the", "cats"]
    before = driver.execute_script("return document.querySelector('.token').title")
    choose(driver, "across heads", "entropy")
    assert driver.execute_script("return document.querySelector('.token').title") != before
    for name, value in (("layer", "0"), ("head", "1"), ("measure", "diagonal"), ("measure", "rollout")):
        choose(driver, name, value)
    driver.execute_script("document.querySelector('input[type=checkbox]').click()")
    assert texts(driver, ".token")[0] == "[CLS]"
    driver.execute_script("document.querySelectorAll('.token')[1].click()")
    assert len(texts(driver, ".token.chosen")) == 1
    assert "The heaviest keys of the:" in "".join(texts(driver, ".about"))
    assert len(texts(driver, ".chart circle")) == len(texts(driver, ".token"))
    assert driver.execute_script("return typeof window.pwned") == "undefined"
    assert requests_of(driver) == [(tmp_path / "a.html").as_uri()]
    assert problems_of(driver) == []


def test_a_word_can_be_chosen_with_keys_alone(driver, tmp_path):
    show_attention("the cats sat", tmp_path / "a.html", model=make_encoder_folder(tmp_path / "encoder"))
    open_page(driver, tmp_path / "a.html")
    driver.execute_script("document.querySelector('input[type=checkbox]').click()")
    driver.execute_script("document.querySelectorAll('.token')[1].focus()")
    for pressed in ("true", "false"):
        driver.switch_to.active_element.send_keys("\ue007")
        about = "const box = document.activeElement; return [box.textContent, box.getAttribute('aria-pressed')]"
        assert driver.execute_script(about) == ["the", pressed]
    for place in range(len(texts(driver, ".token"))):
        driver.execute_script("document.querySelectorAll('.token')[arguments[0]].click()", place)
        assert min(contrasts(driver, ".token")) >= 4.5
    assert problems_of(driver) == []


def test_chart_of_a_right_to_left_text_begins_with_its_start(driver, tmp_path):
    show_attention("قط في بيت " * 60, tmp_path / "a.html", model=make_encoder_folder(tmp_path / "encoder"))
    open_page(driver, tmp_path / "a.html")
    script = """
    const [chart, dots] = [document.querySelector(".chart"), document.querySelectorAll(".chart circle")];
    const [frame, dot] = [chart, dots[dots.length - 1]].map((node) => node.getBoundingClientRect());
    return [chart.scrollWidth > chart.clientWidth, frame.x <= dot.x && dot.right <= frame.right];
    """
    assert driver.execute_script(script) == [True, True]


def test_tables_can_be_read_on_a_narrow_screen(driver, tmp_path):
    """Words were broken letter by letter, and the page was wider than the screen."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "the cats sat on the mat"}) + "\n", encoding="utf-8")
    encoder = make_encoder_folder(tmp_path / "encoder")
    summarize_attention(tmp_path / "in.jsonl", tmp_path / "a.html", model=encoder, min_count=1)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(driver, tmp_path / "a.html")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        script = "return [...document.querySelectorAll('main th, main td')].map((cell) => cell.offsetHeight)"
        assert max(driver.execute_script(script)) < 60
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_file_of_attviz_in_a_browser(driver, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ATTVIZ), encoding="utf-8")
    convert_attention(tmp_path / "a.json", tmp_path / "a.html")
    open_page(driver, tmp_path / "a.html")
    assert texts(driver, ".token") == ["ma", "##p"]
    choose(driver, "head", "1")
    choose(driver, "across heads", "range")
    driver.execute_script("document.querySelectorAll('.token')[1].click()")
    assert "Where a word looks is not known here." in texts(driver, ".about")
    assert problems_of(driver) == []


def test_long_text_is_paged(driver, tmp_path):
    encoder = make_encoder_folder(tmp_path / "encoder")
    show_attention("the cats sat on the mat. " * 60, tmp_path / "a.html", model=encoder)
    open_page(driver, tmp_path / "a.html")
    assert count(driver) == "420 words, page 1 of 3"
    assert len(texts(driver, ".token")) == len(texts(driver, ".chart circle")) == 200
    assert texts(driver, ".window")[:2] == ["window 1", "window 2"]
    driver.execute_script("document.querySelectorAll('.pager button')[1].click()")
    choose(driver, "measure", "influence")
    driver.execute_script("document.querySelectorAll('.token')[7].click()")
    # Another measure or word keeps the page.
    assert count(driver) == "420 words, page 2 of 3"
    keys = driver.execute_script("return [...document.querySelectorAll('main tbody tr')].map((row) => row.textContent)")
    assert 1 <= len(keys) <= 8
    assert problems_of(driver) == []


def test_attention_over_a_corpus_in_a_browser(driver, tmp_path):
    texts_of = [f"the cats sat on the mat, قط {bad}" for bad in INJECTIONS]
    lines = "".join(json.dumps({"text": text, "entities": []}) + "\n" for text in texts_of)
    (tmp_path / "in.jsonl").write_text(lines, encoding="utf-8")
    encoder = make_encoder_folder(tmp_path / "encoder")
    summarize_attention(tmp_path / "in.jsonl", tmp_path / "a.html", model=encoder, min_count=1)
    open_page(driver, tmp_path / "a.html")
    assert texts(driver, "main h2") == ["Words of all heads", "Likeness of heads"]
    assert len(texts(driver, "main tbody tr")) == 25
    choose(driver, "layer", "1")
    assert texts(driver, "main h2")[0] == "Words of layer 2"
    choose(driver, "head", "1")
    assert texts(driver, "main h2") == ["Words of layer 2 head 2", "Heads that do alike", "Likeness of heads"]
    assert driver.execute_script("return document.querySelector('canvas').width") == 6 * 5
    move = """
    const canvas = document.querySelector('canvas');
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new MouseEvent('mousemove', { clientX: box.x + 3, clientY: box.y + 3 }));
    """
    driver.execute_script(move)
    assert any("and layer" in told for told in texts(driver, "main .about"))
    # The map names the same heads where a narrow screen shrinks it.
    driver.execute_script("document.querySelector('canvas').style.width = '12px'")
    corner = move.replace("+ 3", "+ 11")
    driver.execute_script(corner)
    (small,) = [told for told in texts(driver, "main .about") if "and layer" in told]
    driver.execute_script("document.querySelector('canvas').style.width = ''")
    driver.execute_script(move.replace("+ 3", "+ 28"))
    assert small in texts(driver, "main .about")
    assert driver.execute_script("return typeof window.pwned") == "undefined"
    assert requests_of(driver) == [(tmp_path / "a.html").as_uri()]
    assert problems_of(driver) == []
