"""Tensor parallelism by the names of linear layers in a block, as in Merak's and torch's plans."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from .graph_costs import Machine, Unit
from .split_inputs import sum_input_gradients


@dataclass(frozen=True)
class TensorRule:
    """Linear layers of a block between whose two rows only their own features are needed.

    columns (tuple[str, ...]): Names in the block of those that are split by output, each process a part of them.
    row (str): The one that is split by input and whose outputs are summed over the processes.
    """

    columns: tuple[str, ...]
    row: str


RULES = (
    TensorRule(("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense"),
    TensorRule(("intermediate.dense",), "output.dense"),
    TensorRule(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj"),
    TensorRule(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.out_proj"),
    TensorRule(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    TensorRule(("mlp.fc1",), "mlp.fc2"),
    TensorRule(("fc1",), "fc2"),
    TensorRule(("linear1",), "linear2"),
)
_HEADS = ("num_heads", "num_attention_heads", "num_key_value_heads")
_HEAD_SIZES = ("head_dim", "attention_head_size")


def matching_rules(block: nn.Module, degree: int, rules: tuple[TensorRule, ...] = RULES) -> list[TensorRule]:
    """Rules that fit a block.

    block (nn.Module): The block.
    degree (int): Processes to split it over.
    rules (tuple[TensorRule, ...]): The rules to try.
    RETURNS (list[TensorRule]): Those whose layers it has, in sizes that the degree divides into whole heads.
    """
    return [rule for rule in rules if _fits(dict(block.named_modules()), rule, degree)]


def split_block(block: nn.Module, mesh: DeviceMesh, rules: list[TensorRule]) -> None:
    """Split the linear layers of a block, in place.

    block (nn.Module): The block.
    mesh (DeviceMesh): The tensor dimension.
    rules (list[TensorRule]): Of `matching_rules`.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {name: ColwiseParallel() for rule in rules for name in rule.columns}
    parallelize_module(block, mesh, plan | {rule.row: RowwiseParallel() for rule in rules})
    for name in plan:
        sum_input_gradients(block.get_submodule(name), mesh)


def split_unit(unit: Unit, block: nn.Module, degree: int, rules: list[TensorRule], machine: Machine) -> Unit:
    """What a unit of one block costs each process when it is split.

    unit (Unit): The unit; only what its split weights do is spread.
    block (nn.Module): Its module.
    degree (int): Processes.
    rules (list[TensorRule]): Of `matching_rules`.
    machine (Machine): For the time of the sums, of which each rule has one forward and one backward.
    RETURNS (Unit): The costs of a process.
    """
    split = {f"{unit.name}.{name}.weight" for rule in rules for name in (*rule.columns, rule.row)}
    split |= {f"{unit.name}.{name}.bias" for rule in rules for name in rule.columns}
    share = sum(unit.parameters.get(name, 0) for name in split) / sum(unit.parameters.values())
    left = 1 - share + share / degree
    one = machine.latency + 2 * (degree - 1) / degree * unit.inputs / machine.link_rate
    all_reduce = len(rules) * one
    parameters = {name: size // degree if name in split else size for name, size in unit.parameters.items()}
    return replace(
        unit,
        forward=unit.forward * left + all_reduce,
        backward=unit.backward * left + all_reduce,
        saved=int(unit.saved * left),
        parameters=parameters,
        hidden=min(unit.forward * left, one),
    )


def _fits(modules: dict[str, nn.Module], rule: TensorRule, degree: int) -> bool:
    columns = [modules.get(name) for name in rule.columns]
    row = modules.get(rule.row)
    if not isinstance(row, nn.Linear) or not all(isinstance(layer, nn.Linear) for layer in columns):
        return False
    sizes = [row.in_features, *(layer.out_features for layer in columns)]
    owners = [modules[name.rpartition(".")[0]] for name in (rule.row, *rule.columns)]
    heads = [count for owner in owners for count in _head_counts(owner)]
    if any(size % degree for size in (*sizes, *heads)):
        return False
    wide = [getattr(owner, name, None) or 1 for owner in owners for name in _HEAD_SIZES]
    return not any(size // degree % head for size in sizes for head in wide)


def _head_counts(module: nn.Module) -> list[int]:
    """Heads of an attention module, of its configuration where it has none of its own; others have no heads."""
    if not any(hasattr(module, name) for name in (*_HEADS, *_HEAD_SIZES)):
        return []
    sources = (module, getattr(module, "config", None))
    counts = (getattr(source, name, None) for source in sources for name in _HEADS)
    return [count for count in counts if isinstance(count, int)]
