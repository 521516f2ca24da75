"""An encoder under another vocabulary: shared pieces keep their vectors, others get means of them."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.assistant import fit_head, load_encoder
from samarkand.models.sentence_stage import pooled_model
from samarkand.models.vocabulary import train_vocabulary, wrap_tokenizer
from samarkand.models.vocabulary_transplant import NEIGHBOURS, TEMPERATURE, transplant
from sentence_checkpoints import WIDTH, make_encoder_folder

ENGLISH = ["the cat sat on the mat", "a dog ran in the park", "the dog sat on a mat", "the cat ran, the dog ran."] * 5
OTHERS = ["القط على الحصيرة", "猫坐在垫子上", "狗在公园里跑"] * 5


@pytest.fixture(scope="module")
def new():
    return wrap_tokenizer(train_vocabulary(ENGLISH + OTHERS, 400), 32)


@pytest.fixture
def encoder_and_tokenizer(tmp_path):
    return load_encoder(make_encoder_folder(tmp_path))


def number(tokenizer, piece: str) -> int:
    return tokenizer.convert_tokens_to_ids(piece)


def test_every_piece_has_the_vector_that_the_formula_says(encoder_and_tokenizer, new):
    encoder, old = encoder_and_tokenizer
    before = encoder.get_input_embeddings().weight.detach().clone()
    static = torch.randn(len(new), 6, generator=torch.Generator().manual_seed(0))
    transplant(encoder, old, new, static, ENGLISH)
    after = encoder.get_input_embeddings().weight.detach()
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park"]
    forms = {f"▁{word}": word for word in words} | {".": ".", ",": ","}
    shared = {number(new, form): number(old, word) for form, word in forms.items() if form in new.get_vocab()}
    assert len(shared) > 5
    roles = {new.cls_token_id: old.cls_token_id, new.sep_token_id: old.sep_token_id, new.unk_token_id: old.unk_token_id}
    roles |= {new.pad_token_id: old.pad_token_id, new.mask_token_id: old.mask_token_id}
    for piece, origin in (shared | roles).items():
        torch.testing.assert_close(after[piece], before[origin])
    for piece in set(range(len(new))) - set(shared) - set(roles):
        scores = {other: torch.cosine_similarity(static[piece], static[other], dim=0).item() for other in shared}
        nearest = sorted(shared, key=scores.__getitem__)[-NEIGHBOURS:]
        weights = torch.tensor([scores[other] / TEMPERATURE for other in nearest]).softmax(0)
        mean = sum(weight * before[shared[other]] for weight, other in zip(weights, nearest))
        torch.testing.assert_close(after[piece], mean, atol=1e-5, rtol=1e-4)


def test_an_encoder_reads_what_it_read_before(encoder_and_tokenizer, new):
    encoder, old = encoder_and_tokenizer
    encoder.eval()
    with torch.no_grad():
        before = encoder(**old(ENGLISH[0], return_tensors="pt")).last_hidden_state
        transplant(encoder, old, new, torch.randn(len(new), 6), ENGLISH)
        after = encoder(**new(ENGLISH[0], return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(after, before)
    assert (encoder.config.vocab_size, encoder.config.pad_token_id) == (len(new), new.pad_token_id)


def test_a_language_that_the_encoder_does_not_read_is_refused(encoder_and_tokenizer, new):
    with pytest.raises(ValueError, match="S868"):
        transplant(*encoder_and_tokenizer, new, torch.randn(len(new), 6), OTHERS)


def test_layers_are_kept_in_the_order_asked(tmp_path):
    folder = make_encoder_folder(tmp_path)
    whole, _ = load_encoder(folder)
    few, _ = load_encoder(folder, [2, 0])
    assert few.config.num_hidden_layers == 2
    for kept, layer in zip(few.encoder.layer, (2, 0)):
        torch.testing.assert_close(kept.state_dict(), whole.encoder.layer[layer].state_dict())
    with pytest.raises(ValueError, match="S864"):
        load_encoder(folder, [3])


def test_a_head_is_fitted_to_what_a_linear_map_can_give(encoder_and_tokenizer):
    encoder, tokenizer = encoder_and_tokenizer
    model = pooled_model(encoder, tokenizer, width=WIDTH, max_length=32).eval()
    texts = [f"the {a} {b} on a {c}" for a in ("cat", "dog", "mat") for b in ("sat", "ran") for c in ("park", "mat")]
    wanted = model.encode(texts)
    torch.nn.init.normal_(model[-1].linear.weight)
    before = abs(model.encode(texts) - wanted).mean()
    fit_head(model, texts, wanted)
    assert abs(model.encode(texts) - wanted).mean() < 0.05 * before
