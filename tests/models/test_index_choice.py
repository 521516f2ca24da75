"""The rule for the kind of index."""

from __future__ import annotations

import faiss
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.index_choice import (
    CODE_BYTES,
    FLAT_ROWS,
    LINK_BYTES,
    choose_factory,
    default_effort,
    list_count,
    machine_memory,
    stores_exactly,
    training_rows,
)

MILLION, GB = 10**6, 10**9


@pytest.mark.parametrize(
    ("size", "width", "memory", "factory"),
    [
        (0, 384, GB, "Flat"),
        (FLAT_ROWS, 384, 1, "Flat"),
        (FLAT_ROWS + 1, 384, GB, "HNSW32"),
        (MILLION, 384, MILLION * (4 * 384 + LINK_BYTES), "HNSW32"),
        (MILLION, 384, MILLION * (4 * 384 + LINK_BYTES) - 1, "IVF4000,Flat"),
        (MILLION, 384, GB, "OPQ64_256,IVF4000,PQ64np"),
        (MILLION, 384, 30_000_000, "OPQ16_64,IVF4000,PQ16np"),
        (MILLION, 384, 1, "OPQ1_4,IVF4000,PQ1np"),
        (MILLION, 20, 25_000_000, "OPQ4_16,IVF4000,PQ4np"),
        (MILLION, 3, 1, "OPQ1_3,IVF4000,PQ1np"),
    ],
)
def test_the_rule(size, width, memory, factory):
    assert choose_factory(size, width, memory) == factory


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**8), st.integers(1, 1024), st.integers(0, 10**11))
def test_every_choice_is_an_index_that_faiss_makes(size, width, memory):
    factory = choose_factory(size, width, memory)
    # The lists are made when it is trained, so any number of them is made here.
    index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    assert index.d == width
    assert training_rows(factory)[0] <= size
    assert stores_exactly(factory) == ("PQ" not in factory)


def test_half_of_the_memory_is_the_default():
    width = 384
    fits = machine_memory() // 2 // (4 * width + LINK_BYTES)
    assert choose_factory(fits, width) == "HNSW32"
    assert choose_factory(fits * 2, width).startswith("OPQ")


@pytest.mark.parametrize(
    ("factory", "lists", "least", "exact"),
    [
        ("Flat", 0, 0, True),
        ("HNSW32", 0, 0, True),
        ("HNSW16,Flat", 0, 0, True),
        ("HNSW16,SQ8", 0, 39 * 256, False),
        ("IVF100,Flat", 100, 3900, True),
        ("IVF64_HNSW32,Flat", 64, 39 * 64, True),
        ("IVF64,PQ8x4np", 64, 39 * 64, False),
        ("OPQ8_32,IVF64,PQ8np", 64, 39 * 256, False),
        ("OPQ8_32,IVF64,PQ8x4np", 64, 39 * 256, False),
        ("PCA64,Flat", 0, 39 * 256, False),
    ],
)
def test_what_a_factory_says_of_itself(factory, lists, least, exact):
    assert list_count(factory) == lists
    assert training_rows(factory)[0] == least
    assert stores_exactly(factory) is exact


def test_effort_grows_with_what_may_not_be_found():
    effort = default_effort("IVF4000,Flat", 10)
    assert (effort.lists, effort.candidates) == (125, 128)
    assert default_effort("IVF100,Flat", 100).lists == 16
    assert default_effort("HNSW32", 100).candidates == 400
    wide = effort.widened(0.1, 4000)
    assert (wide.lists, wide.candidates) == (1250, 1280)
    assert effort.widened(0.01, 4000).lists == 4000


def test_codes_are_tried_from_the_longest():
    assert sorted(CODE_BYTES, reverse=True) == list(CODE_BYTES)
