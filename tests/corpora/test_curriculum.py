"""Curricula: paces, difficulties, batches that open step by step, and languages by a temperature."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
import samarkand
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.curriculum import CurriculumBatcher
from samarkand.corpora.difficulty import entropy, length, make_loss_difficulty
from samarkand.corpora.language_batches import make_language_batcher
from samarkand.corpora.pace import make_exponential_pace, make_root_pace, make_step_pace
from samarkand.models.text_pairs import LANG_KEY
from spacy import registry
from spacy.language import Language
from spacy.training import Example
from spacy.training.loop import create_train_batches

NLP = samarkand.blank("xx")
BY_FOUR = registry.batchers.get("spacy.batch_by_sequence.v1")(4)
STARTS = st.floats(0.01, 1.0)


def example(words: int, label: str = "a", lang: str = "en", score: float = 1.0) -> Example:
    doc = NLP.make_doc("w " * words)
    reference = doc.copy()
    reference.cats = {label: score, "other": 1 - score}
    reference.user_data[LANG_KEY] = lang
    return Example(doc, reference)


def everything(step: int) -> float:
    return 1.0


@given(st.integers(1, 50), STARTS, st.sampled_from(["linear", "root", "cube", "exponential", "steps"]))
def test_competence_goes_from_its_start_to_everything_and_never_falls(steps, start, kind):
    pace = {
        "linear": lambda: make_root_pace(steps, start, 1.0),
        "root": lambda: make_root_pace(steps, start),
        "cube": lambda: make_root_pace(steps, start, 3.0),
        "exponential": lambda: make_exponential_pace(steps, start),
        "steps": lambda: make_step_pace(steps, start, stages=4),
    }[kind]()
    values = [pace(step) for step in range(2 * steps + 1)]
    assert values[0] == pytest.approx(start)
    assert values[steps:] == pytest.approx([1.0] * (steps + 1))
    assert all(0 < first <= second <= 1 for first, second in pairwise(values))


def test_paces_are_their_formulas():
    assert [make_root_pace(4, 0.2, 1.0)(t) for t in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    root = [math.sqrt(t / 4 * (1 - 0.04) + 0.04) for t in range(5)]
    assert [make_root_pace(4, 0.2)(t) for t in range(5)] == pytest.approx(root)
    assert make_exponential_pace(2, 0.25)(1) == pytest.approx(0.5)
    assert [make_step_pace(4, 0.5, 3)(t) for t in range(5)] == pytest.approx([0.5, 0.5, 0.75, 0.75, 1])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"start": 0}, {"start": 1.5}, {"power": 0.5}, {"stages": 1}])
def test_bad_paces_are_refused(wrong):
    makers = {"power": [make_root_pace], "stages": [make_step_pace]}
    for make in makers.get(next(iter(wrong)), [make_root_pace, make_exponential_pace, make_step_pace]):
        with pytest.raises(ValueError, match="S1105"):
            make(**{"steps": 5, **wrong})


@Language.component("test_even_cats")
def _even(doc):
    doc.cats = {"a": 0.5, "other": 0.5}
    return doc


def test_difficulties(tmp_path):
    sure, unsure = example(2), example(2, score=0.6)
    assert entropy(unsure) > 0.5 > entropy(sure) >= 0
    assert length(example(3)) > length(example(2))
    nlp = samarkand.blank("xx")
    nlp.add_pipe("test_even_cats")
    nlp.to_disk(tmp_path)
    loss = make_loss_difficulty(str(tmp_path))
    assert loss(sure) == pytest.approx(math.log(2))
    unlabelled = Example(NLP.make_doc("x"), NLP.make_doc("x"))
    assert loss(unlabelled) == entropy(unlabelled) == 0
    with pytest.raises(ValueError, match="S1103"):
        make_loss_difficulty(str(tmp_path / "none"))


def test_everything_open_is_plain_training_to_the_batch():
    corpus = [example(words) for words in range(1, 23)]

    def batches(batcher) -> list[list[str]]:
        random.seed(0)
        made = create_train_batches(NLP, lambda nlp: corpus, batcher, 3)
        return [[eg.text for eg in batch] for _, batch in made]

    curriculum = CurriculumBatcher(BY_FOUR, difficulty=length, pace=everything)
    assert batches(curriculum) == batches(BY_FOUR)


def test_easy_examples_come_first_and_all_come_in_the_end():
    corpus = [example(words) for words in range(1, 41)]
    batcher = CurriculumBatcher(BY_FOUR, difficulty=length, pace=make_root_pace(10, 0.2, 1.0))
    rng = random.Random(0)
    longest, seen = [], Counter()
    for _ in range(8):
        rng.shuffle(corpus)
        for batch in batcher(corpus):
            longest.append(max(len(eg.reference) for eg in batch))
            seen.update(id(eg) for eg in batch)
    # Of 40 lengths a fifth is open at first, and a twelfth more after each of 10 steps.
    assert longest[0] <= 9
    assert all(most <= 40 * (0.2 + 0.08 * step) + 1 for step, most in enumerate(longest[:10]))
    assert len(seen) == 40
    assert batcher.step == len(longest)


def test_every_class_and_language_is_there_from_the_start():
    sizes = {("a", "en"): 30, ("b", "en"): 10, ("a", "ar"): 6, ("b", "ar"): 1}
    corpus = [
        example(10 * (label == "b") + i, label, lang) for (label, lang), n in sizes.items() for i in range(1, n + 1)
    ]
    random.Random(0).shuffle(corpus)
    batcher = CurriculumBatcher(BY_FOUR, difficulty=length, pace=make_exponential_pace(10**6, 0.09))
    found = Counter(
        (max(eg.reference.cats, key=eg.reference.cats.get), eg.reference.user_data[LANG_KEY])
        for batch in batcher(corpus)
        for eg in batch
    )
    assert found == {("a", "en"): 3, ("b", "en"): 1, ("a", "ar"): 1, ("b", "ar"): 1}


def _langs(batches) -> Counter:
    return Counter(eg.reference.user_data[LANG_KEY] for batch in batches for eg in batch)


def test_languages_are_sampled_by_temperature():
    corpus = [example(i + 1, lang=lang) for lang, n in (("en", 64), ("ar", 16), ("sw", 4)) for i in range(n)]
    assert _langs(make_language_batcher(BY_FOUR, 1.0)(corpus)) == {"en": 64, "ar": 16, "sw": 4}
    # Shares are as the roots 8 : 4 : 2 of 84 examples.
    assert _langs(make_language_batcher(BY_FOUR, 0.5, repeats=99)(corpus)) == {"en": 48, "ar": 24, "sw": 12}
    assert _langs(make_language_batcher(BY_FOUR, 0.0, repeats=99)(corpus)) == {"en": 28, "ar": 28, "sw": 28}
    capped = list(make_language_batcher(BY_FOUR, 0.0, repeats=2)(corpus))
    assert _langs(capped) == {"en": 28, "ar": 28, "sw": 8}
    assert max(Counter(id(eg) for batch in capped for eg in batch).values()) == 2
    first, second = (make_language_batcher(BY_FOUR, 0.5, seed=1) for _ in range(2))
    orders = [[eg.text for batch in batcher(corpus) for eg in batch] for batcher in (first, second, first)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("wrong", [{"exponent": -0.1}, {"exponent": 1.1}, {"repeats": 0}])
def test_bad_settings_of_languages_are_refused(wrong):
    with pytest.raises(ValueError, match="S1105"):
        make_language_batcher(BY_FOUR, **wrong)


def test_configs_nest_batchers():
    config = {
        "@batchers": "samarkand.LanguageBatcher.v1",
        "exponent": 1.0,
        "batcher": {
            "@batchers": "samarkand.CurriculumBatcher.v1",
            "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 4},
            "difficulty": {"@misc": "samarkand.ConfidenceDifficulty.v1"},
            "pace": {"@misc": "samarkand.RootPace.v1", "steps": 10, "start": 0.5},
        },
    }
    batcher = registry.resolve({"batcher": config})["batcher"]
    corpus = [example(i, score=0.5 + i / 40) for i in range(1, 21)]
    passes = [list(batcher(corpus)) for _ in range(8)]
    assert all(eg.reference.cats["a"] > 0.7 for eg in passes[0][0])
    assert sum(map(len, passes[-1])) == 20
