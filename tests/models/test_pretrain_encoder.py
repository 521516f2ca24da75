"""Pretraining by command: token ids in, weights that the architecture takes out."""

import json

import numpy as np
import pytest
import samarkand
from safetensors.numpy import load_file
from samarkand.models.pretrain_encoder import main

SIZES = {"width": 16, "embed_width": 12, "word_rows": 200, "piece_rows": 200, "bigram_rows": 200, "bigram_width": 4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Lines over ten tokens, as corpora.pretraining writes them."""
    folder = tmp_path_factory.mktemp("ids")
    tokens = ["the", "在", "في", "a", "b", "c", "d", "e", "f", "g"]
    (folder / "tokens.txt").write_text("\n".join(tokens), encoding="utf-8")
    np.save(folder / "ids.npy", np.tile(np.arange(10, dtype=np.int32), 60))
    np.save(folder / "ends.npy", np.arange(20, 601, 20, dtype=np.int64))
    return folder


def test_weights_fit_the_architecture_of_the_same_sizes(corpus, tmp_path, capsys):
    output = tmp_path / "encoder"
    output.mkdir()
    (output / "curve.jsonl").write_text("of an earlier training\n")
    flags = [part for name, value in SIZES.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    main([str(corpus), str(output), "--steps", "100", "--batch-tokens", "60", "--threads", "1", *flags])
    curve = [json.loads(line) for line in (output / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve] == [100]
    assert "step 100" in capsys.readouterr().out
    vectors = {}
    for pretrained in (None, str(output)):
        nlp = samarkand.blank("xx")
        model = {"@architectures": "samarkand.SubwordEncoder.v1", "pretrained": pretrained, **SIZES}
        pipe = nlp.add_pipe("tok2vec", config={"model": model})
        np.random.seed(0)
        pipe.model.initialize()
        (vectors[pretrained],) = pipe.model.predict([nlp.make_doc("the b في 在")])
    assert vectors[None].shape == (4, SIZES["width"])
    assert np.abs(vectors[None] - vectors[str(output)]).max() > 0.01


def test_default_sizes_are_those_of_the_architecture(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "--width WIDTH as in samarkand.SubwordEncoder.v1 (default: 192)" in help_text
    assert "(default: lstm)" in help_text


def test_goes_on_from_an_encoder(corpus, tmp_path):
    flags = [part for name, value in SIZES.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    common = ["--batch-tokens", "60", "--threads", "1"]
    main([str(corpus), str(tmp_path / "first"), "--steps", "5", *common, *flags])
    width = ["--width", str(SIZES["width"])]
    begin = ["--begin", str(tmp_path / "first"), "--learn-rate", "1e-9", "--steps", "1"]
    main([str(corpus), str(tmp_path / "second"), *begin, *common, *width])
    first, second = (load_file(tmp_path / name / "encoder.safetensors") for name in ("first", "second"))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(second[name], first[name], atol=1e-6)
    with pytest.raises(OSError, match="S302"):
        main([str(corpus), str(tmp_path / "third"), "--begin", str(tmp_path / "none"), *common])
