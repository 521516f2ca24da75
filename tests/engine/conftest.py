"""Tests of parallel training share their small model with the benchmark of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
