"""Networks: torch modules, and thin thinc wrappers that make them spaCy architectures."""
