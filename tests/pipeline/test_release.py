"""What is passed on predicts the same, and tells nothing of the training text or machine."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
import srsly
from samarkand.models.knowledge_base import Entity, build_knowledge_base
from samarkand.models.sentence_model import load_sentence_model
from samarkand.pipeline.release import release, release_encoder
from samarkand.pipeline.sentence_models import load_encoder
from sentence_checkpoints import make_encoder_folder


def test_released_pipeline_predicts_the_same_and_forgets_the_rest(tmp_path):
    nlp = spacy.blank("xx")
    nlp.config["paths"]["train"] = "/home/somebody/train.jsonl"
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "LOC", "pattern": "Cairo"}])
    nlp("a secret word of the training text")
    nlp.to_disk(tmp_path / "trained")
    output = tmp_path / "released"
    output.mkdir()
    (output / "README.md").write_text("The card.")
    (output / "stale").write_text("of an older release")
    release(tmp_path / "trained", output, "1.2.3")
    again = spacy.load(output)
    assert [(e.text, e.label_) for e in again("In Cairo").ents] == [("Cairo", "LOC")]
    assert (again.meta["name"], again.meta["version"]) == ("samarkand_sm", "1.2.3")
    assert again.config["paths"]["train"] is None
    assert "secret" not in srsly.read_json(output / "vocab" / "strings.json")
    assert (output / "README.md").read_text() == "The card."
    assert not (output / "stale").exists()


def test_a_sentence_encoder_goes_with_it_and_waits_to_be_enabled(tmp_path):
    spacy.blank("xx").to_disk(tmp_path / "trained")
    release(tmp_path / "trained", tmp_path / "released", "1.0", make_encoder_folder(tmp_path / "encoder"))
    nlp = spacy.load(tmp_path / "released")
    assert nlp.disabled == ["sentence_encoder"]
    assert not nlp("the cat").has_vector
    nlp.enable_pipe("sentence_encoder")
    vector = nlp("the cat").vector
    np.testing.assert_allclose(load_encoder(tmp_path / "released").encode(["the cat"])[0], vector, atol=1e-6)


def test_a_linker_goes_with_it_and_has_its_knowledge_base(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Cairo"}])
    nlp.to_disk(tmp_path / "trained")
    build_knowledge_base(tmp_path / "own.kb", [Entity(id="Q85", type="LOC", names={"en": "Cairo"})]).close()
    release(tmp_path / "trained", tmp_path / "released", "1.0", knowledge_base=tmp_path / "own.kb")
    (tmp_path / "own.kb").unlink()
    assert str(tmp_path) not in (tmp_path / "released" / "config.cfg").read_text()
    nlp = spacy.load(tmp_path / "released")
    assert [ent.kb_id_ for ent in nlp("In Cairo").ents] == [""]
    nlp.enable_pipe("m3_linker")
    assert [ent.kb_id_ for ent in nlp("In Cairo").ents] == ["Q85"]


def test_an_encoder_is_released_with_its_card(tmp_path):
    output = tmp_path / "released"
    output.mkdir()
    (output / "README.md").write_text("The card.")
    (output / "stale").write_text("of an older release")
    model = load_sentence_model(make_encoder_folder(tmp_path / "bert"), device="cpu")
    model.model.save(str(tmp_path / "trained"))
    release_encoder(tmp_path / "trained", output)
    assert load_encoder(output).fingerprint == model.fingerprint
    assert (output / "README.md").read_text() == "The card."
    assert not (output / "stale").exists()


def _contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", [".", "inside", ".."])
@pytest.mark.parametrize("release_one", [release_encoder, lambda *paths: release(*paths, "1.0")])
def test_S550_what_is_released_is_not_replaced(tmp_path, release_one, place):
    """The output was emptied first, and the trained encoder with it."""
    trained = tmp_path / "training" / "model"
    trained.parent.mkdir()
    spacy.blank("xx").to_disk(trained)
    before = _contents(tmp_path)
    with pytest.raises(ValueError, match=r"\[S550\]"):
        release_one(trained, trained / place)
    assert _contents(tmp_path) == before


def test_a_release_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    spacy.blank("xx").to_disk(tmp_path / "trained")
    release(tmp_path / "trained", tmp_path / "released", "1.0")
    before = _contents(tmp_path)

    def fail(labels):
        raise OSError("disk full")

    monkeypatch.setattr("samarkand.pipeline.release.StringStore", fail)
    with pytest.raises(OSError, match="disk full"):
        release(tmp_path / "trained", tmp_path / "released", "1.1")
    assert _contents(tmp_path) == before
