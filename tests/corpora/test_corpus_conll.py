"""CoNLL files: columns, comments, round trips, and one clear line for a broken one."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.conll import read_conll, write_conll
from samarkand.corpora.records import read_records
from samarkand.corpora.tags import SCHEMES
from samarkand.errors import SamarkandWarning


def read(tmp_path, content, **settings):
    path = tmp_path / "corpus.conll"
    path.write_text(content, encoding="utf8", newline="")
    return list(read_conll(path, **settings))


def words(record):
    return [record["text"][start:end] for start, end in record["tokens"]]


def entities(record):
    return [(record["text"][s["start"] : s["end"]], s["label"]) for s in record["spans"]]


@pytest.mark.parametrize("gap", [" ", "\t", "   "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_two_columns(tmp_path, gap, end):
    lines = ["Rosa B-PER", "Keller I-PER", "sings O", "", "", "Oslo B-LOC"]
    first, second = read(tmp_path, end.join(line.replace(" ", gap) for line in lines))
    assert first["text"] == "Rosa Keller sings"
    assert entities(first) == [("Rosa Keller", "PER")]
    assert entities(second) == [("Oslo", "LOC")]


def test_four_columns_and_document_marks(tmp_path):
    content = "-DOCSTART- -X- O O\n\nOslo NNP B-NP I-LOC\nsleeps VBZ B-VP O\n"
    (record,) = read(tmp_path, content)
    assert record["text"] == "Oslo sleeps"
    assert entities(record) == [("Oslo", "LOC")]


def test_chinese_tokens_are_joined_without_blanks(tmp_path):
    (record,) = read(tmp_path, "王 B-PER\n小 M-PER\n明 E-PER\n好 O\n", joiner="")
    assert record["text"] == "王小明好"
    assert entities(record) == [("王小明", "PER")]


def test_text_lines_give_the_original_text(tmp_path):
    content = "# sent_id = a-1\n# text = Where is Miramar?\n1\tWhere\tO\t-\t-\n2\tis\tO\t-\t-\n"
    content += "3\tMiramar\tB-LOC\t-\tx\n4\t?\tO\t-\t-\n"
    (record,) = read(tmp_path, content)
    assert record["text"] == "Where is Miramar?"
    assert record["id"] == "a-1"
    assert words(record) == ["Where", "is", "Miramar", "?"]
    assert entities(record) == [("Miramar", "LOC")]


def test_text_line_that_does_not_fit_is_reported(tmp_path):
    with pytest.warns(SamarkandWarning, match=r"\[SW205\] 1 sentences of .*corpus.conll"):
        (record,) = read(tmp_path, "# text = Oslow\nOslo B-LOC\n")
    assert record["text"] == "Oslo"


def test_hash_tokens_are_no_comments(tmp_path):
    content = "# a note\n#BREAKING\tO\n# \tO\n#1 O\n\n# O\nOslo B-LOC\n"
    first, second = read(tmp_path, content)
    assert words(first)[0] == "#BREAKING"
    assert words(second) == ["#", "Oslo"]


def test_lines_without_a_token_are_reported(tmp_path):
    with pytest.warns(SamarkandWarning, match=r"\[SW206\] 1 lines"):
        (record,) = read(tmp_path, "Oslo\tB-LOC\n\tO\n")
    assert record["text"] == "Oslo"


def test_direction_marks_are_stripped_when_asked(tmp_path):
    content = "\u200fدبي\u200e B-LOC\n"
    assert read(tmp_path, content)[0]["text"] == "\u200fدبي\u200e"
    assert read(tmp_path, content, strip_marks=True)[0]["text"] == "دبي"


def test_no_break_space_is_part_of_a_token(tmp_path):
    (record,) = read(tmp_path, "10\u00a0km O\n")
    assert words(record) == ["10\u00a0km"]


def test_nested_columns_and_ignored_tokens(tmp_path):
    content = "bank B-ORG\nof I-ORG\nOslo I-ORG B-GPE\n$#$ O\n"
    (record,) = read(tmp_path, content, nested=True, ignored=["$#$"])
    assert record["text"] == "bank of Oslo"
    assert entities(record) == [("bank of Oslo", "ORG"), ("Oslo", "GPE")]


@pytest.mark.parametrize("line", ["Oslo", "Oslo LOC", "Oslo B-", "Oslo\t", "Oslo B-LOC note"])
def test_broken_lines_are_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"\[S209\] .*corpus.conll, line 2: .*Oslo"):
        read(tmp_path, f"in O\n{line}\n")


def test_unknown_scheme(tmp_path):
    with pytest.raises(ValueError, match=r"\[S211\] .*'BIO'.*IOB2"):
        write_conll(tmp_path / "out.conll", [], scheme="BIO")
    assert not (tmp_path / "out.conll").exists()


def test_spans_that_tags_cannot_say_are_counted(tmp_path):
    spans = [
        {"start": 0, "end": 12, "label": "ORG"},
        {"start": 8, "end": 12, "label": "LOC"},
        {"start": 13, "end": 15, "label": "PER"},
    ]
    record = {"text": "Bank of Oslo opens", "spans": spans}
    with pytest.warns(SamarkandWarning, match=r"\[SW207\] 2 spans"):
        write_conll(tmp_path / "out.conll", [record])
    assert entities(next(iter(read_conll(tmp_path / "out.conll")))) == [("Bank of Oslo", "ORG")]


# Blanks of every width, marks and scripts; no line breaks, which a line cannot hold.
TEXTS = st.text(alphabet="ab \u00a0\u2028王明دبي\u064b#=-👍é", max_size=20)


@st.composite
def token_records(draw):
    """A record whose spans cover whole tokens and do not overlap."""
    text = draw(TEXTS)
    record = {"text": text, "spans": []}
    bounds, start = [], None
    for i, char in enumerate([*text, " "]):
        if char.isspace() and start is not None:
            bounds.append((start, i))
            start = None
        elif not char.isspace() and start is None:
            start = i
    i = 0
    while i < len(bounds):
        length = draw(st.integers(0, 3))
        if length:
            last = min(i + length, len(bounds)) - 1
            label = draw(st.sampled_from(["PER", "LOC"]))
            record["spans"].append({"start": bounds[i][0], "end": bounds[last][1], "label": label})
            i = last
        i += 1
    return record


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "IO"])
@settings(max_examples=25, deadline=None)
@given(records=st.lists(token_records(), max_size=4))
def test_records_come_back_from_every_scheme(tmp_path_factory, scheme, records):
    path = tmp_path_factory.mktemp("conll") / "corpus.conll.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_conll(path, records, scheme=scheme) == len(records)
        back = [{"text": r["text"], "spans": r["spans"]} for r in read_records(path)]
    assert back == records
