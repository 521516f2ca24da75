"""Padded batches side by side on the cores of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def map_batches(
    function: Callable[[Batch], Result], batches: Sequence[Batch], device: torch.device, *, training: bool
) -> list[Result]:
    """Apply a network to batches: with gradients one after another, without them each on one thread.

    The layers of a small network have too little work for several threads; batches share nothing, so each thread
    takes one. As many run at once as torch may use threads (`torch.set_num_threads`).

    function (Callable): Scores one batch.
    batches (Sequence): The batches.
    device (torch.device): Where the network is; what is not a CPU gets the batches one after another.
    training (bool): Whether gradients are recorded.
    RETURNS (list): The results, in the order of the batches.
    """
    threads = torch.get_num_threads()
    if training or device.type != "cpu" or threads == 1 or len(batches) == 1:
        with torch.set_grad_enabled(training):
            return list(map(function, batches))
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(torch.no_grad()(function), batches))
    finally:
        # MKL takes the setting of any thread for that of all.
        torch.set_num_threads(threads)
