"""Killing runs of `annotate` on a Ray cluster: the command, its actors, their worker processes, and whole nodes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotation_kills import at_end, child_processes, count_damage, kill, worker_processes

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster
    from spacy.language import Language

WORKERS = 2
# One of two such nodes is lost at times: the workers, and a CPU more, still fit on the other.
NODE = {"num_cpus": WORKERS + 1, "object_store_memory": 80 * 2**20}
VICTIMS = ("command", "actor", "worker process", "node")


def kill_often_on_ray(
    corpus: Path, folder: Path, nlp: Language, kills: int, *, shard_size: int, seed: int = 0
) -> Counter[str]:
    """Kill what takes part in runs on a cluster of a head and two nodes, and look at what they give in the end.

    corpus (Path): A JSONL file whose records have an "id" each.
    folder (Path): Where the pipeline and the outputs are written.
    nlp (Language): The pipeline.
    kills (int): How often; what is killed is drawn from `VICTIMS`.
    shard_size (int): Records of a shard.
    seed (int): Of the times and victims.
    RETURNS (Counter[str]): As `count_damage`, and the kills of each kind, such as "kills, node".
    """
    struck = Counter(dict.fromkeys(VICTIMS, 0))
    draw = random.Random(seed)
    folder.mkdir()
    nlp.to_disk(folder / "model")
    command = [sys.executable, "-m", "samarkand.pipeline.cli", "annotate", str(corpus), "-m", str(folder / "model")]
    command += ["-n", str(WORKERS), "--shard-size", str(shard_size), "--resume"]
    with local_cluster() as cluster:

        def attempt(output: Path, waits: Iterable[float]) -> tuple[bool, int]:
            done, killed = _run([*command, "--ray", cluster.address, "-o", str(output)], waits, cluster, draw)
            struck.update(killed)
            return done, len(killed)

        began = time.perf_counter()
        attempt(folder / "whole", ())
        longest = time.perf_counter() - began
        counts = count_damage(
            lambda output, left: attempt(output, (draw.uniform(0, longest) for _ in range(left))), folder, kills
        )
    counts.update({f"kills, {victim}": number for victim, number in struck.items()})
    return counts


@contextmanager
def local_cluster() -> Iterator[Cluster]:
    """YIELDS (Cluster): A head that has no room for workers, and two nodes, all on this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    try:
        cluster.add_node(**{**NODE, "num_cpus": 0}, include_dashboard=False)
        for _ in range(2):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


def _run(command: list[str], waits: Iterable[float], cluster: Cluster, draw: random.Random) -> tuple[bool, list[str]]:
    """A run, with a kill after each wait until it ends; whether it came to its end, and what was killed."""
    killed: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for wait in waits:
            try:
                process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                killed += _strike(process.pid, cluster, draw)
        errors = process.communicate()[1]
    return at_end(process.returncode, errors), killed


def _strike(command: int, cluster: Cluster, draw: random.Random) -> list[str]:
    """Kill something that takes part in a run, the command when there is nothing else; what was killed, if it was."""
    actors = {actor: (node, workers) for node in cluster.worker_nodes for actor, workers in _actors(node)}
    victim = draw.choice(VICTIMS) if actors else "command"
    if victim == "command":
        return [victim] * kill(command)
    actor = draw.choice(sorted(actors))
    node, workers = actors[actor]
    if victim == "node":
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**NODE)
        return [victim]
    return [victim] * kill(actor if victim == "actor" else workers[0])


def _actors(node: Any) -> Iterator[tuple[int, list[int]]]:
    """Actors of a node that have a worker process, with these."""
    for actor in child_processes(node.all_processes["raylet"][0].process.pid):
        if workers := worker_processes(actor):
            yield actor, workers
