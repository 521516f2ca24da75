import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from samarkand.models.piece_windows import home_windows, plan_windows, window_starts
from samarkand.models.transformer import (
    LayerMix,
    TransformerNetwork,
    encoder_config,
    load_encoder,
    make_encoder,
)
from samarkand.models.word_pieces import Alignment, WordPieces
from transformer_checkpoints import (
    FAMILIES,
    MAX_PIECES,
    SENTENCES,
    SIZES,
    WIDTH,
    save_checkpoint,
    save_checkpoints,
)

WINDOW, STRIDE = 16, 10
# Longer than any tiny checkpoint can read at once, in every script.
LONG = " ".join(SENTENCES) * 2


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def word_spans(text):
    """Spans of the words between blanks: enough of a tokenizer for a network."""
    return np.array([m.span() for m in re.finditer(r"\S+", text)], dtype=np.int64).reshape(-1, 2)


def load(folder, **options):
    network = TransformerNetwork(load_encoder(str(folder)), **options).eval()
    return network, WordPieces.from_pretrained(str(folder))


def plan(pieces, texts, *, window=WINDOW, stride=STRIDE):
    return plan_windows(pieces.align(texts, [word_spans(text) for text in texts]), pieces, window, stride)


def slow_vectors(encoder, pieces, text, *, window, stride, layers=None):
    """One token at a time: choose its window by trying all, encode that window alone, average its pieces."""
    (doc,) = pieces.align([text], [word_spans(text)])
    begins = window_starts(len(doc.ids), window, stride)
    vectors = []
    for token in range(doc.n_tokens):
        own = doc.piece[doc.token == token]
        middle = (own[0] + own[-1]) / 2
        begin = min(begins, key=lambda b: (abs(b + (window - 1) / 2 - middle), b))
        begins_of = [begin] * len(own)
        if own[0] < begin or own[-1] >= begin + window:
            begins_of = [min(begins, key=lambda b, p=p: (abs(b + (window - 1) / 2 - p), b)) for p in own]
        rows = []
        for piece, start in zip(own, begins_of):
            ids = [*pieces.prefix, *doc.ids[start : start + window].tolist(), *pieces.suffix]
            output = encoder(input_ids=torch.tensor([ids]), output_hidden_states=True)
            states = [*output.hidden_states[:-1], output.last_hidden_state]
            row = len(pieces.prefix) + piece - start
            rows.append(states[-1][0, row] if layers is None else layers([s[0, row] for s in states]))
        vectors.append(torch.stack(rows).mean(0))
    return torch.stack(vectors)


def test_network_needs_neither_spacy_nor_thinc():
    code = (
        "import sys, samarkand.models.transformer, samarkand.models.word_pieces;"
        "sys.exit(bool({'spacy', 'thinc', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


@settings(max_examples=200, deadline=None)
@given(n=st.integers(0, 200), window=st.integers(1, 30), share=st.floats(0, 1))
def test_windows_cover_the_document_with_the_overlap_asked_for(n, window, share):
    stride = max(1, round(window * share))
    starts = window_starts(n, window, stride)
    if n <= window:
        assert starts.tolist() == [0] * min(n, 1)
        return
    assert starts[0] == 0
    assert starts[-1] == n - window
    assert (np.diff(starts) <= stride).all()
    assert (np.diff(starts) >= 1).all()


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    window=st.integers(1, 12),
    stride=st.integers(1, 12),
)
def test_tokens_are_read_where_they_are_most_central(lengths, window, stride):
    token = np.repeat(np.arange(len(lengths)), lengths)
    n = len(token)
    doc = Alignment(np.zeros(n, dtype=np.int64), np.arange(n), token, len(lengths))
    starts = window_starts(n, window, min(stride, window))
    homes = home_windows(doc, starts, window)
    for piece, home in enumerate(homes):
        own = doc.piece[token == token[piece]]

        def distance(w, position):
            return abs(starts[w] + (window - 1) / 2 - position), w

        best = min(range(len(starts)), key=lambda w: distance(w, (own[0] + own[-1]) / 2))
        if own[0] < starts[best] or own[-1] >= starts[best] + window:
            best = min(range(len(starts)), key=lambda w: distance(w, piece))
        assert home == best
        assert starts[home] <= piece < starts[home] + window


