"""The training and inference engine: it knows parameters and devices, never language."""
