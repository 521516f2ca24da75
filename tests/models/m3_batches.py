"""Random networks and batches for the tests of M3."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import strategies as st
from samarkand.models.m3 import FEATURES, HISTORIES, M3, VERIFIERS, M3Batch

H = 8


def make_network(seed: int = 0, **config) -> M3:
    """A network in evaluation mode, with weights large enough for history and verifier to matter."""
    torch.manual_seed(seed)
    network = M3(width=H, hidden=6, heads=2, **config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # What starts from nothing is drawn as a layer's weights are.
            parameter += torch.rand_like(parameter).sub_(0.5) if not parameter.any() else 0.0
            parameter.mul_(2.0)
        for stage in filter(None, (network.first, network.second)):
            stage.weight[:, :-1].uniform_(-0.5, 0.5)
    return network


def make_batch(texts: list[list[int]], seed: int = 0, *, padding: float = 0.0, spare: int = 0) -> M3Batch:
    """A batch from the number of options of each mention of each text, in the order of the turns; rows are shuffled.

    padding (float): What stands in the padding.
    spare (int): Columns of padding more than are needed.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([count for text in texts for count in text], dtype=torch.int64)
    N, K = len(counts), int(counts.max()) + spare if len(counts) else spare
    mask = torch.arange(K) < counts[:, None]
    priors = torch.rand(N, K, generator=generator) + 0.05
    features = torch.cat([priors.log().unsqueeze(-1), torch.rand(N, K, len(FEATURES) - 1, generator=generator)], dim=-1)
    batch = M3Batch(
        options=torch.randn(N, K, H, generator=generator),
        query=torch.randn(N, H, generator=generator),
        features=features,
        mask=mask,
        text=torch.tensor([t for t, text in enumerate(texts) for _ in text], dtype=torch.int64),
        order=torch.tensor([turn for text in texts for turn in range(len(text))], dtype=torch.int64),
    )
    batch = with_padding(batch, padding)
    return batch.rows(torch.randperm(N, generator=generator))


def with_padding(batch: M3Batch, value: float) -> M3Batch:
    """The batch with something else in its padding."""
    outside = ~batch.mask.unsqueeze(-1)
    return dataclasses.replace(
        batch,
        options=batch.options.masked_fill(outside, value),
        features=batch.features.masked_fill(outside, value),
    )


# Options of each mention of each text; 0 for mentions without any.
texts = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4)
seeds = st.integers(0, 2**31)


@st.composite
def networks(draw: st.DrawFn, **fixed) -> M3:
    """Networks of every variant, with any decision."""
    config = {
        "history": st.sampled_from(HISTORIES),
        "verifier": st.sampled_from(VERIFIERS),
        "attention": st.booleans(),
        "prior": st.booleans(),
    }
    chosen = {name: fixed[name] if name in fixed else draw(values) for name, values in config.items()}
    network = make_network(draw(seeds), **chosen)
    # Two options of one score have probability 0.5 but for rounding: no theta stands there.
    network.beta, network.theta = draw(st.floats(0, 1)), draw(st.sampled_from([0.0, 0.31, 0.52, 0.73]))
    return network
