"""The network of pretraining: its loss is that of the whole model, and it can learn by heart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from samarkand.models.masked_lm import EncoderShape, MaskedLMLoss, build_masked_lm, flops_per_piece
from samarkand.models.masking import IGNORED, MaskingSettings, WordMasker
from torch.utils.flop_counter import FlopCounterMode

SHAPE = EncoderShape(layers=2, width=32, heads=2, hidden=48)


@pytest.fixture
def model(device):
    torch.manual_seed(0)
    return build_masked_lm(SHAPE, vocabulary=90, length=24).to(device)


def make_batch(device, rows=4):
    ids = torch.randint(5, 90, (rows, 24), generator=torch.Generator().manual_seed(0)).to(device)
    flags = torch.ones(90, dtype=torch.bool).numpy()
    masker = WordMasker(flags, flags, MaskingSettings(rate=0.3), device)
    return masker.mask(ids, torch.Generator(device).manual_seed(0))


def test_loss_is_that_of_all_logits(model, device):
    batch = make_batch(device)
    batch.labels[0, 2:] = IGNORED
    losses = MaskedLMLoss(model)(batch.inputs, batch.positions, batch.labels)
    logits = model(input_ids=batch.inputs, attention_mask=torch.ones_like(batch.inputs)).logits
    for row in range(len(losses)):
        for i, label in enumerate(batch.labels[row].tolist()):
            expected = (
                0.0
                if label == IGNORED
                else F.cross_entropy(logits[row, batch.positions[row, i]], torch.tensor(label, device=device)).item()
            )
            assert losses[row, i].item() == pytest.approx(expected, abs=1e-5)


def test_attention_takes_the_fast_path(model, device, monkeypatch):
    """A mask, even one that hides nothing, would keep torch from its fused kernels."""
    attend, masks = F.scaled_dot_product_attention, []

    def attend_and_tell(*inputs, attn_mask=None, **options):
        masks.append(attn_mask)
        return attend(*inputs, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend_and_tell)
    batch = make_batch(device)
    MaskedLMLoss(model)(batch.inputs, batch.positions, batch.labels)
    assert masks == [None, None]


def test_attention_takes_the_fast_path_when_compiled(model, device):
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    batch, network = make_batch(device), MaskedLMLoss(model)
    expected = network(batch.inputs, batch.positions, batch.labels)
    network.compile(backend=keep)
    assert torch.equal(network(batch.inputs, batch.positions, batch.labels), expected)
    nodes = [node for graph in graphs for node in graph.graph.nodes if "scaled_dot_product" in str(node.target)]
    assert [node.kwargs.get("attn_mask") for node in nodes] == [None, None]
    assert len(graphs) == 1


def test_head_is_tied(model):
    assert model.decoder.weight is model.model.embeddings.tok_embeddings.weight


def test_it_learns_a_batch_by_heart(model, device):
    batch, network = make_batch(device), MaskedLMLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(80):
        losses = network(batch.inputs, batch.positions, batch.labels)
        (losses.sum() / (batch.labels != IGNORED).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses.max().item() < 0.2


def test_operations_are_those_that_torch_counts():
    model = build_masked_lm(SHAPE, vocabulary=90, length=24)
    batch = make_batch(torch.device("cpu"))
    # Torch knows no count for the fused attention of the CPU.
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        MaskedLMLoss(model)(batch.inputs, batch.positions, batch.labels).sum().backward()
    counted = flops_per_piece(SHAPE, vocabulary=90, length=24, asked=batch.labels.shape[1]) * batch.inputs.numel()
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("sizes", [{"layers": 0}, {"width": 30, "heads": 4}, {"width": 6, "heads": 2}])
def test_sizes_out_of_range(sizes):
    with pytest.raises(ValueError, match=r"S732.*model"):
        EncoderShape(**sizes)