def test_batches_are_bounded():
    pieces = WordPieces(prefix=[1], suffix=[2])
    docs = [Alignment(np.arange(n), np.arange(n), np.arange(n), n) for n in (3, 30, 7, 1, 0, 12)]
    batches = list(plan_windows(docs, pieces, 10, 6).batches(24))
    assert sum(len(batch) for batch in batches) == sum(len(window_starts(len(d.ids), 10, 6)) for d in docs)
    assert all(len(batch) * max(map(len, batch)) <= 24 for batch in batches)
    assert all(len(batch) == 1 for batch in plan_windows(docs, pieces, 10, 6).batches(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_short_document_is_plain_transformers(family, checkpoints):
    """Against tokenizer and model called the way their own documentation does."""
    from transformers import AutoModel, AutoTokenizer

    network, pieces = load(checkpoints[family])
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    model = AutoModel.from_pretrained(checkpoints[family]).eval()
    text = "Layla met the lazy dog"
    inputs = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = model(**inputs).last_hidden_state[0]
        vectors = network(plan(pieces, [text], window=MAX_PIECES - 2, stride=MAX_PIECES - 2))
    for vector, (start, end) in zip(vectors, word_spans(text)):
        rows = [i for i, (a, b) in enumerate(offsets) if min(b, end) > max(a, start) and text[a:b].strip()]
        rows = [i for i in rows if inputs.input_ids[0, i] != tokenizer.convert_tokens_to_ids("▁") or family == "bert"]
        torch.testing.assert_close(vector, states[rows].mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_document_agrees_with_slow_reference(family, checkpoints):
    network, pieces = load(checkpoints[family])
    with torch.no_grad():
        fast = network(plan(pieces, [LONG]))
        slow = slow_vectors(network.encoder, pieces, LONG, window=WINDOW, stride=STRIDE)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_one_equals_batch_of_many(family, checkpoints):
    network, pieces = load(checkpoints[family])
    texts = [*SENTENCES, "", "dog", "   ", LONG, "👩‍👩"]
    with torch.no_grad():
        single = torch.cat([network(plan(pieces, [text])) for text in texts])
        for max_pieces in (1, 50, 10_000):
            network.max_batch_pieces = max_pieces
            together = network(plan(pieces, texts))
            torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-5)


def test_tokens_without_pieces_get_zeros(checkpoints):
    network, pieces = load(checkpoints["bert"])
    # BERT's normalizer deletes the control characters.
    texts = ["a \x01 b", "\x01", ""]
    with torch.no_grad():
        vectors = network(plan(pieces, texts))
    assert vectors.shape == (4, WIDTH)
    assert vectors.any(dim=1).tolist() == [True, False, True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_position_limit_is_what_the_encoder_can_read(family, checkpoints):
    network, _ = load(checkpoints[family])
    assert network.max_positions == MAX_PIECES
    longest = np.full(MAX_PIECES, 5)
    assert network.encode([longest]).shape == (MAX_PIECES, WIDTH)
    if family != "modernbert":
        with pytest.raises((IndexError, RuntimeError)):
            network.encode([np.full(MAX_PIECES + 1, 5)])


@pytest.mark.parametrize("family", FAMILIES)
def test_mixture_agrees_with_slow_reference(family, checkpoints):
    network, pieces = load(checkpoints[family], layers="mix")
    with torch.no_grad():
        network.mix.weights.copy_(torch.tensor([0.3, -1.0, 2.0]))
        network.mix.gamma.fill_(1.7)
        fast = network(plan(pieces, [SENTENCES[0]]))

        def mix(states):
            shares = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
            return 1.7 * sum(float(a) * s for a, s in zip(shares, states))

        slow = slow_vectors(network.encoder, pieces, SENTENCES[0], window=WINDOW, stride=STRIDE, layers=mix)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)


def test_mixture_ends_with_what_the_encoder_returns(checkpoints, monkeypatch):
    """Some encoders list their last layer as it is before the final norm."""
    last, pieces = load(checkpoints["modernbert"])
    mixed, _ = load(checkpoints["modernbert"], layers="mix")
    forward = mixed.encoder.forward

    def before_norm(**kwargs):
        output = forward(**kwargs)
        output.hidden_states = (*output.hidden_states[:-1], torch.zeros_like(output.last_hidden_state))
        return output

    monkeypatch.setattr(mixed.encoder, "forward", before_norm)
    windows = plan(pieces, SENTENCES)
    with torch.no_grad():
        mixed.mix.weights.copy_(torch.tensor([0.0, 0.0, 100.0]))
        torch.testing.assert_close(mixed(windows), last(windows))


def test_new_mixture_is_the_mean_of_layers():
    layers = [torch.randn(4, 3) for _ in range(5)]
    torch.testing.assert_close(LayerMix(5)(layers), torch.stack(layers).mean(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_agree_with_slow_reference(family, checkpoints):
    network, pieces = load(checkpoints[family], layers="mix")
    target = torch.randn(len(word_spans(SENTENCES[3])), WIDTH)
    gradients = []
    for vectors in (
        network(plan(pieces, [SENTENCES[3]])),
        slow_vectors(network.encoder, pieces, SENTENCES[3], window=WINDOW, stride=STRIDE, layers=network.mix),
    ):
        network.zero_grad()
        ((vectors - target) ** 2).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == dict(network.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-3, rtol=1e-4, msg=name)


def test_gradients_agree_with_finite_differences(checkpoints):
    network, pieces = load(checkpoints["bert"], layers="mix")
    windows = plan(pieces, [SENTENCES[0]])
    direction = torch.randn(len(windows.starts), WIDTH)
    (network(windows) * direction).sum().backward()
    for name in ("mix.weights", "mix.gamma", "encoder.encoder.layer.0.attention.self.query.weight"):
        parameter = network.get_parameter(name)
        index = np.unravel_index(int(parameter.grad.abs().argmax()), parameter.shape)
        values = []
        for step in (0.01, -0.01):
            with torch.no_grad():
                parameter[index] += step
                values.append((network(windows) * direction).sum().item())
                parameter[index] -= step
        assert (values[0] - values[1]) / 0.02 == pytest.approx(parameter.grad[index].item(), rel=2e-2)


def test_frozen_encoder_has_no_graph_and_no_dropout(checkpoints):
    network, pieces = load(checkpoints["bert"], freeze=True)
    network.train()
    windows = plan(pieces, [SENTENCES[0]])
    vectors = network(windows)
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors, network(windows), atol=0, rtol=0)
    mixed, _ = load(checkpoints["bert"], freeze=True, layers="mix")
    mixed.train()(windows).sum().backward()
    assert {name for name, p in mixed.named_parameters() if p.grad is not None} == {
        "mix.weights",
        "mix.gamma",
    }


def test_thawed_encoder_uses_its_dropout(checkpoints):
    network, pieces = load(checkpoints["bert"])
    network.train()
    windows = plan(pieces, [SENTENCES[0]])
    assert not torch.equal(network(windows), network(windows))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("freeze", [False, True])
def test_bf16_is_near_fp32(family, freeze, checkpoints):
    exact, pieces = load(checkpoints[family])
    network, _ = load(checkpoints[family], precision="bf16", freeze=freeze)
    windows = plan(pieces, SENTENCES)
    with torch.no_grad():
        expected, vectors = exact(windows), network(windows)
    assert vectors.dtype == torch.float32
    assert not torch.equal(vectors, expected)
    assert torch.cosine_similarity(vectors, expected).min() > 0.98
    held = {p.dtype for p in network.encoder.parameters()}
    assert held == {torch.bfloat16 if freeze else torch.float32}
    assert torch.bfloat16 not in {b.dtype for b in network.encoder.buffers()}


def test_bf16_gradients_reach_float32_weights(checkpoints):
    network, pieces = load(checkpoints["bert"], precision="bf16")
    network(plan(pieces, SENTENCES)).sum().backward()
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_agrees_with_cpu(family, checkpoints):
    network, pieces = load(checkpoints[family], layers="mix")
    windows = plan(pieces, [*SENTENCES, LONG])
    with torch.no_grad():
        expected = network(windows)
        vectors = network.to("cuda")(windows)
    assert {p.device.type for p in [*network.parameters(), *network.buffers()]} == {"cuda"}
    torch.testing.assert_close(vectors.cpu(), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_checkpoints_are_loaded_in_float32(tmp_path, checkpoints):
    from transformers import AutoModel

    AutoModel.from_pretrained(checkpoints["bert"]).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_encoder(str(tmp_path)).parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_config_makes_an_encoder_of_the_same_shape(family, checkpoints):
    encoder = load_encoder(str(checkpoints[family]))
    config = encoder_config(encoder)
    assert str(checkpoints[family]) not in str(config)
    shapes = {name: p.shape for name, p in make_encoder(config).state_dict().items()}
    assert shapes == {name: p.shape for name, p in encoder.state_dict().items()}
    assert not any("pooler" in name for name in shapes)


def test_overrides_replace_settings_of_the_checkpoint(checkpoints):
    encoder = load_encoder(str(checkpoints["bert"]), overrides={"hidden_dropout_prob": 0.0})
    assert {m.p for m in encoder.embeddings.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


def test_loading_asks_for_safetensors_of_the_revision_and_runs_no_code(monkeypatch, checkpoints):
    from transformers import AutoConfig, AutoModel

    seen = []
    for auto in (AutoConfig, AutoModel):

        def spy(name, original=auto.from_pretrained, **kwargs):
            seen.append({"name": name, **kwargs})
            return original(str(checkpoints["bert"]), **kwargs)

        monkeypatch.setattr(auto, "from_pretrained", spy)
    load_encoder("some/name", revision="abc")
    for call in seen:
        assert (call["name"], call["revision"], call["trust_remote_code"]) == ("some/name", "abc", False)
    assert seen[-1]["use_safetensors"] is True


@pytest.mark.parametrize("key", ["attn_implementation", "experts_implementation"])
def test_S336_kernels_of_the_hub_are_not_fetched(key, tmp_path, checkpoints):
    """A checkpoint or a saved pipeline could name a repository, whose code was run."""
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, key: "kernels-community/anything"}))
    with pytest.raises(ValueError, match=rf"\[S336\].*'kernels-community/anything' \({key}\)"):
        load_encoder(str(folder))
    load_encoder(str(folder), overrides={key: "eager"})
    with pytest.raises(ValueError, match=r"\[S336\]"):
        make_encoder({**settings, key: "kernels-community/anything@v1:attend"})


def test_S336_kernels_of_a_part_are_not_fetched():
    with pytest.raises(ValueError, match=r"\[S336\]"):
        make_encoder({"model_type": "clip", "attn_implementation": {"vision_config": "kernels-community/anything"}})


def test_S320_checkpoint_cannot_be_loaded(tmp_path):
    with pytest.raises(OSError, match=r"\[S320\] Cannot load the config of") as info:
        load_encoder(str(tmp_path / "nowhere"))
    assert "\n" not in str(info.value)


def test_S320_pickled_weights_are_refused(tmp_path):
    folder = save_checkpoint("bert", tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"\[S320\] Cannot load the weights of"):
        load_encoder(str(folder))


def test_S325_weights_are_missing(tmp_path):
    folder = save_checkpoint("bert", tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"\[S325\].*{name}"):
        load_encoder(str(folder))


def test_S326_models_with_a_decoder_are_refused():
    config = {
        "model_type": "t5",
        "vocab_size": 20,
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 8,
        "num_layers": 1,
        "num_heads": 2,
    }
    with pytest.raises(ValueError, match=r"\[S326\] A t5 model"):
        make_encoder(config)


@pytest.mark.parametrize(
    "config",
    [{"model_type": "no-such-model"}, {"hidden_size": 8}, {**SIZES, "model_type": "bert", "hidden_size": 33}],
)
def test_S327_config_is_not_one_of_transformers(config):
    with pytest.raises(ValueError, match=r"\[S327\]") as info:
        make_encoder(config)
    assert "\n" not in str(info.value)


def test_S332_config_has_no_such_setting(checkpoints):
    with pytest.raises(ValueError, match=r"\[S332\].*no_such_setting"):
        load_encoder(str(checkpoints["bert"]), overrides={"no_such_setting": 1})
