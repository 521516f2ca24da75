"""How many workers a cluster has room for, so that it neither stalls nor stops when a node is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import Errors
from .sources import UsageError

# Left on the cluster for what is no worker.
SPARE_CPUS = 1


def most_workers(nodes: Sequence[Mapping[str, float]], each: Mapping[str, float]) -> int:
    """The head-room rule: the workers and a CPU more fit on the nodes that have room for workers, less the largest.

    A worker whose node is lost waits for room elsewhere, and the shard that it was given waits with it: without
    head-room for ever. Where one node alone can have workers there is no elsewhere, and all of it counts.

    nodes (Sequence[Mapping[str, float]]): What each node has, by the names of the resources.
    each (Mapping[str, float]): What a worker takes, "CPU" among it.
    RETURNS (int): The workers.
    """
    fits = [min(int(node.get(name, 0) // amount) for name, amount in each.items()) for node in nodes]
    staying = set(range(len(nodes)))
    if sum(fit > 0 for fit in fits) > 1:
        staying.remove(max(staying, key=fits.__getitem__))
    cpus = sum(nodes[place].get("CPU", 0) for place in staying)
    return max(0, min(sum(fits[place] for place in staying), int((cpus - SPARE_CPUS) // each["CPU"])))


def check_room(asked: int, nodes: Sequence[Mapping[str, float]], each: Mapping[str, float]) -> int:
    """Refuse more workers than a cluster has room for.

    asked (int): The workers; -1 for as many as there is room for.
    nodes (Sequence[Mapping[str, float]]): What each node has, by the names of the resources.
    each (Mapping[str, float]): What a worker takes.
    RETURNS (int): The workers.
    RAISES (UsageError): S548 when they do not fit.
    """
    most = most_workers(nodes, each)
    if max(1, asked) > most:
        has = "; ".join(_shown({name: node.get(name, 0) for name in each}) for node in nodes[:3])
        more = f"; and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        raise UsageError(
            Errors.S548.format(
                asked=max(1, asked), most=most, each=_shown(each), nodes=len(nodes), has=has + more, spare=SPARE_CPUS
            )
        )
    return most if asked == -1 else asked


def _shown(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
