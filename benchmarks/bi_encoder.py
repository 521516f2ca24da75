"""A bi-encoder of our own: mention and entity meet in one product of two vectors, beside prior and likeness."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from linking_data import Answers, Task
from linking_vectors import Vectors
from samarkand.corpora.records import read_records
from samarkand.models.knowledge_base import KnowledgeBase
from torch import Tensor, nn

WIDTH, CANDIDATES, BATCH = 128, 10, 64
FEATURES = 2


class BiEncoder(nn.Module):
    """Two projections, weights of prior and likeness, and a score of NIL.

    query, option (int): Widths of the vectors.
    """

    def __init__(self, query: int, option: int) -> None:
        super().__init__()
        self.query, self.option = nn.Linear(query, WIDTH), nn.Linear(option, WIDTH)
        self.features = nn.Linear(FEATURES, 1)
        self.nil = nn.Parameter(torch.zeros(()))

    def forward(self, queries: Tensor, options: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Shapes (B, query), (B, K, option), (B, K, 2) and (B, K). RETURNS (Tensor): Scores (B, K + 1), NIL last."""
        scores = torch.einsum("bw,bkw->bk", self.query(queries), self.option(options)) / WIDTH**0.5
        scores = (scores + self.features(features)[..., 0]).masked_fill(~mask, -1e4)
        return torch.cat([scores, self.nil.expand(len(scores), 1)], dim=1)


class Questions:
    """Mentions with the vectors of their candidates.

    vectors (Vectors): The encoder.
    kb (KnowledgeBase): Where the candidates are.
    records (list[dict]): Texts with mentions.
    """

    def __init__(self, vectors: Vectors, kb: KnowledgeBase, records: list[dict[str, Any]]) -> None:
        found = []
        for record in records:
            surfaces = [record["text"][span["start"] : span["end"]].strip() for span in record["spans"]]
            found += kb.candidates_batch(surfaces, CANDIDATES, text=record["text"])
        entities = kb.entities({candidate.id for own in found for candidate in own})
        places = {id: place for place, id in enumerate(entities)}
        table = vectors.entities(list(entities.values())) if entities else np.zeros((1, 1), dtype=np.float32)
        self.ids = [[candidate.id for candidate in own] for own in found]
        self.queries = torch.from_numpy(np.concatenate(vectors.mentions(records)).astype(np.float32))
        self.table = torch.from_numpy(table.astype(np.float32))
        rows = [[places[id] for id in own] + [0] * (CANDIDATES - len(own)) for own in self.ids]
        self.rows = torch.tensor(rows)
        self.mask = torch.tensor([[k < len(own) for k in range(CANDIDATES)] for own in self.ids])
        self.features = torch.tensor(
            [
                [(float(np.log(c.prior)), c.similarity) for c in own] + [(0.0, 0.0)] * (CANDIDATES - len(own))
                for own in found
            ]
        )

    def scores(self, model: BiEncoder, chosen: Tensor) -> Tensor:
        """RETURNS (Tensor): Scores of some of them."""
        rows = self.rows[chosen]
        return model(self.queries[chosen], self.table[rows], self.features[chosen], self.mask[chosen])


def train_bi_encoder(task: Task, *, seed: int, steps: int) -> Callable[[list[dict[str, Any]]], Answers]:
    """Train on the task's texts.

    task (Task): The task.
    seed (int): Seed of weights and order.
    steps (int): Steps of 64 mentions.
    RETURNS (Callable): Answers the mentions of records.
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    vectors, kb = Vectors(), KnowledgeBase(task.kb)
    records = [record for path in task.train for record in read_records(path) if record["spans"]]
    questions = Questions(vectors, kb, records)
    gold = [span["kb_id"] for record in records for span in record["spans"]]
    places = [own.index(id) if id in own else CANDIDATES for id, own in zip(gold, questions.ids)]
    targets = torch.tensor(places)
    model = BiEncoder(questions.queries.shape[1], questions.table.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(steps):
        chosen = torch.from_numpy(generator.integers(0, len(targets), BATCH))
        loss = nn.functional.cross_entropy(questions.scores(model, chosen), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return partial(_answer, model.eval(), vectors, kb)


@torch.no_grad()
def _answer(model: BiEncoder, vectors: Vectors, kb: KnowledgeBase, records: list[dict[str, Any]]) -> Answers:
    questions = Questions(vectors, kb, records)
    every = torch.arange(len(questions.ids))
    best = torch.cat([questions.scores(model, part).argmax(dim=1) for part in every.split(1024)]).tolist()
    said = iter([None if place == CANDIDATES else own[place] for place, own in zip(best, questions.ids)])
    return [[next(said) for _ in record["spans"]] for record in records]
