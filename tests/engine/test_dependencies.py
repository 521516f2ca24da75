"""What the engine runs without."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spacy", "thinc", "transformers", "sentence_transformers", "datasets", "typer"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import torch
import samarkand.engine as engine
for module in pkgutil.iter_modules(engine.__path__, "samarkand.engine."):
    importlib.import_module(module.name)
layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
model, x = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), torch.randn(2, 4, 16)
plan = engine.plan_recompute(model, x, "1GiB", planner="full")
plan.apply(model)
trainer = engine.parallelize(model, (x,), lambda found, wanted: (found - wanted).square().mean(),
                             optimizer=engine.Adapprox, micro_batches=1)
print(trainer.step(x, torch.zeros_like(x)) > 0)
"""


def test_the_engine_runs_without_spacy_and_transformers():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
