"""M3: linking as multiple choice. The network that reads a mention's options, remembers answers, and doubts them.

In the spirit of Gu et al., "Read, Retrospect, Select", AAAI 2021 (arXiv 2101.02394); the equations are our own, for
the paper leaves them open. Shapes: N mentions, K options (padded), H width of the readings, D hidden width, F features.

    V'    = V + SelfAttn(V)                                             options of one mention see one another
    a_k   = w2 . tanh(W1 [V'_k ; f_k] + b1) + w_p log prior_k + w_s similarity_k + w_t type_k + t(V_k, h)
    t     = w_h . (tanh(W_h [V_k ; h ; V_k * h] + b_h) - tanh(W_h [V_k ; 0 ; 0] + b_h))
    c     = W_c [V_chosen ; q];  g = sigmoid(W_g [h ; c] + b_g);  h <- g * h + (1 - g) * c
    fit_k = similarity_k * (1 when the types may agree, else 1 - MISFIT)
    v1    = sigmoid(w . [q ; max_k V_k ; mean_k V_k ; max_k fit_k] + b)
    v2    = sigmoid(w . [V'_best ; q ; a_best ; a_best - a_second ; fit_best p_best] + b),  p = softmax(a)

What an option says by itself is taken out of the history term t, so that an empty memory (h = 0) adds an exact zero to
every score: the first answer of a text is that of a network without history, to the last bit. What is known without
reading stands outside the hidden layers and starts from the weights of a linker that was not trained
(`prior_linker`), all else from 0: the first choices are that linker's, training adds to them, and a text unlike those
that were learnt from still has them.
`prior_weight` says how much the prior counts; it starts from 1, which is the prior itself. `m3_turns` takes the turns
over a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import Errors

# Columns of `features`: natural logarithm of the prior (finite), similarity of alias and mention, agreement of types,
# and a number that grows with the count of candidates.
FEATURES = ("log_prior", "similarity", "type_agreement", "candidates")
HISTORIES = ("vector", "none")
VERIFIERS = ("both", "first", "second", "none")
# What a mention loses whose type is another than the entity's.
MISFIT = 0.5
# Where training starts from: weights of similarity and type; of a fit in the logits of v1 and v2, and the fit that is
# as likely as not.
KNOWN, FIT, EVEN = (5.0, 2.0), 8.0, 0.6
# Scores as close as this differ by rounding, and the ids decide.
TIE = 1e-5


@dataclass(frozen=True)
class M3Batch:
    """Mentions of some texts, in any order. What stands in the padding of options is never looked at.

    options (float, [N, K, H]): V, the joint readings of query and option; entries about 1 in size.
    query (float, [N, H]): q, the mean of the query's vectors.
    features (float, [N, K, F]): Columns `FEATURES`.
    mask (bool, [N, K]): Real options.
    text (int64, [N]): Number of the text.
    order (int64, [N]): Turn of the mention within its text.
    ids (int64, [N, K]): Places of the options' ids among one another: of equal scores the least wins. None when the
        options come in the order of their ids.
    """

    options: Tensor
    query: Tensor
    features: Tensor
    mask: Tensor
    text: Tensor
    order: Tensor
    ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.query)

    def rows(self, index: Tensor) -> M3Batch:
        """Some of the mentions: index (int64 or bool) -> M3Batch."""
        values = (getattr(self, field.name) for field in fields(self))
        return M3Batch(*(None if value is None else value[index] for value in values))


@dataclass(frozen=True)
class M3Reading:
    """All that is known of mentions before anything is remembered.

    options (float, [N, K, H]): V, with zeros in the padding.
    query (float, [N, H]): q.
    mask (bool, [N, K]): Real options.
    ids (int64, [N, K]): As in `M3Batch`.
    scores (float, [N, K]): a_k with an empty memory; of padding, unspecified but finite.
    fit (float, [N, K]): fit_k, 0 for padding.
    first (float, [N]): Logit of v1, or None without that stage.
    second (float, [N, K]): What V'_k and q add to the logit of v2 if k is best, or None without that stage.
    """

    options: Tensor
    query: Tensor
    mask: Tensor
    ids: Tensor
    scores: Tensor
    fit: Tensor
    first: Tensor | None
    second: Tensor | None

    def split(self, sizes: Sequence[int]) -> list[M3Reading]:
        """Consecutive parts of so many mentions each, as views."""
        sizes = list(sizes)
        columns = (getattr(self, field.name) for field in fields(self))
        parts = ([None] * len(sizes) if column is None else column.split(sizes) for column in columns)
        return [M3Reading(*values) for values in zip(*parts)]


class OptionAttention(nn.Module):
    """V' = V + SelfAttn(V) over the options of each mention, without positions.

    width (int): H.
    heads (int): Heads that share it.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.read = nn.Linear(width, 3 * width)
        self.write = nn.Linear(width, width)

    def forward(self, V: Tensor, mask: Tensor) -> Tensor:
        """V [N, K, H], mask [N, K] with an option in each row -> SelfAttn(V) [N, K, H]."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in self.read(V).chunk(3, dim=-1))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.write(seen.transpose(1, 2).flatten(-2))


class History(nn.Module):
    """Gated memory of the answers given so far in a text, and what it says of the next options.

    width (int): H.
    hidden (int): D.
    dropout (float): Dropout of the hidden layer.
    """

    def __init__(self, *, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.option = nn.Linear(width, hidden)
        self.memory = nn.Linear(width, hidden, bias=False)
        self.product = nn.Linear(width, hidden, bias=False)
        self.score = _silent(hidden)
        self.answer = nn.Linear(2 * width, width, bias=False)
        self.gate = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, V: Tensor, h: Tensor) -> Tensor:
        """The history term: V [N, K, H], h [N, H] -> [N, K], exactly 0 where h is 0."""
        alone = self.option(V)
        together = alone + self.memory(h).unsqueeze(1) + self.product(V * h.unsqueeze(1))
        return self.score(self.dropout(together.tanh() - alone.tanh())).squeeze(-1)

    def remember(self, h: Tensor, entity: Tensor, query: Tensor) -> Tensor:
        """The memory after an answer: h, V_chosen and q, each [N, H] -> [N, H]."""
        c = self.answer(torch.cat([entity, query], -1))
        g = self.gate(torch.cat([h, c], -1)).sigmoid()
        return g * h + (1 - g) * c


class M3(nn.Module):
    """The network of the linker. `forward` reads mentions without history.

    Its attributes `beta` (weight of stage 1 beside stage 2) and `theta` (least score that links) are set after
    training, see `m3_loss.tune_threshold`; they are no part of the state dict.

    width (int): H.
    hidden (int): D.
    heads (int): Heads of the attention among options.
    history (str): "vector", or "none" to answer each mention by itself.
    verifier (str): Stages of the verifier: "both", "first", "second"; or "none" to hold the probability of the best
        option against theta.
    attention (bool): Whether options see one another.
    prior (bool): Whether the prior counts.
    dropout (float): Dropout of attention and of hidden layers.
    RAISES (ValueError): S930 for an unknown history or verifier, S931 for heads that do not divide the width.
    """

    def __init__(
        self,
        *,
        width: int,
        hidden: int = 128,
        heads: int = 4,
        history: str = "vector",
        verifier: str = "both",
        attention: bool = True,
        prior: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for name, value, known in (("history", history, HISTORIES), ("verifier", verifier, VERIFIERS)):
            if value not in known:
                raise ValueError(Errors.S930.format(name=name, value=value, known=", ".join(known)))
        if attention and (heads < 1 or width % heads):
            raise ValueError(Errors.S931.format(heads=heads, width=width))
        self.beta, self.theta = 0.5, 0.5
        self.attention = OptionAttention(width=width, heads=heads) if attention else None
        self.select = nn.Linear(width + len(FEATURES) - 1, hidden)
        self.score = _silent(hidden)
        self.prior = nn.Parameter(torch.ones(())) if prior else None
        self.known = nn.Parameter(torch.tensor(KNOWN))
        self.history = History(width=width, hidden=hidden, dropout=dropout) if history == "vector" else None
        self.first = _verifier(3 * width + 1) if verifier in ("both", "first") else None
        self.second = _verifier(2 * width + 3) if verifier in ("both", "second") else None
        self.dropout = nn.Dropout(dropout)

    @property
    def prior_weight(self) -> float:
        """RETURNS (float): w_p, what the logarithm of the prior is multiplied by; 0 without prior."""
        return 0.0 if self.prior is None else float(self.prior.detach())

    def forward(self, batch: M3Batch) -> M3Reading:
        """Read mentions that have an option each.

        batch (M3Batch): The mentions.
        RETURNS (M3Reading): Scores with an empty memory, and what else no history changes.
        """
        mask, query = batch.mask, batch.query
        V, features = (x.masked_fill(~mask.unsqueeze(-1), 0.0) for x in (batch.options, batch.features))
        seen = V if self.attention is None else V + self.dropout(self.attention(V, mask))
        # `FEATURES` begin with the prior, which has a weight of its own.
        hidden = self.select(torch.cat([seen, features[..., 1:]], -1)).tanh()
        scores = self.score(self.dropout(hidden)).squeeze(-1) + features[..., 1:3] @ self.known
        if self.prior is not None:
            scores = scores + self.prior * features[..., 0]
        ids = torch.arange(mask.shape[1], device=mask.device).expand_as(mask) if batch.ids is None else batch.ids
        fit = option_fit(features)
        first, second = self._first(V, query, mask, fit), self._second(seen, query)
        return M3Reading(V, query, mask, ids, scores, fit, first, second)

    def _first(self, V: Tensor, query: Tensor, mask: Tensor, fit: Tensor) -> Tensor | None:
        if self.first is None:
            return None
        greatest = V.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
        mean = V.sum(1) / mask.sum(1, keepdim=True)
        return self.first(torch.cat([query, greatest, mean, fit.amax(1, keepdim=True)], -1)).squeeze(-1)

    def _second(self, seen: Tensor, query: Tensor) -> Tensor | None:
        if self.second is None:
            return None
        of_option, of_query, _ = self.second.weight.split([seen.shape[-1], query.shape[-1], 3], dim=1)
        return F.linear(seen, of_option).squeeze(-1) + F.linear(query, of_query, self.second.bias)

    def confirm(self, reading: M3Reading, scores: Tensor, best: Tensor) -> Tensor | None:
        """Stage 2: is the best option really it?

        Everything here works one mention at a time, so that its v2 does not depend on which others are asked in the
        same turn.

        reading (M3Reading): The mentions.
        scores (float, [N, K]): a_k, -inf for padding.
        best (int64, [N]): The best option.
        RETURNS (float, [N]): Logit of v2, or None without that stage.
        """
        if self.second is None:
            return None
        place = best.unsqueeze(1)
        top = scores.gather(1, place)
        others = reading.mask.scatter(1, place, False)
        # An option without rivals has no lead over any.
        rival = torch.where(others.any(1, keepdim=True), scores.masked_fill(~others, -torch.inf).amax(1, True), top)
        sure = (reading.fit * scores.softmax(1)).gather(1, place)
        of_score, of_lead, of_fit = self.second.weight[0, -3:]
        known = of_score * top + of_lead * (top - rival) + of_fit * sure
        return (reading.second.gather(1, place) + known).squeeze(1)

    def link_score(self, chance: Tensor, first: Tensor | None, second: Tensor | None) -> Tensor:
        """s_link, in double precision: as floats, a theta just above 1 would be 1.

        chance (float, [N]): Probability of the best option among the others.
        first, second (Optional[float, [N]]): v1 and v2, where there are such stages.
        RETURNS (float64, [N]): Between 0 and 1.
        """
        if first is not None and second is not None:
            return self.beta * first.double() + (1 - self.beta) * second.double()
        return next(score for score in (first, second, chance) if score is not None).double()


def option_fit(features: Tensor) -> Tensor:
    """How well the name and the type of an option fit the mention.

    features (float, [..., F]): Columns `FEATURES`.
    RETURNS (float, [...]): fit_k, 0 to 1.
    """
    similarity, agreement = features[..., 1], features[..., 2]
    return similarity * torch.where(agreement > 0, 1.0, 1.0 - MISFIT)


def _silent(width: int) -> nn.Linear:
    """A score that is 0 until something is learnt."""
    score = nn.Linear(width, 1, bias=False)
    nn.init.zeros_(score.weight)
    return score


def _verifier(width: int) -> nn.Linear:
    """A stage of the verifier, whose last column is a fit; at first that alone counts."""
    stage = nn.Linear(width, 1)
    with torch.no_grad():
        stage.weight.zero_()
        stage.weight[:, -1] = FIT
        stage.bias.fill_(-FIT * EVEN)
    return stage


def best_option(scores: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
    """The best real option of each mention, the least id among equals.

    scores (float, [N, K]): a_k.
    mask (bool, [N, K]): Real options, one or more in each row.
    ids (int64, [N, K]): Order of the options' ids.
    RETURNS (int64, [N]): Places from 0 to K - 1.
    """
    scores = scores.detach().masked_fill(~mask, -torch.inf)
    equal = scores >= scores.amax(1, keepdim=True) - TIE
    return ids.masked_fill(~equal | ~mask, torch.iinfo(ids.dtype).max).argmin(1)
