"""Students that store little: the bottleneck, the recurrence, and the way to a plain encoder."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.masked_lm import EncoderShape, build_masked_lm
from samarkand.models.recurrent_encoder import RecurrentEncoder, shrink, unroll
from transformers import AutoModel, ModernBertModel

PIECES = torch.tensor([[1, 5, 9, 4, 2], [1, 7, 2, 0, 0]])
MASK = (PIECES != 0).long()


@pytest.fixture
def assistant():
    torch.manual_seed(0)
    shape = EncoderShape(layers=4, width=16, heads=2, hidden=24)
    return build_masked_lm(shape, vocabulary=40, length=32).model.eval()


def read(encoder: ModernBertModel) -> torch.Tensor:
    with torch.no_grad():
        return encoder.eval()(input_ids=PIECES, attention_mask=MASK).last_hidden_state[MASK.bool()]


def test_a_student_of_all_layers_and_full_width_is_its_assistant(assistant):
    student = shrink(assistant, embedding_size=16, layers=4, repeats=1)
    torch.testing.assert_close(read(student), read(assistant), atol=1e-5, rtol=0)


def test_the_bottleneck_is_the_best_of_its_width(assistant):
    table = assistant.embeddings.tok_embeddings.weight.detach()
    for size in (4, 8, 16):
        bottleneck = shrink(assistant, embedding_size=size, layers=1, repeats=1).embeddings.tok_embeddings
        product = bottleneck.table.weight @ bottleneck.project.weight.T
        values = torch.linalg.svdvals(table)
        torch.testing.assert_close((product - table).norm(), values[size:].norm(), atol=1e-5, rtol=1e-4)


def test_layers_run_one_after_another_and_again(assistant):
    student = shrink(assistant, embedding_size=16, layers=2, repeats=3)
    torch.nn.init.normal_(student.again_norm.weight)
    calls: list[str] = []
    for name, layer in student.layers._modules.items():
        layer.mlp.register_forward_hook(lambda *_, name=name: calls.append(name))
    read(student)
    assert calls == ["0", "1"] * 3


def test_weights_are_stored_once(assistant):
    sizes = [
        sum(p.numel() for p in shrink(assistant, embedding_size=8, layers=2, repeats=m).parameters()) for m in (1, 2, 5)
    ]
    assert len(set(sizes)) == 1
    layer = sum(p.numel() for p in assistant.layers[1].parameters())
    # Table, projection, two layers of which the first has no norm before its attention, but one to run again.
    assert sizes[0] == 40 * 8 + 8 * 16 + 2 * layer + 16 + 16


def test_gradients_add_up_over_the_repeats(assistant):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=2).double().eval()
    weight = student.layers[0].mlp.Wo.weight

    def loss() -> torch.Tensor:
        return (student(input_ids=PIECES, attention_mask=MASK).last_hidden_state[MASK.bool()] ** 3).sum()

    loss().backward()
    with torch.no_grad():
        weight[3, 5] += 1e-6
        above = loss()
        weight[3, 5] -= 2e-6
        below = loss()
    torch.testing.assert_close(weight.grad[3, 5], (above - below) / 2e-6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("repeats", [1, 3])
def test_unrolled_it_is_a_plain_encoder(assistant, tmp_path, repeats):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=repeats)
    torch.nn.init.normal_(student.again_norm.weight)
    unroll(student).save_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path)
    assert type(plain) is ModernBertModel
    torch.testing.assert_close(read(plain), read(student), atol=1e-5, rtol=0)


def test_transformers_loads_what_it_saved(assistant, tmp_path):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=2)
    torch.nn.init.normal_(student.again_norm.weight)
    student.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentEncoder
    torch.testing.assert_close(read(loaded), read(student), atol=0, rtol=0)


def test_random_weights_are_as_spread_as_the_assistants(assistant):
    torch.manual_seed(0)
    config = shrink(assistant, embedding_size=8, layers=2, repeats=2).config
    bottleneck = RecurrentEncoder(config).embeddings.tok_embeddings
    product = bottleneck.table.weight @ bottleneck.project.weight.T
    assert 0.5 < product.std() / config.initializer_range < 2


def test_what_an_assistant_lacks_is_refused(assistant):
    for asked in ({"embedding_size": 17}, {"layers": 5}, {"repeats": 0}):
        with pytest.raises(ValueError, match="S861"):
            shrink(assistant, **{"embedding_size": 8, "layers": 2, "repeats": 1, **asked})
    with pytest.raises(ValueError, match="S860"):
        shrink(assistant, embedding_size=8, layers=2, repeats=1).embeddings.tok_embeddings.factorize(torch.zeros(3, 3))
