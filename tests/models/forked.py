"""Whether what a process has used still works in one that is forked from it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")
_FORK = """
import multiprocessing
{work}
run()
child = multiprocessing.get_context("fork").Process(target=run)
child.start()
child.join(30)
alive = child.is_alive()
child.kill()
raise SystemExit(1 if alive else child.exitcode)
"""


def ends_in_a_fork(work: str) -> bool:
    """RETURNS (bool): Whether `run`, which the code defines, ends in a child too when the parent has called it."""
    return subprocess.run([sys.executable, "-c", _FORK.format(work=work)], timeout=90).returncode == 0
