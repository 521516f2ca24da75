"""Tag schemes: every scheme says the same spans, and broken sequences are read as usual."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.corpora.tags import SCHEMES, is_tag, nested_tags_to_spans, spans_to_tags, tags_to_spans


@st.composite
def flat_spans(draw):
    """A sentence length and spans that do not overlap."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=8))
    spans, position = [], 0
    for gap, length in lengths:
        start = position + gap
        spans.append((start, start + length, draw(st.sampled_from(["PER", "LOC", "creative-work"]))))
        position = start + length
    return position + draw(st.integers(0, 3)), spans


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "IO"])
@settings(max_examples=60, deadline=None)
@given(case=flat_spans())
def test_every_scheme_gives_the_spans_back(scheme, case):
    n_tokens, spans = case
    tags = spans_to_tags(spans, n_tokens, scheme=scheme)
    assert len(tags) == n_tokens
    assert all(map(is_tag, tags))
    assert tags_to_spans(tags) == spans


@settings(max_examples=60, deadline=None)
@given(case=flat_spans())
def test_io_merges_adjacent_spans_of_a_label_only(case):
    n_tokens, spans = case
    merged = []
    for start, end, label in spans:
        if merged and merged[-1][1:] == (start, label):
            merged[-1] = (merged[-1][0], end, label)
        else:
            merged.append((start, end, label))
    assert tags_to_spans(spans_to_tags(spans, n_tokens, scheme="IO")) == merged


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")]),
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("B-PER M-PER O", [(0, 2, "PER")]),
        ("S-PER I-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("E-PER E-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("U-PER L-PER B-PER L-PER", [(0, 1, "PER"), (1, 2, "PER"), (2, 4, "PER")]),
        ("", []),
    ],
)
def test_broken_sequences_are_read_as_the_usual_scripts_read_them(tags, spans):
    assert tags_to_spans(tags.split()) == spans


def test_nested_columns_give_overlapping_spans():
    rows = [["B-ORG"], ["I-ORG", "B-GPE"], ["O"], ["B-PER", "B-OCC"]]
    assert nested_tags_to_spans(rows) == [(0, 2, "ORG"), (1, 2, "GPE"), (3, 4, "OCC"), (3, 4, "PER")]


@pytest.mark.parametrize("text", ["", "B", "B-", "X-PER", "PER", "o", "b-PER"])
def test_other_strings_are_no_tags(text):
    assert not is_tag(text)
