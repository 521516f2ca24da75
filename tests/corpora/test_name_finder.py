"""Names in text: whole words, Arabic particles, characters of Chinese, the longest name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.name_finder import NameFinder

ENGLISH = NameFinder(
    [
        ("Oslo", "Q585"),
        ("New Oslo", "Q2"),
        ("Bank of Oslo", "Q3"),
        ("Al", "Q4"),
        ("São Paulo", "Q5"),
        ("Oslo, Kansas", "Q6"),
    ]
)
ARABIC = NameFinder([("باريس", "Q90"), ("لبنان", "Q822"), ("اللاذقية", "Q7"), ("جبل لبنان", "Q8")], clitics=True)
CHINESE = NameFinder([("臺北", "Q1867"), ("北京", "Q956"), ("北京大学", "Q16952"), ("比尔·盖茨", "Q5284")], han=True)


def found(finder, text):
    return [(text[name.start : name.end], *sorted(name.ids)) for name in finder.find(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("She left Oslo for New Oslo.", [("Oslo", "Q585"), ("New Oslo", "Q2")]),
        ("Bank of Oslo", [("Bank of Oslo", "Q3")]),
        ("Osloregion, Cooslo", []),
        ("New; Oslo", [("Oslo", "Q585")]),
        ("Oslo, Kansas", [("Oslo, Kansas", "Q6")]),
        ("in são-paulo", [("são-paulo", "Q5")]),
        ("Al was here", []),
        ("", []),
    ],
)
def test_whole_words_and_the_longest_name(text, names):
    assert found(ENGLISH, text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("من باريس وبباريس", [("باريس", "Q90"), ("وبباريس", "Q90")]),
        ("وفي جبل لبنان", [("جبل لبنان", "Q8")]),
        ("ذهب للاذقية", [("للاذقية", "Q7")]),
        ("لبنانيون", []),
    ],
)
def test_arabic_particles_belong_to_the_word_of_the_name(text, names):
    assert found(ARABIC, text) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("他在北京大学读书。", [("北京大学", "Q16952")]),
        ("台北、北京", [("台北", "Q1867"), ("北京", "Q956")]),
        ("比尔盖茨和比尔·盖茨", [("比尔盖茨", "Q5284"), ("比尔·盖茨", "Q5284")]),
        ("东北，京都", []),
    ],
)
def test_chinese_by_character_in_both_scripts(text, names):
    assert found(CHINESE, text) == names


def test_a_name_can_mean_several():
    finder = NameFinder([("Oslo", "Q1"), ("OSLO", "Q2")])
    assert len(finder) == 1
    assert found(finder, "Oslo") == [("Oslo", "Q1", "Q2")]


@given(st.text(alphabet="OsloNewBank of .台北京大学وباريس", max_size=40), st.sampled_from([ENGLISH, ARABIC, CHINESE]))
def test_names_lie_in_the_text_in_order(text, finder):
    names = list(finder.find(text))
    edges = [edge for name in names for edge in (name.start, name.end)]
    assert edges == sorted(edges)
    assert all(0 <= name.start < name.end <= len(text) and name.ids for name in names)
