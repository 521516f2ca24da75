"""Students that store little: the bottleneck, the recurrence, and the way to a plain encoder."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.masked_lm import EncoderShape, build_masked_lm
from samarkand.models.recurrent_bert import RecurrentBert
from samarkand.models.recurrent_encoder import Assistant, shrink, unroll
from samarkand.models.recurrent_modernbert import RecurrentModernBert
from samarkand.models.recurrent_parts import shared_factors
from transformers import AutoModel, BertConfig, BertModel

PIECES = torch.tensor([[1, 5, 9, 4, 2], [1, 7, 2, 0, 0]])
MASK = (PIECES != 0).long()


@pytest.fixture
def modern():
    torch.manual_seed(0)
    shape = EncoderShape(layers=4, width=16, heads=2, hidden=24)
    return build_masked_lm(shape, vocabulary=40, length=32).model.eval()


@pytest.fixture
def bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    return BertModel(BertConfig(vocab_size=40, max_position_embeddings=32, **sizes)).eval()


@pytest.fixture(params=["modern", "bert"])
def assistant(request):
    return request.getfixturevalue(request.param)


def read(encoder: Assistant) -> torch.Tensor:
    with torch.no_grad():
        return encoder.eval()(input_ids=PIECES, attention_mask=MASK).last_hidden_state[MASK.bool()]


def test_a_student_of_all_layers_and_full_width_is_its_assistant(assistant):
    student = shrink(assistant, embedding_size=16, layers=4, repeats=1)
    torch.testing.assert_close(read(student), read(assistant), atol=1e-5, rtol=0)


def test_the_bottleneck_is_the_best_of_its_width(assistant):
    table = assistant.get_input_embeddings().weight.detach()
    for size in (4, 8, 16):
        product = shrink(assistant, embedding_size=size, layers=1, repeats=1).bottleneck.product()
        values = torch.linalg.svdvals(table)
        torch.testing.assert_close((product - table).norm(), values[size:].norm(), atol=1e-5, rtol=1e-4)


def stored_layers(student: RecurrentBert | RecurrentModernBert) -> list[torch.nn.Module]:
    return (student.layers if isinstance(student, RecurrentModernBert) else student.encoder.layer).stored


def disturb(student: RecurrentBert | RecurrentModernBert) -> None:
    """Weights of which a test could not tell whether they are used are made random."""
    if isinstance(student, RecurrentModernBert):
        torch.nn.init.normal_(student.again_norm.weight)


def test_layers_run_one_after_another_and_again(assistant):
    student = shrink(assistant, embedding_size=16, layers=2, repeats=3)
    disturb(student)
    calls: list[int] = []
    for i, layer in enumerate(stored_layers(student)):
        module = layer.mlp if isinstance(student, RecurrentModernBert) else layer
        module.register_forward_hook(lambda *_, i=i: calls.append(i))
    read(student)
    assert calls == [0, 1] * 3


def test_weights_are_stored_once(assistant):
    sizes = [
        sum(p.numel() for p in shrink(assistant, embedding_size=8, layers=2, repeats=m).parameters()) for m in (1, 2, 5)
    ]
    assert len(set(sizes)) == 1


def test_a_student_has_a_table_a_projection_and_its_layers(modern, bert):
    def size(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    table = 40 * 8 + 8 * 16
    # A norm of the embedding or of positions beside the table; ModernBERT's first layer has no norm but to run again.
    assert size(shrink(modern, embedding_size=8, layers=2, repeats=2)) == table + 2 * size(modern.layers[1]) + 16 + 16
    other = size(bert.embeddings) - 40 * 16
    assert size(shrink(bert, embedding_size=8, layers=2, repeats=2)) == table + 2 * size(bert.encoder.layer[0]) + other


def test_a_student_learns_without_dropout(assistant):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=1).train()
    first, second = (student(input_ids=PIECES, attention_mask=MASK).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_add_up_over_the_repeats(assistant):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=2).double().eval()
    first = stored_layers(student)[0]
    weight = first.mlp.Wo.weight if isinstance(student, RecurrentModernBert) else first.output.dense.weight

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
    disturb(student)
    unroll(student).save_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path)
    assert type(plain) is type(assistant)
    torch.testing.assert_close(read(plain), read(student), atol=1e-5, rtol=0)


def test_transformers_loads_what_it_saved(assistant, tmp_path):
    student = shrink(assistant, embedding_size=8, layers=2, repeats=2)
    disturb(student)
    student.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is type(student)
    torch.testing.assert_close(read(loaded), read(student), atol=0, rtol=0)


def test_random_weights_are_as_spread_as_the_assistants(assistant):
    torch.manual_seed(0)
    student = shrink(assistant, embedding_size=8, layers=2, repeats=2)
    product = type(student)(student.config).bottleneck.product()
    assert 0.5 < product.std() / student.config.initializer_range < 2


def test_what_an_assistant_lacks_is_refused(assistant):
    for asked in ({"embedding_size": 17}, {"layers": 5}, {"repeats": 0}):
        with pytest.raises(ValueError, match="S861"):
            shrink(assistant, **{"embedding_size": 8, "layers": 2, "repeats": 1, **asked})
    with pytest.raises(ValueError, match="S860"):
        shrink(assistant, embedding_size=8, layers=2, repeats=1).bottleneck.factorize(torch.zeros(3, 3))


def test_a_skip_adds_what_the_pieces_mean(bert, tmp_path):
    plain, student = (shrink(bert, embedding_size=8, layers=2, repeats=2, skip=skip) for skip in (False, True))
    torch.nn.init.normal_(student.skip.weight)
    with torch.no_grad():
        added = (plain.bottleneck.table.weight @ student.skip.weight.T)[PIECES][MASK.bool()]
    torch.testing.assert_close(read(student), read(plain) + added, atol=1e-5, rtol=0)
    student.save_pretrained(tmp_path)
    torch.testing.assert_close(read(AutoModel.from_pretrained(tmp_path)), read(student), atol=0, rtol=0)
    with pytest.raises(ValueError, match="S870"):
        unroll(student)


def test_tables_share_the_best_narrow_one():
    tables = [torch.randn(50, width, generator=torch.Generator().manual_seed(width)) for width in (12, 7)]
    joint = torch.cat([table / table.norm() for table in tables], dim=1)
    for size in (3, 19):
        narrow, projections = shared_factors(tables, size)
        products = [narrow @ projection for projection in projections]
        scaled = [(product - table).norm() / table.norm() for product, table in zip(products, tables)]
        least = torch.linalg.svdvals(joint)[size:].norm()
        torch.testing.assert_close(torch.stack(scaled).norm().float(), least, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(narrow.square().mean().sqrt().float(), tables[0].square().mean().sqrt())
