"""What is passed on predicts the same, and tells nothing of the training text or machine."""

from __future__ import annotations

import spacy
import srsly
from samarkand.pipeline.release import release


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
