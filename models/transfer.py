"""Training for languages without labels: embedding-push, attention-pull and robust targets (Ding et al. 2022, "EAR").

https://arxiv.org/abs/2210.09934. A text and a perturbed copy of it, a stand-in for its translation, go through the same
network: their embeddings are pushed apart, their attention is pulled together, and the copy is to be answered like the
text. This module knows nothing of the head: a pipe hands over its network, the texts, their copies and its own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from .inner_states import InnerStates, watched
from .shared_encoder import listeners
from .transfer_losses import pull_loss, push_loss

# From the outputs of a network and a weight: the loss, and its gradients, both multiplied by the weight.
TaskLoss = Callable[[Any, float], tuple[float, Any]]


@dataclass(frozen=True)
class TransferWeights:
    """Switches of the objective. With all of them at 0 it is ordinary training, to the bit.

    robust (float): Weight of the task's loss on the copies.
    push (float): Weight of embedding-push; 0.1 in the paper.
    pull (float): Weight of attention-pull; 1 in the paper. Needs an encoder that gives attention.
    block (Optional[int]): Block whose attention is pulled, from 0; None for the last of the lower half.
    max_push (float): Squared distance of embeddings, a mean over their width, beyond which nothing is pushed.
    RAISES (ValueError): S601 for a number out of range.
    """

    robust: float = 0.0
    push: float = 0.0
    pull: float = 0.0
    block: int | None = None
    max_push: float = 1.0

    def __post_init__(self) -> None:
        for name in ("robust", "push", "pull", "max_push"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not value >= 0:
                raise ValueError(Errors.S601.format(name=name, value=value))
        if self.block is not None and not (isinstance(self.block, Integral) and self.block >= 0):
            raise ValueError(Errors.S601.format(name="block", value=self.block))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> TransferWeights:
        """Read the section `transfer` of a component.

        settings (Mapping[str, Any]): Settings by name; those that are left out keep their defaults.
        RETURNS (TransferWeights): The weights.
        RAISES (ValueError): S607 for an unknown setting, S601 for a number out of range.
        """
        known = [setting.name for setting in fields(cls)]
        for name in settings:
            if name not in known:
                raise ValueError(Errors.S607.format(name=name, known=", ".join(known)))
        return cls(**settings)

    @property
    def is_on(self) -> bool:
        """RETURNS (bool): Whether a step needs copies."""
        return bool(self.robust or self.looks_inside)

    @property
    def looks_inside(self) -> bool:
        """RETURNS (bool): Whether a step looks inside the encoder."""
        return bool(self.push or self.pull)


def transfer_step(
    model: Model[list[Doc], Any],
    docs: list[Doc],
    copies: list[Doc],
    weights: TransferWeights,
    get_loss: TaskLoss,
) -> dict[str, float]:
    """Forward and backward pass of one batch; gradients are left in the network.

    model (Model): The network, encoder and head.
    docs (list[Doc]): The texts.
    copies (list[Doc]): A perturbed copy of each, with the same tokens in number; not read when all weights are 0.
    weights (TransferWeights): Weights of the terms.
    get_loss (Callable): Loss and gradients of the network's outputs for the texts, or for their copies.
    RETURNS (dict[str, float]): "task", and the terms "robust", "push" and "pull" that are switched on, unweighted.
    RAISES (ValueError): S602 for an encoder that cannot be looked into, S603 for a block that it does not have, S604
        for one that recomputes, S605 for a frozen one.
    """
    if not weights.is_on:
        outputs, backprop = model.begin_update(docs)
        loss, gradients = get_loss(outputs, 1.0)
        backprop(gradients)
        return {"task": loss}
    check_shared(model)
    options = {"needs_attention": weights.pull > 0, "block": weights.block}
    with watched(**options) as states:
        outputs, backprop = model.begin_update(docs)
    with watched(**options) as copy_states:
        copy_outputs, backprop_copies = model.begin_update(copies)
    losses = {"task": 0.0}
    if weights.looks_inside:
        total, terms = _inner_loss(states, copy_states, weights)
        losses.update(terms)
        if total.requires_grad:
            # The passes back from the outputs go through the same graphs, and free them.
            total.backward(retain_graph=True)
    losses["task"], gradients = get_loss(outputs, 1.0)
    backprop(gradients)
    if weights.robust:
        loss, gradients = get_loss(copy_outputs, weights.robust)
        losses["robust"] = loss / weights.robust
        backprop_copies(gradients)
    return losses


def transfer_objective(
    network: Callable[[Any], Any],
    inputs: Any,
    copies: Any,
    weights: TransferWeights,
    get_loss: Callable[[Any], Tensor],
) -> tuple[Tensor, dict[str, float]]:
    """The objective of one batch as a number to differentiate, for torch networks that are trained without spaCy.

    network (Callable): The network; with push or pull, it fills in the record that `inner_states` gives it.
    inputs (Any): What it is called with for the texts.
    copies (Any): What it is called with for a perturbed copy of each; not read when all weights are 0.
    weights (TransferWeights): Weights of the terms.
    get_loss (Callable): Loss of the network's outputs for the texts, or for their copies. ()
    RETURNS (tuple[Tensor, dict[str, float]]): The weighted sum of the terms (), and what `transfer_step` returns.
    RAISES (ValueError): S602 for a network that leaves the record empty, S605 for a frozen one.
    """
    options = {"needs_attention": weights.pull > 0, "block": weights.block}
    with watched(**options) as states:
        total = get_loss(network(inputs))
    losses = {"task": total.item()}
    if weights.is_on:
        with watched(**options) as copy_states:
            outputs = network(copies)
        if weights.looks_inside:
            inner, terms = _inner_loss(states, copy_states, weights)
            total = total + inner
            losses.update(terms)
        if weights.robust:
            robust = get_loss(outputs)
            total = total + weights.robust * robust
            losses["robust"] = robust.item()
    return total, losses


def add_terms(losses: dict[str, float], name: str, terms: dict[str, float]) -> None:
    """Add the terms of a step to the losses of a pipeline: the task's under the name of the pipe, others after it.

    losses (dict[str, float]): Losses by name, changed.
    name (str): The pipe.
    terms (dict[str, float]): What `transfer_step` returned.
    """
    for term, loss in terms.items():
        key = name if term == "task" else f"{name}_{term}"
        losses[key] = losses.get(key, 0.0) + loss


def check_encoder(model: Model[list[Doc], Any], docs: list[Doc], weights: TransferWeights) -> None:
    """Find out before training whether an encoder can be trained so.

    model (Model): The network, initialized.
    docs (list[Doc]): Some texts.
    weights (TransferWeights): Weights of the terms.
    RAISES (ValueError): S602 to S606 when it cannot.
    """
    docs = [doc for doc in docs if len(doc)]
    if weights.is_on:
        check_shared(model)
    if weights.looks_inside and docs:
        with watched(needs_attention=weights.pull > 0, block=weights.block) as states:
            model.predict(docs)
        _check_filled(states)


def check_shared(model: Model) -> None:
    """Refuse a shared encoder: it has not read the copies.

    model (Model): The network.
    RAISES (ValueError): S606 when it listens to one.
    """
    if listeners(model):
        raise ValueError(Errors.S606)


def _inner_loss(states: InnerStates, copies: InnerStates, weights: TransferWeights) -> tuple[Tensor, dict[str, float]]:
    """The terms that look inside the encoder: alpha L_push + beta L_pull, and each by itself."""
    _check_filled(states)
    parts = {}
    if weights.push:
        parts["push"] = push_loss(states.embeddings, copies.embeddings, weights.max_push)
    if weights.pull:
        parts["pull"] = pull_loss(states.attention, copies.attention)
    total = sum(getattr(weights, name) * part for name, part in parts.items())
    # Where no text has a piece, such as those of white space alone, there is nothing to compare.
    if not total.requires_grad and states.embeddings.keys() & copies.embeddings.keys():
        raise ValueError(Errors.S605)
    return total, {name: part.item() for name, part in parts.items()}


def _check_filled(states: InnerStates) -> None:
    if not states.is_filled:
        raise ValueError(Errors.S602.format(part="input embeddings"))
    if states.needs_attention and states.embeddings and not states.attention:
        raise ValueError(Errors.S602.format(part="attention"))
