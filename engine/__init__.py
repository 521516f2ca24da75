"""The training and inference engine: it knows parameters and devices, never language."""

from importlib import import_module
from typing import Any

from .adapprox import Adapprox

# An optimizer is wanted by every pipeline that trains; what the others import they import on first use.
_LATER = {
    "ParallelPlan": ".parallel_plan",
    "RecomputePlan": ".recompute",
    "parallelize": ".parallel_run",
    "plan_recompute": ".recompute",
}
__all__ = ["Adapprox", "ParallelPlan", "RecomputePlan", "parallelize", "plan_recompute"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)
