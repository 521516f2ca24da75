"""When texts are equal, which documents have a held-out text, and files of these."""

from __future__ import annotations

import lzma

import pytest
from samarkand.corpora.text_keys import TextKeys, read_held_out, text_key


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The U.S. , he said .", "the U.S., he said"),
        ("ﬁne  ＷＩＤＥ\ttext", "fine wide text"),
        ("我 爱 北京！", "我爱北京。"),
        ("الكتـــاب", "الكتاب"),
        ("Straße", "STRASSE"),
    ],
)
def test_equal_texts(first, second):
    assert text_key(first) == text_key(second)
    assert second in TextKeys([first])


def test_different_texts():
    keys = TextKeys(["किताब", "abc"])
    assert "कतब" not in keys
    assert "abd" not in keys
    assert len(keys) == 2


def test_adding():
    keys = TextKeys()
    assert [keys.add(text) for text in ("One.", "one", "?!", "", "two")] == [True, False, False, False, True]
    assert len(keys) == 2
    assert "?!" not in keys


@pytest.mark.parametrize(
    ("document", "is_met"),
    [
        ("They all met in the old town hall.", True),
        ("Yes!", True),
        ("It was late. They all met in the old town hall . Nobody came.", True),
        ("It was late.\nthey all met in the old town hall\nNobody came.", True),
        ("大家都知道。今天的天气非常好！我们走吧。", True),
        # Held out too, but too short for more than whole documents.
        ("It was late. Yes! Nobody came.", False),
        ("They all met in the old town hall of the city.", False),
        ("", False),
    ],
)
def test_documents_with_a_held_out_text(document, is_met):
    keys = TextKeys(["They all met in the old town hall.", "Yes.", "今天的天气非常好"])
    assert keys.has_part_of(document) is is_met
    assert not TextKeys().has_part_of(document)


def test_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "a.txt").write_text("One\n\nTwo\n", encoding="utf-8")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress("two\nثلاثة".encode()))
    assert len(read_held_out([])) == 0
    assert len(read_held_out(["$HERE/a.txt", "$HERE/*.xz"])) == 3
    with pytest.raises(ValueError, match=r"S747.*none\.txt"):
        read_held_out(["$HERE/a.txt", "$HERE/none.txt"])
