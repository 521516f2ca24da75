"""The training and inference engine: it knows parameters and devices, never language."""

from .adapprox import Adapprox

__all__ = ["Adapprox"]
